//! Why the cluster could not do what was asked, and what that means for a write.

use crate::raft::ProposeError;
use crate::types::command::Refusal;
use crate::types::{Namespace, NodeId};

/// What may have happened to a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Certainly nothing.
    NotExecuted,
    /// It may or may not take effect: retry only with an idempotency key.
    Unknown,
}

/// Why the cluster could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum ClusterError {
    /// Nobody leads, or this node does not know who.
    #[error("leader not found")]
    NoLeader,
    /// The leader is known but did not take the request.
    #[error("cannot reach the leader {node}: {reason}")]
    LeaderUnreachable {
        /// The leader.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The request was on its way when the connection or the leadership was lost.
    #[error("leadership lost while committing log")]
    LeadershipLost,
    /// The deadline passed before the outcome was known.
    #[error("timeout waiting for the command to be applied")]
    Timeout,
    /// A linearizable or `min_index` read waited in vain.
    #[error("index {index}: timeout waiting for fsm")]
    ReadTimeout {
        /// The index waited for.
        index: u64,
    },
    /// The data here is older than the caller allowed.
    #[error("stale read")]
    StaleRead,
    /// The namespace does not exist on this node.
    #[error("namespace `{0}` does not exist")]
    NoSuchNamespace(Namespace),
    /// The state machine refused the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request is larger than the log takes.
    #[error("request of {bytes} bytes is larger than the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Too many requests are waiting; try again.
    #[error("node is overloaded, try again")]
    Overloaded,
    /// The node named is not in the cluster.
    #[error("node {0} is not in the cluster")]
    NoSuchNode(NodeId),
    /// The change of membership or leadership was refused.
    #[error("{0}")]
    Membership(String),
    /// The node is stopping.
    #[error("node is shutting down")]
    Stopping,
    /// Reading the database failed.
    #[error("reading the database failed: {0}")]
    Storage(String),
    /// This process stores nothing, and no node answers it.
    #[error("no node of the cluster answers")]
    NoNode,
}

impl ClusterError {
    /// An answer of another kind than was asked for: a node of another build, or a defect.
    pub(crate) fn misfit(asked: &str, answer: &impl std::fmt::Debug) -> ClusterError {
        ClusterError::Storage(format!("the answer does not fit {asked}: {answer:?}"))
    }

    /// Whether the write may have taken effect.
    pub fn outcome(&self) -> WriteOutcome {
        match self {
            ClusterError::LeadershipLost | ClusterError::Timeout => WriteOutcome::Unknown,
            _ => WriteOutcome::NotExecuted,
        }
    }
}

impl From<ProposeError> for ClusterError {
    fn from(error: ProposeError) -> ClusterError {
        match error {
            ProposeError::NotLeader { .. } => ClusterError::NoLeader,
            ProposeError::Unknown => ClusterError::LeadershipLost,
            ProposeError::TooLarge { bytes, bytes_max } => ClusterError::TooLarge { bytes, bytes_max },
            ProposeError::Membership(reason) => ClusterError::Membership(reason),
            // The core may have died with the entry on its way: others may commit it.
            ProposeError::Stopped(_) => ClusterError::LeadershipLost,
        }
    }
}
