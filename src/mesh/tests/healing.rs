//! Coming together, and coming together again.

use std::collections::HashMap;

use super::*;
use crate::mesh::{MeshError, Protocol};

#[tokio::test]
async fn members_find_each_other_without_being_asked() {
    let nodes = [start(config()).await, start(config()).await, start(config()).await];
    let all: Vec<&Node> = nodes.iter().collect();
    join(&all);
    for node in &all {
        for other in &all {
            if node.id() != other.id() {
                connected(node, other.id()).await;
            }
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_member_that_restarts_on_another_port_is_back_at_once() {
    let one = start(config()).await;
    let identity = Identity::ephemeral();
    let two = start(MeshConfig { identity: identity.clone(), ..config() }).await;
    join(&[&one, &two]);
    connected(&one, two.id()).await;
    let before = two.mesh.advertised_addresses();
    two.stop().await;
    eventually("the loss is noticed", async || !one.mesh.is_connected(identity.node_id())).await;

    // The restarted node knows the members from its log; nobody knows its new address yet.
    let mut two = start(MeshConfig { identity, ..config() }).await;
    assert_ne!(two.mesh.advertised_addresses(), before);
    two.mesh.set_members(members(&[&one, &two]), HashMap::new());
    connected(&one, two.id()).await;
    let _stream = one.mesh.open(two.id(), Protocol::RaftAppend, PATIENCE).await.expect("opened");
    two.inbound.next().await.expect("a stream");

    // From now on the first node can dial it: it has said where it listens.
    eventually("dialled under the new address", async || {
        two.mesh.disconnect(one.id()).await;
        two.mesh.set_members(HashMap::new(), HashMap::new());
        connected(&one, two.id()).await;
        one.mesh.connected()[0].direction == crate::mesh::Direction::Outbound
    })
    .await;
}

#[tokio::test]
async fn a_new_address_in_the_members_ends_the_wait() {
    let (one, two) = (start(config()).await, start(config()).await);
    one.mesh.set_members([(two.id(), vec!["/ip4/127.0.0.1/tcp/1".into()])].into(), HashMap::new());
    let refused = one.mesh.open(two.id(), Protocol::Join, PATIENCE).await;
    assert!(matches!(refused, Err(MeshError::Unreachable { .. })), "{refused:?}");
    one.mesh.set_members(members(&[&two]), HashMap::new());
    connected(&one, two.id()).await;
}

#[tokio::test]
async fn an_old_address_that_another_node_has_now_does_not_stand_in_the_way() {
    let (one, two, other) = (start(config()).await, start(config()).await, start(config()).await);
    let addresses = [other.mesh.listen_addresses(), one.mesh.listen_addresses(), two.mesh.listen_addresses()].concat();
    one.mesh.set_members([(two.id(), addresses)].into(), HashMap::new());
    one.mesh.open(two.id(), Protocol::Join, PATIENCE).await.expect("opened");

    one.mesh.set_members([(NodeId::from(7), other.mesh.listen_addresses())].into(), HashMap::new());
    let error = one.mesh.open(NodeId::from(7), Protocol::Rpc, PATIENCE).await.expect_err("somebody else");
    assert!(matches!(error, MeshError::WrongPeer { .. }), "{error}");
}

#[tokio::test]
async fn bootstrap_peers_are_dialled_and_oneself_is_not() {
    let seed = start(config()).await;
    let identity = Identity::ephemeral();
    let own = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", identity.node_id());
    let unnamed = start(config()).await;
    let bootstrap_peers = vec![own, seed.address(), unnamed.mesh.listen_addresses().remove(0)];
    let node = start(MeshConfig { identity, bootstrap_peers, ..config() }).await;
    connected(&node, seed.id()).await;
    connected(&node, unnamed.id()).await;
    assert_eq!(node.mesh.connected().len(), 2);
}

#[tokio::test]
async fn addresses_are_told_with_real_ports_and_interfaces() {
    let node = start(MeshConfig { listen: vec!["/ip4/0.0.0.0/tcp/0".into()], ..config() }).await;
    let listening = node.mesh.listen_addresses();
    assert!(listening.iter().any(|address| address.starts_with("/ip4/127.0.0.1/tcp/")), "{listening:?}");
    assert!(listening.iter().all(|address| !address.contains("0.0.0.0") && !address.ends_with("/tcp/0")));
    let advertised = node.mesh.advertised_addresses();
    assert!(!advertised.is_empty() && advertised.iter().all(|address| listening.contains(address)));
    let only_loopback = listening.iter().all(|address| address.contains("/127."));
    assert_eq!(advertised.iter().any(|address| address.contains("/127.")), only_loopback);

    let local = start(config()).await;
    assert_eq!(local.mesh.advertised_addresses(), local.mesh.listen_addresses());
    let told = vec!["/dns4/node.example/tcp/4001".to_owned()];
    let behind_nat = start(MeshConfig { advertise: told.clone(), ..config() }).await;
    assert_eq!(behind_nat.mesh.advertised_addresses(), told);
    let dialling_only = start(MeshConfig { listen: Vec::new(), ..config() }).await;
    assert!(dialling_only.mesh.advertised_addresses().is_empty());
    dialling_only.mesh.dial(&local.address(), PATIENCE).await.expect("dialled");
}

#[tokio::test]
async fn a_taken_port_is_an_error_with_the_way_out() {
    let node = start(config()).await;
    let taken = node.mesh.listen_addresses();
    let tasks = Tasks::new();
    let error = Mesh::bind(MeshConfig { listen: taken.clone(), ..config() }, &tasks).await.expect_err("taken");
    let expected = format!(
        "cannot listen on {}: address already in use; choose another with --listen or stop the other process",
        taken[0]
    );
    assert_eq!(error.to_string(), expected);

    let elsewhere = MeshConfig { listen: vec!["/ip4/203.0.113.1/tcp/0".into()], ..config() };
    let error = Mesh::bind(elsewhere, &tasks).await.expect_err("not of this machine").to_string();
    assert!(error.contains("/ip4/203.0.113.1/tcp/0") && error.contains("--listen"), "{error}");
    for broken in [
        MeshConfig { listen: vec!["4001".into()], ..config() },
        MeshConfig { advertise: vec!["/ip4/10.0.0.1".into()], ..config() },
        MeshConfig { bootstrap_peers: vec!["/ip4/10.0.0.1/tcp/x".into()], ..config() },
    ] {
        assert!(matches!(Mesh::bind(broken, &tasks).await, Err(MeshError::Address(_))));
    }
    assert!(tasks.stop(Duration::from_secs(5)).await);
}
