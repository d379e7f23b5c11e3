//! A name for every request, which its answer, its error and its line in the log carry.

use std::fmt;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// `X-Request-Id`.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const BYTES_MAX: usize = 64;

/// The id of a request: letters, digits, `-`, `_` and `.`, so that it can stand in a header and in a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(String);

impl RequestId {
    /// The client's own id if it is sane, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> RequestId {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sane = |id: &&str| (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed);
        match headers.get(&X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane) {
            Some(id) => RequestId(id.to_owned()),
            None => RequestId::random(),
        }
    }

    fn random() -> RequestId {
        let mut bytes = [0; 16];
        // Without random numbers ids repeat, which confuses a reader of the log and nobody else.
        if let Err(error) = getrandom::fill(&mut bytes) {
            tracing::warn!(%error, "no random number for a request id");
        }
        RequestId(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// It as a header.
    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters and digits can stand in a header")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(value).expect("a value"));
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        assert_eq!(of("trace-1_a.b"), "trace-1_a.b");
        for bad in ["", "a b", "x\"y", "<script>", &"x".repeat(65)] {
            let made = of(bad);
            assert!(made != bad && made.len() == 32, "{made}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
