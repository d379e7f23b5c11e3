//! SQL values as JSON and back.
//!
//! In: numbers, text, booleans (1 and 0), null, and bytes as `{"base64": "…"}`. Out: integers exact, bytes as base64,
//! columns declared `BOOLEAN` as booleans, columns declared as a time as RFC 3339.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value as Json};

use super::error::{ApiError, Code};
use crate::types::{Rows, Statement, Value, timestamp};

/// One argument of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument(pub(super) Value);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument, D::Error> {
        read(Json::deserialize(deserializer)?).map(Argument).map_err(D::Error::custom)
    }
}

/// Arguments: a list for `?`, or an object for named parameters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list for `?` or an object for `:name`, of numbers, texts, booleans, null and {\"base64\": …}"
)]
pub(super) enum Arguments {
    /// In order.
    Positional(Vec<Argument>),
    /// By name.
    Named(std::collections::BTreeMap<String, Argument>),
}

impl Default for Arguments {
    fn default() -> Arguments {
        Arguments::Positional(Vec::new())
    }
}

impl Arguments {
    /// A statement with them.
    pub(super) fn with(self, sql: String) -> Statement {
        let statement = Statement::new(sql);
        match self {
            Arguments::Positional(values) => {
                Statement { positional: values.into_iter().map(|Argument(value)| value).collect(), ..statement }
            }
            Arguments::Named(values) => Statement {
                named: values.into_iter().map(|(name, Argument(value))| (name, value)).collect(),
                ..statement
            },
        }
    }
}

/// A member's value as a SQL value.
///
/// # Errors
/// When it is none; the message names the member.
pub(super) fn argument(member: &str, value: Json) -> Result<Value, ApiError> {
    read(value).map_err(|reason| ApiError::new(Code::InvalidBody, format!("invalid body: {member}: {reason}")))
}

fn read(value: Json) -> Result<Value, String> {
    match value {
        Json::Null => Ok(Value::Null),
        Json::Bool(value) => Ok(Value::Integer(i64::from(value))),
        Json::Number(number) => number_of(&number),
        Json::String(text) => Ok(Value::Text(text)),
        Json::Object(members) => match members.get("base64") {
            Some(Json::String(encoded)) if members.len() == 1 => {
                BASE64.decode(encoded).map(Value::Blob).map_err(|_| "`base64` is not standard base64".to_owned())
            }
            _ => Err("an object is no SQL value, except {\"base64\": \"…\"} for bytes".to_owned()),
        },
        Json::Array(_) => Err("a list is no SQL value".to_owned()),
    }
}

fn number_of(number: &Number) -> Result<Value, String> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(integer), ..) => Ok(Value::Integer(integer)),
        (None, Some(large), _) => Err(format!("{large} is larger than SQLite's largest integer, {}", i64::MAX)),
        (None, None, Some(real)) => Ok(Value::Real(real)),
        (None, None, None) => Err(format!("{number} is no number that SQLite can hold")),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    Time,
    Other,
}

fn kinds(rows: &Rows) -> Vec<Kind> {
    let kind = |column: usize| match rows.declared_types.get(column).map_or("", String::as_str) {
        "boolean" | "bool" => Kind::Boolean,
        "date" | "datetime" | "timestamp" => Kind::Time,
        _ => Kind::Other,
    };
    (0..rows.columns.len()).map(kind).collect()
}

/// The rows as lists.
pub(super) fn lists(rows: &Rows) -> Vec<Json> {
    let kinds = kinds(rows);
    let list =
        |row: &Vec<Value>| Json::Array(row.iter().zip(&kinds).map(|(value, kind)| write(value, *kind)).collect());
    rows.values.iter().map(list).collect()
}

/// The rows as objects. Of columns with one name the last counts, as in every JSON object.
pub(super) fn objects(rows: &Rows) -> Vec<Json> {
    let kinds = kinds(rows);
    let object = |row: &Vec<Value>| {
        let members = rows.columns.iter().zip(row.iter().zip(&kinds));
        Json::Object(members.map(|(name, (value, kind))| (name.clone(), write(value, *kind))).collect::<Map<_, _>>())
    };
    rows.values.iter().map(object).collect()
}

fn write(value: &Value, kind: Kind) -> Json {
    let time = |write: &dyn Fn(&mut Vec<u8>) -> bool| {
        let mut out = Vec::new();
        let written = write(&mut out);
        String::from_utf8(out).ok().filter(|_| written).map(Json::String)
    };
    match (value, kind) {
        (Value::Null, _) => Json::Null,
        (Value::Integer(number), Kind::Boolean) => Json::Bool(*number != 0),
        (Value::Integer(number), Kind::Time) => {
            time(&|out| timestamp::write_unix(out, *number)).unwrap_or_else(|| (*number).into())
        }
        (Value::Integer(number), Kind::Other) => (*number).into(),
        // JSON has no infinities; SQLite's shell and its JSON functions write them like this.
        (Value::Real(real), _) if real.is_infinite() => {
            Json::String(if *real > 0.0 { "Inf" } else { "-Inf" }.to_owned())
        }
        (Value::Real(real), _) => Number::from_f64(*real).map_or(Json::Null, Json::Number),
        (Value::Text(text), Kind::Time) => {
            time(&|out| timestamp::write_text(out, text)).unwrap_or_else(|| Json::String(text.clone()))
        }
        (Value::Text(text), _) => Json::String(text.clone()),
        (Value::Blob(bytes), _) => Json::String(BASE64.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_type_and_their_exact_value() {
        let read = |text: &str| serde_json::from_str::<Argument>(text).map(|Argument(value)| value);
        assert_eq!(read("9223372036854775807").expect("read"), Value::Integer(i64::MAX));
        assert_eq!(read("-1").expect("read"), Value::Integer(-1));
        assert_eq!(read("1.5").expect("read"), Value::Real(1.5));
        assert_eq!(read("true").expect("read"), Value::Integer(1));
        assert_eq!(read("null").expect("read"), Value::Null);
        assert_eq!(read(r#"{"base64":"AP8="}"#).expect("read"), Value::Blob(vec![0, 255]));
        for refused in ["9223372036854775808", "[1]", r#"{"a":1}"#, r#"{"base64":"-"}"#, r#"{"base64":"","x":1}"#] {
            assert!(read(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn declared_types_shape_the_answer() {
        let rows = Rows {
            columns: ["b", "t", "u", "x", "i"].map(str::to_owned).into(),
            declared_types: ["boolean", "datetime", "timestamp", "blob", "integer"].map(str::to_owned).into(),
            values: vec![vec![
                Value::Integer(1),
                Value::Text("2025-08-20 10:11:12".to_owned()),
                Value::Text("soon".to_owned()),
                Value::Blob(vec![1, 2]),
                Value::Integer(i64::MAX),
            ]],
            ..Rows::default()
        };
        let expected = serde_json::json!([true, "2025-08-20T10:11:12Z", "soon", "AQI=", i64::MAX]);
        assert_eq!(lists(&rows), [expected]);
        assert_eq!(objects(&rows)[0]["t"], "2025-08-20T10:11:12Z");
    }
}
