//! What goes through the log, and what comes out of it.
//!
//! A [`Command`] is encoded once, by the node that leads, inside an [`Envelope`] that also carries everything that
//! applying it may not look up for itself: the time and the seed of its random numbers. The bytes in the log are
//! `version (1 byte) ‖ postcard(Envelope)`; they are ours and do not change with a library.

use serde::{Deserialize, Serialize};

use super::durable::{TopicChange, TopicOutcome};
use super::kv::{Kv, KvOutcome};
use super::limits;
use super::names::Namespace;
use super::node_id::NodeId;
use super::statement::{Statement, StatementResult};

/// The format of [`Envelope`]s written by this build.
pub const ENVELOPE_VERSION: u8 = 3;

/// What the leader fixes when it appends a command, so that every replica computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The time of the entry, in milliseconds since 1970-01-01 UTC. Never goes backwards within a leader's term.
    pub unix_ms: i64,
    /// The seed of `random()` and `randomblob()` while the entry is applied.
    pub seed: u64,
}

/// A stamped command, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Time and seed.
    pub stamp: Stamp,
    /// What to do.
    pub command: Command,
}

/// Bytes that are no envelope of a known version.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The entry was written by a newer build.
    #[error("log entry has format {found}, this build reads up to {ENVELOPE_VERSION}: upgrade this node")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The entry was written before the first release.
    #[error(
        "log entry has format {found}, which no release wrote and this build does not read: begin with an empty data \
         directory"
    )]
    Unreleased {
        /// The version byte found.
        found: u8,
    },
    /// The entry is no envelope at all.
    #[error("log entry cannot be decoded")]
    Malformed(#[source] postcard::Error),
    /// The entry has no bytes.
    #[error("log entry is empty")]
    Empty,
}

impl Envelope {
    /// The bytes for the log.
    pub fn encode(&self) -> Vec<u8> {
        Envelope::encode_parts(self.stamp, &self.command)
    }

    /// The bytes for the log of an envelope with these parts; a command may be large and is not copied for it.
    pub fn encode_parts(stamp: Stamp, command: &Command) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(ENVELOPE_VERSION);
        // Postcard writes a tuple as it writes a struct with the same fields.
        postcard::to_extend(&(stamp, command), bytes).expect("a command has no unserialisable part")
    }

    /// Reads bytes from the log.
    ///
    /// # Errors
    /// [`EnvelopeError`] when the bytes were not written by [`Envelope::encode`] of this or an older build.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        match bytes.split_first() {
            None => Err(EnvelopeError::Empty),
            Some((&ENVELOPE_VERSION, body)) => postcard::from_bytes(body).map_err(EnvelopeError::Malformed),
            Some((&found, _)) if found < ENVELOPE_VERSION => Err(EnvelopeError::Unreleased { found }),
            Some((&found, _)) => Err(EnvelopeError::Version { found }),
        }
    }
}

/// One change of the replicated state (or, for [`Command::Execute`] of only reads, a read through the log).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Run SQL in a namespace's database.
    Execute(Execute),
    /// Replace a namespace's database by this SQLite file.
    Load {
        /// Whose database.
        namespace: Namespace,
        /// The file, checked by the proposing node.
        #[serde(with = "serde_bytes_vec")]
        database: Vec<u8>,
    },
    /// Make a namespace, empty. Does nothing if it is there.
    CreateNamespace {
        /// Its name.
        namespace: Namespace,
    },
    /// Remove a namespace with all its data. Does nothing if it is not there.
    DropNamespace {
        /// Its name.
        namespace: Namespace,
    },
    /// Store a join token.
    CreateInvite {
        /// BLAKE3 hash of the token's secret.
        secret_hash: [u8; 32],
        /// What the joining process will be.
        role: MemberRole,
        /// When it stops working, in milliseconds since 1970.
        expires_unix_ms: i64,
    },
    /// Use a join token, once: the answer says whether this node may come in.
    RedeemInvite {
        /// BLAKE3 hash of the token's secret.
        secret_hash: [u8; 32],
        /// Who uses it.
        node: NodeId,
        /// What it wants to be; the token must have been made for that.
        role: MemberRole,
        /// How to reach that node: multiaddrs without `/p2p`.
        addresses: Vec<String>,
    },
    /// Forget an admitted gateway (members of the Raft group leave by a membership change).
    RemoveGateway {
        /// Which one.
        node: NodeId,
    },
    /// Every node takes a content hash of every database at exactly this point of the log.
    Checksum,
    /// Change keys of a namespace.
    Kv(Kv),
    /// Change durable topics of a namespace, and publish to them.
    Topics(TopicChange),
}

/// SQL to run in one namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execute {
    /// Whose database.
    pub namespace: Namespace,
    /// What to run, in order.
    pub statements: Vec<Statement>,
    /// What one failure does to the others.
    pub atomicity: Atomicity,
    /// Which statements answer with rows.
    pub rows: RowsWanted,
    /// VM steps that all statements together may take, on every replica alike.
    pub steps_max: u64,
    /// Most rows of one statement's result.
    pub result_rows_max: u64,
    /// Most bytes of all results together.
    pub result_bytes_max: u64,
    /// Largest size that the namespace's file may grow to, keys included; `None` = any.
    pub database_bytes_max: Option<u64>,
    /// Runs at most once per key.
    pub idempotency: Option<IdempotencyKey>,
}

impl Execute {
    /// SQL with the default limits, each statement for itself, rows from RETURNING.
    pub fn new(namespace: Namespace, statements: Vec<Statement>) -> Execute {
        Execute {
            namespace,
            statements,
            atomicity: Atomicity::EachStatement,
            rows: RowsWanted::FromReturning,
            steps_max: limits::WRITE_STEPS_MAX,
            result_rows_max: limits::RESULT_ROWS_MAX as u64,
            result_bytes_max: limits::RESULT_BYTES_MAX as u64,
            database_bytes_max: None,
            idempotency: None,
        }
    }

    /// Turns a caller's deadline into the steps that stand for it; never more than the default allows.
    pub fn limit_time(&mut self, timeout: std::time::Duration) {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        self.steps_max = milliseconds.saturating_mul(limits::WRITE_STEPS_PER_MILLISECOND).min(limits::WRITE_STEPS_MAX);
    }
}

/// What one failing statement does to the rest of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Atomicity {
    /// Each statement stands for itself; the others still run.
    EachStatement,
    /// All or nothing: the first failure undoes everything before it and ends the request.
    Transaction,
}

/// Which statements of an [`Execute`] answer with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowsWanted {
    /// Writes with RETURNING only; a SELECT answers as a write that did nothing (rqlite's `/db/execute`).
    FromReturning,
    /// Every statement that has columns (rqlite's `/db/request`, reads through the log).
    FromAll,
}

/// A caller's name for one request, and what the request was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The caller's key, at most [`limits::IDEMPOTENCY_KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// BLAKE3 hash of the request: the same key with another request is an error.
    pub fingerprint: [u8; 32],
}

/// What a process that joins will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Stores data and takes part in the Raft group.
    Node,
    /// Serves HTTP and stores nothing.
    Gateway,
}

impl std::fmt::Display for MemberRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MemberRole::Node => "node",
            MemberRole::Gateway => "gateway",
        })
    }
}

/// What applying one command gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The log entry asked for nothing (membership, a new leader's first entry).
    None,
    /// SQL ran.
    Executed(Executed),
    /// The change was made (or was already there).
    Done,
    /// The state machine said no; nothing changed.
    Refused(Refusal),
    /// The token was good: the node may join.
    Admitted,
    /// Keys were changed, or not.
    Kv(KvOutcome),
    /// Durable topics were changed, or not.
    Topics(TopicOutcome),
}

/// What SQL gave.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Executed {
    /// One result per statement that ran. After a failure in a transaction the failing one is the last.
    pub results: Vec<StatementResult>,
    /// The outcome of an earlier request with the same idempotency key; this one did nothing.
    pub replayed: Replayed,
}

/// Whether an outcome is that of an earlier request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Replayed {
    /// This request ran.
    #[default]
    No,
    /// An earlier request with the same key ran; this is its outcome.
    Yes,
}

/// Why the state machine refused a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such namespace.
    #[error("namespace `{0}` does not exist")]
    NoSuchNamespace(Namespace),
    /// The idempotency key was used for another request.
    #[error("idempotency key `{0}` was used for a different request")]
    IdempotencyMismatch(String),
    /// The join token is unknown, was used, or has expired.
    #[error("the join token is unknown, already used or expired; make a new one with `debros cluster invite`")]
    InvalidInvite,
    /// The join token was made for another role; it stays good for that.
    #[error("the join token was made for `debros {0}`")]
    InviteForOtherRole(MemberRole),
    /// The default namespace cannot be dropped.
    #[error("namespace `default` cannot be dropped")]
    DefaultNamespace,
    /// The namespace belongs to debros itself.
    #[error("namespace `{0}` belongs to debros itself: it cannot be dropped, replaced or opened by a key")]
    ReservedNamespace(Namespace),
    /// The loaded file is no SQLite database.
    #[error("the file is not a usable SQLite database: {0}")]
    NotADatabase(String),
}

/// Byte vectors as one block; postcard would otherwise visit every byte.
pub(crate) mod serde_bytes_vec {
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_log() {
        let envelope = Envelope {
            stamp: Stamp { unix_ms: 1_700_000_000_123, seed: 7 },
            command: Command::Load { namespace: Namespace::default_namespace(), database: vec![0, 255, 1] },
        };
        assert_eq!(Envelope::decode(&envelope.encode()).expect("decodes"), envelope);
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        assert!(matches!(Envelope::decode(&[9, 1, 2]), Err(EnvelopeError::Version { found: 9 })));
        assert!(matches!(Envelope::decode(&[1, 1, 2]), Err(EnvelopeError::Unreleased { found: 1 })));
        assert!(matches!(Envelope::decode(&[]), Err(EnvelopeError::Empty)));
        assert!(matches!(Envelope::decode(&[ENVELOPE_VERSION, 200]), Err(EnvelopeError::Malformed(_))));
    }
}
