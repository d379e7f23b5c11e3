//! Opening streams, who may, and what flows through them.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::mesh::{ConnectionChange, Direction, MeshError, Protocol, Standing};

#[tokio::test]
async fn members_exchange_bytes_over_every_protocol() {
    let (one, mut two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    for protocol in Protocol::ALL {
        let mut stream = one.mesh.open(two.id(), protocol, PATIENCE).await.expect("opened");
        stream.write_all(b"ping").await.expect("written");
        let mut inbound = two.inbound.next().await.expect("a stream");
        assert_eq!((inbound.peer, inbound.protocol), (one.id(), protocol));
        let mut bytes = [0; 4];
        inbound.stream.read_exact(&mut bytes).await.expect("read");
        inbound.stream.write_all(&bytes).await.expect("written");
        inbound.stream.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read to the end");
        assert_eq!(answer, b"ping");
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_stranger_may_join_and_nothing_else() {
    let (stranger, mut node) = (start(config()).await, start(config()).await);
    let id = stranger.mesh.dial(&node.address(), PATIENCE).await.expect("dialled");
    assert_eq!(id, node.id());
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Join) {
        let refused = stranger.mesh.open(node.id(), protocol, PATIENCE).await.expect_err("refused");
        assert!(matches!(refused, MeshError::Refused { .. }), "{refused}");
    }
    let _join = stranger.mesh.open(node.id(), Protocol::Join, PATIENCE).await.expect("opened");
    let inbound = node.inbound.next().await.expect("a stream");
    assert_eq!((inbound.peer, inbound.protocol), (stranger.id(), Protocol::Join));
    assert_eq!(node.mesh.connected()[0].standing, Standing::Stranger);
}

#[tokio::test]
async fn membership_holds_from_the_moment_it_is_set() {
    let (one, two) = (start(config()).await, start(config()).await);
    one.mesh.dial(&two.address(), PATIENCE).await.expect("dialled");
    let open = async || one.mesh.open(two.id(), Protocol::Rpc, PATIENCE).await;
    assert!(matches!(open().await, Err(MeshError::Refused { .. })));

    two.mesh.set_members(HashMap::new(), members(&[&one]));
    open().await.expect("a gateway may forward requests");
    let raft = one.mesh.open(two.id(), Protocol::RaftAppend, PATIENCE).await;
    assert!(matches!(raft, Err(MeshError::Refused { .. })), "a gateway speaks no Raft");

    two.mesh.set_members(members(&[&one]), HashMap::new());
    one.mesh.open(two.id(), Protocol::RaftAppend, PATIENCE).await.expect("a member speaks Raft");

    two.mesh.set_members(HashMap::new(), HashMap::new());
    eventually("the removed member is cut off", async || matches!(open().await, Err(MeshError::Refused { .. }))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_may_write_megabytes_before_they_read() {
    const BYTES: usize = 4 * 1024 * 1024;
    let (one, mut two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    let near = one.mesh.open(two.id(), Protocol::RaftSnapshot, PATIENCE).await.expect("opened");
    let far = two.inbound.next().await.expect("a stream").stream;
    let run = Tasks::new();
    let mut ends = Vec::new();
    for (stream, fill) in [(near, 1_u8), (far, 2)] {
        let (mut reader, mut writer) = stream.split();
        let written = run.spawn(async move {
            writer.write_all(&vec![fill; BYTES]).await.expect("written");
            writer.shutdown().await.expect("closed");
        });
        let read = run.spawn(async move {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.expect("read");
            assert!(bytes.iter().all(|byte| *byte == 3 - fill));
            bytes.len()
        });
        ends.push((written, read));
    }
    for (written, read) in ends {
        tokio::time::timeout(PATIENCE, written).await.expect("no deadlock").expect("a writer");
        assert_eq!(tokio::time::timeout(PATIENCE, read).await.expect("no deadlock").expect("a reader"), BYTES);
    }
}

#[tokio::test]
async fn many_streams_opened_at_once_all_arrive() {
    let (one, mut two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    let opens = (0..50).map(|_| one.mesh.open(two.id(), Protocol::Rpc, PATIENCE));
    let opened = futures::future::join_all(opens).await;
    assert!(opened.iter().all(Result::is_ok));
    for _ in 0..50 {
        tokio::time::timeout(PATIENCE, two.inbound.next()).await.expect("in time").expect("a stream");
    }
}

#[tokio::test]
async fn streams_that_nobody_takes_are_dropped_and_counted() {
    let (one, two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    let mut kept = Vec::new();
    for _ in 0..crate::types::limits::MESH_INBOUND_STREAMS_MAX + 1 {
        kept.push(one.mesh.open(two.id(), Protocol::Rpc, PATIENCE).await.expect("opened"));
    }
    eventually("counted", async || two.mesh.counters().inbound_full == 1).await;
    let mut dropped = kept.pop().expect("the last one");
    assert_eq!(dropped.read(&mut [0; 1]).await.expect("an end"), 0);
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_is_an_error_that_says_why() {
    let (one, two) = (start(config()).await, start(config()).await);
    let nowhere = one.mesh.open(NodeId::from(7), Protocol::Rpc, PATIENCE).await;
    assert!(matches!(nowhere, Err(MeshError::NoAddress(_))), "{nowhere:?}");
    let itself = one.mesh.open(one.id(), Protocol::Rpc, PATIENCE).await;
    assert!(matches!(itself, Err(MeshError::Itself(_))), "{itself:?}");

    let place = two.mesh.listen_addresses()[0].clone();
    let wrong = one.mesh.dial(&format!("{place}/p2p/{}", NodeId::from(7)), PATIENCE).await.expect_err("wrong peer");
    let (text, found) = (wrong.to_string(), two.id().to_string());
    assert!(matches!(wrong, MeshError::WrongPeer { .. }) && text.contains(&found), "{text}");

    assert!(matches!(one.mesh.dial(&one.address(), PATIENCE).await, Err(MeshError::Itself(_))));
    assert!(matches!(one.mesh.dial("127.0.0.1:4001", PATIENCE).await, Err(MeshError::Address(_))));

    let (address, gone) = (two.address(), two.id());
    two.stop().await;
    let refused = one.mesh.dial(&address, PATIENCE).await.expect_err("nobody there").to_string();
    assert!(refused.contains("refused"), "{refused}");
    one.mesh.set_members([(gone, vec![place])].into(), HashMap::new());
    let refused = one.mesh.open(gone, Protocol::Rpc, PATIENCE).await.expect_err("nobody there").to_string();
    assert!(refused.contains("refused") && refused.contains(&gone.to_string()), "{refused}");
}

#[tokio::test]
async fn an_address_without_a_peer_id_says_who_answers() {
    let (one, two) = (start(config()).await, start(config()).await);
    let place = two.mesh.listen_addresses()[0].clone();
    assert_eq!(one.mesh.dial(&place, PATIENCE).await.expect("dialled"), two.id());
    connected(&two, one.id()).await;
    let (seen_by_one, seen_by_two) = (one.mesh.connected().remove(0), two.mesh.connected().remove(0));
    assert_eq!((seen_by_one.direction, seen_by_two.direction), (Direction::Outbound, Direction::Inbound));
    assert_eq!((seen_by_one.address, seen_by_one.node_id), (place, two.id()));
    eventually("measured and identified", async || {
        let peer = one.mesh.connected().remove(0);
        peer.rtt.is_some() && peer.agent_version.as_deref() == Some("debros/test")
    })
    .await;
}

#[tokio::test]
async fn watchers_see_peers_come_and_go() {
    let (one, two) = (start(config()).await, start(config()).await);
    let mut changes = one.mesh.on_connection_changes();
    two.mesh.dial(&one.address(), PATIENCE).await.expect("dialled");
    assert_eq!(changes.recv().await, Ok(ConnectionChange::Connected(two.id())));
    one.mesh.disconnect(two.id()).await;
    assert_eq!(changes.recv().await, Ok(ConnectionChange::Disconnected(two.id())));
    eventually("the other side notices", async || !two.mesh.is_connected(one.id())).await;
}

#[tokio::test]
async fn a_stopped_mesh_says_so() {
    let (one, two) = (start(config()).await, start(config()).await);
    join(&[&one, &two]);
    let (mesh, mut inbound) = (one.mesh.clone(), {
        let Node { inbound, tasks, .. } = one;
        assert!(tasks.stop(Duration::from_secs(5)).await, "a task outlived its mesh");
        inbound
    });
    assert!(matches!(mesh.open(two.id(), Protocol::Rpc, PATIENCE).await, Err(MeshError::Stopped)));
    assert!(matches!(mesh.dial(&two.address(), PATIENCE).await, Err(MeshError::Stopped)));
    mesh.disconnect(two.id()).await;
    assert!(mesh.connected().is_empty());
    assert!(tokio::time::timeout(PATIENCE, inbound.next()).await.expect("ends").is_none());
}
