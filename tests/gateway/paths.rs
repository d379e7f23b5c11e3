//! Paths and methods: what is served, what is not, and that no other spelling reaches it.

use super::raw::{exchange, get, status};
use crate::support::TestNode;

#[test]
fn what_is_not_served_is_said_in_json() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let missing = http.get("/v1/nothing");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["code"], "NOT_FOUND");
    assert_eq!(missing.json()["request_id"].as_str(), missing.header("x-request-id"));
    let wrong = http.post("/v1/health", "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let head = http.request("HEAD", "/v1/health", &[], "").expect("an answer");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for method in ["TRACE", "CONNECT", "PATCH", "FOO"] {
        let answer = exchange(
            &node,
            &[method.as_bytes(), b" /v1/network/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"].concat(),
        );
        assert!([400, 405].contains(&status(&answer)), "{method}: {answer}");
    }
    let overridden = http.request("GET", "/v1/network/connect", &[("X-HTTP-Method-Override", "POST")], "");
    assert_eq!(overridden.expect("an answer").status, 405);
}

#[test]
fn no_other_spelling_of_a_path_reaches_an_endpoint() {
    let node = TestNode::bootstrap();
    for target in [
        "//v1/health",
        "/v1//health",
        "/v1/health/",
        "/v1/./health",
        "/v1/health/../network/status",
        "/v1/health/%2e%2e/network/status",
        "/v1/%68ealth",
        "/v1%2fhealth",
        "/v1/health;x",
        "/v1/health.",
        "/V1/HEALTH",
        "/v1/health%00",
        "/v1/health%20",
        "http://x/v1/health",
        "http://other.example.org/v1/health",
        "/v1/network/../health",
        "v1/health",
        "*",
    ] {
        let answer = exchange(&node, &get(target, ""));
        assert!([400, 404].contains(&status(&answer)), "{target}: {answer}");
    }
    assert_eq!(status(&exchange(&node, &get("/v1/health?x=%2e%2e", ""))), 200);
}

#[test]
fn asking_for_options_has_no_effect_and_needs_no_credential() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let answer = http.request("OPTIONS", "/v1/network/connect", &[], r#"{"multiaddr":"x"}"#).expect("an answer");
    assert_eq!((answer.status, answer.header("allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(answer.header("access-control-allow-origin"), None, "nobody is on the list");
    assert_eq!(http.request("OPTIONS", "/v1/nothing", &[], "").expect("an answer").status, 404);
}
