//! What can go wrong on the mesh.

use std::io;
use std::time::Duration;

use super::address::AddressError;
use crate::types::NodeId;

/// Why the mesh could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// A text is no address of a peer.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Another process has the port.
    #[error(
        "cannot listen on {address}: address already in use; choose another with --listen or stop the other process"
    )]
    AddressInUse {
        /// The address asked for.
        address: String,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address asked for.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The encryption layer could not be set up.
    #[error("cannot set up encryption for the mesh: {0}")]
    Encryption(String),
    /// Nothing says where this node is.
    #[error("no address of node {0} is known")]
    NoAddress(NodeId),
    /// Nobody could be reached there.
    #[error("cannot reach {peer}: {reason}")]
    Unreachable {
        /// The node id, or the address where only that was known.
        peer: String,
        /// What each attempt met.
        reason: String,
    },
    /// Somebody else answered: the address is out of date, or the node there has lost its identity file.
    #[error("expected node {expected} at {address}, but node {found} answered: correct the address or the peer id")]
    WrongPeer {
        /// Who should have answered.
        expected: NodeId,
        /// The peer id that answered.
        found: String,
        /// Where.
        address: String,
    },
    /// The address or the peer id is our own.
    #[error("{0} is this node itself")]
    Itself(String),
    /// The peer does not let us open this protocol: for it we are no member, or it runs another version.
    #[error(
        "node {peer} does not admit this node to {protocol}: one of the two does not know the other as a member yet"
    )]
    Refused {
        /// Who refused.
        peer: NodeId,
        /// What was asked for.
        protocol: &'static str,
    },
    /// The connection broke while the stream was being opened; another attempt may work at once.
    #[error("connection to node {peer} was lost: {reason}")]
    Lost {
        /// The peer.
        peer: NodeId,
        /// What is known of the cause.
        reason: String,
    },
    /// The time was up.
    #[error("{peer} did not answer within {after:?}")]
    Timeout {
        /// The node id, or the address where only that was known.
        peer: String,
        /// The time given.
        after: Duration,
    },
    /// Too many streams to this peer are being opened already.
    #[error("too many streams to node {0} are being opened: try again")]
    Busy(NodeId),
    /// The mesh has been stopped.
    #[error("the mesh is stopped")]
    Stopped,
}
