//! A process that stores nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, soon};

fn join(cluster: &TestCluster) -> TestNode {
    TestNode::join(Launch::new("gateway"), &cluster[0].invite("gateway"), &cluster.root, "gateway")
}

/// Waits until `/health` says so; the rest of what it says.
fn health(gateway: &TestNode, status: u16, word: &str) -> Value {
    soon(&format!("/health answers {status} {word}"), || {
        let answer = gateway.gateway().get("/health");
        let said = answer.json();
        (answer.status == status && said["status"] == word).then_some(said)
    })
}

#[test]
fn a_gateway_is_well_as_long_as_it_reaches_a_leader_and_ready_as_long_as_it_reaches_anybody() {
    let mut cluster = TestCluster::start(3);
    let mut gateway = join(&cluster);
    let ready = |gateway: &TestNode| gateway.gateway().get("/readyz").status;
    health(&gateway, 200, "ok");
    let leader = cluster.leader();
    cluster[leader].kill9();
    health(&gateway, 200, "ok");
    let last = cluster.follower();
    let leader = cluster.leader();
    cluster[leader].kill9();
    let said = health(&gateway, 200, "degraded");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("leader")), "{said}");
    assert_eq!(ready(&gateway), 200, "one node is left and answers reads");
    cluster[last].kill9();
    health(&gateway, 503, "unavailable");
    assert_eq!(ready(&gateway), 503);
    assert_eq!(gateway.gateway().get("/livez").status, 200, "the process itself lives");
    for node in &mut cluster.nodes {
        node.start();
    }
    health(&gateway, 200, "ok");
    assert_eq!(gateway.terminate().code(), Some(0));
    gateway.start();
    health(&gateway, 200, "ok");
    let listed = cluster[0].nodes().nodes;
    assert!(listed.iter().any(|report| report.node == gateway.id() && report.suffrage == "gateway"), "{listed:?}");
    assert_eq!(cluster[0].raft().voters, 3, "a gateway has no vote");
}

#[test]
fn a_leader_without_a_quorum_is_no_leader_to_a_gateway() {
    let mut cluster = TestCluster::start(3);
    let gateway = join(&cluster);
    health(&gateway, 200, "ok");
    let leader = cluster.leader();
    for node in (0..3).filter(|node| *node != leader) {
        cluster[node].kill9();
    }
    health(&gateway, 200, "degraded");
}

#[test]
fn the_death_of_a_node_is_noticed_at_once() {
    let mut cluster = TestCluster::start(1);
    let gateway = join(&cluster);
    health(&gateway, 200, "ok");
    cluster[0].kill9();
    let killed = Instant::now();
    health(&gateway, 503, "unavailable");
    assert!(killed.elapsed() < Duration::from_millis(1500), "noticed after {:?}", killed.elapsed());
}

#[test]
fn a_gateway_follows_nodes_that_move_and_finds_them_when_it_starts_again() {
    let mut cluster = TestCluster::start(3);
    let mut gateway = join(&cluster);
    health(&gateway, 200, "ok");
    for node in 0..3 {
        cluster[node].kill9();
        cluster.leader();
        cluster[node].start_elsewhere();
        cluster.leader();
        let address = cluster[node].addresses().peer[0].split("/p2p/").next().expect("an address").to_owned();
        let record = gateway.data().join("cluster.json");
        soon("the gateway has written down where the node is now", || {
            std::fs::read_to_string(&record).expect("a record").contains(&address).then_some(())
        });
    }
    assert_eq!(gateway.terminate().code(), Some(0));
    gateway.start_elsewhere();
    health(&gateway, 200, "ok");
}

#[test]
fn a_gateway_learns_of_nodes_that_came_after_it_and_forgets_those_that_went() {
    let mut cluster = TestCluster::start(1);
    let mut gateway = join(&cluster);
    for name in ["second", "third"] {
        let token = cluster[0].invite("node");
        cluster.nodes.push(TestNode::join(Launch::new("node"), &token, &cluster.root, name));
    }
    cluster.wait_voters(3);
    let first = cluster[0].id();
    cluster[1].cli_ok(&["cluster", "remove", &first.to_string(), "--yes"]);
    let mut removed = cluster.nodes.remove(0);
    cluster.wait_voters(2);
    removed.kill9();
    soon("the gateway lists the two nodes and itself", || {
        let nodes = gateway.nodes().nodes;
        let named = |test: &TestNode| nodes.iter().any(|report| report.node == test.id() && report.reachable);
        (nodes.len() == 3 && cluster.nodes.iter().all(named) && named(&gateway)).then_some(())
    });
    assert_eq!(gateway.terminate().code(), Some(0));
    gateway.start();
    health(&gateway, 200, "ok");
}

#[test]
fn a_gateway_that_was_removed_reaches_nobody_and_says_why() {
    let cluster = TestCluster::start(1);
    let mut gateway = join(&cluster);
    health(&gateway, 200, "ok");
    cluster[0].cli_ok(&["cluster", "remove", &gateway.id().to_string(), "--yes"]);
    assert_eq!(cluster[0].nodes().nodes.len(), 1);
    let refused = |gateway: &TestNode| {
        soon("the gateway knows that it was removed", || {
            let said = gateway.gateway().get("/readyz");
            (said.status == 503 && said.body.contains("removed")).then_some(())
        });
    };
    refused(&gateway);
    assert_eq!(gateway.terminate().code(), Some(0));
    gateway.start();
    refused(&gateway);
}

#[test]
fn a_gateway_says_what_it_sees_of_the_cluster() {
    let cluster = TestCluster::start(3);
    let gateway = join(&cluster);
    health(&gateway, 200, "ok");
    let status = gateway.status();
    assert_eq!(status.cluster, cluster[0].status().cluster);
    assert!(status.raft.is_none());
    let nodes = soon("all answer", || {
        let nodes = gateway.nodes().nodes;
        nodes.iter().all(|report| report.reachable).then_some(nodes)
    });
    assert_eq!(nodes.len(), 4, "{nodes:?}");
    assert_eq!(nodes.iter().filter(|report| report.leader).count(), 1);
    assert_eq!(nodes.iter().filter(|report| report.suffrage == "voter").count(), 3);
}

#[test]
fn a_gateway_does_nothing_that_only_a_node_can() {
    let cluster = TestCluster::start(1);
    let gateway = join(&cluster);
    let printed = gateway.cli(&["cluster", "invite"]);
    assert_ne!(printed.code, 0);
    assert!(printed.err.contains("run the command on a node"), "{printed:?}");
}
