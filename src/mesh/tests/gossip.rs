//! Gossip among members, past strangers and through nodes.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};

use super::{Node, config, connected, eventually, join, members, start};
use crate::mesh::gossip::topic;
use crate::mesh::{GossipFrame, GossipInbox, GossipSources, Gossiped, Identity, MeshConfig, Shards};
use crate::types::limits::GOSSIP_FRAME_BYTES_MAX;

pub(super) const SHARD: u8 = 7;

/// A node that listens.
pub(super) async fn listener(node: &mut Node) -> GossipInbox {
    node.mesh.listen_on_shards(Shards::default().with(SHARD));
    node.inbound.take_gossip().expect("not taken yet")
}

pub(super) async fn listeners(node: &Node, count: usize) {
    eventually("the listeners are known", async || node.mesh.shard_listeners(SHARD) == count).await;
}

pub(super) async fn next(inbox: &mut GossipInbox) -> GossipFrame {
    tokio::time::timeout(super::PATIENCE, inbox.next()).await.expect("a frame in time").expect("the mesh runs")
}

#[tokio::test]
async fn frames_go_to_those_who_listen_in_order_and_with_their_sender() {
    let (a, mut b, mut c) = (start(config()).await, start(config()).await, start(config()).await);
    join(&[&a, &b, &c]);
    assert_eq!(a.mesh.gossip(SHARD, vec![0]).await, Some(Gossiped::NoListener));
    let (mut at_b, mut at_c) = (listener(&mut b).await, listener(&mut c).await);
    listeners(&a, 2).await;
    for n in 0..100 {
        assert_eq!(a.mesh.gossip(SHARD, vec![n]).await, Some(Gossiped::Sent { peers: 2 }));
    }
    for n in 0..100 {
        let frame = GossipFrame { from: a.id(), shard: SHARD, bytes: vec![n] };
        assert_eq!(next(&mut at_b).await, frame);
        assert_eq!(next(&mut at_c).await, frame);
    }
    c.mesh.listen_on_shards(Shards::default());
    listeners(&a, 1).await;
    let large = vec![7; GOSSIP_FRAME_BYTES_MAX];
    assert_eq!(a.mesh.gossip(SHARD, large.clone()).await, Some(Gossiped::Sent { peers: 1 }));
    assert_eq!(next(&mut at_b).await.bytes, large);
    for node in [a, b, c] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_stranger_hears_nothing_until_it_is_a_member_on_the_same_connection() {
    let (a, mut b) = (start(config()).await, start(config()).await);
    let mut at_b = listener(&mut b).await;
    a.mesh.dial(&b.address(), super::PATIENCE).await.expect("a connection");
    connected(&b, a.id()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.mesh.gossip(SHARD, vec![1]).await, Some(Gossiped::NoListener));
    // One of them knows first, as when a node joins.
    a.mesh.set_members(members(&[&a, &b]), HashMap::new());
    tokio::time::sleep(Duration::from_millis(500)).await;
    b.mesh.set_members(members(&[&a, &b]), HashMap::new());
    listeners(&a, 1).await;
    a.mesh.gossip(SHARD, vec![2]).await;
    assert_eq!(next(&mut at_b).await.bytes, [2]);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn gateways_hear_each_other_through_a_node() {
    let gateway = || MeshConfig { gossip_sources: GossipSources::PassedOn, ..config() };
    let (node, one, mut other) = (start(config()).await, start(gateway()).await, start(gateway()).await);
    node.mesh.set_members(members(&[&node]), members(&[&one, &other]));
    for gateway in [&one, &other] {
        gateway.mesh.set_members(members(&[&node]), HashMap::new());
    }
    let mut at_other = listener(&mut other).await;
    listeners(&one, 1).await;
    // The node has to know first that the other one listens.
    let frame = loop {
        one.mesh.gossip(SHARD, vec![3]).await;
        if let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), at_other.next()).await {
            break frame;
        }
    };
    assert_eq!(frame.map(|frame| frame.from), Some(one.id()));
    for node in [node, one, other] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_frame_of_somebody_who_is_just_being_let_in_is_waited_for() {
    let (knows, mut lags, newcomer) = (start(config()).await, start(config()).await, start(config()).await);
    knows.mesh.set_members(members(&[&knows, &lags, &newcomer]), HashMap::new());
    newcomer.mesh.set_members(members(&[&knows, &newcomer]), HashMap::new());
    lags.mesh.set_members(members(&[&knows, &lags]), HashMap::new());
    // It passes on what it listens to itself.
    knows.mesh.listen_on_shards(Shards::default().with(SHARD));
    let mut at_lags = listener(&mut lags).await;
    listeners(&newcomer, 1).await;
    listeners(&knows, 1).await;
    for n in 0..3 {
        assert_eq!(newcomer.mesh.gossip(SHARD, vec![n]).await, Some(Gossiped::Sent { peers: 1 }));
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), at_lags.next()).await.is_err());
    lags.mesh.set_members(members(&[&knows, &lags, &newcomer]), HashMap::new());
    for n in 0..3 {
        assert_eq!(next(&mut at_lags).await, GossipFrame { from: newcomer.id(), shard: SHARD, bytes: vec![n] });
    }
    for node in [knows, lags, newcomer] {
        node.stop().await;
    }
}

/// A plain gossipsub node under a key, as somebody else could write one.
fn foreign(
    identity: &Identity,
    authenticity: MessageAuthenticity,
    mode: ValidationMode,
) -> Swarm<gossipsub::Behaviour> {
    let config = gossipsub::ConfigBuilder::default().validation_mode(mode).build().expect("a configuration");
    SwarmBuilder::with_existing_identity(identity.keypair().clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a transport")
        .with_behaviour(|_| gossipsub::Behaviour::new(authenticity, config).expect("a behaviour"))
        .expect("a behaviour")
        .build()
}

/// Publishes as soon as the node is known to listen, and what the node heard of it before it heard a proper frame.
async fn heard_of(mut foreign: Swarm<gossipsub::Behaviour>, identity: &Identity, data: Vec<u8>) -> Vec<GossipFrame> {
    let (mut node, friend) = (start(config()).await, start(config()).await);
    let mut roster = members(&[&node, &friend]);
    roster.insert(identity.node_id(), Vec::new());
    node.mesh.set_members(roster, HashMap::new());
    friend.mesh.set_members(members(&[&node, &friend]), HashMap::new());
    let mut inbox = listener(&mut node).await;
    let address: Multiaddr = node.address().parse().expect("an address");
    foreign.dial(address).expect("a dial");
    loop {
        if let SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) = foreign.select_next_some().await {
            break;
        }
    }
    foreign.behaviour_mut().publish(IdentTopic::new(topic(SHARD).hash().into_string()), data).expect("published");
    // What was published goes out while the swarm is polled.
    let _ = tokio::time::timeout(Duration::from_millis(500), async {
        loop {
            foreign.select_next_some().await;
        }
    })
    .await;
    listeners(&friend, 1).await;
    friend.mesh.gossip(SHARD, b"proper".to_vec()).await;
    let mut heard = Vec::new();
    loop {
        let frame = next(&mut inbox).await;
        if frame.from == friend.id() {
            break;
        }
        heard.push(frame);
    }
    node.stop().await;
    friend.stop().await;
    heard
}

#[tokio::test]
async fn what_is_not_signed_by_a_member_is_dropped() {
    let (member, stranger) = (Identity::ephemeral(), Identity::ephemeral());
    let signed = |identity: &Identity| MessageAuthenticity::Signed(identity.keypair().clone());
    let strict = ValidationMode::Strict;
    let good = heard_of(foreign(&member, signed(&member), strict.clone()), &member, b"good".to_vec()).await;
    assert_eq!(good.len(), 1, "a member is heard, whatever it is written in");
    assert_eq!(good[0].from, member.node_id());
    let passed_on = foreign(&member, signed(&stranger), strict);
    assert!(heard_of(passed_on, &member, b"x".to_vec()).await.is_empty(), "signed by a stranger");
    let anonymous = foreign(&member, MessageAuthenticity::Anonymous, ValidationMode::Anonymous);
    assert!(heard_of(anonymous, &member, b"x".to_vec()).await.is_empty(), "no source, no signature");
    let peer = stranger.keypair().public().to_peer_id();
    let spoofed = foreign(&member, MessageAuthenticity::Author(peer), ValidationMode::None);
    assert!(heard_of(spoofed, &member, b"x".to_vec()).await.is_empty(), "a source without its signature");
}
