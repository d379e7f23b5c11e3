//! The query of a URI, read strictly: what cannot be decoded is refused, and so is a parameter that is there twice where
//! one is meant.

use std::borrow::Cow;

use super::error::ApiError;

/// The parameters, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

/// What `+` means: in a query it is a space, in a path it is itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    Space,
    Literal,
}

impl Query {
    /// # Errors
    /// When a name or value is not UTF-8 or has a `%` without two hexadecimal digits.
    pub(super) fn parse(text: &str) -> Result<Query, ApiError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name =
                decode(name, Plus::Space).ok_or_else(|| ApiError::parameter("", "a parameter's name is not text"))?;
            let Some(value) = decode(value, Plus::Space) else {
                return Err(ApiError::parameter(&name, format!("the value of `{name}` is not text")));
            };
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query(pairs))
    }

    /// The one value of a parameter.
    ///
    /// # Errors
    /// When it is there more than once: who checked the first might be deceived by the second.
    pub(super) fn one<'a>(&'a self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(ApiError::parameter(name, format!("`{name}` is there more than once"))),
            None => Ok(first),
        }
    }

    /// Every value of a parameter.
    pub(super) fn all<'a, 'b>(&'a self, name: &'b str) -> impl Iterator<Item = &'a str> + use<'a, 'b> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there and not `false` or `0`.
    ///
    /// # Errors
    /// As [`Query::one`].
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.one(name)?.is_some_and(|value| !matches!(value, "false" | "0")))
    }
}

/// Undoes percent-encoding; `None` when the result is no text.
pub(super) fn decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    if !text.contains('%') && (plus == Plus::Literal || !text.contains('+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus == Plus::Space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once() {
        let query = Query::parse("key=a%2Fb+c&key2=%2541&empty=&flag&=x").expect("a query");
        assert_eq!(query.one("key").expect("once"), Some("a/b c"));
        assert_eq!(query.one("key2").expect("once"), Some("%41"));
        assert_eq!(query.one("empty").expect("once"), Some(""));
        assert!(query.flag("flag").expect("once"));
        assert!(!query.flag("other").expect("once"));
    }

    #[test]
    fn what_is_ambiguous_or_no_text_is_refused() {
        let twice = Query::parse("key=a&key=b").expect("a query");
        assert!(twice.one("key").is_err());
        assert_eq!(twice.all("key").collect::<Vec<_>>(), ["a", "b"]);
        for bad in ["key=%", "key=%4", "key=%zz", "key=%ff", "key=%c0%af", "%ff=1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
