//! Request bodies: a JSON array of statements.
//!
//! A statement is a text, or an array of a text and its parameters; an object among the parameters names them. Integers
//! stay exact, other numbers become doubles, `x'..'` texts and arrays of small integers become blobs. What follows the
//! array is ignored, as rqlite does. The texts of the errors are rqlite's.
//!
//! One statement at a time is read as [`Json`] and taken apart, so the body is never held as a tree.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::types::limits::STATEMENTS_PER_REQUEST_MAX;
use crate::types::{Statement, Value};

/// A body that holds no statements.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("invalid JSON body")]
    Json,
    #[error("invalid request")]
    Shape,
    #[error("no statements")]
    NoStatements,
    #[error("unsupported type {0}")]
    UnsupportedType(String),
    #[error("too many statements: the limit of one request is {STATEMENTS_PER_REQUEST_MAX}")]
    TooManyStatements,
}

/// Reads a JSON body. Empty statements are left out, so the answer may be an empty list.
///
/// # Errors
/// [`BodyError`], whose text is the body of a 400.
pub(super) fn statements(body: &[u8]) -> Result<Vec<Statement>, BodyError> {
    let failure = Cell::new(None);
    Statements { failure: &failure }
        .deserialize(&mut serde_json::Deserializer::from_slice(body))
        .map_err(|error| failure.take().unwrap_or(if error.is_data() { BodyError::Shape } else { BodyError::Json }))
}

/// The outer array. serde carries errors only as text, so ours is left in `failure`.
struct Statements<'a> {
    failure: &'a Cell<Option<BodyError>>,
}

impl<'de> DeserializeSeed<'de> for Statements<'_> {
    type Value = Vec<Statement>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Statement>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Statements<'_> {
    type Value = Vec<Statement>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of statements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Statement>, A::Error> {
        let mut statements = Vec::new();
        let mut count = 0;
        let mut stop = |error| {
            self.failure.set(Some(error));
            A::Error::custom("")
        };
        while let Some(item) = items.next_element::<Json>()? {
            count += 1;
            if count > STATEMENTS_PER_REQUEST_MAX {
                return Err(stop(BodyError::TooManyStatements));
            }
            let statement = statement(item).map_err(&mut stop)?;
            if !statement.sql.is_empty() {
                statements.push(statement);
            }
        }
        if count == 0 { Err(stop(BodyError::NoStatements)) } else { Ok(statements) }
    }
}

fn statement(item: Json) -> Result<Statement, BodyError> {
    let mut items = match item {
        Json::Text(sql) => return Ok(Statement::new(sql)),
        Json::Array(items) => items.into_iter(),
        Json::Bytes(bytes) if bytes.is_empty() => return Err(BodyError::NoStatements),
        _ => return Err(BodyError::Shape),
    };
    let Some(Json::Text(sql)) = items.next() else { return Err(BodyError::Shape) };
    let mut statement = Statement::new(sql);
    for item in items {
        match item {
            Json::Object(entries) => {
                for (name, item) in entries {
                    statement.named.push((name, value(item)?));
                }
            }
            item => statement.positional.push(value(item)?),
        }
    }
    keep_last_of_each_name(&mut statement.named);
    Ok(statement)
}

/// Of parameters with one name the last counts, as in any JSON object.
fn keep_last_of_each_name(named: &mut Vec<(String, Value)>) {
    if named.len() > 1 {
        named.reverse();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        named.dedup_by(|(later, _), (kept, _)| later == kept);
    }
}

fn value(item: Json) -> Result<Value, BodyError> {
    Ok(match item {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Integer(i64::from(truth)),
        Json::Integer(number) => Value::Integer(number),
        Json::Real(number) => Value::Real(number),
        Json::Text(text) => match hex_literal(&text) {
            Some(bytes) => Value::Blob(bytes),
            None => Value::Text(text),
        },
        Json::Bytes(bytes) => Value::Blob(bytes),
        Json::Array(items) => return Err(items.into_iter().find_map(not_a_byte).unwrap_or(BodyError::Shape)),
        Json::Object(_) => return Err(BodyError::UnsupportedType(Json::OBJECT_IN_GO.to_owned())),
    })
}

/// Why an array's element keeps it from being a blob, by the name of its type in Go.
fn not_a_byte(item: Json) -> Option<BodyError> {
    let name = match item {
        Json::Integer(number) if u8::try_from(number).is_ok() => return None,
        Json::Integer(number) => number.to_string(),
        Json::Real(_) => "float64".to_owned(),
        Json::Null => "<nil>".to_owned(),
        Json::Bool(_) => "bool".to_owned(),
        Json::Text(_) => "string".to_owned(),
        Json::Bytes(_) | Json::Array(_) => "[]interface {}".to_owned(),
        Json::Object(_) => Json::OBJECT_IN_GO.to_owned(),
    };
    Some(BodyError::UnsupportedType(name))
}

/// The bytes of `x'6869'`, as SQL writes a blob.
fn hex_literal(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|n| n as u8);
    if digits.len() % 2 != 0 {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

/// One JSON value. An array of only small integers is kept as bytes, since that is what blobs are sent as.
enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    const OBJECT_IN_GO: &str = "map[string]interface {}";
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Real(number as f64), Json::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut bytes = Vec::new();
        while let Some(item) = items.next_element()? {
            if let Json::Integer(number) = item
                && let Ok(byte) = u8::try_from(number)
            {
                bytes.push(byte);
                continue;
            }
            let mut array: Vec<Json> = bytes.into_iter().map(|byte| Json::Integer(i64::from(byte))).collect();
            array.push(item);
            while let Some(item) = items.next_element()? {
                array.push(item);
            }
            return Ok(Json::Array(array));
        }
        Ok(Json::Bytes(bytes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Statement {
        let mut all = statements(body.as_bytes()).expect("statements");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn error(body: &str) -> String {
        statements(body.as_bytes()).expect_err("a wrong body").to_string()
    }

    #[test]
    fn parameters_keep_their_types_and_integers_every_digit() {
        let statement = one(
            r#"[["Q", 9007199254740993, 1.0, 18446744073709551615, true, false, null, "t", " X'6869' ", "x'zz'", [0,255,16], [], 0.30000000000000004]]"#,
        );
        assert_eq!(
            statement.positional,
            [
                Value::Integer(9007199254740993),
                Value::Real(1.0),
                Value::Real(18446744073709551615.0),
                Value::Integer(1),
                Value::Integer(0),
                Value::Null,
                Value::Text("t".to_owned()),
                Value::Blob(b"hi".to_vec()),
                Value::Text("x'zz'".to_owned()),
                Value::Blob(vec![0, 255, 16]),
                Value::Blob(Vec::new()),
                Value::Real(0.30000000000000004),
            ]
        );
    }

    #[test]
    fn doubles_are_read_to_the_last_bit() {
        for text in
            ["5.0046e-10", "1.7976931348623157e308", "2.2250738585072014e-308", "9.3e-9", "123456.7890123456789"]
        {
            let statement = one(&format!(r#"[["Q", {text}]]"#));
            assert_eq!(statement.positional, [Value::Real(text.parse().expect("a float"))], "{text}");
        }
    }

    #[test]
    fn names_and_places_mix_and_the_last_of_a_name_counts() {
        let statement = one(r#"[["SELECT ?, :n", 5, {"n": 6, "m": 1, "n": 7}]]"#);
        assert_eq!(statement.positional, [Value::Integer(5)]);
        assert_eq!(statement.named, [("m".to_owned(), Value::Integer(1)), ("n".to_owned(), Value::Integer(7))]);
    }

    #[test]
    fn both_forms_mix_empty_statements_go_and_what_follows_is_ignored() {
        let all = statements(br#"["", "A", ["B", 1], [""]] trailing"#).expect("statements");
        assert_eq!(all.iter().map(|s| s.sql.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(statements(br#"[""]"#), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_refused_in_rqlites_words() {
        for body in ["", "[", "nonsense", r#"["a""#, r#"["\ud800"]"#, "[1e999]"] {
            assert_eq!(error(body), "invalid JSON body", "{body}");
        }
        for body in ["{}", "\"SELECT 1\"", "1", "null", "[1]", "[null]", "[{}]", "[[1]]", "[[[\"a\"]]]"] {
            assert_eq!(error(body), "invalid request", "{body}");
        }
        assert_eq!(error("[]"), "no statements");
        assert_eq!(error("[[]]"), "no statements");
        assert_eq!(error(r#"[["SELECT ?", [1, {"x": 1}]]]"#), "unsupported type map[string]interface {}");
        assert_eq!(error(r#"[["SELECT ?", {"n": {"x": 1}}]]"#), "unsupported type map[string]interface {}");
        assert_eq!(error(r#"[["SELECT ?", [1, 256]]]"#), "unsupported type 256");
        assert_eq!(error(r#"[["SELECT ?", ["a"]]]"#), "unsupported type string");
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert_eq!(error(&"[".repeat(10_000)), "invalid JSON body");
        assert_eq!(
            error(&format!("[{}\"\"]", "\"\",".repeat(STATEMENTS_PER_REQUEST_MAX))),
            BodyError::TooManyStatements.to_string()
        );
    }
}
