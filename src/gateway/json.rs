//! JSON bodies, read strictly: bounded in depth and members, no member twice, and errors that name the member.
//!
//! Of two members with one name a proxy or an audit log in front may have believed the other one, so there is no right
//! answer but to refuse.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use super::error::{ApiError, Code};

/// Deepest nesting; nothing that is sent here is deeper than a handful.
const DEPTH_MAX: usize = 32;

/// Most members and elements in all: an insert of some thousand rows, with room.
const VALUES_MAX: usize = 200_000;

/// Reads a body.
///
/// # Errors
/// [`Code::InvalidJson`] when it is no JSON or breaks a bound, [`Code::InvalidBody`] when it is JSON of another shape.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut values = 0;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let strict = Strict { depth: 0, values: &mut values };
    let checked = strict.deserialize(&mut reader).and_then(|()| reader.end());
    checked.map_err(|error| {
        let at = json!({ "line": error.line(), "column": error.column() });
        ApiError::new(Code::InvalidJson, format!("invalid json body: {error}")).details(at)
    })?;
    // A list of values in the right order would be taken for the members as well, which nobody has documented.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::new(Code::InvalidBody, "invalid body: it must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|_| shape::<T>(body))
}

/// What is wrong with a body that is JSON, and where. Only then is the path to each member worth its price.
fn shape<T: DeserializeOwned>(body: &[u8]) -> ApiError {
    let reader = &mut serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(reader) {
        Ok(_) => ApiError::from(Code::InvalidBody),
        Err(error) => {
            let member = error.path().to_string();
            let text = error.inner().to_string();
            // The position in the text says nothing that the path does not say better.
            let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
            let message = if member == "." {
                format!("invalid body: {reason}")
            } else {
                format!("invalid body: {member}: {reason}")
            };
            ApiError::new(Code::InvalidBody, message).details(json!({ "member": member }))
        }
    }
}

/// Walks a value and keeps nothing of it.
struct Strict<'a> {
    depth: usize,
    values: &'a mut usize,
}

impl Strict<'_> {
    fn inner(&mut self) -> Strict<'_> {
        Strict { depth: self.depth + 1, values: self.values }
    }

    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.values += 1;
        if *self.values > VALUES_MAX {
            return Err(E::custom(format_args!("more than {VALUES_MAX} values")));
        }
        Ok(())
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.deeper()?;
        while items.next_element_seed(self.inner())?.is_some() {
            self.count()?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.deeper()?;
        let mut names = Names::default();
        while let Some(Name(name)) = members.next_key()? {
            self.count()?;
            if let Some(twice) = names.add(name) {
                return Err(A::Error::custom(format_args!("member `{twice}` is there twice")));
            }
            members.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

/// A member's name, borrowed from the body where it holds no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The names in an object: a list as long as it is short, a set once it is not.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: std::collections::HashSet<Cow<'a, str>>,
}

/// Above it, looking through the list costs more than hashing.
const FEW_MAX: usize = 16;

impl<'a> Names<'a> {
    /// Adds a name; returns it when it was there already.
    fn add(&mut self, name: Cow<'a, str>) -> Option<Cow<'a, str>> {
        if self.many.is_empty() && self.few.len() < FEW_MAX {
            if self.few.contains(&name) {
                return Some(name);
            }
            self.few.push(name);
            return None;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.drain(..));
        }
        if self.many.contains(&name) {
            return Some(name);
        }
        self.many.insert(name);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        sql: String,
        #[serde(default)]
        args: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Inner {
        number: i64,
    }

    fn refused<T: DeserializeOwned + fmt::Debug>(body: &str) -> (Code, String) {
        let error = decode::<T>(body.as_bytes()).expect_err("refused");
        (error.code(), format!("{error:?}"))
    }

    #[test]
    fn a_wrong_member_is_named() {
        let good: Body = decode(br#"{"sql":"SELECT 1","args":[{"number":5}]}"#).expect("a body");
        assert_eq!(good, Body { sql: "SELECT 1".to_owned(), args: vec![Inner { number: 5 }] });
        for (body, text) in [
            (r#"{"sql":5}"#, "invalid body: sql: invalid type: integer `5`, expected a string"),
            (r#"{"args":[]}"#, "missing field `sql`"),
            (r#"{"sql":"x","arguments":[]}"#, "unknown field `arguments`"),
            (r#"{"sql":"x","args":[{"number":1},{"number":"2"}]}"#, "args[1].number: invalid type"),
            ("[]", "invalid body"),
        ] {
            let (code, said) = refused::<Body>(body);
            assert_eq!(code, Code::InvalidBody, "{body}");
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn what_is_no_json_or_out_of_bounds_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let wide = format!("[{}1]", "1,".repeat(VALUES_MAX + 1));
        let long = format!(r#"{{"a":{}}}"#, "9".repeat(10_000));
        let many_names: String = (0..40).map(|n| format!(r#""k{n}":1,"#)).collect();
        let late = format!(r#"{{{many_names}"k7":2}}"#);
        for body in [
            "",
            "{",
            "NaN",
            r#"{"a":Infinity}"#,
            r#"{"a":1}x"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"b":{"c":1,"d":2,"c":1}}]"#,
            r#"{"a":"\ud800"}"#,
            &deep,
            &wide,
            &long,
            &late,
        ] {
            let short: String = body.chars().take(40).collect();
            assert_eq!(refused::<serde_json::Value>(body).0, Code::InvalidJson, "{short}");
        }
        assert!(decode::<serde_json::Value>(b"\xff").is_err());
    }
}
