//! What is said on a socket: the raw form of the earlier system, its envelope, and the subprotocol `debros.v1`.
//!
//! `debros.v1` is JSON in text frames. A client sends objects with a `type` of `subscribe`, `unsubscribe`, `publish` or
//! `ping`; what has an `id` is answered with the same `id`. `docs/pubsub.md` has every form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::{ApiError, Code};
use super::publication::Publication;
use crate::pubsub::{Ack, Begin, Gap, Message, Published, Rendering};
use crate::types::durable::StoredMessage;

/// What a client of `debros.v1` asks.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Ask {
    Subscribe {
        id: Option<u64>,
        topic: String,
        /// For a durable topic: where to begin.
        after: Option<After>,
    },
    Unsubscribe {
        id: Option<u64>,
        topic: String,
    },
    Publish {
        id: Option<u64>,
        topic: String,
        #[serde(flatten)]
        data: Data,
        #[serde(default)]
        ack: AskedAck,
    },
    Ping {
        id: Option<u64>,
    },
}

/// Where a reader of a durable topic begins.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum After {
    /// Behind the message with this cursor; 0: with the oldest.
    Cursor(u64),
    /// `newest`, or a cursor as a text.
    Word(String),
}

impl After {
    /// Where that is.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`].
    pub(super) fn begin(&self) -> Result<Begin, ApiError> {
        let cursor = match self {
            After::Cursor(cursor) => *cursor,
            After::Word(word) if word == "newest" => return Ok(Begin::Newest),
            After::Word(word) => word.parse().map_err(|_| {
                ApiError::parameter("after", format!("`{word}` is neither the cursor of a message nor `newest`"))
            })?,
        };
        Ok(if cursor == 0 { Begin::Oldest } else { Begin::After(cursor) })
    }
}

/// The content of a message, in one of two forms.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) struct Data {
    data: Option<String>,
    data_base64: Option<String>,
}

impl Data {
    /// Its bytes.
    ///
    /// # Errors
    /// [`Code::InvalidBody`].
    pub(super) fn bytes(self) -> Result<Bytes, ApiError> {
        match (self.data, self.data_base64) {
            (Some(text), None) => Ok(Bytes::from(text)),
            (None, Some(text)) => BASE64
                .decode(&text)
                .map(Bytes::from)
                .map_err(|_| ApiError::new(Code::InvalidBody, "`data_base64` is not base64")),
            _ => {
                Err(ApiError::new(Code::InvalidBody, "the message is in `data`, a text, or in `data_base64`: send one"))
            }
        }
    }
}

/// When a publisher wants to hear.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum AskedAck {
    /// Not at all, unless it fails.
    None,
    /// When this node's subscribers have it.
    Local,
    /// When it is on its way to the other nodes.
    #[default]
    Mesh,
    /// When it is stored on a majority of the nodes: for durable topics.
    Durable,
}

impl AskedAck {
    /// What to wait for.
    pub(super) fn wait(self) -> Ack {
        match self {
            // What is stored is not lost, whatever becomes of the live message.
            AskedAck::None | AskedAck::Local | AskedAck::Durable => Ack::Local,
            AskedAck::Mesh => Ack::Mesh,
        }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    r#type: &'static str,
    topic: &'a str,
    message_id: String,
    publisher: &'a str,
    seq: u64,
    timestamp: i64,
    data_base64: String,
}

/// A message with all that is known of it.
pub(super) fn framed(message: &Message) -> Bytes {
    let told = |message: &Message| {
        let told = Told {
            r#type: "message",
            topic: message.topic.as_str(),
            message_id: message.id.to_string(),
            publisher: &message.publisher,
            seq: message.seq,
            timestamp: message.unix_ms,
            data_base64: BASE64.encode(&message.data),
        };
        Bytes::from(serde_json::to_vec(&told).expect("text keys and finite numbers"))
    };
    message.rendered(Rendering::Framed, told)
}

#[derive(Serialize)]
struct Envelope<'a> {
    data: String,
    timestamp: i64,
    topic: &'a str,
}

/// A message in its envelope.
pub(super) fn enveloped(message: &Message) -> Bytes {
    let envelope = |message: &Message| {
        let (data, topic) = (BASE64.encode(&message.data), message.topic.as_str());
        let envelope = Envelope { data, timestamp: message.unix_ms, topic };
        Bytes::from(serde_json::to_vec(&envelope).expect("text keys and finite numbers"))
    };
    message.rendered(Rendering::Envelope, envelope)
}

/// Something is missing.
pub(super) fn gap(gap: Gap) -> serde_json::Value {
    match gap {
        Gap::Slow { lost } => json!({ "type": "gap", "reason": "slow", "lost": lost }),
        Gap::Network => json!({ "type": "gap", "reason": "network" }),
    }
}

/// An answer to what was asked.
pub(super) fn answer(kind: &str, id: Option<u64>, topic: &str) -> String {
    json!({ "type": kind, "id": id, "topic": topic }).to_string()
}

/// A message that was stored.
pub(super) fn stored(message: &StoredMessage) -> String {
    let StoredMessage { seq, topic, unix_ms, publisher, message_id, data } = message;
    json!({
        "type": "message", "topic": topic, "message_id": message_id, "publisher": publisher, "timestamp": unix_ms,
        "cursor": seq, "data_base64": BASE64.encode(data),
    })
    .to_string()
}

/// Stored messages behind a cursor are no longer kept.
pub(super) fn retention_gap(topic: &str, after: u64) -> serde_json::Value {
    json!({ "type": "gap", "reason": "retention", "topic": topic, "after": after })
}

/// What is told of a message that is published.
pub(super) fn publication(publication: &Publication) -> serde_json::Value {
    let Published { id, seq, subscribers, peers } = publication.published;
    let mut told = json!({ "message_id": id, "seq": seq, "subscribers": subscribers, "peers": peers });
    if let Some(cursor) = publication.cursor {
        told["cursor"] = cursor.into();
    }
    told
}

/// A message is published.
pub(super) fn published(id: Option<u64>, topic: &str, published: &Publication) -> String {
    let mut told = publication(published);
    told["type"] = "published".into();
    told["id"] = id.into();
    told["topic"] = topic.into();
    told.to_string()
}

/// Something could not be done.
pub(super) fn failed(id: Option<u64>, error: &ApiError) -> String {
    json!({ "type": "error", "id": id, "code": error.code().name(), "message": error.message() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Ask {
        serde_json::from_str(text).expect("a frame")
    }

    #[test]
    fn frames_are_read() {
        let Ask::Publish { id, topic, data, ack } = ask(r#"{"type":"publish","id":7,"topic":"t","data":"ü"}"#) else {
            panic!("a publication")
        };
        assert_eq!((id, topic.as_str(), ack), (Some(7), "t", AskedAck::Mesh));
        assert_eq!(data.bytes().expect("bytes"), "ü");
        assert_eq!(ask(r#"{"type":"ping"}"#), Ask::Ping { id: None });
        for wrong in [r#"{"type":"shout"}"#, r#"{"topic":"t"}"#, r#"{"type":"subscribe"}"#, "[]", "x"] {
            assert!(serde_json::from_str::<Ask>(wrong).is_err(), "{wrong}");
        }
        for wrong in [r#"{"data":"a","data_base64":"YQ=="}"#, "{}", r#"{"data_base64":"?"}"#] {
            assert!(serde_json::from_str::<Data>(wrong).expect("an object").bytes().is_err(), "{wrong}");
        }
    }
}
