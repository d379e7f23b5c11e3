//! What travels in a gossip frame: the sender's count, and several messages of one shard or some news.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{Message, Parts};
use super::presence::Member;
use crate::types::durable::MessageId;
use crate::types::{Namespace, Topic};

/// A frame. The one who signed it is known from the mesh.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Grows with every start of the sender.
    pub(super) run: u64,
    /// Grows by one with every frame of this run on this shard.
    pub(super) seq: u64,
    pub(super) content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Content {
    Messages(Vec<Sent>),
    News(News),
}

/// A message between nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    namespace: Namespace,
    topic: Topic,
    id: MessageId,
    publisher: String,
    seq: u64,
    unix_ms: i64,
    #[serde(with = "crate::types::command::serde_bytes_vec")]
    data: Vec<u8>,
}

impl From<&Message> for Sent {
    fn from(message: &Message) -> Sent {
        Sent {
            namespace: message.namespace.clone(),
            topic: message.topic.clone(),
            id: message.id,
            publisher: message.publisher.to_string(),
            seq: message.seq,
            unix_ms: message.unix_ms,
            data: message.data.to_vec(),
        }
    }
}

impl From<Sent> for Message {
    fn from(sent: Sent) -> Message {
        let Sent { namespace, topic, id, publisher, seq, unix_ms, data } = sent;
        let (publisher, data) = (publisher.into(), Bytes::from(data));
        Parts { namespace, topic, id, publisher, seq, unix_ms, data }.into()
    }
}

/// What a process tells of its subscribers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct News {
    /// In how many pieces everything is told; `None` for what has changed only.
    pub(super) whole: Option<Piece>,
    /// Topics with and without a subscriber there.
    pub(super) topics: Vec<(Namespace, Topic, bool)>,
    /// Members who are there, or no longer.
    pub(super) members: Vec<(Namespace, Topic, Member, bool)>,
}

/// One of several pieces that replace what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) first: bool,
    pub(super) last: bool,
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is written to")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Frame, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}
