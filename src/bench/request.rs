//! A request as the bytes that go over the wire, of which only the key changes from one to the next.

use std::fmt::Write as _;

use super::response::find;
use super::target::Target;

/// Rows and keys that reads choose from.
pub(super) const READ_ROWS: u64 = 10_000;

/// Where the key of a request stands in what it is made of: as many characters as the largest key has, so that every
/// request has the same length.
pub(super) const KEY_SLOT: &str = "#####";

/// What stands before a key that is shorter than its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// JSON allows it before a number, but no zeros.
    Blanks,
    /// A URL has no blanks.
    Zeros,
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where the key begins, and how it is filled up.
    key: Option<(usize, Padding)>,
}

impl Request {
    /// A request without a body.
    pub(super) fn get(target: &Target, path: &str) -> Request {
        Request::new(target, "GET", path, None)
    }

    /// A request with a JSON body.
    pub(super) fn post_json(target: &Target, path: &str, body: &str) -> Request {
        Request::new(target, "POST", path, Some(("application/json", body)))
    }

    /// A request whose body is a value and nothing else.
    pub(super) fn put_bytes(target: &Target, path: &str, body: &str) -> Request {
        Request::new(target, "PUT", path, Some(("application/octet-stream", body)))
    }

    fn new(target: &Target, method: &str, path: &str, body: Option<(&str, &str)>) -> Request {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", target.address);
        let mut add = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string takes everything");
        if let Some(value) = &target.authorization {
            add(format_args!("Authorization: {value}\r\n"));
        }
        match body {
            Some((content_type, body)) => {
                add(format_args!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
            None => add(format_args!("\r\n")),
        }
        Request { bytes: text.into_bytes(), key: None }
    }

    /// With another key each time, in place of the [`KEY_SLOT`].
    pub(super) fn keyed(mut self, padding: Padding) -> Request {
        self.key = find(&self.bytes, KEY_SLOT.as_bytes()).map(|at| (at, padding));
        self
    }

    /// The bytes, with another key where there is one.
    pub(super) fn next(&mut self, keys: &mut Keys) -> &[u8] {
        if let Some((at, padding)) = self.key {
            let mut rest = keys.next();
            for digit in self.bytes[at..at + KEY_SLOT.len()].iter_mut().rev() {
                *digit = if rest == 0 && padding == Padding::Blanks { b' ' } else { b'0' + (rest % 10) as u8 };
                rest /= 10;
            }
        }
        &self.bytes
    }
}

/// Keys from 1 to [`READ_ROWS`] in an order without pattern: a linear congruential generator, of which the high bits
/// are used. The same seed gives the same keys.
#[derive(Clone, Debug)]
pub(super) struct Keys(u64);

impl Keys {
    pub(super) fn new(seed: u64) -> Keys {
        // Neighbouring seeds begin far apart.
        Keys(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % READ_ROWS + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_the_place_of_its_slot_and_nothing_else_changes() {
        let target = Target::new("h:1").with_key("ak_1:a");
        let mut keys = Keys::new(3);
        let mut request = Request::get(&target, "/v1/storage?key=bench-#####").keyed(Padding::Zeros);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let text = String::from_utf8(request.next(&mut keys).to_vec()).expect("text");
            let rest = text.strip_prefix("GET /v1/storage?key=bench-").expect("the path");
            let (key, rest) = rest.split_at(KEY_SLOT.len());
            assert_eq!(rest, " HTTP/1.1\r\nHost: h:1\r\nAuthorization: ApiKey ak_1:a\r\n\r\n");
            let key: u64 = key.parse().expect("digits");
            assert!((1..=READ_ROWS).contains(&key), "{key}");
            seen.insert(key);
        }
        assert!(seen.len() > 900, "{} different keys", seen.len());
    }
}
