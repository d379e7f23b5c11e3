//! Peer exchange between real nodes.

use std::collections::HashMap;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::mesh::event_loop::Command;
use crate::mesh::protocol::Wire;
use crate::mesh::streams::OpenRequest;
use crate::mesh::{MeshStream, Protocol};

/// A stream as any libp2p node would open it.
async fn open_exchange(from: &Node, to: NodeId) -> MeshStream {
    let (reply, answer) = oneshot::channel();
    let request = OpenRequest { wire: Wire::PeerExchange, deadline: Instant::now() + PATIENCE, reply };
    from.mesh.shared.commands.send(Command::Open { peer: to, request }).await.expect("running");
    answer.await.expect("answered").expect("opened")
}

#[tokio::test]
async fn a_stranger_learns_the_members_by_hand() {
    let (node, member, stranger) = (start(config()).await, start(config()).await, start(config()).await);
    join(&[&node, &member]);
    connected(&node, member.id()).await;
    stranger.mesh.dial(&node.address(), PATIENCE).await.expect("dialled");

    let mut stream = open_exchange(&stranger, node.id()).await;
    stream.write_all(b"{\"limit\":10}\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    let place = &member.mesh.advertised_addresses()[0];
    let expected = format!("{{\"peers\":[{{\"id\":\"{}\",\"addrs\":[\"{place}\"]}}]}}\n", member.id());
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn garbage_ends_the_stream_and_nothing_else() {
    let (node, stranger) = (start(config()).await, start(config()).await);
    stranger.mesh.dial(&node.address(), PATIENCE).await.expect("dialled");
    let mut stream = open_exchange(&stranger, node.id()).await;
    stream.write_all(b"GET / HTTP/1.1}\r\n").await.expect("written");
    assert_eq!(stream.read(&mut [0; 1]).await.expect("an end"), 0);
    assert!(stranger.mesh.is_connected(node.id()));
}

#[tokio::test]
async fn what_a_member_says_helps_to_reach_another() {
    let (node, member) = (start(config()).await, start(config()).await);
    join(&[&node, &member]);
    connected(&node, member.id()).await;
    // It knows who the member is, but not where.
    let asking = PeerExchange::Every(Duration::from_millis(100));
    let newcomer = start(MeshConfig { peer_exchange: asking, ..config() }).await;
    let nowhere = (member.id(), Vec::new());
    newcomer.mesh.set_members(members(&[&node]).into_iter().chain([nowhere]).collect(), HashMap::new());
    connected(&newcomer, member.id()).await;
    newcomer.mesh.open(member.id(), Protocol::Join, PATIENCE).await.expect("opened");
}
