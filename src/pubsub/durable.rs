//! Durable topics of a namespace: messages that are stored on every node, so that who was away can read them later.
//!
//! A message is stored when a quorum has it. Its name makes it happen once: what is published again under the same name,
//! while the topic keeps it, has the number that it had. All stored messages of a namespace stand in one order; a reader
//! goes on from the number that its last answer named, and is told when something behind it is no longer kept.

use std::time::Instant;

use crate::cluster::{AnyCluster, Applied, ClusterError, Found, ReadTerms, ServedBy, TopicsAnswer, TopicsRead};
use crate::types::command::{IdempotencyKey, Outcome, Replayed};
use crate::types::durable::{
    ConfiguredTopic, InvalidRetain, MessageId, OnGap, Retain, StoredMessage, TopicEffect, TopicFound, TopicOp,
    TopicQuery, TopicVerdict,
};
use crate::types::limits::{
    DURABLE_TOPICS_MAX, MESSAGE_BYTES_MAX, MESSAGES_PER_QUERY_MAX, PUBLISHER_BYTES_MAX, RESULT_BYTES_MAX,
    TOPIC_OPS_PER_REQUEST_MAX,
};
use crate::types::{Command, Namespace, Topic, TopicChange, TopicFilter};

/// Why something about durable topics was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// A message was published to a topic that is not durable; nothing was changed.
    #[error("topic `{topic}` is not durable: nothing is stored of it")]
    NotDurable {
        /// Which topic.
        topic: Topic,
    },
    /// A topic may not keep that; nothing was changed.
    #[error(transparent)]
    InvalidRetain(InvalidRetain),
    /// The namespace would have too many durable topics; nothing was changed.
    #[error("the namespace may have {topics_max} durable topics: remove one")]
    TooManyTopics {
        /// What it may have.
        topics_max: u64,
    },
    /// The namespace's file would become too large; nothing was changed.
    #[error(
        "the namespace's database may have {bytes_max} bytes and would become larger: delete something, or raise the quota"
    )]
    DatabaseFull {
        /// What it may have.
        bytes_max: u64,
    },
    /// A message is larger than any may be.
    #[error("the message has {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    MessageTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A publisher's name is longer than any may be.
    #[error("the publisher's name has {bytes} bytes, at most {PUBLISHER_BYTES_MAX} are allowed")]
    PublisherTooLong {
        /// Its size.
        bytes: usize,
    },
    /// The request has more changes than one may.
    #[error("the request has {count} changes, at most {TOPIC_OPS_PER_REQUEST_MAX} are allowed: send several")]
    TooMany {
        /// How many it has.
        count: usize,
    },
    /// Some of the messages asked for are no longer kept.
    #[error("messages behind the one asked for are no longer kept: from {resume_after} on none is missing")]
    Gone {
        /// From here on nothing is missing.
        resume_after: u64,
        /// The number of the newest change in the namespace.
        newest: u64,
    },
    /// The cluster could not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Under which topic.
    pub topic: Topic,
    /// Who publishes it; empty when nobody is to be named.
    pub publisher: String,
    /// Its name: random, or the same as before when it is sent again.
    pub message_id: MessageId,
    /// The message.
    pub data: Vec<u8>,
}

impl From<NewMessage> for TopicOp {
    fn from(message: NewMessage) -> TopicOp {
        let NewMessage { topic, publisher, message_id, data } = message;
        TopicOp::Publish { topic, publisher, message_id, data }
    }
}

/// What holds for all changes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTerms {
    /// Most durable topics that the namespace may have.
    pub topics_max: u64,
    /// What the namespace's whole file may take.
    pub database_bytes_max: Option<u64>,
    /// Runs at most once per key.
    pub idempotency: Option<IdempotencyKey>,
}

impl Default for ChangeTerms {
    fn default() -> ChangeTerms {
        ChangeTerms { topics_max: DURABLE_TOPICS_MAX, database_bytes_max: None, idempotency: None }
    }
}

/// Changes that were made.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// One for each change.
    pub effects: Vec<TopicEffect>,
    /// Whether they were made by an earlier request with the same idempotency key.
    pub replayed: Replayed,
    /// This request was sent more than once within the cluster, so an earlier time may have made them.
    pub repeated: bool,
    /// The log index; a later read with this `min_index` sees them.
    pub index: u64,
    /// Who proposed them.
    pub served_by: ServedBy,
}

/// A message that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: u64,
    /// Whether this request stored it.
    pub stored: StoredWhen,
    /// The log index; a later read with this `min_index` sees it.
    pub index: u64,
    /// Who proposed it.
    pub served_by: ServedBy,
}

/// Which request stored a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredWhen {
    /// This one.
    Now,
    /// An earlier one with the same message id, or the same idempotency key.
    Before,
}

/// All durable topics of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// In the order of their bytes.
    pub topics: Vec<ConfiguredTopic>,
    /// The number of the newest change in the namespace.
    pub newest: u64,
}

/// Which messages to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which topics.
    pub filter: TopicFilter,
    /// Only messages behind this number; 0 for all.
    pub after: u64,
    /// What to do when some of them are gone.
    pub on_gap: OnGap,
    /// Most messages of the answer; at most [`MESSAGES_PER_QUERY_MAX`] are given at once, whatever is asked.
    pub count_max: usize,
    /// Most bytes of them, with [`MESSAGE_ROW_BYTES`](crate::types::limits::MESSAGE_ROW_BYTES) for each.
    pub bytes_max: u64,
}

impl Wanted {
    /// As many messages as there may be at once; what is missing is told.
    pub fn after(filter: TopicFilter, after: u64) -> Wanted {
        let bytes_max = RESULT_BYTES_MAX as u64;
        Wanted { filter, after, on_gap: OnGap::Tell, count_max: MESSAGES_PER_QUERY_MAX, bytes_max }
    }
}

/// Some stored messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// In the order of their numbers.
    pub messages: Vec<StoredMessage>,
    /// Where to go on; less than `newest` when there may be more.
    pub next_after: u64,
    /// The number of the newest change in the namespace.
    pub newest: u64,
    /// The number of the oldest message that is kept of what was asked for.
    pub oldest_kept: Option<u64>,
}

/// The durable topics of one namespace.
#[derive(Clone, Debug)]
pub struct DurableTopics {
    cluster: AnyCluster,
    namespace: Namespace,
}

impl DurableTopics {
    /// A namespace's durable topics in this cluster.
    pub fn new(cluster: AnyCluster, namespace: Namespace) -> DurableTopics {
        DurableTopics { cluster, namespace }
    }

    /// Makes a topic durable, or changes what it keeps: [`TopicEffect::Created`], `Changed` or `Unchanged`.
    ///
    /// # Errors
    /// [`DurableError`]; only with [`DurableError::Cluster`] may it have been done nevertheless.
    pub async fn configure(
        &self,
        topic: Topic,
        retain: Retain,
        terms: ChangeTerms,
        deadline: Instant,
    ) -> Result<Changed, DurableError> {
        self.change(vec![TopicOp::Configure { topic, retain }], terms, deadline).await
    }

    /// Makes a topic no longer durable and drops its messages: [`TopicEffect::Removed`] or `WasAbsent`.
    ///
    /// # Errors
    /// As [`DurableTopics::configure`].
    pub async fn remove(&self, topic: Topic, terms: ChangeTerms, deadline: Instant) -> Result<Changed, DurableError> {
        self.change(vec![TopicOp::Remove { topic }], terms, deadline).await
    }

    /// Stores a message, once per message id while the topic keeps it. When it is not known whether that has happened,
    /// it may be sent again under the same id.
    ///
    /// # Errors
    /// As [`DurableTopics::configure`], and [`DurableError::NotDurable`].
    pub async fn publish(
        &self,
        message: NewMessage,
        terms: ChangeTerms,
        deadline: Instant,
    ) -> Result<Published, DurableError> {
        let Changed { effects, replayed, repeated, index, served_by } =
            self.change(vec![message.into()], terms, deadline).await?;
        let (seq, stored) = match (effects.as_slice(), replayed) {
            ([TopicEffect::Published { seq }], Replayed::No) => (*seq, StoredWhen::Now),
            // An earlier time of this request, which told nobody.
            ([TopicEffect::Published { seq } | TopicEffect::AlreadyPublished { seq }], _) if repeated => {
                (*seq, StoredWhen::Now)
            }
            ([TopicEffect::Published { seq } | TopicEffect::AlreadyPublished { seq }], _) => (*seq, StoredWhen::Before),
            (other, _) => return Err(ClusterError::misfit("a message", &other).into()),
        };
        Ok(Published { seq, stored, index, served_by })
    }

    /// Makes all changes or none.
    ///
    /// # Errors
    /// As [`DurableTopics::publish`].
    pub async fn change(
        &self,
        ops: Vec<TopicOp>,
        terms: ChangeTerms,
        deadline: Instant,
    ) -> Result<Changed, DurableError> {
        check(&ops)?;
        let topics: Vec<Topic> = ops.iter().map(|op| op.topic().clone()).collect();
        let ChangeTerms { topics_max, database_bytes_max, idempotency } = terms;
        let namespace = self.namespace.clone();
        let change = TopicChange { namespace, ops, topics_max, database_bytes_max, idempotency };
        let Applied { outcome, index, served_by, repeated } =
            self.cluster.submit(Command::Topics(change), deadline).await?;
        let Outcome::Topics(outcome) = outcome else {
            return Err(ClusterError::misfit("a change of topics", &outcome).into());
        };
        let effects = judge(outcome.verdict, &topics)?;
        Ok(Changed { effects, replayed: outcome.replayed, repeated, index, served_by })
    }

    /// All durable topics, with what they keep and what is stored.
    ///
    /// # Errors
    /// [`DurableError::Cluster`].
    pub async fn configured(&self, terms: ReadTerms, deadline: Instant) -> Result<Found<Configured>, DurableError> {
        let TopicsAnswer { found, index, served_by } = self.ask(TopicQuery::Configured, terms, deadline).await?;
        match found {
            TopicFound::Configured { topics, newest } => {
                Ok(Found { value: Configured { topics, newest }, index, served_by })
            }
            other => Err(misfit(other)),
        }
    }

    /// The number of the newest change in the namespace: messages behind it are yet to come.
    ///
    /// # Errors
    /// [`DurableError::Cluster`].
    pub async fn newest(&self, terms: ReadTerms, deadline: Instant) -> Result<Found<u64>, DurableError> {
        let TopicsAnswer { found, index, served_by } = self.ask(TopicQuery::Newest, terms, deadline).await?;
        match found {
            TopicFound::Newest(value) => Ok(Found { value, index, served_by }),
            other => Err(misfit(other)),
        }
    }

    /// Stored messages in order, some at a time: also those that are over their topic's age and have not gone yet.
    ///
    /// # Errors
    /// [`DurableError::Gone`] when some are missing and that is to be told, [`DurableError::Cluster`].
    pub async fn messages(
        &self,
        wanted: Wanted,
        terms: ReadTerms,
        deadline: Instant,
    ) -> Result<Found<Messages>, DurableError> {
        let Wanted { filter, after, on_gap, count_max, bytes_max } = wanted;
        let count_max = count_max.min(MESSAGES_PER_QUERY_MAX) as u32;
        let query = TopicQuery::Messages { filter, after, on_gap, count_max, bytes_max };
        let TopicsAnswer { found, index, served_by } = self.ask(query, terms, deadline).await?;
        match found {
            TopicFound::Messages { messages, next_after, newest, oldest_kept } => {
                let value = Messages { messages, next_after, newest, oldest_kept };
                Ok(Found { value, index, served_by })
            }
            other => Err(misfit(other)),
        }
    }

    /// Waits until a stored message, or a change of the set of durable topics, behind the one numbered `after` is there
    /// to be read; the number of the newest. Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] when none came in time, others as they are.
    pub async fn wait_change(&self, after: u64, deadline: Instant) -> Result<u64, DurableError> {
        Ok(self.cluster.wait_topics_change(&self.namespace, after, deadline).await?)
    }

    async fn ask(&self, query: TopicQuery, terms: ReadTerms, deadline: Instant) -> Result<TopicsAnswer, DurableError> {
        let ReadTerms { level, freshness, min_index } = terms;
        let read = TopicsRead { namespace: self.namespace.clone(), query, level, freshness, min_index };
        Ok(self.cluster.read_topics(read, deadline).await?)
    }
}

fn check(ops: &[TopicOp]) -> Result<(), DurableError> {
    if ops.len() > TOPIC_OPS_PER_REQUEST_MAX {
        return Err(DurableError::TooMany { count: ops.len() });
    }
    for op in ops {
        match op {
            TopicOp::Configure { retain, .. } => retain.check().map_err(DurableError::InvalidRetain)?,
            TopicOp::Publish { data, .. } if data.len() > MESSAGE_BYTES_MAX => {
                return Err(DurableError::MessageTooLarge { bytes: data.len() });
            }
            TopicOp::Publish { publisher, .. } if publisher.len() > PUBLISHER_BYTES_MAX => {
                return Err(DurableError::PublisherTooLong { bytes: publisher.len() });
            }
            TopicOp::Publish { .. } | TopicOp::Remove { .. } => {}
        }
    }
    Ok(())
}

fn judge(verdict: TopicVerdict, topics: &[Topic]) -> Result<Vec<TopicEffect>, DurableError> {
    match verdict {
        TopicVerdict::Done(effects) => Ok(effects),
        TopicVerdict::NotDurable { op } => {
            let topic =
                topics.get(op as usize).cloned().ok_or_else(|| ClusterError::misfit("a change of topics", &op))?;
            Err(DurableError::NotDurable { topic })
        }
        TopicVerdict::InvalidRetain { reason, .. } => Err(DurableError::InvalidRetain(reason)),
        TopicVerdict::TooManyTopics { topics_max } => Err(DurableError::TooManyTopics { topics_max }),
        TopicVerdict::DatabaseFull { bytes_max } => Err(DurableError::DatabaseFull { bytes_max }),
        // Larger than this build's limit, and so refused before it was sent, unless another build applied it.
        refused @ TopicVerdict::TooLarge { .. } => Err(ClusterError::misfit("a change of topics", &refused).into()),
    }
}

fn misfit(found: TopicFound) -> DurableError {
    match found {
        TopicFound::Gone { resume_after, newest } => DurableError::Gone { resume_after, newest },
        other => ClusterError::misfit("a question about topics", &other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        text.parse().expect("a topic")
    }

    #[test]
    fn what_no_replica_would_take_is_not_sent() {
        let message = |publisher: usize, data: usize| {
            TopicOp::from(NewMessage {
                topic: topic("t"),
                publisher: "p".repeat(publisher),
                message_id: MessageId::from_bytes([1; 16]),
                data: vec![0; data],
            })
        };
        assert_eq!(check(&[message(PUBLISHER_BYTES_MAX, MESSAGE_BYTES_MAX)]), Ok(()));
        let bytes = MESSAGE_BYTES_MAX + 1;
        assert_eq!(check(&[message(0, 0), message(0, bytes)]), Err(DurableError::MessageTooLarge { bytes }));
        let bytes = PUBLISHER_BYTES_MAX + 1;
        assert_eq!(check(&[message(bytes, 0)]), Err(DurableError::PublisherTooLong { bytes }));
        let count = TOPIC_OPS_PER_REQUEST_MAX + 1;
        assert_eq!(check(&vec![message(0, 0); count]), Err(DurableError::TooMany { count }));
        let unbounded = TopicOp::Configure { topic: topic("t"), retain: Retain::default() };
        assert_eq!(check(&[unbounded]), Err(DurableError::InvalidRetain(InvalidRetain::Unbounded)));
    }

    #[test]
    fn a_topic_that_is_not_durable_is_named() {
        let failed = judge(TopicVerdict::NotDurable { op: 1 }, &[topic("a"), topic("b")]);
        assert_eq!(failed.expect_err("failed").to_string(), "topic `b` is not durable: nothing is stored of it");
    }
}
