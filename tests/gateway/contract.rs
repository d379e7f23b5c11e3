//! What every answer carries, and the contract that the gateway publishes.

use std::io::Read as _;

use serde_json::Value;

use super::raw::{exchange, get, start};
use crate::support::TestNode;

#[test]
fn a_request_keeps_its_id_from_the_client_to_the_log() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let id = "my-request.1";
    let answer =
        http.request("GET", "/v1/network/status?api_key=canary", &[("X-Request-Id", id), ("X-API-Key", "canary")], "");
    let answer = answer.expect("an answer");
    assert_eq!((answer.header("x-request-id"), answer.json()["request_id"].as_str()), (Some(id), Some(id)));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let strange = http.request("GET", "/livez", &[("X-Request-Id", "a b\"c")], "").expect("an answer");
    assert_eq!(strange.header("x-request-id").map(str::len), Some(32));
    crate::support::soon("the line is in the log", || node.log_text().contains(id).then_some(()));
    let log = node.log_text();
    assert!(log.contains("/v1/network/status") && !log.contains("canary"), "{log}");
}

#[test]
fn a_large_answer_is_compressed_for_who_takes_that() {
    let node = TestNode::bootstrap();
    let plain = node.gateway().get("/openapi.json");
    assert_eq!(plain.header("content-encoding"), None);
    let mut stream = super::raw::connect(&node);
    std::io::Write::write_all(&mut stream, &get("/openapi.json", "Accept-Encoding: gzip\r\n")).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&bytes[..split]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
    let mut body = String::new();
    flate2::read::GzDecoder::new(&bytes[split..]).read_to_string(&mut body).expect("gzip");
    assert_eq!(body, plain.body);
    let tiny = exchange(&node, &get("/livez", "Accept-Encoding: gzip\r\n")).to_ascii_lowercase();
    assert!(!tiny.contains("content-encoding"), "{tiny}");
}

#[test]
fn errors_come_as_problem_documents_to_who_asks_for_them() {
    let node = TestNode::bootstrap();
    let answer = node.gateway().request("GET", "/v1/nothing", &[("Accept", "application/problem+json")], "");
    let answer = answer.expect("an answer");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((answer.json()["status"].as_u64(), answer.json()["code"].as_str()), (Some(404), Some("NOT_FOUND")));
}

#[test]
fn only_listed_origins_may_call_from_a_page() {
    let node = start(&[("GATEWAY__ALLOWED_ORIGINS", "https://app.example.org")]);
    let mut http = node.gateway();
    let mut ask = |method: &str, origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        let answer = http.request(method, "/v1/health", &headers, "").expect("an answer");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")));
        (answer.status, answer.header("access-control-allow-origin").map(str::to_owned))
    };
    let app = "https://app.example.org";
    assert_eq!(ask("OPTIONS", app), (204, Some(app.to_owned())));
    assert_eq!(ask("GET", app), (200, Some(app.to_owned())));
    for other in ["https://evil.test", "null", "https://app.example.org.evil.test", "http://app.example.org"] {
        assert_eq!(ask("OPTIONS", other).1, None, "{other}");
        assert_eq!(ask("GET", other).1, None, "{other}");
    }
}

#[test]
fn every_answer_is_what_the_contract_says() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*")]);
    let mut http = node.gateway();
    let contract = http.get("/openapi.json").json();
    assert_eq!(contract["openapi"], "3.1.0");
    for (path, item) in contract["paths"].as_object().expect("paths") {
        let Some(operation) = item.get("get") else { continue };
        // A stream of events does not end; it has a test of its own.
        if operation["responses"]["200"]["content"].get("text/event-stream").is_some() {
            continue;
        }
        let answer = http.request("GET", path, &[("X-API-Key", "operator")], "").expect("an answer");
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{path} answers {} without having said so", answer.status);
        let content = response["content"].as_object().expect("a body");
        let said = answer.header("content-type").expect("a type");
        let (_, described) = content.iter().find(|(name, _)| *name == said).unwrap_or_else(|| panic!("{path}: {said}"));
        if said == "application/json" {
            check(&answer.json(), &described["schema"], &contract, path);
        }
    }
}

#[test]
fn the_page_that_shows_the_contract_loads_nothing_from_elsewhere() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let page = http.get("/docs");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for file in ["/docs/page.js", "/docs/page.css"] {
        assert!(page.body.contains(file));
        assert_eq!(http.get(file).status, 200, "{file}");
    }
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
}

#[test]
fn readiness_tells_what_it_looked_at() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let verbose = crate::support::soon("it is ready", || {
        let answer = http.get("/readyz?verbose");
        (answer.status == 200).then_some(answer.body)
    });
    for check in ["running", "database", "leader", "quorum", "applied", "disk"] {
        assert!(verbose.lines().any(|line| line.contains(check)), "{verbose}");
    }
    let status = http.get("/v1/status").json();
    assert_eq!(status["network"]["connected"], true);
    assert!(!status.to_string().contains("/ip4/"), "no addresses for everybody: {status}");
}

/// The part of JSON Schema that the contract uses.
fn check(value: &Value, schema: &Value, contract: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = contract.pointer(reference.trim_start_matches('#')).expect("a component");
        return check(value, target, contract, at);
    }
    if let Some(choices) = schema["anyOf"].as_array().filter(|_| schema.get("properties").is_none()) {
        let fits = choices.iter().any(|choice| type_fits(value, choice));
        assert!(fits, "{at}: {value} is none of {schema}");
        return;
    }
    assert!(type_fits(value, schema), "{at}: {value} is no {schema}");
    if let Some(texts) = schema["enum"].as_array() {
        assert!(texts.contains(value), "{at}: {value} is none of {schema}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(item, &schema["items"], contract, at);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let members = value.as_object().expect("an object");
    for (name, member) in members {
        let known = properties.get(name).unwrap_or_else(|| panic!("{at}: member {name} is not in the contract"));
        check(member, known, contract, &format!("{at}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(name.as_str().expect("a name")), "{at}: {name} is missing");
    }
}

fn type_fits(value: &Value, schema: &Value) -> bool {
    match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        _ => true,
    }
}
