//! What openraft is told about us: our node ids, our log payloads, our answers.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{NodeId, Outcome};

openraft::declare_raft_types!(
    /// The types of debros' one Raft group.
    pub TypeConfig:
        D = LogData,
        R = Outcome,
        NodeId = NodeId,
        Node = Peer,
);

/// The payload of a log entry: an encoded [`crate::types::Envelope`]. Opaque to Raft; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct LogData(pub Bytes);

impl fmt::Debug for LogData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for LogData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the committed configuration says of a member. Its id, not this, is its identity: changing it is always safe.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peer {
    /// Multiaddrs at which its mesh listens, without `/p2p`.
    pub addresses: Vec<String>,
    /// Where its SQL listener is, as `host:port`.
    pub sql_address: String,
    /// The build it runs.
    pub version: String,
}

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LeaderId = openraft::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<NodeId, Peer>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
