//! What is asked of a gateway.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::request::{KEY_SLOT, Padding, READ_ROWS, Request};
use super::sql_workload::{CREATE_TABLE, NAME, ReadLevel, fill_table};
use super::target::Target;
use crate::types::limits::KV_OPS_PER_REQUEST_MAX;

/// About how large the bodies are that fill the keys.
const FILL_BYTES: usize = 512 * 1024;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "workload", rename_all = "snake_case")]
pub enum GatewayWorkload {
    /// Whether it can serve, which everybody may ask.
    Health,
    /// The value of a key.
    KvGet {
        /// How consistent.
        level: ReadLevel,
        /// Size of a value.
        value_bytes: usize,
    },
    /// Another value for a key.
    KvPut {
        /// Size of a value.
        value_bytes: usize,
    },
    /// One row by its primary key.
    SqlQuery {
        /// How consistent.
        level: ReadLevel,
    },
    /// One row more.
    SqlExec,
}

impl fmt::Display for GatewayWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayWorkload::Health => f.write_str("health"),
            GatewayWorkload::KvGet { level, .. } => write!(f, "kv-get {}", level.name()),
            GatewayWorkload::KvPut { .. } => f.write_str("kv-put"),
            GatewayWorkload::SqlQuery { level } => write!(f, "sql-query {}", level.name()),
            GatewayWorkload::SqlExec => f.write_str("sql-exec"),
        }
    }
}

impl GatewayWorkload {
    pub(super) fn request(self, target: &Target) -> Request {
        match self {
            GatewayWorkload::Health => Request::get(target, "/health"),
            GatewayWorkload::KvGet { level, .. } => {
                let path = format!("/v1/storage?key=bench-{KEY_SLOT}{}", parameter('&', level));
                Request::get(target, &path).keyed(Padding::Zeros)
            }
            GatewayWorkload::KvPut { value_bytes } => {
                let path = format!("/v1/storage?key=bench-{KEY_SLOT}");
                Request::put_bytes(target, &path, &value(value_bytes)).keyed(Padding::Zeros)
            }
            GatewayWorkload::SqlQuery { level } => {
                let path = format!("/v1/db/query{}", parameter('?', level));
                let body = format!(r#"{{"sql":"SELECT * FROM bench WHERE id=?","args":[{KEY_SLOT}]}}"#);
                Request::post_json(target, &path, &body).keyed(Padding::Blanks)
            }
            GatewayWorkload::SqlExec => {
                let body = format!(r#"{{"sql":"INSERT INTO bench(name) VALUES(?)","args":["{NAME}"]}}"#);
                Request::post_json(target, "/v1/db/exec", &body)
            }
        }
    }

    /// What must be there before.
    pub(super) fn preparation(self, target: &Target) -> Vec<Request> {
        match self {
            GatewayWorkload::Health => Vec::new(),
            GatewayWorkload::KvGet { value_bytes, .. } => fill_keys(target, value_bytes),
            // So that it is one and the same thing from the first second on: replacing a value.
            GatewayWorkload::KvPut { value_bytes } => fill_keys(target, value_bytes),
            GatewayWorkload::SqlQuery { .. } | GatewayWorkload::SqlExec => {
                let run = |sql: &str| Request::post_json(target, "/v1/db/exec", &format!(r#"{{"sql":"{sql}"}}"#));
                vec![run(CREATE_TABLE), run(&fill_table())]
            }
        }
    }
}

/// Linearizable is what a gateway does when nothing is said.
fn parameter(before: char, level: ReadLevel) -> String {
    if level == ReadLevel::Linearizable { String::new() } else { format!("{before}level={}", level.name()) }
}

/// Letters only, so that no value looks like an error.
fn value(bytes: usize) -> String {
    ('a'..='z').cycle().take(bytes).collect()
}

fn fill_keys(target: &Target, value_bytes: usize) -> Vec<Request> {
    let value = BASE64.encode(value(value_bytes));
    let put = |key: &u64| format!(r#"{{"op":"put","key":"bench-{key:05}","value_base64":"{value}"}}"#);
    let at_once = (FILL_BYTES / put(&0).len()).clamp(1, KV_OPS_PER_REQUEST_MAX);
    let keys: Vec<u64> = (1..=READ_ROWS).collect();
    let batch = |keys: &[u64]| {
        let ops: Vec<String> = keys.iter().map(put).collect();
        Request::post_json(target, "/v1/storage/batch", &format!(r#"{{"ops":[{}]}}"#, ops.join(",")))
    };
    keys.chunks(at_once).map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::super::request::Keys;
    use super::*;

    fn text(workload: GatewayWorkload) -> String {
        let mut request = workload.request(&Target::new("h:1").with_key("ak_1:a"));
        String::from_utf8(request.next(&mut Keys::new(0)).to_vec()).expect("text")
    }

    #[test]
    fn each_workload_is_the_request_of_the_contract() {
        let level = ReadLevel::Linearizable;
        assert!(text(GatewayWorkload::Health).starts_with("GET /health HTTP/1.1\r\n"));
        let get = text(GatewayWorkload::KvGet { level, value_bytes: 3 });
        assert!(get.starts_with("GET /v1/storage?key=bench-") && !get.contains("level"), "{get}");
        let weak = text(GatewayWorkload::KvGet { level: ReadLevel::Weak, value_bytes: 3 });
        assert!(weak.lines().next().is_some_and(|line| line.ends_with("&level=weak HTTP/1.1")), "{weak}");
        let put = text(GatewayWorkload::KvPut { value_bytes: 3 });
        assert!(put.starts_with("PUT /v1/storage?key=bench-") && put.ends_with("\r\n\r\nabc"), "{put}");
        for sql in [GatewayWorkload::SqlQuery { level }, GatewayWorkload::SqlExec] {
            let text = text(sql);
            let (_, body) = text.split_once("\r\n\r\n").expect("a body");
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(body["args"].as_array().map(Vec::len), Some(1), "{body}");
        }
    }

    #[test]
    fn every_key_that_is_read_was_filled_within_the_limits_of_a_request() {
        let keys_of = |value_bytes| {
            let requests = fill_keys(&Target::new("h:1"), value_bytes);
            let keys = requests.into_iter().map(|mut request| {
                let text = String::from_utf8(request.next(&mut Keys::new(0)).to_vec()).expect("text");
                let (_, body) = text.split_once("\r\n\r\n").expect("a body");
                assert!(body.len() <= FILL_BYTES + FILL_BYTES / 8, "{}", body.len());
                let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
                body["ops"].as_array().map_or(0, Vec::len)
            });
            keys.collect::<Vec<_>>()
        };
        for value_bytes in [0, 100, 32 * 1024] {
            let keys = keys_of(value_bytes);
            assert_eq!(keys.iter().sum::<usize>(), READ_ROWS as usize);
            assert!(keys.iter().all(|keys| *keys <= KV_OPS_PER_REQUEST_MAX));
        }
    }
}
