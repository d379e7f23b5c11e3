//! Results to response bytes, written directly: no tree of values in between, one buffer.
//!
//! The order of keys and what is left out when empty or zero are part of rqlite's contract; its clients compare them.
//! Where rqlite loses data this does not: bytes are base64 (or integers) unless their column is declared as text *and*
//! they are UTF-8, and text that is no time stays text.

mod value;

use std::time::Duration;

use super::go_number::{NotFinite, write_float, write_integer, write_unsigned};
use super::go_string::write_string;
use super::indent;
use crate::types::limits::ANSWER_BYTES_MAX;
use crate::types::statement::{StatementError, StatementErrorKind, Written};
use crate::types::{Rows, StatementResult, Value};
use value::{column_kinds, write_value};

/// Which endpoint answers; failures differ between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `/db/execute` and `/db/load`.
    Execute,
    /// `/db/query`.
    Query,
    /// `/db/request`.
    Request,
}

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowForm {
    /// `columns`, `types`, and `values` as arrays.
    Arrays,
    /// Each row an object; `associative`.
    Objects,
}

/// How bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobForm {
    /// A base64 string.
    Base64,
    /// An array of integers; `blob_array`.
    Integers,
}

/// Whether results carry the time they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timings {
    /// No.
    Hidden,
    /// Yes; `timings`.
    Shown,
}

/// White space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// None.
    Compact,
    /// Four spaces a level; `pretty`.
    Indented,
}

/// What the caller asked of the form of the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) operation: Operation,
    pub(super) rows: RowForm,
    pub(super) blobs: BlobForm,
    pub(super) timings: Timings,
    pub(super) layout: Layout,
}

/// A whole answer. What is `None` or zero is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) results: &'a [StatementResult],
    pub(super) error: Option<&'a str>,
    pub(super) elapsed: Duration,
    pub(super) sequence_number: u64,
    pub(super) raft_index: u64,
}

/// Why results cannot be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// JSON has no number for an infinity.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// Names of columns stand in each row, bytes are written as digits: an answer may be much larger than its results.
    #[error("the answer is larger than {bytes_max} bytes: ask for fewer rows, or for another form of them")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
}

/// Writes an answer.
///
/// # Errors
/// [`WriteError`]
pub(super) fn write(envelope: &Envelope<'_>, style: &Style) -> Result<Vec<u8>, WriteError> {
    write_within(envelope, style, ANSWER_BYTES_MAX)
}

fn write_within(envelope: &Envelope<'_>, style: &Style, bytes_max: usize) -> Result<Vec<u8>, WriteError> {
    let likely = 64 + envelope.results.iter().map(likely_bytes).sum::<usize>();
    let mut out = Vec::with_capacity(likely.min(bytes_max));
    out.extend_from_slice(b"{\"results\":[");
    for (at, result) in envelope.results.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_result(&mut out, result, style, bytes_max)?;
        within(&out, bytes_max)?;
    }
    out.push(b']');
    if let Some(error) = envelope.error {
        out.extend_from_slice(b",\"error\":");
        write_string(&mut out, error);
    }
    if style.timings == Timings::Shown && !envelope.elapsed.is_zero() {
        out.extend_from_slice(b",\"time\":");
        write_float(&mut out, envelope.elapsed.as_secs_f64())?;
    }
    for (key, number) in [("sequence_number", envelope.sequence_number), ("raft_index", envelope.raft_index)] {
        if number > 0 {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            write_unsigned(&mut out, number);
        }
    }
    out.push(b'}');
    match style.layout {
        Layout::Compact => within(&out, bytes_max).map(|()| out),
        Layout::Indented => indent::indented_within(&out, bytes_max).ok_or(WriteError::TooLarge { bytes_max }),
    }
}

fn within(out: &[u8], bytes_max: usize) -> Result<(), WriteError> {
    if out.len() <= bytes_max { Ok(()) } else { Err(WriteError::TooLarge { bytes_max }) }
}

/// A guess that spares most answers a second allocation.
fn likely_bytes(result: &StatementResult) -> usize {
    match result {
        StatementResult::Rows(rows) => 64 + rows.columns.len() * (32 + rows.values.len() * 12),
        _ => 64,
    }
}

fn write_result(
    out: &mut Vec<u8>,
    result: &StatementResult,
    style: &Style,
    bytes_max: usize,
) -> Result<(), WriteError> {
    let mut object = Object::begin(out);
    match result {
        StatementResult::Written(written) => write_written(&mut object, written, style)?,
        StatementResult::Failed(failure) => write_failure(&mut object, failure, style),
        StatementResult::Rows(rows) => match style.rows {
            RowForm::Arrays => write_arrays(&mut object, rows, style, bytes_max)?,
            RowForm::Objects => write_objects(&mut object, rows, style, bytes_max)?,
        },
    }
    object.end();
    Ok(())
}

fn write_written(object: &mut Object<'_>, written: &Written, style: &Style) -> Result<(), NotFinite> {
    for (key, number) in [("last_insert_id", written.last_insert_id), ("rows_affected", written.rows_affected)] {
        if number != 0 {
            write_integer(object.key(key), number);
        }
    }
    write_elapsed(object, written.elapsed_ns, style)?;
    if style.rows == RowForm::Objects {
        object.key("rows").extend_from_slice(b"null");
    }
    Ok(())
}

fn write_failure(object: &mut Object<'_>, failure: &StatementError, style: &Style) {
    if style.operation == Operation::Query && style.rows == RowForm::Objects {
        object.key("rows").extend_from_slice(b"[]");
    }
    let message = match (failure.kind, style.operation) {
        (StatementErrorKind::Timeout, Operation::Query) => "query timeout",
        (StatementErrorKind::Timeout, Operation::Execute) => "execute timeout",
        _ => &failure.message,
    };
    write_string(object.key("error"), message);
}

fn write_arrays(object: &mut Object<'_>, rows: &Rows, style: &Style, bytes_max: usize) -> Result<(), WriteError> {
    if !rows.columns.is_empty() {
        let out = object.key("columns");
        write_list(out, 0..rows.columns.len(), |out, column| write_string(out, column_name(rows, column)));
        let out = object.key("types");
        write_list(out, 0..rows.columns.len(), |out, column| write_string(out, column_type(rows, column)));
    }
    if !rows.values.is_empty() {
        let kinds = column_kinds(rows);
        let out = object.key("values");
        out.push(b'[');
        for (at, row) in rows.values.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
            for (column, value) in row.iter().enumerate() {
                if column > 0 {
                    out.push(b',');
                }
                write_value(out, value, kinds[column], style)?;
                within(out, bytes_max)?;
            }
            out.push(b']');
        }
        out.push(b']');
    }
    write_elapsed(object, rows.elapsed_ns, style)?;
    Ok(())
}

fn write_objects(object: &mut Object<'_>, rows: &Rows, style: &Style, bytes_max: usize) -> Result<(), WriteError> {
    let order = sorted_columns(rows);
    if !order.is_empty() {
        let mut types = Object::begin(object.key("types"));
        for &column in &order {
            write_string(types.key(column_name(rows, column)), column_type(rows, column));
        }
        types.end();
    }
    let kinds = column_kinds(rows);
    let out = object.key("rows");
    out.push(b'[');
    for (at, row) in rows.values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut entry = Object::begin(out);
        for &column in &order {
            let out = entry.key(column_name(rows, column));
            write_value(out, &row[column], kinds[column], style)?;
            within(out, bytes_max)?;
        }
        entry.end();
    }
    out.push(b']');
    write_elapsed(object, rows.elapsed_ns, style)?;
    Ok(())
}

fn write_elapsed(object: &mut Object<'_>, nanoseconds: u64, style: &Style) -> Result<(), NotFinite> {
    if style.timings == Timings::Shown && nanoseconds > 0 {
        write_float(object.key("time"), nanoseconds as f64 / 1e9)?;
    }
    Ok(())
}

/// Columns in the order of their names; of those with one name the last, as in a map that was filled in order.
fn sorted_columns(rows: &Rows) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.columns.len()).rev().collect();
    order.sort_by(|&a, &b| column_name(rows, a).cmp(column_name(rows, b)));
    order.dedup_by(|later, kept| column_name(rows, *later) == column_name(rows, *kept));
    order
}

fn column_name(rows: &Rows, column: usize) -> &str {
    match rows.qualified_columns.get(column) {
        Some(qualified) if !qualified.is_empty() => qualified,
        _ => &rows.columns[column],
    }
}

/// The declared type, or for an expression the storage class of its value in the first row.
fn column_type(rows: &Rows, column: usize) -> &str {
    match rows.declared_types.get(column) {
        Some(declared) if !declared.is_empty() => declared,
        _ => match rows.values.first().map(|row| &row[column]) {
            None | Some(Value::Null) => "",
            Some(Value::Integer(_)) => "integer",
            Some(Value::Real(_)) => "real",
            Some(Value::Text(_)) => "text",
            Some(Value::Blob(_)) => "blob",
        },
    }
}

fn write_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// An object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Writes a key; the value belongs behind it.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests;
