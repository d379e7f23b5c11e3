//! What is asked: a workload as the bytes of its request.

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::target::Target;

/// Rows that reads choose from.
pub(super) const READ_ROWS: u64 = 10_000;

/// Digits of the largest key. A shorter one is padded with blanks before it, which JSON allows, so that every read has
/// the same length and only these bytes change.
const KEY_DIGITS: usize = 5;

/// What every row holds besides its id: 64 bytes.
const NAME: &str = "a name of sixty-four bytes, which is about what a small row has.";

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "workload", rename_all = "snake_case")]
pub enum Workload {
    /// One row, one statement.
    Insert,
    /// 100 rows, 100 statements, one transaction.
    Transaction,
    /// One row by its primary key.
    Read {
        /// How consistent.
        level: ReadLevel,
    },
}

/// How consistent a read is, in rqlite's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadLevel {
    /// What the node has.
    None,
    /// What the leader has.
    Weak,
    /// Everything that was acknowledged before.
    Linearizable,
    /// Through the log.
    Strong,
}

impl ReadLevel {
    /// All, from the cheapest on.
    pub const ALL: [ReadLevel; 4] = [ReadLevel::None, ReadLevel::Weak, ReadLevel::Linearizable, ReadLevel::Strong];

    /// The parameter's value.
    pub const fn name(self) -> &'static str {
        match self {
            ReadLevel::None => "none",
            ReadLevel::Weak => "weak",
            ReadLevel::Linearizable => "linearizable",
            ReadLevel::Strong => "strong",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Insert => f.write_str("insert"),
            Workload::Transaction => f.write_str("transaction"),
            Workload::Read { level } => write!(f, "read {}", level.name()),
        }
    }
}

impl Workload {
    /// Rows that one request writes or reads.
    pub const fn rows(self) -> u64 {
        match self {
            Workload::Transaction => 100,
            Workload::Insert | Workload::Read { .. } => 1,
        }
    }

    pub(super) fn request(self, target: &Target) -> Request {
        let insert = format!(r#"["INSERT INTO bench(name) VALUES(?)","{NAME}"]"#);
        match self {
            Workload::Insert => Request::new(target, "/db/execute", &format!("[{insert}]")),
            Workload::Transaction => {
                let statements = vec![insert; self.rows() as usize].join(",");
                Request::new(target, "/db/execute?transaction", &format!("[{statements}]"))
            }
            Workload::Read { level } => {
                let (before, after) = (r#"[["SELECT * FROM bench WHERE id=?","#, "]]");
                let path = format!("/db/query?level={}", level.name());
                let mut request = Request::new(target, &path, &format!("{before}{:KEY_DIGITS$}{after}", 1));
                request.key_at = Some(request.bytes.len() - after.len() - KEY_DIGITS);
                request
            }
        }
    }
}

/// The table with the rows that are read; nothing happens to one that is there already.
pub(super) fn preparation(target: &Target) -> Request {
    let fill = format!(
        "INSERT OR IGNORE INTO bench(id, name) WITH RECURSIVE k(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM k \
         WHERE id < {READ_ROWS}) SELECT id, '{NAME}' FROM k"
    );
    let create = "CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, name TEXT)";
    Request::new(target, "/db/execute?transaction", &format!(r#"["{create}","{fill}"]"#))
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Where the key of a read begins.
    key_at: Option<usize>,
}

impl Request {
    fn new(target: &Target, path: &str, body: &str) -> Request {
        let mut head =
            format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", target.address);
        if let Some(value) = &target.authorization {
            write!(head, "Authorization: {value}\r\n").expect("a string takes everything");
        }
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        Request { bytes: text.into_bytes(), key_at: None }
    }

    /// The bytes, with another key where there is one.
    pub(super) fn next(&mut self, keys: &mut Keys) -> &[u8] {
        if let Some(at) = self.key_at {
            let mut rest = keys.next();
            for digit in self.bytes[at..at + KEY_DIGITS].iter_mut().rev() {
                *digit = if rest == 0 { b' ' } else { b'0' + (rest % 10) as u8 };
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

    fn body(bytes: &[u8]) -> serde_json::Value {
        let text = std::str::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        serde_json::from_str(body).expect("JSON")
    }

    #[test]
    fn reads_differ_in_their_key_only_and_keep_within_the_rows() {
        let mut request = Workload::Read { level: ReadLevel::None }.request(&Target::new("h:1"));
        let mut keys = Keys::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let statement = body(request.next(&mut keys));
            assert_eq!(statement[0][0], "SELECT * FROM bench WHERE id=?");
            let key = statement[0][1].as_u64().expect("a key");
            assert!((1..=READ_ROWS).contains(&key), "{key}");
            seen.insert(key);
        }
        assert!(seen.len() > 900, "{} different keys", seen.len());
    }

    #[test]
    fn writes_carry_as_many_rows_as_they_say() {
        assert_eq!(NAME.len(), 64);
        for (workload, path) in
            [(Workload::Insert, "POST /db/execute HTTP/1.1"), (Workload::Transaction, "POST /db/execute?transaction ")]
        {
            let mut request = workload.request(&Target::new("h:1").with_user("a:b"));
            let bytes = request.next(&mut Keys::new(0)).to_vec();
            assert!(bytes.starts_with(path.as_bytes()));
            assert!(String::from_utf8_lossy(&bytes).contains("\r\nAuthorization: Basic YTpi\r\n"));
            assert_eq!(body(&bytes).as_array().map(Vec::len), Some(workload.rows() as usize));
        }
    }
}
