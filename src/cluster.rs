//! The face that everything above the log uses: submit a command, read, ask who is there.
//!
//! Work is done here if this node can, otherwise one hop over the mesh away, never two. Every write ends in one of
//! three ways: executed (an [`Applied`]), not executed, or unknown; [`ClusterError::outcome`] tells the last two apart.

use std::time::{Duration, Instant};

use crate::types::command::{Atomicity, Outcome, Refusal};
use crate::types::{Command, Namespace, NodeId, Statement, StatementResult};

/// Which of a read's promises the caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Level {
    /// What this node has, now.
    None,
    /// What the leader has, without asking the others whether it still leads.
    #[default]
    Weak,
    /// Everything that was answered before the read began; served by the node that was asked.
    Linearizable,
    /// Through the log, like a write.
    Strong,
    /// `Weak` on a voter, `None` on a learner.
    Auto,
}

/// How old a [`Level::None`] answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Freshness {
    /// Longest time since this node last heard from the leader.
    pub max_age: Duration,
    /// Also bound the age of the newest entry applied here.
    pub strict: bool,
}

/// A read of one namespace.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Read {
    /// Whose database.
    pub namespace: Namespace,
    /// Only statements that write nothing; others fail with `StatementErrorKind::ReadOnly`.
    pub statements: Vec<Statement>,
    /// Whether all statements see one state of the database.
    pub atomicity: Atomicity,
    /// The promise.
    pub level: Level,
    /// Bound on staleness, for [`Level::None`].
    pub freshness: Option<Freshness>,
    /// Wait until at least this log index is applied where the read runs.
    pub min_index: Option<u64>,
    /// Longest time for one statement.
    pub statement_timeout: Option<Duration>,
    /// Fill `Rows::qualified_columns`.
    pub qualify_columns: bool,
}

/// Where a request was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// By the node that was asked.
    Here,
    /// By another node; `address` is its peer address, as `host:port`.
    Peer {
        /// The node.
        node: NodeId,
        /// Its first peer address, as `host:port`.
        address: String,
    },
}

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What it gave.
    pub outcome: Outcome,
    /// Its log index; a later read with this `min_index` sees it.
    pub index: u64,
    /// Who proposed it.
    pub served_by: ServedBy,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadAnswer {
    /// One result per statement.
    pub results: Vec<StatementResult>,
    /// The log index, for reads that went through the log.
    pub index: Option<u64>,
    /// Who read.
    pub served_by: ServedBy,
}

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
}

impl ClusterError {
    /// Whether the write may have taken effect.
    pub fn outcome(&self) -> WriteOutcome {
        match self {
            ClusterError::LeadershipLost | ClusterError::Timeout => WriteOutcome::Unknown,
            _ => WriteOutcome::NotExecuted,
        }
    }
}

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

/// Raft's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RaftState {
    /// Takes writes.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Stopped.
    Shutdown,
}

/// A file with a consistent copy of a namespace's database; removed when dropped.
#[derive(Debug)]
pub struct BackupFile {
    /// Where it is.
    pub path: std::path::PathBuf,
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "backup file not removed");
        }
    }
}

/// How a backup is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupFormat {
    /// A SQLite file in WAL mode.
    Binary,
    /// A SQLite file in rollback-journal mode.
    DeleteMode,
    /// SQL text; only these tables, or all when empty.
    Sql {
        /// Names of tables.
        tables: Vec<String>,
    },
}

/// The cluster, as a part of this process sees it.
#[derive(Clone, Debug)]
pub struct Cluster {}

#[expect(unused_variables, clippy::todo, reason = "skeleton")]
impl Cluster {
    /// Puts a command through the log and waits until it is applied on the leader.
    pub async fn submit(&self, command: Command, deadline: Instant) -> Result<Applied, ClusterError> {
        todo!()
    }
    /// Reads at the level asked for.
    pub async fn read(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        todo!()
    }
    /// Whether every statement only reads (then a request needs no log entry). Unparsable ones count as reads.
    pub async fn all_read_only(&self, namespace: &Namespace, statements: &[Statement]) -> Result<bool, ClusterError> {
        todo!()
    }
    /// The leader's member entry, if this node knows one.
    pub fn leader(&self) -> Option<Member> {
        todo!()
    }
    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        todo!()
    }
    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        todo!()
    }
    /// This node's view of the log.
    pub fn raft_status(&self) -> RaftStatus {
        todo!()
    }
    /// Every member, asked now whether it answers.
    pub async fn members(&self, timeout: Duration) -> Vec<MemberStatus> {
        todo!()
    }
    /// Waits until what the leader has committed by now is applied here.
    pub async fn wait_synced(&self, deadline: Instant) -> Result<u64, ClusterError> {
        todo!()
    }
    /// Hands leadership to `to`, or to the most up-to-date voter. May be called on any node.
    pub async fn transfer_leader(&self, to: Option<NodeId>, deadline: Instant) -> Result<(), ClusterError> {
        todo!()
    }
    /// Takes a node out of the cluster. An unknown node is no error.
    pub async fn remove(&self, node: NodeId, deadline: Instant) -> Result<(), ClusterError> {
        todo!()
    }
    /// Takes a snapshot here and cuts the log, keeping `trailing` entries. `false` when there was nothing new.
    pub async fn snapshot(&self, trailing: Option<u64>) -> Result<bool, ClusterError> {
        todo!()
    }
    /// Checkpoints every database's WAL here; the number of files that had one.
    pub async fn reap(&self) -> Result<u64, ClusterError> {
        todo!()
    }
    /// A consistent copy of a namespace's database, from this node.
    pub async fn backup(
        &self,
        namespace: &Namespace,
        format: BackupFormat,
        vacuum: bool,
    ) -> Result<BackupFile, ClusterError> {
        todo!()
    }
    /// The namespace that an API key opens, from this node's replica; `None` when unknown or expired.
    pub fn namespace_of_key(&self, key: &str) -> Option<Namespace> {
        todo!()
    }
    /// Path and sizes (main file, WAL) of a namespace's database here.
    pub fn database_file(&self, namespace: &Namespace) -> Option<(std::path::PathBuf, u64, u64)> {
        todo!()
    }
}
