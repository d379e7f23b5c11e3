//! One value as JSON, by its storage class and the declared type of its column.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::go_number::{NotFinite, write_float, write_integer, write_unsigned};
use super::super::go_string::write_string;
use super::{BlobForm, Style, write_list};
use crate::types::timestamp;
use crate::types::{Rows, Value};

/// What a declared type changes about the values in its column.
#[derive(Clone, Copy)]
pub(super) enum ColumnKind {
    Boolean,
    Time,
    Text,
    Other,
}

const TEXT_TYPE_PREFIXES: [&str; 6] = ["varchar", "varying character", "nchar", "native character", "nvarchar", "clob"];

/// The kind of every column.
pub(super) fn column_kinds(rows: &Rows) -> Vec<ColumnKind> {
    let kind = |declared: &str| match declared {
        "" => ColumnKind::Other,
        "boolean" => ColumnKind::Boolean,
        "date" | "datetime" | "timestamp" => ColumnKind::Time,
        "text" | "json" => ColumnKind::Text,
        other if TEXT_TYPE_PREFIXES.iter().any(|prefix| other.starts_with(prefix)) => ColumnKind::Text,
        _ => ColumnKind::Other,
    };
    (0..rows.columns.len()).map(|column| kind(rows.declared_types.get(column).map_or("", String::as_str))).collect()
}

/// Appends one value.
///
/// # Errors
/// [`NotFinite`] for an infinity.
pub(super) fn write_value(out: &mut Vec<u8>, value: &Value, kind: ColumnKind, style: &Style) -> Result<(), NotFinite> {
    match (value, kind) {
        (Value::Null, _) => out.extend_from_slice(b"null"),
        (Value::Integer(number), ColumnKind::Boolean) => {
            out.extend_from_slice(if *number > 0 { b"true" } else { b"false" });
        }
        (Value::Integer(number), ColumnKind::Time) => {
            if !quoted(out, |out| timestamp::write_unix(out, *number)) {
                write_integer(out, *number);
            }
        }
        (Value::Integer(number), _) => write_integer(out, *number),
        (Value::Real(number), _) => write_float(out, *number)?,
        (Value::Text(text), ColumnKind::Time) => {
            if !quoted(out, |out| timestamp::write_text(out, text)) {
                write_string(out, text);
            }
        }
        (Value::Text(text), _) => write_string(out, text),
        (Value::Blob(bytes), kind) => match (kind, std::str::from_utf8(bytes)) {
            (ColumnKind::Text, Ok(text)) => write_string(out, text),
            _ => write_bytes(out, bytes, style.blobs),
        },
    }
    Ok(())
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], form: BlobForm) {
    match form {
        BlobForm::Integers => write_list(out, bytes.iter(), |out, byte| write_unsigned(out, u64::from(*byte))),
        BlobForm::Base64 => {
            let encoded_len = bytes.len().div_ceil(3) * 4;
            out.push(b'"');
            let start = out.len();
            out.resize(start + encoded_len, 0);
            BASE64.encode_slice(bytes, &mut out[start..]).expect("the slice has the encoded length");
            out.push(b'"');
        }
    }
}

/// Writes between quotes; takes the quote back when there was nothing to write.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    out.push(b'"');
    let written = write(out);
    if written {
        out.push(b'"');
    } else {
        out.pop();
    }
    written
}
