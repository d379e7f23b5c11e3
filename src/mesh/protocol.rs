//! What streams are for, and who may open which.

use std::fmt;

use libp2p::StreamProtocol;

/// What a stream is for. The last part of a name is its version: an incompatible change gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Log entries to a follower and its answers.
    RaftAppend,
    /// Votes, heartbeats and leadership transfer: small messages that must not queue behind entries.
    RaftControl,
    /// Snapshots.
    RaftSnapshot,
    /// Requests forwarded to another node.
    Rpc,
    /// A node that is no member yet asks to become one.
    Join,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 5] =
        [Protocol::RaftAppend, Protocol::RaftControl, Protocol::RaftSnapshot, Protocol::Rpc, Protocol::Join];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::RaftAppend => "/debros/raft-append/1",
            Protocol::RaftControl => "/debros/raft-control/1",
            Protocol::RaftSnapshot => "/debros/raft-snapshot/1",
            Protocol::Rpc => "/debros/rpc/1",
            Protocol::Join => "/debros/join/1",
        }
    }

    /// Whether a peer of this standing may open it.
    pub const fn admits(self, standing: Standing) -> bool {
        match self {
            Protocol::RaftAppend | Protocol::RaftControl | Protocol::RaftSnapshot => {
                matches!(standing, Standing::Member)
            }
            Protocol::Rpc => matches!(standing, Standing::Member | Standing::Gateway),
            Protocol::Join => true,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a peer is to this node's cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// In the committed configuration of the Raft group.
    Member,
    /// Admitted to forward requests; stores nothing.
    Gateway,
    /// Anyone else.
    Stranger,
}

/// What a stream is for, the mesh's own protocol included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// One of the protocols that the node above serves.
    Node(Protocol),
    /// Asking for peers, served by the mesh itself and open to everyone.
    PeerExchange,
}

impl Wire {
    /// Every wire protocol; the busiest first, since negotiation looks from the front.
    pub(super) const ALL: [Wire; 6] = [
        Wire::Node(Protocol::RaftAppend),
        Wire::Node(Protocol::RaftControl),
        Wire::Node(Protocol::RaftSnapshot),
        Wire::Node(Protocol::Rpc),
        Wire::Node(Protocol::Join),
        Wire::PeerExchange,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Wire::Node(protocol) => protocol.name(),
            Wire::PeerExchange => "/debros/peer-exchange/1.0.0",
        }
    }

    pub(super) const fn stream_protocol(self) -> StreamProtocol {
        StreamProtocol::new(self.name())
    }

    pub(super) const fn admits(self, standing: Standing) -> bool {
        match self {
            Wire::Node(protocol) => protocol.admits(standing),
            Wire::PeerExchange => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_may_join_and_ask_for_peers_and_nothing_else() {
        let open: Vec<_> = Wire::ALL.into_iter().filter(|wire| wire.admits(Standing::Stranger)).collect();
        assert_eq!(open, [Wire::Node(Protocol::Join), Wire::PeerExchange]);
    }

    #[test]
    fn gateways_forward_requests_but_speak_no_raft() {
        let open: Vec<_> = Protocol::ALL.into_iter().filter(|protocol| protocol.admits(Standing::Gateway)).collect();
        assert_eq!(open, [Protocol::Rpc, Protocol::Join]);
    }

    #[test]
    fn the_wire_knows_every_protocol_under_its_own_name() {
        let names: std::collections::HashSet<_> = Wire::ALL.iter().map(|wire| wire.name()).collect();
        assert_eq!(names.len(), Protocol::ALL.len() + 1);
        assert!(Protocol::ALL.iter().all(|protocol| names.contains(protocol.name())));
    }
}
