//! One node: what the first page of the documentation does, and what its directory is for.

use serde_json::{Value, json};

use crate::support::node::{Launch, root};
use crate::support::{TestNode, start_single_node};

#[test]
fn what_was_written_is_there_after_a_restart_and_after_a_kill() {
    let (mut node, _) = start_single_node();
    let mut sql = node.sql();
    sql.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)");
    sql.execute("INSERT INTO notes (text) VALUES ('first')");
    let status = node.terminate();
    assert_eq!(status.code(), Some(0), "SIGTERM ends it well");
    node.start();
    node.sql().execute("INSERT INTO notes (text) VALUES ('second')");
    node.kill9();
    node.start();
    assert_eq!(node.sql().rows("SELECT text FROM notes ORDER BY id"), [json!(["first"]), json!(["second"])]);
}

#[test]
fn a_second_start_resumes_the_cluster_whatever_the_command_line_says() {
    let root = root();
    let mut first = TestNode::new(Launch::new("bootstrap"), &root, "first");
    first.start();
    first.sql().execute("CREATE TABLE t (x)");
    let (id, cluster) = (first.id(), first.status().cluster);
    assert_eq!(first.terminate().code(), Some(0));
    first.launch_mut().role = "node";
    first.launch_mut().flags = vec!["--join".to_owned(), "not even a token".to_owned()];
    first.start();
    assert_eq!((first.id(), first.status().cluster), (id, cluster), "it is who it was, where it was");
    assert_eq!(first.sql().rows("SELECT count(*) FROM t"), [json!([0])]);
}

#[test]
fn addresses_json_says_where_each_role_serves_while_it_does() {
    let root = root();
    let mut node = TestNode::new(Launch::new("bootstrap"), &root, "node");
    node.start();
    let mut gateway = TestNode::join(Launch::new("gateway"), &node.invite("gateway"), &root, "gateway");
    for (daemon, has_sql) in [(&node, true), (&gateway, false)] {
        let text = std::fs::read_to_string(daemon.data().join("addresses.json")).expect("the file is there");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let object = json.as_object().expect("an object");
        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["gateway", "node_id", "peer", "sql"]);
        let id = object["node_id"].as_str().expect("an id");
        assert!(id.starts_with("12D3Koo"), "{id}");
        let peer = object["peer"][0].as_str().expect("a multiaddr");
        assert!(peer.starts_with("/ip4/127.0.0.1/tcp/") && peer.ends_with(&format!("/p2p/{id}")), "{peer}");
        assert!(!peer.contains("/tcp/0/"), "the real port: {peer}");
        assert_eq!(object["sql"].is_string(), has_sql, "{json}");
        assert!(object["gateway"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{json}");
    }
    for daemon in [&mut node, &mut gateway] {
        assert_eq!(daemon.terminate().code(), Some(0));
        assert!(!daemon.data().join("addresses.json").exists(), "nothing serves any more");
    }
}

#[test]
fn a_directory_in_use_is_refused_and_its_user_goes_on() {
    let root = root();
    let mut holder = TestNode::new(Launch::new("bootstrap"), &root, "node");
    holder.start();
    let mut intruder = TestNode::new(Launch::new("bootstrap"), &root, "node");
    let (status, said) = intruder.start_refused();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("is in use by another debros process"), "{said}");
    holder.sql().execute("CREATE TABLE still_here (x)");
}

#[test]
fn a_node_without_a_token_says_how_to_get_one() {
    let mut node = TestNode::new(Launch::new("node"), &root(), "node");
    let (status, said) = node.start_refused();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("debros bootstrap") && said.contains("debros cluster invite"), "{said}");
}

#[test]
fn a_directory_of_one_kind_is_not_started_as_the_other() {
    let root = root();
    let mut node = TestNode::new(Launch::new("bootstrap"), &root, "node");
    node.start();
    let mut gateway = TestNode::join(Launch::new("gateway"), &node.invite("gateway"), &root, "gateway");
    for (daemon, other, right) in [(&mut node, "gateway", "debros node"), (&mut gateway, "node", "debros gateway")] {
        assert_eq!(daemon.terminate().code(), Some(0));
        daemon.launch_mut().role = other;
        let (status, said) = daemon.start_refused();
        assert_eq!(status.code(), Some(1));
        assert!(said.contains(right), "{said}");
    }
}

#[test]
fn health_tells_a_supervisor_whether_the_daemon_serves() {
    let (mut node, _) = start_single_node();
    assert_eq!(node.cli(&["health", "--quiet"]).code, 0);
    assert_eq!(node.gateway().get("/health").json()["status"], "ok");
    node.kill9();
    assert_eq!(node.cli(&["health", "--quiet"]).code, 5, "a daemon that does not run cannot serve");
}
