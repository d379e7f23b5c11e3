//! What strangers cannot use up.

use std::collections::HashMap;

use super::*;
use crate::mesh::Protocol;

#[tokio::test]
async fn strangers_share_the_connections_and_members_get_in_nevertheless() {
    let node = start(MeshConfig { connections_max: 2, ..config() }).await;
    let strangers = [start(config()).await, start(config()).await];
    for stranger in &strangers {
        stranger.mesh.dial(&node.address(), PATIENCE).await.expect("dialled");
        connected(&node, stranger.id()).await;
    }
    // The handshake succeeds before the limit is checked, so a dial may succeed; the connection does not last.
    let third = start(config()).await;
    let _ = third.mesh.dial(&node.address(), PATIENCE).await;
    eventually("turned away", async || !third.mesh.is_connected(node.id())).await;
    assert!(!node.mesh.is_connected(third.id()));

    let member = start(config()).await;
    node.mesh.set_members(members(&[&member]), HashMap::new());
    member.mesh.set_members(members(&[&node]), HashMap::new());
    connected(&node, member.id()).await;
    let _stream = member.mesh.open(node.id(), Protocol::RaftAppend, PATIENCE).await.expect("opened");
    assert!(strangers.iter().all(|stranger| node.mesh.is_connected(stranger.id())));
}

#[tokio::test]
async fn a_stranger_holds_few_streams() {
    let most = crate::types::limits::MESH_STREAMS_PER_STRANGER_MAX;
    let (stranger, mut node) = (start(config()).await, start(config()).await);
    stranger.mesh.dial(&node.address(), PATIENCE).await.expect("dialled");
    let id = node.id();
    let open = async || stranger.mesh.open(id, Protocol::Join, PATIENCE).await.expect("opened");
    let mut held = Vec::new();
    for _ in 0..=most {
        held.push(open().await);
    }
    eventually("counted", async || node.mesh.counters().strangers_excess == 1).await;
    // One that ends makes room for another.
    drop(node.inbound.next().await.expect("a stream"));
    held.push(open().await);
    for _ in 0..most {
        tokio::time::timeout(PATIENCE, node.inbound.next()).await.expect("in time").expect("a stream");
    }
}

#[tokio::test]
async fn a_removed_member_is_disconnected() {
    let (one, two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    connected(&one, two.id()).await;
    let mut changes = one.mesh.on_connection_changes();
    two.mesh.set_members(HashMap::new(), HashMap::new());
    one.mesh.set_members(members(&[&one]), HashMap::new());
    let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time");
    assert_eq!(change, Ok(crate::mesh::ConnectionChange::Disconnected(two.id())));
    assert_eq!(one.mesh.counters(), crate::mesh::Counters::default());
}
