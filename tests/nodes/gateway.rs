//! A process that stores nothing.

use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, soon};

#[test]
fn a_gateway_is_well_as_long_as_it_reaches_a_node() {
    let mut cluster = TestCluster::start(3);
    let mut gateway = TestNode::join(Launch::new("gateway"), &cluster[0].invite("gateway"), &cluster.root, "gateway");
    let health = |gateway: &TestNode, status: u16| {
        soon(&format!("/health answers {status}"), || {
            let answer = gateway.gateway().get("/health");
            (answer.status == status).then(|| answer.json())
        })
    };
    assert_eq!(health(&gateway, 200)["status"], "ok");
    for node in 0..2 {
        cluster[node].kill9();
    }
    assert_eq!(health(&gateway, 200)["status"], "ok", "one node is left");
    cluster[2].kill9();
    assert_eq!(health(&gateway, 503)["status"], "unavailable");
    assert_eq!(gateway.gateway().get("/readyz").status, 503);
    assert_eq!(gateway.gateway().get("/livez").status, 200, "the process itself lives");
    for node in &mut cluster.nodes {
        node.start();
    }
    health(&gateway, 200);
    assert_eq!(gateway.terminate().code(), Some(0));
    gateway.start();
    health(&gateway, 200);
    let listed = cluster[0].nodes().nodes;
    assert!(listed.iter().any(|report| report.node == gateway.id() && report.suffrage == "gateway"), "{listed:?}");
    assert_eq!(cluster[0].raft().voters, 3, "a gateway has no vote");
}

#[test]
fn a_gateway_that_was_removed_reaches_nobody() {
    let cluster = TestCluster::start(1);
    let gateway = TestNode::join(Launch::new("gateway"), &cluster[0].invite("gateway"), &cluster.root, "gateway");
    soon("the gateway is connected", || (gateway.gateway().get("/health").status == 200).then_some(()));
    cluster[0].cli_ok(&["cluster", "remove", &gateway.id().to_string(), "--yes"]);
    assert_eq!(cluster[0].nodes().nodes.len(), 1);
}

#[test]
fn a_gateway_does_nothing_that_only_a_node_can() {
    let cluster = TestCluster::start(1);
    let gateway = TestNode::join(Launch::new("gateway"), &cluster[0].invite("gateway"), &cluster.root, "gateway");
    let printed = gateway.cli(&["cluster", "invite"]);
    assert_ne!(printed.code, 0);
    assert!(printed.err.contains("run the command on a node"), "{printed:?}");
}
