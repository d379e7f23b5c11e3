//! Durable topics as values: what can be done with them, and what that gave.
//!
//! A durable topic keeps its newest messages in its namespace's file, so that a subscriber that was away can read what it
//! has missed. One sequence numbers the messages of all topics of a namespace: whoever follows several topics needs one
//! cursor. Numbers only ever grow; between those of one topic there are gaps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::command::{IdempotencyKey, Replayed};
use super::hex;
use super::limits::{
    DURABLE_TOPICS_MAX, MESSAGE_BYTES_MAX, MESSAGE_ROW_BYTES, PUBLISHER_BYTES_MAX, RETAIN_AGE_MAX, RETAIN_BYTES_MAX,
    RETAIN_MESSAGES_MAX,
};
use super::names::Namespace;
use super::topic::{Topic, TopicFilter};

/// A message's name, chosen by whoever publishes it; written as 32 hex digits. What is sent again under the same name is
/// the same message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

/// A text that is no message id.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a message id has 32 hex digits")]
pub struct InvalidMessageId;

impl MessageId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> MessageId {
        MessageId(bytes)
    }

    /// The id of a publisher's message: the number drawn for the publisher, and the message's among its messages.
    pub const fn counted(publisher: u64, number: u64) -> MessageId {
        MessageId(((publisher as u128) << 64 | number as u128).to_be_bytes())
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<MessageId, InvalidMessageId> {
        hex::decode(text).map(MessageId).ok_or(InvalidMessageId)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(MessageId)
        }
    }
}

/// What a durable topic keeps: its newest messages, as long as every bound holds. At least one is set; one that is not
/// set is the system's own.
///
/// Bounds are enforced when something is published to the topic, or it is configured, and what is over them goes little
/// by little: until then it is kept, and told to whoever reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retain {
    /// Most messages: 1 to [`RETAIN_MESSAGES_MAX`].
    pub count: Option<u64>,
    /// Longest time that a message is kept, in milliseconds of the log's clock: 1 to [`RETAIN_AGE_MAX`].
    pub age: Option<u64>,
    /// Most bytes: 1 to [`RETAIN_BYTES_MAX`]. A message counts as [`MESSAGE_ROW_BYTES`] more than its data and publisher.
    /// The newest one is kept however large it is.
    pub bytes: Option<u64>,
}

/// Bounds that no topic may have.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvalidRetain {
    /// None is set.
    #[error("a durable topic needs a bound: a count, an age or a number of bytes")]
    Unbounded,
    /// The number of messages is out of range.
    #[error("a durable topic keeps 1 to {RETAIN_MESSAGES_MAX} messages, not {count}")]
    Count {
        /// What was asked for.
        count: u64,
    },
    /// The age is out of range.
    #[error("a durable topic keeps messages for 1 to {} ms, not {age}", retain_age_max())]
    Age {
        /// What was asked for.
        age: u64,
    },
    /// The number of bytes is out of range.
    #[error("a durable topic keeps 1 to {RETAIN_BYTES_MAX} bytes, not {bytes}")]
    Bytes {
        /// What was asked for.
        bytes: u64,
    },
}

/// [`RETAIN_AGE_MAX`] in milliseconds.
fn retain_age_max() -> u64 {
    RETAIN_AGE_MAX.as_secs() * 1000
}

impl Retain {
    /// The newest `count` messages.
    pub const fn newest(count: u64) -> Retain {
        Retain { count: Some(count), age: None, bytes: None }
    }

    /// Says no to bounds that no topic may have.
    ///
    /// # Errors
    /// [`InvalidRetain`].
    pub fn check(&self) -> Result<(), InvalidRetain> {
        let outside = |bound: Option<u64>, max: u64| bound.filter(|bound| !(1..=max).contains(bound));
        if *self == Retain::default() {
            return Err(InvalidRetain::Unbounded);
        }
        if let Some(count) = outside(self.count, RETAIN_MESSAGES_MAX) {
            return Err(InvalidRetain::Count { count });
        }
        if let Some(age) = outside(self.age, retain_age_max()) {
            return Err(InvalidRetain::Age { age });
        }
        match outside(self.bytes, RETAIN_BYTES_MAX) {
            Some(bytes) => Err(InvalidRetain::Bytes { bytes }),
            None => Ok(()),
        }
    }

    /// Most messages, set or not.
    pub fn messages_max(&self) -> u64 {
        self.count.unwrap_or(RETAIN_MESSAGES_MAX)
    }

    /// Longest time in milliseconds, set or not.
    pub fn age_ms_max(&self) -> u64 {
        self.age.unwrap_or_else(retain_age_max)
    }

    /// Most bytes, set or not.
    pub fn bytes_max(&self) -> u64 {
        self.bytes.unwrap_or(RETAIN_BYTES_MAX)
    }
}

/// Changes of durable topics, all of them or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicChange {
    /// Whose topics.
    pub namespace: Namespace,
    /// What to do, in order; each sees what those before it did.
    pub ops: Vec<TopicOp>,
    /// Most durable topics that the namespace may have. Only what grows is measured.
    pub topics_max: u64,
    /// Largest size that the namespace's file may grow to, SQL tables and keys included; `None` = any.
    pub database_bytes_max: Option<u64>,
    /// Runs at most once per key.
    pub idempotency: Option<IdempotencyKey>,
}

impl TopicChange {
    /// Changes without bounds beyond those of the system.
    pub fn new(namespace: Namespace, ops: Vec<TopicOp>) -> TopicChange {
        TopicChange { namespace, ops, topics_max: DURABLE_TOPICS_MAX, database_bytes_max: None, idempotency: None }
    }

    /// Whether it may be sent again when nobody knows whether it has arrived: messages have names, and one that is still
    /// kept is not stored twice.
    pub fn is_repeatable(&self) -> bool {
        self.idempotency.is_some() || self.ops.iter().all(|op| matches!(op, TopicOp::Publish { .. }))
    }
}

/// One change of one durable topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TopicOp {
    /// Make a topic durable, or change what it keeps.
    Configure {
        /// Which.
        topic: Topic,
        /// What it keeps.
        retain: Retain,
    },
    /// Make a topic no longer durable and drop its messages. One that is not durable is no failure.
    Remove {
        /// Which.
        topic: Topic,
    },
    /// Store a message. One that the topic keeps already, by its id, is not stored again.
    Publish {
        /// Under which topic; it must be durable.
        topic: Topic,
        /// Who publishes it, at most [`PUBLISHER_BYTES_MAX`] bytes; empty when nobody is to be named.
        publisher: String,
        /// Its name.
        message_id: MessageId,
        /// At most [`MESSAGE_BYTES_MAX`] bytes.
        #[serde(with = "super::command::serde_bytes_vec")]
        data: Vec<u8>,
    },
}

impl TopicOp {
    /// The topic that it is about.
    pub fn topic(&self) -> &Topic {
        match self {
            TopicOp::Configure { topic, .. } | TopicOp::Remove { topic } | TopicOp::Publish { topic, .. } => topic,
        }
    }

    /// What its message counts as for [`Retain::bytes`]; 0 when it has none.
    pub fn stored_bytes(&self) -> u64 {
        match self {
            TopicOp::Publish { publisher, data, .. } => (publisher.len() + data.len()) as u64 + MESSAGE_ROW_BYTES,
            TopicOp::Configure { .. } | TopicOp::Remove { .. } => 0,
        }
    }

    /// Whether data and publisher have an allowed size.
    pub fn fits(&self) -> bool {
        match self {
            TopicOp::Publish { publisher, data, .. } => {
                publisher.len() <= PUBLISHER_BYTES_MAX && data.len() <= MESSAGE_BYTES_MAX
            }
            TopicOp::Configure { .. } | TopicOp::Remove { .. } => true,
        }
    }
}

/// What a [`TopicChange`] gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicOutcome {
    /// What happened.
    pub verdict: TopicVerdict,
    /// Whether it is that of an earlier request with the same idempotency key.
    pub replayed: Replayed,
}

/// What happened to the changes of one [`TopicChange`]. All but [`TopicVerdict::Done`] mean that nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicVerdict {
    /// All were made; one effect for each.
    Done(Vec<TopicEffect>),
    /// A message was published to a topic that is not durable.
    NotDurable {
        /// By which change, counted from 0.
        op: u32,
    },
    /// A topic may not keep that.
    InvalidRetain {
        /// Which change, counted from 0.
        op: u32,
        /// What is wrong with it.
        reason: InvalidRetain,
    },
    /// The namespace would have too many durable topics.
    TooManyTopics {
        /// What it may have.
        topics_max: u64,
    },
    /// The namespace's file would become too large.
    DatabaseFull {
        /// What it may have.
        bytes_max: u64,
    },
    /// A message is larger than any may be, or there are more changes than there may be.
    TooLarge {
        /// The first change that is too much, counted from 0.
        op: u32,
    },
}

/// What one change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicEffect {
    /// A topic that was not durable is.
    Created,
    /// A topic keeps something else than before.
    Changed,
    /// A topic keeps what it kept.
    Unchanged,
    /// A topic is no longer durable.
    Removed,
    /// There was nothing to remove.
    WasAbsent,
    /// A message was stored.
    Published {
        /// Its number.
        seq: u64,
    },
    /// The message was there already.
    AlreadyPublished {
        /// Its number.
        seq: u64,
    },
}

/// A question about durable topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicQuery {
    /// All durable topics, in the order of their bytes. → [`TopicFound::Configured`]
    Configured,
    /// The number of the newest change: where to begin for what is yet to come. → [`TopicFound::Newest`]
    Newest,
    /// Messages in the order of their numbers, as they are stored: also what is over its age and has not gone yet.
    /// → [`TopicFound::Messages`] or [`TopicFound::Gone`]
    Messages {
        /// Of which topics; those that are not durable have none.
        #[serde(with = "filter_text")]
        filter: TopicFilter,
        /// Only messages behind this number; 0 for all.
        after: u64,
        /// What to do when some of them are gone.
        on_gap: OnGap,
        /// Most messages of the answer.
        count_max: u32,
        /// Most bytes of them, counted as in [`Retain::bytes`]; one message is given however large it is.
        bytes_max: u64,
    },
}

/// What a question for messages gets when some of those asked for are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnGap {
    /// [`TopicFound::Gone`].
    Tell,
    /// Those that are kept.
    Skip,
}

/// The answer to a [`TopicQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicFound {
    /// Durable topics in order.
    Configured {
        /// All of them.
        topics: Vec<ConfiguredTopic>,
        /// The number of the newest change in the namespace.
        newest: u64,
    },
    /// The number of the newest change in the namespace.
    Newest(u64),
    /// Messages in order.
    Messages {
        /// What was found.
        messages: Vec<StoredMessage>,
        /// Where to go on: everything asked for up to here is in `messages`. When it is less than `newest`, there may be
        /// more.
        next_after: u64,
        /// The number of the newest change in the namespace.
        newest: u64,
        /// The number of the oldest message that is kept of what was asked for, wherever the question began.
        oldest_kept: Option<u64>,
    },
    /// Messages behind the number asked for are no longer kept.
    Gone {
        /// From here on nothing is missing. To get what is kept before it, ask again with [`OnGap::Skip`].
        resume_after: u64,
        /// The number of the newest change in the namespace.
        newest: u64,
    },
}

/// A durable topic with what is stored of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredTopic {
    /// The topic.
    pub topic: Topic,
    /// What it keeps.
    pub retain: Retain,
    /// Messages that are stored.
    pub messages: u64,
    /// Their bytes, counted as in [`Retain::bytes`].
    pub bytes: u64,
    /// The number of the oldest.
    pub first_seq: Option<u64>,
    /// The number of the newest.
    pub last_seq: Option<u64>,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its number: greater than those of all messages before it in the namespace, also of an earlier namespace of that
    /// name.
    pub seq: u64,
    /// Its topic.
    pub topic: Topic,
    /// When it was published by the log's clock, in milliseconds since 1970.
    pub unix_ms: i64,
    /// Who published it.
    pub publisher: String,
    /// Its name.
    pub message_id: MessageId,
    /// The message.
    #[serde(with = "super::command::serde_bytes_vec")]
    pub data: Vec<u8>,
}

/// A filter as the text that it was made of.
mod filter_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::TopicFilter;

    pub(super) fn serialize<S: Serializer>(filter: &TopicFilter, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(filter.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TopicFilter, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_bounded_and_within_what_the_system_keeps() {
        let [count, age, bytes] = [Some(RETAIN_MESSAGES_MAX), Some(retain_age_max()), Some(RETAIN_BYTES_MAX)];
        assert_eq!(Retain { count, age, bytes }.check(), Ok(()));
        assert_eq!(Retain::newest(1).check(), Ok(()));
        assert_eq!(Retain::default().check(), Err(InvalidRetain::Unbounded));
        assert_eq!(Retain::newest(0).check(), Err(InvalidRetain::Count { count: 0 }));
        let over = |bound: Option<u64>| bound.map(|bound| bound + 1);
        assert!(matches!(Retain { count: over(count), age, bytes }.check(), Err(InvalidRetain::Count { .. })));
        assert!(matches!(Retain { count, age: over(age), bytes }.check(), Err(InvalidRetain::Age { .. })));
        assert!(matches!(Retain { count, age, bytes: over(bytes) }.check(), Err(InvalidRetain::Bytes { .. })));
        assert_eq!(Retain::newest(5).bytes_max(), RETAIN_BYTES_MAX);
    }

    #[test]
    fn questions_and_messages_survive_the_wire() {
        for text in ["a.b", "a.*", ">"] {
            let filter = text.parse().expect("a filter");
            let query = TopicQuery::Messages { filter, after: 7, on_gap: OnGap::Tell, count_max: 3, bytes_max: 9 };
            let bytes = postcard::to_stdvec(&query).expect("encodes");
            assert_eq!(postcard::from_bytes::<TopicQuery>(&bytes).expect("decodes"), query);
        }
        let message = StoredMessage {
            seq: 7,
            topic: "a.b".parse().expect("a topic"),
            unix_ms: -1,
            publisher: "é".to_owned(),
            message_id: MessageId::from_bytes([0xab; 16]),
            data: vec![0, 255],
        };
        let bytes = postcard::to_stdvec(&message).expect("encodes");
        assert_eq!(postcard::from_bytes::<StoredMessage>(&bytes).expect("decodes"), message);
        assert_eq!("ab".repeat(16).parse(), Ok(message.message_id));
        assert_eq!("ab".parse::<MessageId>(), Err(InvalidMessageId));
    }
}
