//! Who may not: every path refuses the same callers before it does anything.

use std::collections::BTreeMap;

use super::exchange::exchange;
use crate::support;

const GUARDED: [(&str, &str); 14] = [
    ("POST", "/db/execute"),
    ("POST", "/db/query"),
    ("GET", "/db/query?q=SELECT%201"),
    ("POST", "/db/request"),
    ("GET", "/db/backup"),
    ("POST", "/db/load"),
    ("GET", "/db/sql?q=SELECT%201"),
    ("GET", "/status"),
    ("GET", "/nodes"),
    ("GET", "/leader"),
    ("POST", "/leader"),
    ("POST", "/snapshot"),
    ("POST", "/boot"),
    ("DELETE", "/remove"),
];

/// What a request carries, and how it is refused.
const STRANGERS: [(&str, &str, u16); 8] = [
    ("Authorization", "Basic ZGVmYXVsdDpndWVzcw==", 401),
    ("Authorization", "Basic Og==", 401),
    ("Authorization", "Bearer x", 401),
    ("X-Forwarded-For", "203.0.113.9", 401),
    ("Host", "rebound.example", 403),
    ("Origin", "http://elsewhere.example", 403),
    ("Origin", "null", 403),
    ("Sec-Fetch-Site", "cross-site", 403),
];

#[test]
fn every_guarded_path_refuses_every_stranger() {
    let (_node, port) = support::start_single_node();
    for (method, path) in GUARDED {
        for (name, value, status) in STRANGERS {
            let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let answer = exchange(port, method, path, &headers, Some("[\"CREATE TABLE stranger (id)\"]"));
            assert_eq!(answer.status, status, "{method} {path} with {name}: {value}");
        }
    }
    let tables = exchange(port, "GET", "/db/query?q=SELECT%20*%20FROM%20stranger", &BTreeMap::new(), None);
    assert!(String::from_utf8_lossy(&tables.body).contains("no such table"), "a stranger got in");
}

#[test]
fn probes_and_preflights_need_no_credentials() {
    let (_node, port) = support::start_single_node();
    let stranger = BTreeMap::from([("Origin".to_owned(), "http://elsewhere.example".to_owned())]);
    assert_eq!(exchange(port, "GET", "/readyz", &stranger, None).status, 200);
    let preflight = exchange(port, "OPTIONS", "/db/execute", &stranger, None);
    assert_eq!(preflight.status, 200);
    assert!(!preflight.headers.contains_key("access-control-allow-origin"), "no origin is allowed");
}
