//! What a request shows to prove who sends it. Only headers count: what stands in a URL ends up in logs and histories.

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::error::{ApiError, Code};
use crate::http::head::X_API_KEY;

/// Longest credential; tokens are some hundred bytes.
const BYTES_MAX: usize = 4096;

/// The credentials of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Presented<'a> {
    /// A signed token: `Authorization: Bearer` with two dots in it.
    pub(super) token: Option<&'a str>,
    /// An API key.
    pub(super) key: Option<&'a str>,
    /// There was something that is neither.
    pub(super) unusable: bool,
}

impl<'a> Presented<'a> {
    /// Reads `Authorization: Bearer TOKEN`, `X-API-Key: KEY`, and `Authorization` with `Bearer KEY`, `ApiKey KEY` or the
    /// bare key.
    ///
    /// # Errors
    /// [`Code::CredentialConflict`] for two different keys.
    pub(super) fn read(headers: &'a HeaderMap) -> Result<Presented<'a>, ApiError> {
        let mut presented = Presented::default();
        if let Some(value) = headers.get(&X_API_KEY) {
            match value.to_str().map(str::trim) {
                Ok(key) if usable(key) => presented.key = Some(key),
                _ => presented.unusable = true,
            }
        }
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(presented) };
        match value.to_str().ok().and_then(authorization) {
            Some((Scheme::Bearer, text)) if is_token(text) => presented.token = Some(text),
            Some((_, text)) if presented.key.is_none_or(|key| key == text) => presented.key = Some(text),
            Some(_) => return Err(Code::CredentialConflict.into()),
            None => presented.unusable = true,
        }
        Ok(presented)
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Presented::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Key,
}

fn authorization(value: &str) -> Option<(Scheme, &str)> {
    let value = value.trim();
    let (scheme, text) = match value.split_once(' ') {
        Some((scheme, text)) if scheme.eq_ignore_ascii_case("bearer") => (Scheme::Bearer, text.trim()),
        Some((scheme, text)) if scheme.eq_ignore_ascii_case("apikey") => (Scheme::Key, text.trim()),
        Some(_) => return None,
        // A scheme without its credential is not a key.
        None if ["bearer", "apikey", "basic"].iter().any(|scheme| value.eq_ignore_ascii_case(scheme)) => return None,
        None => (Scheme::Key, value),
    };
    usable(text).then_some((scheme, text))
}

fn usable(text: &str) -> bool {
    (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_token(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<(Option<String>, Option<String>, bool), Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<hyper::header::HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        let presented = Presented::read(&map).map_err(|error| error.code())?;
        Ok((presented.token.map(str::to_owned), presented.key.map(str::to_owned), presented.unusable))
    }

    #[test]
    fn a_credential_is_found_in_each_of_its_places() {
        let (token, key) = (
            |text: &str| Ok((Some(text.to_owned()), None, false)),
            |text: &str| Ok((None, Some(text.to_owned()), false)),
        );
        assert_eq!(read(&[]), Ok((None, None, false)));
        assert_eq!(read(&[("authorization", "Bearer a.b.c")]), token("a.b.c"));
        assert_eq!(read(&[("authorization", "bearer a.b.c")]), token("a.b.c"));
        assert_eq!(read(&[("authorization", "Bearer ak_1:ns")]), key("ak_1:ns"));
        assert_eq!(read(&[("authorization", "ApiKey ak_1:ns")]), key("ak_1:ns"));
        assert_eq!(read(&[("authorization", "ak_1:ns")]), key("ak_1:ns"));
        assert_eq!(read(&[("x-api-key", "ak_1:ns")]), key("ak_1:ns"));
        let both = [("authorization", "Bearer a.b.c"), ("x-api-key", "ak_1:ns")];
        assert_eq!(read(&both), Ok((Some("a.b.c".to_owned()), Some("ak_1:ns".to_owned()), false)));
    }

    #[test]
    fn what_is_no_credential_is_not_taken_for_one() {
        let long = "x".repeat(BYTES_MAX + 1);
        for value in ["", " ", "Bearer", "Bearer ", "Basic", "Basic dXNlcjpwYXNz", "Digest x", "Bearer a b", &long] {
            assert_eq!(read(&[("authorization", value)]), Ok((None, None, true)), "{value}");
        }
        assert_eq!(read(&[("x-api-key", " ")]), Ok((None, None, true)));
    }

    #[test]
    fn two_different_keys_are_refused() {
        let keys = |second| read(&[("x-api-key", "ak_1:a"), ("authorization", second)]);
        assert_eq!(keys("ApiKey ak_1:a"), Ok((None, Some("ak_1:a".to_owned()), false)));
        assert_eq!(keys("ApiKey ak_2:b"), Err(Code::CredentialConflict));
    }
}
