//! Tenants: each its own data, none the operator's.

use serde_json::json;

use crate::support::http::Client;
use crate::support::{TestCluster, TestNode};

fn tenant(node: &TestNode, namespace: &str, key: &str) -> Client {
    node.sql().authenticated(namespace, key)
}

fn with_key(node: &TestNode, namespace: &str) -> String {
    node.cli_ok(&["namespace", "create", namespace]);
    node.cli_ok(&["key", "create", "--namespace", namespace])
}

#[test]
fn a_key_opens_its_own_namespace_and_nothing_else() {
    let cluster = TestCluster::start(1);
    let node = &cluster[0];
    let (red_key, blue_key) = (with_key(node, "red"), with_key(node, "blue"));
    let (mut red, mut blue) = (tenant(node, "red", &red_key), tenant(node, "blue", &blue_key));
    red.execute("CREATE TABLE secret (text TEXT)");
    red.execute("INSERT INTO secret VALUES ('red')");
    blue.execute("CREATE TABLE secret (text TEXT)");
    assert_eq!(red.rows("SELECT text FROM secret"), [json!(["red"])]);
    assert_eq!(blue.number("SELECT count(*) FROM secret"), 0);
    let default = node.sql().query("SELECT * FROM secret", "");
    assert!(default.expect_err("another namespace").contains("no such table"));
    for (namespace, key) in [("blue", &red_key), ("default", &red_key), ("red", &blue_key)] {
        let answer = tenant(node, namespace, key).post("/db/query", "[\"SELECT 1\"]");
        assert_eq!(answer.status, 401, "{namespace} was opened by another's key");
    }
    for wrong in ["", "guess", &red_key[..red_key.len() - 1]] {
        assert_eq!(tenant(node, "red", wrong).post("/db/query", "[\"SELECT 1\"]").status, 401, "{wrong:?}");
    }
}

#[test]
fn a_tenant_is_no_operator() {
    let cluster = TestCluster::start(1);
    let node = &cluster[0];
    let key = with_key(node, "red");
    let id = node.id().to_string();
    for (method, path, body) in [
        ("POST", "/snapshot", String::new()),
        ("POST", "/reap", String::new()),
        ("POST", "/boot", String::new()),
        ("POST", "/leader", json!({ "id": id }).to_string()),
        ("DELETE", "/remove", json!({ "id": id }).to_string()),
    ] {
        let answer = tenant(node, "red", &key).request(method, path, &[], &body).expect("answered");
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    let operator = node.cli_ok(&["key", "create", "--namespace", "default"]);
    assert_eq!(tenant(node, "default", &operator).post("/snapshot", "").status / 100, 2, "the operator may");
}

#[test]
fn nobody_is_let_in_without_a_key_when_the_configuration_says_so() {
    let cluster = TestCluster::start_with(1, |launch| launch.set("DATABASE__ANONYMOUS", "never"));
    let node = &cluster[0];
    for path in ["/db/execute", "/db/query", "/snapshot"] {
        let answer = node.sql().post(path, "[\"SELECT 1\"]");
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")), "{answer:?}");
    }
    let key = node.cli_ok(&["key", "create", "--namespace", "default"]);
    tenant(node, "default", &key).execute("CREATE TABLE t (x)");
}

#[test]
fn a_key_works_on_every_node_until_it_is_revoked() {
    let cluster = TestCluster::start(3);
    let key = with_key(&cluster[0], "red");
    let index = tenant(&cluster[0], "red", &key).execute("CREATE TABLE t (x)");
    for node in &cluster.nodes {
        crate::support::soon("the key has arrived", || {
            let answer = tenant(node, "red", &key).post("/db/query?level=none", "[\"SELECT 1\"]");
            (answer.status == 200).then_some(())
        });
        let rows = tenant(node, "red", &key).query("SELECT count(*) FROM t", &format!("level=none&min_index={index}"));
        assert_eq!(rows, Ok(vec![json!([0])]));
    }
    cluster[1].cli_ok(&["key", "revoke", &key]);
    for node in &cluster.nodes {
        crate::support::soon("the key opens nothing", || {
            (tenant(node, "red", &key).post("/db/query", "[\"SELECT 1\"]").status == 401).then_some(())
        });
    }
}

#[test]
fn a_namespace_made_again_after_a_drop_is_empty_and_old_keys_are_gone() {
    let cluster = TestCluster::start(3);
    let old = with_key(&cluster[0], "red");
    tenant(&cluster[0], "red", &old).execute("CREATE TABLE t (x)");
    cluster[1].cli_ok(&["namespace", "drop", "red", "--yes"]);
    assert_eq!(cluster[1].cli(&["namespace", "drop", "red", "--yes"]).code, 4, "it is gone");
    let new = with_key(&cluster[1], "red");
    let tables =
        tenant(&cluster[1], "red", &new).number("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'");
    assert_eq!(tables, 0);
    assert_eq!(tenant(&cluster[1], "red", &old).post("/db/query", "[\"SELECT 1\"]").status, 401);
    cluster.verify();
}
