//! Nodes that come, go, and come back.

use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, soon};

#[test]
fn a_fourth_node_follows_without_a_vote_until_a_voter_goes() {
    let mut cluster = TestCluster::start_with(3, |launch| launch.set("DATABASE__VOTERS_MAX", "3"));
    let token = cluster[0].invite("node");
    let launch = Launch::new("node").set("DATABASE__VOTERS_MAX", "3");
    let fourth = TestNode::join(launch, &token, &cluster.root, "fourth");
    cluster[0].sql().execute("CREATE TABLE t (x)");
    soon("the fourth follows", || (fourth.raft().learners == 1).then_some(()));
    assert_eq!(fourth.sql().number("SELECT count(*) FROM t"), 0, "a learner answers too");
    let gone = cluster.follower();
    cluster[gone].kill9();
    let leader = cluster.leader();
    cluster[leader].cli_ok(&["cluster", "remove", &cluster[gone].id().to_string(), "--yes"]);
    soon("the fourth has the vote", || {
        let raft = fourth.raft();
        (raft.voters == 3 && raft.learners == 0).then_some(())
    });
    fourth.verify(3);
}

#[test]
fn a_dead_node_is_removed_and_the_others_go_on() {
    let mut cluster = TestCluster::start(3);
    let dead = cluster.follower();
    cluster[dead].kill9();
    let leader = cluster.leader();
    let id = cluster[dead].id().to_string();
    cluster[leader].cli_ok(&["cluster", "remove", &id, "--yes"]);
    cluster.wait_voters(2);
    assert_eq!(cluster[leader].nodes().nodes.len(), 2);
    cluster[leader].sql().execute("CREATE TABLE t (x)");
    cluster[leader].verify(2);
    let again = cluster[leader].cli(&["cluster", "remove", &id, "--yes"]);
    assert_eq!(again.code, 4, "it is no member any more: {again:?}");
}

#[test]
fn a_running_node_is_removed_even_when_it_leads() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (x)");
    let leader = cluster.leader();
    let follower = cluster.follower();
    cluster[follower].cli_ok(&["cluster", "remove", &cluster[leader].id().to_string(), "--yes"]);
    let removed = cluster.nodes.remove(leader);
    cluster.wait_voters(2);
    let leader = cluster.leader();
    cluster[leader].sql().execute("INSERT INTO t VALUES (1)");
    cluster[leader].verify(2);
    let write = removed.sql().write(&serde_json::json!(["INSERT INTO t VALUES (2)"]), &[]);
    write.expect_err("who is not a member writes nothing");
    assert_eq!(cluster[leader].sql().number("SELECT count(*) FROM t"), 1);
}

#[test]
fn the_last_voter_is_not_removed() {
    let cluster = TestCluster::start(1);
    let printed = cluster[0].cli(&["cluster", "remove", &cluster[0].id().to_string(), "--yes"]);
    assert_ne!(printed.code, 0, "{printed:?}");
    cluster[0].sql().execute("CREATE TABLE t (x)");
}

#[test]
fn a_wiped_node_joins_as_somebody_new() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (x)");
    let wiped = cluster.follower();
    cluster[wiped].kill9();
    let old = cluster[wiped].id();
    std::fs::remove_dir_all(cluster[wiped].data()).expect("wiped");
    let leader = cluster.leader();
    cluster[leader].cli_ok(&["cluster", "remove", &old.to_string(), "--yes"]);
    let token = cluster[leader].invite("node");
    let node = &mut cluster[wiped];
    *node.launch_mut() = Launch { role: "node", ..node.launch_mut().clone() };
    node.launch_mut().flags = vec!["--join".to_owned(), token];
    node.start();
    assert_ne!(node.id(), old, "an id is used once");
    cluster.wait_voters(3);
    cluster.verify();
}

#[test]
fn a_node_that_comes_back_on_other_ports_is_found_again() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (x)");
    for node in 0..3 {
        cluster[node].kill9();
        cluster.leader();
        cluster[node].start_elsewhere();
        cluster.leader();
        let (id, sql) = (cluster[node].id(), cluster[node].sql_address().to_owned());
        for other in 0..3 {
            soon("everybody knows where it is now", || {
                let nodes = cluster[other].nodes().nodes;
                let known = nodes.iter().find(|report| report.node == id)?;
                (known.sql_address == sql && known.reachable).then_some(())
            });
        }
        cluster[node].sql().execute("INSERT INTO t VALUES (1)");
    }
    cluster.verify();
}
