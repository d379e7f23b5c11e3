//! Who is let in, and that nobody else is.

use serde_json::Value;

use super::raw::{exchange, get, start, status};
use crate::support::TestNode;

#[test]
fn every_operation_that_is_not_public_refuses_whoever_shows_nothing() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let contract = http.get("/openapi.json").json();
    let mut refused = 0;
    for (path, item) in contract["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let method = method.to_ascii_uppercase();
            // What stands for a parameter makes no difference to somebody who may not come in.
            let target = path.replace(['{', '}'], "");
            let answer =
                http.request(&method, &target, &[("Content-Type", "application/json")], "{}").expect("an answer");
            let security = operation["security"].as_array().expect("a list");
            if security.is_empty() {
                assert_ne!(answer.status, 401, "{method} {path} is public");
                continue;
            }
            // A credential is taken into account there, but the body may prove a wallet instead.
            if security.iter().any(|choice| choice.as_object().is_some_and(serde_json::Map::is_empty)) {
                assert_eq!(answer.status, 400, "{method} {path} does nothing for somebody who shows nothing");
                continue;
            }
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"debros\", charset=\"UTF-8\""));
            refused += 1;
        }
    }
    assert!(refused >= 4, "{refused}");
}

#[test]
fn every_wrong_credential_gets_the_same_answer() {
    let node = TestNode::bootstrap();
    let mut http = node.gateway();
    let mut ask = |headers: &[(&str, &str)]| {
        let answer = http.request("GET", "/v1/network/status", headers, "").expect("an answer");
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        (answer.status, answer.header("www-authenticate").map(str::to_owned), body)
    };
    let nothing = ask(&[]);
    assert_eq!((nothing.0, nothing.2["code"].as_str()), (401, Some("UNAUTHENTICATED")));
    let long = "x".repeat(5000);
    for value in
        ["Bearer", "Bearer ", "Bearer a.b.c", "Bearer wrong", "ApiKey wrong", "Basic dXNlcjpwYXNz", "wrong", &long]
    {
        assert_eq!(ask(&[("Authorization", value)]), nothing, "{value}");
    }
    assert_eq!(ask(&[("X-API-Key", "wrong")]), nothing);
    assert_eq!(status(&exchange(&node, &get("/v1/network/status?api_key=first&token=first", ""))), 401);
}

#[test]
fn keys_from_the_configuration_and_from_the_cluster_open_their_namespaces() {
    let node = start(&[("GATEWAY__API_KEYS", "first-key:one,second-key:two,operator-key:*")]);
    node.cli_ok(&["namespace", "create", "shop"]);
    let stored = node.cli_ok(&["key", "create", "--namespace", "shop"]);
    let mut http = node.gateway();
    let mut ask = |path: &str, headers: &[(&str, &str)]| {
        let answer = http.request("GET", path, headers, "").expect("an answer");
        (answer.status, answer.json()["code"].as_str().map(str::to_owned))
    };
    let status = "/v1/network/status";
    let bearer = format!("Bearer {stored}");
    for headers in [("X-API-Key", "first-key"), ("X-API-Key", stored.as_str()), ("Authorization", bearer.as_str())] {
        assert_eq!(ask(status, &[headers]), (200, None), "{headers:?}");
    }
    let mismatch = Some("NAMESPACE_MISMATCH".to_owned());
    assert_eq!(ask("/v1/network/status?namespace=one", &[("X-API-Key", "first-key")]), (200, None));
    assert_eq!(ask("/v1/network/status?namespace=two", &[("X-API-Key", "first-key")]), (403, mismatch));
    assert_eq!(ask("/v1/network/status?namespace=two", &[("X-API-Key", "operator-key")]), (200, None));
    let both = [("X-API-Key", "first-key"), ("Authorization", "Bearer second-key")];
    assert_eq!(ask(status, &both), (400, Some("CREDENTIAL_CONFLICT".to_owned())));
    let other = [("X-API-Key", "first-key"), ("X-Namespace", "two"), ("X-Forwarded-For", "127.0.0.1")];
    assert_eq!(ask(status, &other), (200, None), "such headers mean nothing");
}

#[test]
fn only_the_operator_connects_peers_and_not_to_this_machine() {
    let node = start(&[("GATEWAY__API_KEYS", "tenant:shop,tenant2:default,operator:*")]);
    let mut http = node.gateway();
    let mut connect = |key: &str, address: &str| {
        let body = serde_json::json!({ "multiaddr": address }).to_string();
        let headers = [("X-API-Key", key), ("Content-Type", "application/json")];
        http.request("POST", "/v1/network/connect", &headers, &body).expect("an answer").status
    };
    let id = node.id();
    for key in ["tenant", "tenant2"] {
        assert_eq!(connect(key, &format!("/ip4/203.0.113.7/tcp/4001/p2p/{id}")), 403);
    }
    for target in
        ["/ip4/127.0.0.1/tcp/22", "/ip4/169.254.169.254/tcp/80", "/dns/localhost/tcp/1", "/ip4/10.0.0.1/tcp/1"]
    {
        assert_eq!(connect("operator", target), 400, "{target}");
    }
    let peers = http.request("GET", "/v1/network/peers", &[("X-API-Key", "tenant")], "").expect("an answer").json();
    assert_eq!(peers["peers"][0], format!("/p2p/{id}"));
    assert_eq!(peers["peer_details"][0]["connected"], true);
}

#[test]
fn without_authentication_a_foreign_page_is_still_kept_out() {
    let node = start(&[("GATEWAY__REQUIRE_AUTH", "false")]);
    let ask = |headers: &str| status(&exchange(&node, &get("/v1/network/status", headers)));
    assert_eq!(ask(""), 200);
    assert_eq!(ask("Origin: https://evil.test\r\n"), 401);
    assert_eq!(ask("Sec-Fetch-Site: cross-site\r\n"), 401);
    assert_eq!(ask("X-API-Key: wrong\r\n"), 401, "a wrong credential is not taken for none");
    let operate = node.gateway().request("POST", "/v1/network/disconnect", &[], "{}").expect("an answer");
    assert_eq!(operate.status, 401, "nobody in particular is no operator");
}

#[test]
fn headers_that_decide_something_are_there_once() {
    let node = start(&[("GATEWAY__API_KEYS", "one:one,two:two")]);
    for repeated in [
        "Authorization: Bearer one\r\nAuthorization: Bearer two\r\n",
        "X-API-Key: one\r\nX-API-Key: two\r\n",
        "Host: y\r\n",
        "Content-Type: text/plain\r\nContent-Type: application/json\r\n",
    ] {
        assert_eq!(status(&exchange(&node, &get("/v1/network/status", repeated))), 400, "{repeated}");
    }
    let sql = std::net::TcpStream::connect(node.sql_address()).expect("it listens");
    sql.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a socket");
    let mut sql = sql;
    std::io::Write::write_all(&mut sql, &get("/status", "Authorization: a\r\nAuthorization: b\r\n")).expect("sent");
    assert_eq!(status(&super::raw::read_to_end(&mut sql)), 400, "rqlite's contract too");
}
