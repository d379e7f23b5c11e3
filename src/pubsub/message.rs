//! A message, who published it, and where it stands among that publisher's others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use crate::types::durable::MessageId;
use crate::types::limits::PUBLISHER_TOPICS_MAX;
use crate::types::{Namespace, Topic};

/// A message as subscribers get it. Shared by all of them.
#[derive(Debug)]
pub struct Message {
    /// Whose.
    pub namespace: Namespace,
    /// In what topic.
    pub topic: Topic,
    /// Its name.
    pub id: MessageId,
    /// Who published it, as the process that took it had authenticated them.
    pub publisher: Arc<str>,
    /// Its place among what this publisher published in this topic, from 1: where one is missing, it was lost.
    pub seq: u64,
    /// When it was taken, in milliseconds since 1970.
    pub unix_ms: i64,
    /// What it says.
    pub data: Bytes,
    renderings: [OnceLock<Bytes>; Rendering::COUNT],
}

/// A form in which many subscribers get the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// Data, time and topic.
    Envelope,
    /// All that is known.
    Framed,
}

impl Rendering {
    const COUNT: usize = 2;
}

impl Message {
    /// The same under another name.
    pub(super) fn named(self, id: MessageId) -> Message {
        Message { id, ..self }
    }

    /// What it costs to keep it.
    pub fn bytes(&self) -> usize {
        // The topic and a rendering that is about as large as the data.
        self.data.len() + self.topic.as_str().len() + 64
    }

    /// Its bytes in a form: made once, whoever asks first.
    pub fn rendered(&self, rendering: Rendering, render: impl FnOnce(&Message) -> Bytes) -> Bytes {
        self.renderings[rendering as usize].get_or_init(|| render(self)).clone()
    }
}

/// What is known of a message besides its place.
pub(super) struct Parts {
    pub(super) namespace: Namespace,
    pub(super) topic: Topic,
    pub(super) id: MessageId,
    pub(super) publisher: Arc<str>,
    pub(super) seq: u64,
    pub(super) unix_ms: i64,
    pub(super) data: Bytes,
}

impl From<Parts> for Message {
    fn from(parts: Parts) -> Message {
        let Parts { namespace, topic, id, publisher, seq, unix_ms, data } = parts;
        Message { namespace, topic, id, publisher, seq, unix_ms, data, renderings: Default::default() }
    }
}

/// Somebody who publishes: a socket, or all requests of one credential at this process.
#[derive(Debug)]
pub struct Publisher {
    namespace: Namespace,
    name: Arc<str>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    publisher: u64,
    number: u64,
    topics: HashMap<Topic, u64>,
}

impl Counts {
    fn new() -> Counts {
        let publisher = getrandom::u64().expect("the system has random numbers");
        Counts { publisher, number: 0, topics: HashMap::new() }
    }

    fn next(&mut self, topic: &Topic) -> (MessageId, u64) {
        if self.topics.len() >= PUBLISHER_TOPICS_MAX && !self.topics.contains_key(topic) {
            // Numbers begin again, so it must be somebody else who counts.
            *self = Counts::new();
        }
        self.number += 1;
        let seq = self.topics.entry(topic.clone()).or_default();
        *seq += 1;
        (MessageId::counted(self.publisher, self.number), *seq)
    }
}

impl Publisher {
    /// A publisher who has published nothing yet. `name` is who it was authenticated as.
    pub fn new(namespace: Namespace, name: &str) -> Publisher {
        Publisher { namespace, name: Arc::from(name), counts: Mutex::new(Counts::new()) }
    }

    /// Where it publishes.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Who it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the next message and passes it on, before another of this publisher is made.
    pub(super) fn next<T>(&self, topic: Topic, data: Bytes, unix_ms: i64, pass_on: impl FnOnce(Message) -> T) -> T {
        let mut counts = self.counts.lock().expect("nobody panics while holding it");
        let (id, seq) = counts.next(&topic);
        let (namespace, publisher) = (self.namespace.clone(), self.name.clone());
        pass_on(Parts { namespace, topic, id, publisher, seq, unix_ms, data }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publishers_messages_are_numbered_by_topic_and_named_apart() {
        let publisher = Publisher::new(Namespace::default_namespace(), "key:1");
        let next = |topic: &str| {
            publisher.next(topic.parse().expect("a topic"), Bytes::new(), 0, |message| (message.seq, message.id))
        };
        let (first, second, other) = (next("a"), next("a"), next("b"));
        assert_eq!((first.0, second.0, other.0), (1, 2, 1));
        let number = |id: MessageId| u128::from_be_bytes(*id.as_bytes());
        assert_eq!([second, other].map(|(_, id)| number(id) - number(first.1)), [1, 2]);
    }

    fn publisher_of(id: MessageId) -> [u8; 8] {
        std::array::from_fn(|place| id.as_bytes()[place])
    }

    #[test]
    fn a_publisher_in_too_many_topics_begins_anew() {
        let publisher = Publisher::new(Namespace::default_namespace(), "key:1");
        let next = |topic: String| {
            publisher.next(topic.parse().expect("a topic"), Bytes::new(), 0, |message| {
                (message.seq, publisher_of(message.id))
            })
        };
        let (_, before) = next("0".to_owned());
        for n in 1..PUBLISHER_TOPICS_MAX {
            next(n.to_string());
        }
        assert_eq!(next("0".to_owned()), (2, before));
        let (seq, after) = next("one more".to_owned());
        assert!(seq == 1 && after != before);
        assert_eq!(next("0".to_owned()), (1, after));
    }
}
