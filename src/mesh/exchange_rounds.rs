//! The event loop's part in peer exchange: whom to ask, what to tell, what to believe.
//!
//! What is heard is kept as addresses to try when somebody wants to reach that peer; nobody is dialled for having been
//! heard of, unless the cluster names him. A peer could otherwise make every node knock at an address of its choice.

use std::time::Instant;

use libp2p::Multiaddr;
use tokio::sync::oneshot;

use super::address::{PeerAddress, Scope, scope};
use super::event_loop::EventLoop;
use super::peer_exchange::{self, PeerInfo};
use super::peer_id;
use super::protocol::{Standing, Wire};
use super::reconnect::Target;
use super::stream::MeshStream;
use super::streams::OpenRequest;
use crate::types::NodeId;
use crate::types::limits::{MESH_ADDRESSES_PER_PEER_MAX, PEER_EXCHANGE_PEERS_MAX, PEER_EXCHANGE_TIMEOUT};

/// Peers asked in one round: one honest answer is enough, three make it likely.
const ASKED_PER_ROUND: usize = 3;

/// Addresses told per peer, so that fifty peers fit into an answer.
const ADDRESSES_TOLD_MAX: usize = 4;

/// An answer.
#[derive(Debug)]
pub(super) struct Heard {
    /// How far away the peer is that said so.
    from: Scope,
    peers: Vec<PeerInfo>,
}

impl EventLoop {
    /// Asks some of those whom we trust: the cluster's nodes and the operator's bootstrap peers.
    pub(super) fn ask_for_peers(&mut self) {
        let mut trusted = self.peers.nodes();
        trusted.retain(|node| self.peers.exchanges_peers(*node) && self.is_trusted(*node));
        let skip = if trusted.is_empty() { 0 } else { (super::dialling::chance() * trusted.len() as f64) as usize };
        let asked: Vec<_> = trusted.iter().cycle().skip(skip).take(ASKED_PER_ROUND.min(trusted.len())).collect();
        for node in asked {
            self.ask(*node);
        }
    }

    /// Whether it belongs to the cluster or was named by the operator.
    pub(super) fn is_trusted(&self, node: NodeId) -> bool {
        self.roster.contains(node) || !self.bootstrap_places(node).is_empty()
    }

    fn ask(&mut self, node: NodeId) {
        let Some(from) = self.peers.scope(node) else { return };
        let Ok(slot) = self.exchange_slots.clone().try_acquire_owned() else { return };
        let (reply, stream) = oneshot::channel();
        let request = OpenRequest { wire: Wire::PeerExchange, deadline: Instant::now() + PEER_EXCHANGE_TIMEOUT, reply };
        if self.swarm.behaviour_mut().streams.open(peer_id::to_peer_id(node), request).is_err() {
            return;
        }
        let heard = self.heard_sender.clone();
        self.tasks.spawn_until_cancelled(async move {
            let _slot = slot;
            let Ok(Ok(stream)) = stream.await else { return };
            match peer_exchange::ask(stream, PEER_EXCHANGE_PEERS_MAX).await {
                // A full inbox means that there is enough to do already.
                Ok(peers) => drop(heard.try_send(Heard { from, peers })),
                Err(error) => tracing::debug!(peer = %node, %error, "peer exchange failed"),
            }
        });
    }

    pub(super) fn on_heard(&mut self, heard: Heard) {
        let now = Instant::now();
        for (node, address) in heard.peers.iter().flat_map(|info| believable(info, heard.from)) {
            if node == self.own || self.peers.contains(node) {
                continue;
            }
            let known = self.book.candidates(node, &self.roster, now).contains(&address);
            self.book.hear(node, address, now);
            if !known {
                self.reconnect.moved(Target::Known(node), now);
            }
        }
    }

    /// Tells a peer whom we are connected to.
    pub(super) fn answer_exchange(&mut self, peer: NodeId, stream: MeshStream) {
        // Without a free slot the stream is dropped; the peer asks again later.
        let Ok(slot) = self.exchange_slots.clone().try_acquire_owned() else { return };
        let Some(to) = self.peers.scope(peer) else { return };
        let peers = self.tellable(peer, to);
        self.tasks.spawn_until_cancelled(async move {
            let _slot = slot;
            if let Err(error) = peer_exchange::answer(stream, peers).await {
                tracing::debug!(%peer, %error, "peer exchange failed");
            }
        });
    }

    /// Connected peers with addresses that can be dialled from where the asker is; the cluster's own first. Of strangers
    /// only what we dialled ourselves: what they claim is not ours to spread.
    fn tellable(&self, asker: NodeId, to: Scope) -> Vec<PeerInfo> {
        let mut nodes = self.peers.nodes();
        nodes.retain(|node| *node != asker);
        nodes.sort_by_key(|node| (self.roster.standing(*node) == Standing::Stranger, *node));
        let told = nodes.into_iter().filter_map(|node| {
            let known = match self.roster.standing(node) {
                Standing::Member | Standing::Gateway => self.book.candidates(node, &self.roster, Instant::now()),
                Standing::Stranger => self.peers.proven(node),
            };
            let tellable = known.iter().filter(|address| scope(address).is_some_and(|scope| scope.concerns(to)));
            let addresses: Vec<_> = tellable.take(ADDRESSES_TOLD_MAX).map(Multiaddr::to_string).collect();
            (!addresses.is_empty()).then(|| PeerInfo { id: node.to_string(), addrs: Some(addresses) })
        });
        told.take(PEER_EXCHANGE_PEERS_MAX).collect()
    }
}

/// The addresses of an answer's peer that are well formed and mean something from where we are.
fn believable(info: &PeerInfo, from: Scope) -> Vec<(NodeId, Multiaddr)> {
    let Ok(node) = info.id.parse::<NodeId>() else { return Vec::new() };
    let texts = info.addrs.iter().flatten().take(MESH_ADDRESSES_PER_PEER_MAX);
    let parsed = texts.filter_map(|text| PeerAddress::parse(text).ok());
    let its_own = parsed.filter(|parsed| parsed.peer.is_none_or(|peer| peer == node));
    let near = its_own.filter(|parsed| scope(&parsed.address).is_some_and(|scope| scope.concerns(from)));
    near.map(|parsed| (node, parsed.address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_on_the_internet_cannot_name_addresses_in_our_network() {
        let node = NodeId::from(1);
        let texts = [
            "/ip4/127.0.0.1/tcp/22".to_owned(),
            "/ip4/192.168.0.1/tcp/80".to_owned(),
            "/ip4/203.0.113.9/tcp/4001".to_owned(),
            format!("/ip4/203.0.113.8/tcp/4001/p2p/{}", NodeId::from(2)),
            "nonsense".to_owned(),
        ];
        let info = PeerInfo { id: node.to_string(), addrs: Some(texts.to_vec()) };
        let count = |from| believable(&info, from).len();
        assert_eq!([count(Scope::Public), count(Scope::Private), count(Scope::Loopback)], [1, 2, 3]);
        assert!(believable(&PeerInfo { id: "x".into(), ..info }, Scope::Loopback).is_empty());
    }
}
