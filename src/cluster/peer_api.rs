//! What nodes ask of each other beside Raft: the messages of the `rpc` protocol.
//!
//! A frame is a request number (`u64`, little-endian) and a postcard-encoded [`PeerRequest`] or
//! [`Result`]`<`[`PeerResponse`]`, `[`PeerError`]`>` with the number of its request. Answers come in any order. New
//! kinds of request are added at the end of the enums; changing one needs a new protocol version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ClusterError;
use super::request::{KvRead, Read, TopicsRead};
use super::view::Member;
use crate::raft::{Checksum, Peer};
use crate::types::durable::TopicFound;
use crate::types::kv::KvFound;
use crate::types::{Command, Namespace, NodeId, Outcome, StatementResult};

/// A request to another node. None is ever passed on: who cannot do it says so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PeerRequest {
    /// Put a command through the log. Leader only.
    Submit { command: Command, timeout: Duration },
    /// An index that covers everything acknowledged before this request. Leader only.
    ReadIndex,
    /// Read what the leader has. Leader only.
    Read { read: Read, timeout: Duration },
    /// Is anybody there, and who?
    Status,
    /// The content hashes taken at this log index.
    Checksum { index: u64 },
    /// Hand leadership to this voter, or to the most up-to-date one. Leader only.
    TransferLeader { to: Option<NodeId> },
    /// Take a node out of the group. Leader only.
    Remove { node: NodeId },
    /// Take a node in as a learner, or note a member's new addresses. Leader only.
    SetMember { node: NodeId, peer: Peer },
    /// Read what the asked node has, at the read's level; what only a leader can promise, it does only if it leads.
    ReadAt { read: Read, timeout: Duration },
    /// Read keys as the leader has them. Leader only.
    ReadKv { read: KvRead, timeout: Duration },
    /// As `ReadAt`, of keys.
    ReadKvAt { read: KvRead, timeout: Duration },
    /// Answers when the asked node has a change of a key behind the one numbered `after`.
    WaitKvChange { namespace: Namespace, after: u64, timeout: Duration },
    /// Who belongs to the cluster, and who leads it? Anybody says what it knows.
    Members,
    /// Read durable topics as the leader has them. Leader only.
    ReadTopics { read: TopicsRead, timeout: Duration },
    /// As `ReadAt`, of durable topics.
    ReadTopicsAt { read: TopicsRead, timeout: Duration },
    /// Answers when the asked node has a message, or a change of durable topics, behind the one numbered `after`.
    WaitTopicsChange { namespace: Namespace, after: u64, timeout: Duration },
}

/// What another node answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PeerResponse {
    Applied {
        outcome: Outcome,
        index: u64,
    },
    Index(u64),
    Results(Vec<StatementResult>),
    Status {
        version: String,
        applied_index: u64,
    },
    Checksum(Option<Checksum>),
    Done,
    /// To `ReadAt`; with the log index if the read went through the log.
    ResultsAt {
        results: Vec<StatementResult>,
        index: Option<u64>,
    },
    /// To `ReadKv` and `ReadKvAt`.
    Kv {
        found: KvFound,
        index: Option<u64>,
    },
    /// To `WaitKvChange`: the number of the newest change.
    KvChange(u64),
    Members(MemberList),
    /// To `ReadTopics` and `ReadTopicsAt`.
    Topics {
        found: TopicFound,
        index: Option<u64>,
    },
    /// To `WaitTopicsChange`: the number of the newest change.
    TopicsChange(u64),
}

/// What a node knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberList {
    /// Log indexes of the configuration and of what is applied: of two lists the one with the larger is newer.
    pub(super) version: (u64, u64),
    pub(super) term: u64,
    /// Who leads in this term.
    pub(super) leader: Option<NodeId>,
    /// The answering node leads, and a quorum has answered it lately.
    pub(super) quorum: bool,
    /// Nodes and gateways.
    pub(super) members: Vec<Member>,
}

/// Why another node did not do what was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PeerError {
    /// It does not lead; nothing was done. Who does, if it knows.
    NotLeader { leader: Option<NodeId> },
    /// It tried.
    Failed(ClusterError),
}

impl From<ClusterError> for PeerError {
    fn from(error: ClusterError) -> PeerError {
        PeerError::Failed(error)
    }
}

pub(super) type PeerAnswer = Result<PeerResponse, PeerError>;

/// Appends the body of a frame.
pub(super) fn put_message(out: &mut Vec<u8>, number: u64, message: &impl Serialize) {
    out.extend_from_slice(&number.to_le_bytes());
    let taken = std::mem::take(out);
    *out = postcard::to_extend(message, taken).expect("a message has no unserialisable part");
}

/// Reads the body of a frame.
pub(super) fn take_message<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> std::io::Result<(u64, T)> {
    let invalid = |reason: String| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    let (number, body) = frame.split_first_chunk::<8>().ok_or_else(|| invalid("message is cut short".to_owned()))?;
    let message = postcard::from_bytes(body).map_err(|e| invalid(format!("message cannot be decoded: {e}")))?;
    Ok((u64::from_le_bytes(*number), message))
}
