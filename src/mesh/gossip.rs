//! Gossip between members: small frames to everybody who listens, on a fixed number of shards, at most once.
//!
//! This is gossipsub 1.1 with the settings that go-libp2p has, where it has one: signatures are mandatory in both
//! directions (`StrictSign`), a message's id is its source and its sequence number, and a source that is not in the
//! roster is rejected before its message goes further. Strangers are not offered the protocol at all.
//!
//! A shard that nobody listens to costs nothing: members tell each other on which shards they want to hear, and nothing
//! is sent elsewhere. A gateway reaches nodes only, so a node listens wherever a gateway of its does, and passes on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAuthenticity, MessageId, TopicHash,
    ValidationMode, WhitelistSubscriptionFilter,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::gossip_rounds::Unjudged;
use super::handle::Mesh;
use super::identity::Identity;
use super::peer_id;
use crate::types::NodeId;
use crate::types::limits::{GOSSIP_FRAME_BYTES_MAX, GOSSIP_QUEUE_MAX, GOSSIP_SHARDS};

/// gossipsub with a list of the only topics that there are.
pub(super) type Gossipsub = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shards(u32);

const _: () = assert!(GOSSIP_SHARDS as u32 <= u32::BITS);

impl Shards {
    /// With one more.
    #[must_use]
    pub fn with(self, shard: u8) -> Shards {
        Shards(self.0 | 1 << shard)
    }

    /// With one less.
    #[must_use]
    pub fn without(self, shard: u8) -> Shards {
        Shards(self.0 & !(1 << shard))
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, others: Shards) -> Shards {
        Shards(self.0 | others.0)
    }

    /// Whether it is one of them.
    pub fn contains(self, shard: u8) -> bool {
        self.0 & 1 << shard != 0
    }
}

/// A frame that another member has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipFrame {
    /// Who signed it: a member or gateway of this cluster.
    pub from: NodeId,
    /// On which shard.
    pub shard: u8,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Frames in the order of their arrival. One reader; a full queue drops frames and counts them.
#[derive(Debug)]
pub struct GossipInbox {
    pub(super) frames: mpsc::Receiver<GossipFrame>,
}

impl GossipInbox {
    /// The next frame; `None` after the mesh has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<GossipFrame> {
        self.frames.recv().await
    }
}

/// Whose frames are let in. A frame's signature is checked in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipSources {
    /// Those of peers that this process knows as members or gateways: right for a node, which knows them all.
    Roster,
    /// Also those that a member passes on: a gateway does not know its fellows, but nodes have checked them.
    PassedOn,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gossiped {
    /// It is on its way to this many peers.
    Sent {
        /// How many listen on the shard, as far as this process knows.
        peers: usize,
    },
    /// Nobody listens on the shard.
    NoListener,
    /// The queues to all of them are full: it is lost.
    Congested,
}

impl Mesh {
    /// Sends a frame of at most [`GOSSIP_FRAME_BYTES_MAX`] bytes to all who listen on a shard. Returns when it is queued;
    /// whether it arrives is not known. `None` when the mesh has stopped.
    pub async fn gossip(&self, shard: u8, bytes: Vec<u8>) -> Option<Gossiped> {
        let (reply, sent) = oneshot::channel();
        self.shared.gossip.outgoing.send(Outgoing { shard, bytes, reply }).await.ok()?;
        sent.await.ok()
    }

    /// Says on which shards this process wants to hear frames.
    pub fn listen_on_shards(&self, shards: Shards) {
        self.shared.gossip.wanted.send_if_modified(|wanted| std::mem::replace(wanted, shards) != shards);
    }

    /// How many peers listen on a shard, as far as this process knows.
    pub fn shard_listeners(&self, shard: u8) -> usize {
        self.shared.gossip.listeners.borrow().get(usize::from(shard)).copied().unwrap_or(0)
    }

    /// Follows how many peers listen on each shard.
    pub fn watch_shard_listeners(&self) -> watch::Receiver<Vec<usize>> {
        self.shared.gossip.listeners.subscribe()
    }
}

/// A frame on its way to the event loop.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) shard: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) reply: oneshot::Sender<Gossiped>,
}

/// What handles know of the gossip.
#[derive(Debug)]
pub(super) struct GossipHandle {
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) wanted: watch::Sender<Shards>,
    pub(super) listeners: watch::Sender<Vec<usize>>,
}

/// What the event loop knows of it.
pub(super) struct GossipState {
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    pub(super) wanted: watch::Receiver<Shards>,
    pub(super) inbox: mpsc::Sender<GossipFrame>,
    pub(super) sources: GossipSources,
    pub(super) listeners: watch::Sender<Vec<usize>>,
    /// What this process wants.
    pub(super) own: Shards,
    /// What each peer wants.
    pub(super) peers: HashMap<NodeId, Shards>,
    /// What is subscribed now.
    pub(super) subscribed: Shards,
    /// Messages of which it is not known yet whether their source belongs to the cluster.
    pub(super) unjudged: VecDeque<Unjudged>,
}

pub(super) fn channels(sources: GossipSources) -> (GossipHandle, GossipState, GossipInbox) {
    let (outgoing_sender, outgoing) = mpsc::channel(GOSSIP_QUEUE_MAX);
    let (wanted_sender, wanted) = watch::channel(Shards::default());
    let (inbox, frames) = mpsc::channel(GOSSIP_QUEUE_MAX);
    let (listeners, _) = watch::channel(vec![0; GOSSIP_SHARDS]);
    let handle = GossipHandle { outgoing: outgoing_sender, wanted: wanted_sender, listeners: listeners.clone() };
    let state = GossipState {
        outgoing,
        wanted,
        inbox,
        sources,
        listeners,
        own: Shards::default(),
        peers: HashMap::new(),
        subscribed: Shards::default(),
        unjudged: VecDeque::new(),
    };
    (handle, state, GossipInbox { frames })
}

/// A shard's name on the wire.
pub(super) fn topic(shard: u8) -> IdentTopic {
    IdentTopic::new(format!("debros.shard.{shard:02}"))
}

/// The shard that a name on the wire stands for.
pub(super) fn shard_of(topic: &TopicHash) -> Option<u8> {
    let shard: u8 = topic.as_str().strip_prefix("debros.shard.")?.parse().ok()?;
    (usize::from(shard) < GOSSIP_SHARDS).then_some(shard)
}

/// Room for what the protocol adds to a frame.
const ENVELOPE_BYTES_MAX: usize = 4096;

pub(super) fn behaviour(identity: &Identity) -> Gossipsub {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(GOSSIP_FRAME_BYTES_MAX + ENVELOPE_BYTES_MAX)
        // Our clusters are smaller than a mesh of the default degree: everybody hears a frame from its source.
        .flood_publish(true)
        // Frames are up to a megabyte: what is kept for stragglers, and what waits for a slow peer, is kept short.
        .history_length(2)
        .history_gossip(2)
        .connection_handler_queue_len(256)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(Duration::from_secs(5))
        .build()
        .expect("settings that fit together");
    let topics: HashSet<TopicHash> = (0..GOSSIP_SHARDS as u8).map(|shard| topic(shard).hash()).collect();
    let authenticity = MessageAuthenticity::Signed(identity.keypair().clone());
    Gossipsub::new_with_subscription_filter(authenticity, config, WhitelistSubscriptionFilter(topics))
        .expect("signed messages that must be signed")
}

/// As go-libp2p makes it: the source's bytes, then the sequence number, big-endian.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or(0).to_be_bytes());
    MessageId::new(&id)
}

/// The member that a message stems from; `None` when it is not known to be one.
pub(super) fn source(message: &Message) -> Option<NodeId> {
    peer_id::to_node_id(&message.source?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_its_own_name_and_no_other_name_is_one() {
        for shard in 0..GOSSIP_SHARDS as u8 {
            assert_eq!(shard_of(&topic(shard).hash()), Some(shard));
        }
        for name in ["debros.shard.32", "debros.shard.", "debros.shard.x", "monitoring"] {
            assert_eq!(shard_of(&IdentTopic::new(name).hash()), None, "{name}");
        }
    }

    #[test]
    fn a_messages_id_is_what_go_makes_of_it() {
        let source = Identity::ephemeral().keypair().public().to_peer_id();
        let message = Message {
            source: Some(source),
            data: Vec::new(),
            sequence_number: Some(0x0102_0304_0506_0708),
            topic: topic(1).hash(),
        };
        let id = message_id(&message).0;
        assert_eq!(id[..id.len() - 8], source.to_bytes());
        assert_eq!(id[id.len() - 8..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn sets_of_shards() {
        let shards = Shards::default().with(0).with(31);
        assert!(shards.contains(31) && shards.contains(0) && !shards.contains(1));
        assert_eq!(shards.without(0).and(Shards::default().with(5)), Shards::default().with(31).with(5));
    }
}
