//! A name for every request, which its answer, its error and its line in the log carry.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// `X-Request-Id`.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const BYTES_MAX: usize = 64;

/// The id of a request: letters, digits, `-`, `_` and `.`, so that it can stand in a header and in a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is letters and digits")
    }

    /// It as a header.
    pub(super) fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where ids come from: the hash of a counter, under a key that is random for each process. So they are as different as
/// random numbers, between processes too, and no request waits for the system's source of those.
#[derive(Debug, Default)]
pub(super) struct RequestIds {
    counter: AtomicU64,
    key: RandomState,
}

impl RequestIds {
    /// The client's own id if it is sane, else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sane = |id: &&HeaderValue| (1..=BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(allowed);
        match headers.get(&X_REQUEST_ID).filter(sane) {
            Some(id) => RequestId(id.clone()),
            None => self.make(),
        }
    }

    /// 32 hexadecimal digits.
    fn make(&self) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let halves = [self.key.hash_one((number, 0u8)), self.key.hash_one((number, 1u8))];
        let mut text = [0; 32];
        for (digits, byte) in text.chunks_exact_mut(2).zip(halves.iter().flat_map(|half| half.to_be_bytes())) {
            digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        RequestId(HeaderValue::from_bytes(&text).expect("letters and digits can stand in a header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(value).expect("a value"));
        RequestIds::default().of(&headers).to_string()
    }

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        assert_eq!(of("trace-1_a.b"), "trace-1_a.b");
        for bad in ["", "a b", "x\"y", "<script>", &"x".repeat(65)] {
            let made = of(bad);
            assert!(made != bad && made.len() == 32, "{made}");
        }
    }

    #[test]
    fn no_two_made_ids_are_alike_in_a_process_or_between_two() {
        let (one, other) = (RequestIds::default(), RequestIds::default());
        let made = |_| [one.of(&HeaderMap::new()).to_string(), other.of(&HeaderMap::new()).to_string()];
        let made: std::collections::HashSet<String> = (0..1_000).flat_map(made).collect();
        assert_eq!(made.len(), 2_000);
    }
}
