//! Three nodes that answer as one.

use serde_json::json;

use crate::support::TestCluster;

const LEVELS: [&str; 6] = ["none", "weak", "linearizable", "strong", "auto", ""];

#[test]
fn every_node_takes_writes_and_reads_at_every_level() {
    let cluster = TestCluster::start(3);
    let mut clients = cluster.clients();
    clients[0].execute("CREATE TABLE t (node INTEGER)");
    for (node, client) in clients.iter_mut().enumerate() {
        let index = client.execute(&format!("INSERT INTO t VALUES ({node})"));
        for level in LEVELS {
            // A node's own data may be behind the leader's unless it is told how far they must be.
            let parameters = format!("level={level}&min_index={index}");
            let rows = client.query("SELECT count(*) FROM t", &parameters).expect(level);
            assert_eq!(rows, [json!([node + 1])], "level {level:?} on node {node}");
        }
    }
    cluster.verify();
}

#[test]
fn a_linearizable_read_on_any_node_sees_every_acknowledged_write() {
    let cluster = TestCluster::start(3);
    let mut clients = cluster.clients();
    clients[0].execute("CREATE TABLE t (n INTEGER)");
    for round in 0..60 {
        clients[round % 3].execute(&format!("INSERT INTO t VALUES ({round})"));
        for level in ["weak", "linearizable", "strong"] {
            let rows = clients[(round + 1) % 3].query("SELECT max(n) FROM t", &format!("level={level}"));
            assert_eq!(rows.expect(level), [json!([round])], "level {level}");
        }
    }
}

#[test]
fn a_read_with_min_index_sees_the_write_of_that_index_on_any_node() {
    let cluster = TestCluster::start(3);
    let mut clients = cluster.clients();
    clients[0].execute("CREATE TABLE t (n INTEGER)");
    for round in 0..60 {
        let index = clients[round % 3].execute(&format!("INSERT INTO t VALUES ({round})"));
        let rows = clients[(round + 2) % 3].query("SELECT max(n) FROM t", &format!("level=none&min_index={index}"));
        assert_eq!(rows.expect("a read"), [json!([round])]);
    }
}

#[test]
fn a_read_of_an_index_that_never_comes_ends_with_an_error() {
    let cluster = TestCluster::start(1);
    let answer = cluster[0].sql().query("SELECT 1", "level=none&min_index=1000000&timeout=200ms");
    assert!(answer.expect_err("there is no such index").contains("timeout waiting for fsm"));
}

#[test]
fn a_write_repeated_with_its_idempotency_key_on_another_node_has_one_effect() {
    let cluster = TestCluster::start(3);
    let mut clients = cluster.clients();
    clients[0].execute("CREATE TABLE counter (value INTEGER)");
    clients[0].execute("INSERT INTO counter VALUES (0)");
    let increment = json!(["UPDATE counter SET value = value + 1"]);
    let key = [("Idempotency-Key", "an increment")];
    let first = clients[0].write(&increment, &key).expect("executed");
    assert!(!first.replayed, "{first:?}");
    for client in &mut clients {
        let again = client.write(&increment, &key).expect("answered");
        assert!(again.replayed, "{again:?}");
        assert_eq!(again.results[0]["rows_affected"], first.results[0]["rows_affected"]);
    }
    assert_eq!(clients[2].number("SELECT value FROM counter"), 1);
    let other = json!(["UPDATE counter SET value = value + 2"]).to_string();
    let answer = clients[1].request("POST", "/db/execute", &key, &other).expect("answered");
    assert_eq!(answer.status, 422, "a key names one request: {answer:?}");
    assert_eq!(clients[0].number("SELECT value FROM counter"), 1);
    cluster.verify();
}

#[test]
fn what_differs_between_machines_is_the_same_on_every_replica() {
    let cluster = TestCluster::start(3);
    let mut clients = cluster.clients();
    clients[0].execute("CREATE TABLE t (id INTEGER PRIMARY KEY, chance, blob, now, day)");
    for round in 0..30 {
        clients[round % 3].execute(
            "INSERT INTO t (chance, blob, now, day) VALUES (random(), hex(randomblob(8)), \
             strftime('%Y-%m-%d %H:%M:%f', 'now'), date())",
        );
    }
    assert_eq!(clients[1].number("SELECT count(DISTINCT chance) FROM t"), 30);
    cluster.verify();
}

#[test]
fn a_node_that_was_away_is_brought_up_to_date() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (n INTEGER)");
    let away = cluster.follower();
    cluster[away].kill9();
    let writer = cluster.leader();
    for n in 0..100 {
        cluster[writer].sql().execute(&format!("INSERT INTO t VALUES ({n})"));
    }
    cluster[away].start();
    assert_eq!(cluster[away].sql().number("SELECT count(*) FROM t"), 100);
    cluster.verify();
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_stale_reads_go_on() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (n INTEGER)");
    cluster[0].sql().execute("INSERT INTO t VALUES (1)");
    let left = cluster.follower();
    for node in 0..3 {
        if node != left {
            cluster[node].kill9();
        }
    }
    let refused = cluster[left].sql().write(&json!(["INSERT INTO t VALUES (2)"]), &[]);
    refused.expect_err("no majority is there to keep it");
    let rows = cluster[left].sql().query("SELECT count(*) FROM t WHERE n = 1", "level=none");
    assert_eq!(rows, Ok(vec![json!([1])]), "what this node has, it tells");
    assert_eq!(cluster[left].cli(&["health", "--quiet"]).code, 5);
    for node in 0..3 {
        if node != left {
            cluster[node].start();
        }
    }
    cluster.leader();
    cluster[left].sql().execute("INSERT INTO t VALUES (3)");
    cluster.verify();
}
