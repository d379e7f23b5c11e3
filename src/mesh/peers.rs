//! Who is connected now, for everyone to read.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use tokio::sync::broadcast;

use super::address::{Scope, scope};
use super::protocol::Standing;
use super::roster::Roster;
use crate::types::NodeId;
use crate::types::limits::MESH_CHANGES_MAX;

/// A peer that this node has a connection to.
#[derive(Clone, Debug)]
pub struct ConnectedPeer {
    /// Who it is.
    pub node_id: NodeId,
    /// What it is to the cluster.
    pub standing: Standing,
    /// The remote end of its newest connection, a multiaddr. For an inbound one its port is not one to dial.
    pub address: String,
    /// Who made that connection.
    pub direction: Direction,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
    /// What it says to run, `debros/<version>` for example. Not to be trusted.
    pub agent_version: Option<String>,
}

/// Who made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// The first connection to a peer was made, or the last one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// There is a connection now.
    Connected(NodeId),
    /// There is none any more.
    Disconnected(NodeId),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) remote: Multiaddr,
    pub(super) direction: Direction,
}

#[derive(Debug, Default)]
struct Peer {
    /// Oldest first, never empty.
    connections: Vec<Connection>,
    rtt: Option<Duration>,
    agent_version: Option<String>,
    exchanges_peers: bool,
}

/// The connected peers. The event loop writes, anyone reads; locks are held for moments.
#[derive(Debug)]
pub(super) struct Peers {
    peers: RwLock<HashMap<NodeId, Peer>>,
    changes: broadcast::Sender<ConnectionChange>,
}

impl Peers {
    pub(super) fn new() -> Peers {
        Peers { peers: RwLock::default(), changes: broadcast::Sender::new(MESH_CHANGES_MAX) }
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<ConnectionChange> {
        self.changes.subscribe()
    }

    pub(super) fn list(&self, roster: &Roster) -> Vec<ConnectedPeer> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = peers.iter().filter_map(|(node, peer)| describe(*node, peer, roster)).collect();
        list.sort_by_key(|peer| peer.node_id);
        list
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(&node)
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// The scope of the peer's newest connection; `None` when there is none or its address is of no known kind.
    pub(super) fn scope(&self, node: NodeId) -> Option<Scope> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        scope(&peers.get(&node)?.connections.last()?.remote)
    }

    /// Addresses under which this node has reached the peer and still does.
    pub(super) fn proven(&self, node: NodeId) -> Vec<Multiaddr> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let connections = peers.get(&node).map_or(&[][..], |peer| &peer.connections);
        let outbound = connections.iter().filter(|connection| connection.direction == Direction::Outbound);
        outbound.map(|connection| connection.remote.clone()).collect()
    }

    /// Whether a peer said that it answers to peer exchange.
    pub(super) fn exchanges_peers(&self, node: NodeId) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node).is_some_and(|peer| peer.exchanges_peers)
    }

    pub(super) fn opened(&self, node: NodeId, connection: Connection) {
        let first = {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            let peer = peers.entry(node).or_default();
            peer.connections.push(connection);
            peer.connections.len() == 1
        };
        if first {
            // Without a watcher nobody misses it.
            let _ = self.changes.send(ConnectionChange::Connected(node));
        }
    }

    /// Tells whether it was the peer's last connection.
    pub(super) fn closed(&self, node: NodeId, id: ConnectionId) -> bool {
        let last = {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            let Some(peer) = peers.get_mut(&node) else { return false };
            peer.connections.retain(|connection| connection.id != id);
            let last = peer.connections.is_empty();
            if last {
                peers.remove(&node);
            }
            last
        };
        if last {
            let _ = self.changes.send(ConnectionChange::Disconnected(node));
        }
        last
    }

    /// The mesh has stopped and takes the peer's connections along.
    pub(super) fn gone(&self, node: NodeId) {
        if self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node).is_some() {
            let _ = self.changes.send(ConnectionChange::Disconnected(node));
        }
    }

    pub(super) fn measured(&self, node: NodeId, rtt: Duration) {
        if let Some(peer) = self.peers.write().unwrap_or_else(PoisonError::into_inner).get_mut(&node) {
            peer.rtt = Some(rtt);
        }
    }

    pub(super) fn identified(&self, node: NodeId, agent_version: String, exchanges_peers: bool) {
        if let Some(peer) = self.peers.write().unwrap_or_else(PoisonError::into_inner).get_mut(&node) {
            // A peer may send kilobytes of anything here; operators see it.
            peer.agent_version = Some(agent_version.chars().filter(|c| !c.is_control()).take(64).collect());
            peer.exchanges_peers = exchanges_peers;
        }
    }
}

fn describe(node_id: NodeId, peer: &Peer, roster: &Roster) -> Option<ConnectedPeer> {
    let newest = peer.connections.last()?;
    Some(ConnectedPeer {
        node_id,
        standing: roster.standing(node_id),
        address: newest.remote.to_string(),
        direction: newest.direction,
        rtt: peer.rtt,
        agent_version: peer.agent_version.clone(),
    })
}
