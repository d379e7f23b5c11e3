//! What is asked of a listener of rqlite's contract.

use std::fmt;

use serde::Serialize;

use super::request::{KEY_SLOT, Padding, READ_ROWS, Request};
use super::target::Target;

/// What every row holds besides its id: 64 bytes.
pub(super) const NAME: &str = "a name of sixty-four bytes, which is about what a small row has.";

/// Makes the table of the rows that are read; nothing happens to one that is there already.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, name TEXT)";

/// Fills it.
pub(super) fn fill_table() -> String {
    format!(
        "INSERT OR IGNORE INTO bench(id, name) WITH RECURSIVE k(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM k \
         WHERE id < {READ_ROWS}) SELECT id, '{NAME}' FROM k"
    )
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "workload", rename_all = "snake_case")]
pub enum SqlWorkload {
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

impl fmt::Display for SqlWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlWorkload::Insert => f.write_str("insert"),
            SqlWorkload::Transaction => f.write_str("transaction"),
            SqlWorkload::Read { level } => write!(f, "read {}", level.name()),
        }
    }
}

impl SqlWorkload {
    /// Rows that one request writes or reads.
    pub const fn rows(self) -> u64 {
        match self {
            SqlWorkload::Transaction => 100,
            SqlWorkload::Insert | SqlWorkload::Read { .. } => 1,
        }
    }

    pub(super) fn request(self, target: &Target) -> Request {
        let insert = format!(r#"["INSERT INTO bench(name) VALUES(?)","{NAME}"]"#);
        match self {
            SqlWorkload::Insert => Request::post_json(target, "/db/execute", &format!("[{insert}]")),
            SqlWorkload::Transaction => {
                let statements = vec![insert; self.rows() as usize].join(",");
                Request::post_json(target, "/db/execute?transaction", &format!("[{statements}]"))
            }
            SqlWorkload::Read { level } => {
                let path = format!("/db/query?level={}", level.name());
                let body = format!(r#"[["SELECT * FROM bench WHERE id=?",{KEY_SLOT}]]"#);
                Request::post_json(target, &path, &body).keyed(Padding::Blanks)
            }
        }
    }
}

/// What must be there before.
pub(super) fn preparation(target: &Target) -> Vec<Request> {
    let body = format!(r#"["{CREATE_TABLE}","{}"]"#, fill_table());
    vec![Request::post_json(target, "/db/execute?transaction", &body)]
}

#[cfg(test)]
mod tests {
    use super::super::request::Keys;
    use super::*;

    fn body(bytes: &[u8]) -> serde_json::Value {
        let text = std::str::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        serde_json::from_str(body).expect("JSON")
    }

    #[test]
    fn reads_ask_for_a_row_by_its_number() {
        let mut request = SqlWorkload::Read { level: ReadLevel::None }.request(&Target::new("h:1"));
        for seed in 0..100 {
            let statement = body(request.next(&mut Keys::new(seed)));
            assert_eq!(statement[0][0], "SELECT * FROM bench WHERE id=?");
            assert!((1..=READ_ROWS).contains(&statement[0][1].as_u64().expect("a key")), "{statement}");
        }
    }

    #[test]
    fn writes_carry_as_many_rows_as_they_say() {
        assert_eq!(NAME.len(), 64);
        for (workload, path) in [
            (SqlWorkload::Insert, "POST /db/execute HTTP/1.1"),
            (SqlWorkload::Transaction, "POST /db/execute?transaction "),
        ] {
            let mut request = workload.request(&Target::new("h:1").with_user("a:b"));
            let bytes = request.next(&mut Keys::new(0)).to_vec();
            assert!(bytes.starts_with(path.as_bytes()));
            assert!(String::from_utf8_lossy(&bytes).contains("\r\nAuthorization: Basic YTpi\r\n"));
            assert_eq!(body(&bytes).as_array().map(Vec::len), Some(workload.rows() as usize));
        }
    }
}
