//! The event loop's part in gossip: what is sent, what is let through, and who listens where.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{Event, Message, MessageAcceptance, MessageId, PublishError};

use super::counters::count;
use super::event_loop::EventLoop;
use super::gossip::{GossipFrame, GossipSources, Gossiped, Outgoing, shard_of, source, topic};
use super::peer_id;
use super::protocol::Standing;
use crate::types::NodeId;
use crate::types::limits::GOSSIP_SHARDS;

/// How long a message of an unknown source that a member passed on is put aside: the log tells of a new node or gateway
/// within milliseconds.
const UNJUDGED_FOR: Duration = Duration::from_secs(2);

/// Most messages put aside.
const UNJUDGED_MAX: usize = 64;

/// A message put aside.
pub(super) struct Unjudged {
    since: Instant,
    id: MessageId,
    passed_on_by: PeerId,
    message: Message,
}

impl EventLoop {
    pub(super) fn send_gossip(&mut self, frame: Outgoing) {
        let Outgoing { shard, bytes, reply } = frame;
        let peers = self.gossip.listeners.borrow().get(usize::from(shard)).copied().unwrap_or(0);
        let sent = match self.swarm.behaviour_mut().gossip.gossipsub.publish(topic(shard), bytes) {
            Ok(_) => Gossiped::Sent { peers },
            Err(PublishError::NoPeersSubscribedToTopic) => Gossiped::NoListener,
            Err(error) => {
                count(&self.counting.gossip_dropped);
                tracing::debug!(shard, %error, "gossip frame dropped");
                Gossiped::Congested
            }
        };
        // Who gave up waiting does not care.
        let _ = reply.send(sent);
    }

    pub(super) fn on_gossip_wanted(&mut self) {
        self.gossip.own = *self.gossip.wanted.borrow_and_update();
        self.subscribe();
    }

    pub(super) fn on_gossip(&mut self, event: Event) {
        match event {
            Event::Message { propagation_source, message_id, message } => {
                self.weigh(Unjudged {
                    since: Instant::now(),
                    id: message_id,
                    passed_on_by: propagation_source,
                    message,
                });
            }
            Event::Subscribed { peer_id, topic } => {
                if let (Some(node), Some(shard)) = (peer_id::to_node_id(&peer_id), shard_of(&topic)) {
                    let wants = self.gossip.peers.entry(node).or_default();
                    *wants = wants.with(shard);
                    self.gossip_listeners_changed();
                }
            }
            Event::Unsubscribed { peer_id, topic } => {
                if let (Some(node), Some(shard)) = (peer_id::to_node_id(&peer_id), shard_of(&topic))
                    && let Some(wants) = self.gossip.peers.get_mut(&node)
                {
                    *wants = wants.without(shard);
                    self.gossip_listeners_changed();
                }
            }
            Event::SlowPeer { peer_id, failed_messages } => {
                count(&self.counting.gossip_dropped);
                tracing::debug!(peer = %peer_id, ?failed_messages, "gossip to a peer is dropped: it does not keep up");
            }
            // It is asked again, see `gossip_gate`.
            Event::GossipsubNotSupported { .. } => {}
        }
    }

    /// Judges a message, or puts it aside: the log may just be telling us that its source belongs to the cluster.
    fn weigh(&mut self, unjudged: Unjudged) {
        let Unjudged { passed_on_by, message, .. } = &unjudged;
        let known = |peer: &PeerId, wanted: fn(Standing) -> bool| {
            peer_id::to_node_id(peer).is_some_and(|node| wanted(self.roster.standing(node)))
        };
        let source_is_known = message.source.is_some_and(|source| known(&source, |s| s != Standing::Stranger));
        let by_member = known(passed_on_by, |standing| standing == Standing::Member);
        if !source_is_known
            && by_member
            && self.gossip.sources == GossipSources::Roster
            && self.gossip.unjudged.len() < UNJUDGED_MAX
        {
            self.gossip.unjudged.push_back(unjudged);
            return;
        }
        let Unjudged { id, passed_on_by, message, .. } = unjudged;
        let acceptance = self.judge(message, passed_on_by);
        let gossipsub = &mut self.swarm.behaviour_mut().gossip.gossipsub;
        gossipsub.report_message_validation_result(&id, &passed_on_by, acceptance);
    }

    /// Judges what was put aside, now that more is known or enough time has passed.
    pub(super) fn weigh_again(&mut self) {
        let (now, aside) = (Instant::now(), std::mem::take(&mut self.gossip.unjudged));
        for unjudged in aside {
            if now.duration_since(unjudged.since) < UNJUDGED_FOR {
                self.weigh(unjudged);
                continue;
            }
            let acceptance = self.judge(unjudged.message, unjudged.passed_on_by);
            let gossipsub = &mut self.swarm.behaviour_mut().gossip.gossipsub;
            gossipsub.report_message_validation_result(&unjudged.id, &unjudged.passed_on_by, acceptance);
        }
    }

    /// When what was put aside has waited long enough.
    pub(super) fn weigh_again_at(&self) -> Option<Instant> {
        self.gossip.unjudged.front().map(|oldest| oldest.since + UNJUDGED_FOR)
    }

    /// Lets a message of a member in, and further.
    fn judge(&self, message: Message, passed_on_by: PeerId) -> MessageAcceptance {
        let checked = self.gossip.sources == GossipSources::PassedOn
            && peer_id::to_node_id(&passed_on_by).is_some_and(|by| self.roster.standing(by) == Standing::Member);
        let from = source(&message).filter(|from| checked || self.roster.standing(*from) != Standing::Stranger);
        let (Some(from), Some(shard)) = (from, shard_of(&message.topic)) else {
            count(&self.counting.gossip_rejected);
            tracing::debug!(source = ?message.source, "gossip rejected: it is from nobody of this cluster");
            return MessageAcceptance::Reject;
        };
        if self.gossip.own.contains(shard)
            && self.gossip.inbox.try_send(GossipFrame { from, shard, bytes: message.data }).is_err()
        {
            count(&self.counting.gossip_dropped);
        }
        MessageAcceptance::Accept
    }

    pub(super) fn gossip_listener_gone(&mut self, node: NodeId) {
        if self.gossip.peers.remove(&node).is_some() {
            self.gossip_listeners_changed();
        }
    }

    pub(super) fn gossip_listeners_changed(&mut self) {
        let peers = &self.gossip.peers;
        let on = |shard: usize| peers.values().filter(|wants| wants.contains(shard as u8)).count();
        let now: Vec<usize> = (0..GOSSIP_SHARDS).map(on).collect();
        self.gossip.listeners.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        self.subscribe();
    }

    /// Listens where this process wants to, and where a gateway does that is connected here: it hears nothing that no
    /// node passes on.
    fn subscribe(&mut self) {
        let gateways = self.gossip.peers.iter().filter(|(node, _)| self.roster.standing(**node) == Standing::Gateway);
        let wanted = gateways.fold(self.gossip.own, |shards, (_, wants)| shards.and(*wants));
        let before = std::mem::replace(&mut self.gossip.subscribed, wanted);
        let gossipsub = &mut self.swarm.behaviour_mut().gossip.gossipsub;
        for shard in 0..GOSSIP_SHARDS as u8 {
            match (before.contains(shard), wanted.contains(shard)) {
                (false, true) => {
                    if let Err(error) = gossipsub.subscribe(&topic(shard)) {
                        tracing::error!(shard, %error, "a shard cannot be listened on");
                    }
                }
                (true, false) => {
                    gossipsub.unsubscribe(&topic(shard));
                }
                _ => {}
            }
        }
    }
}
