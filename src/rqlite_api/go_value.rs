//! Status documents, which are small and rare, as Go prints maps: keys sorted.

use serde_json::Value;

use super::go_number::{write_float, write_integer, write_unsigned};
use super::go_string::write_string;

/// Appends a value.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::String(text) => write_string(out, text),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => write_integer(out, number),
            (_, Some(number), _) => write_unsigned(out, number),
            (_, _, float) => {
                write_float(out, float.unwrap_or(0.0)).expect("a JSON number is finite");
            }
        },
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (at, (key, item)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(out, key);
                out.push(b':');
                write(out, item);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_numbers_are_gos() {
        let mut out = Vec::new();
        write(&mut out, &serde_json::json!({"b": [1.0, null, "<"], "a": {"z": u64::MAX, "y": -1}, "c": true}));
        let expected = r#"{"a":{"y":-1,"z":18446744073709551615},"b":[1,null,"\u003c"],"c":true}"#;
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}
