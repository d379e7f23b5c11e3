//! The cluster as this node sees it.

use std::time::Duration;

pub use crate::raft::RaftState;
use crate::types::NodeId;

/// What a node plays in the Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suffrage {
    /// Counts towards the quorum.
    Voter,
    /// Follows the log only.
    Learner,
    /// Stores nothing.
    Gateway,
}

/// A member of the cluster as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Its part in the Raft group.
    pub suffrage: Suffrage,
    /// Its peer multiaddrs, without `/p2p`.
    pub addresses: Vec<String>,
    /// Where its SQL listener is, as `host:port`; empty when it has none or is unknown.
    pub sql_address: String,
    /// The build it runs; empty when unknown.
    pub version: String,
}

/// A member and whether it answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Whether it leads.
    pub leader: bool,
    /// How long it took to answer, or why it did not.
    pub reachable: Result<Duration, String>,
}

/// This node's view of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RaftStatus {
    /// This node.
    pub node: NodeId,
    /// `Leader`, `Follower`, `Candidate`, `Learner` or `Shutdown`.
    pub state: RaftState,
    /// Current term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub commit_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Index that the newest snapshot covers.
    pub snapshot_index: u64,
    /// Time since this node last heard from the leader; zero on the leader, `None` when never.
    pub last_contact: Option<Duration>,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Members of the committed configuration.
    pub members: Vec<Member>,
}
