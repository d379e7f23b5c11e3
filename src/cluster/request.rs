//! What can be asked of the cluster, and what it answers.

use std::time::Duration;

use crate::types::command::{Atomicity, Outcome};
use crate::types::durable::{TopicFound, TopicQuery};
use crate::types::kv::{KvFound, KvQuery};
use crate::types::{Namespace, NodeId, Statement, StatementResult};

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

/// What holds for one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTerms {
    /// The promise.
    pub level: Level,
    /// Bound on staleness, for [`Level::None`].
    pub freshness: Option<Freshness>,
    /// Wait until at least this log index is applied where the read runs.
    pub min_index: Option<u64>,
}

impl Default for ReadTerms {
    fn default() -> ReadTerms {
        ReadTerms::at(Level::Linearizable)
    }
}

impl ReadTerms {
    /// Nothing asked for but a promise.
    pub fn at(level: Level) -> ReadTerms {
        ReadTerms { level, freshness: None, min_index: None }
    }
}

/// What was found, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The answer.
    pub value: T,
    /// The log index, for reads that went through the log.
    pub index: Option<u64>,
    /// Who read.
    pub served_by: ServedBy,
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

impl Read {
    /// A read of statements one by one, with nothing asked for but the promise.
    pub fn new(namespace: Namespace, statements: Vec<Statement>, level: Level) -> Read {
        Read {
            namespace,
            statements,
            atomicity: Atomicity::EachStatement,
            level,
            freshness: None,
            min_index: None,
            statement_timeout: None,
            qualify_columns: false,
        }
    }
}

/// A question about a namespace's keys.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct KvRead {
    /// Whose keys.
    pub namespace: Namespace,
    /// What about them.
    pub query: KvQuery,
    /// The promise.
    pub level: Level,
    /// Bound on staleness, for [`Level::None`].
    pub freshness: Option<Freshness>,
    /// Wait until at least this log index is applied where the read runs.
    pub min_index: Option<u64>,
}

/// A question about a namespace's durable topics.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct TopicsRead {
    /// Whose topics.
    pub namespace: Namespace,
    /// What about them.
    pub query: TopicQuery,
    /// The promise.
    pub level: Level,
    /// Bound on staleness, for [`Level::None`].
    pub freshness: Option<Freshness>,
    /// Wait until at least this log index is applied where the read runs.
    pub min_index: Option<u64>,
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
    /// It was sent more than once, so an earlier time may have done it.
    pub repeated: bool,
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

/// The answer to a question about keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvAnswer {
    /// What was found.
    pub found: KvFound,
    /// The log index, for reads that went through the log.
    pub index: Option<u64>,
    /// Who read.
    pub served_by: ServedBy,
}

/// The answer to a question about durable topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsAnswer {
    /// What was found.
    pub found: TopicFound,
    /// The log index, for reads that went through the log.
    pub index: Option<u64>,
    /// Who read.
    pub served_by: ServedBy,
}
