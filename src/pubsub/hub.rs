//! The subscribers of this process: who wants which topics, and handing each message to them.
//!
//! Handing over never waits: it puts a pointer into each subscriber's bounded queue. What nobody here subscribes to is
//! not listened to between nodes either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::mailbox::{Delivery, Mailbox};
use super::message::Message;
use crate::mesh::Shards;
use crate::types::limits::{
    GOSSIP_SHARDS, SUBSCRIPTIONS_PER_NAMESPACE_MAX, SUBSCRIPTIONS_PER_SUBSCRIBER_MAX, TOPICS_PER_NAMESPACE_MAX,
};
use crate::types::topic::TopicPattern;
use crate::types::{Namespace, Topic, TopicFilter};

/// Topics are on the shards below this one; on it, processes tell each other what is subscribed and who is there.
pub(super) const CONTROL_SHARD: u8 = GOSSIP_SHARDS as u8 - 1;

/// The shard that a topic is on.
pub(super) fn shard_of(namespace: &Namespace, topic: &Topic) -> u8 {
    let hash = blake3::hash(topic.qualified(namespace).as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    (u32::from_le_bytes([a, b, c, d]) % u32::from(CONTROL_SHARD)) as u8
}

/// Why a subscription was not made.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubscribeError {
    /// One subscriber has too many.
    #[error("one connection may have {max} subscriptions: open another, or subscribe to a pattern")]
    SubscriberFull {
        /// How many it may have.
        max: usize,
    },
    /// A namespace has too many at this process.
    #[error("the namespace may have {max} subscriptions at one node")]
    NamespaceFull {
        /// How many it may have.
        max: usize,
    },
    /// A namespace has too many topics at this process.
    #[error("the namespace may have subscriptions to {max} topics at one node: use patterns")]
    TooManyTopics {
        /// How many it may have.
        max: usize,
    },
}

/// What happened here since the start. Each number only grows.
#[derive(Debug, Default)]
pub(super) struct HubCounters {
    /// Messages handed to subscribers.
    pub(super) delivered: AtomicU64,
    /// Messages that gave way in the queue of a slow subscriber.
    pub(super) dropped: AtomicU64,
}

/// The subscribers of one namespace.
#[derive(Debug, Default)]
struct Room {
    topics: HashMap<Topic, Vec<Arc<Mailbox>>>,
    /// Each subscriber with its patterns.
    patterns: Vec<(Arc<Mailbox>, Vec<TopicPattern>)>,
    subscriptions: usize,
}

impl Room {
    fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }
}

/// All of them.
pub(super) struct Hub {
    rooms: RwLock<HashMap<Namespace, Arc<RwLock<Room>>>>,
    /// How many subscriptions need each shard.
    shards: Mutex<[usize; GOSSIP_SHARDS]>,
    pub(super) counters: HubCounters,
    /// Told which shards are needed, and which topics came or went.
    listener: Box<dyn Fn(HubChange<'_>) + Send + Sync>,
}

/// What changed.
pub(super) enum HubChange<'a> {
    /// These shards are needed now.
    Shards(Shards),
    /// A topic has its first subscriber here, or lost its last: look which.
    Topic(&'a Namespace, &'a Topic),
}

impl Hub {
    pub(super) fn new(listener: impl Fn(HubChange<'_>) + Send + Sync + 'static) -> Hub {
        Hub {
            rooms: RwLock::default(),
            shards: Mutex::new([0; GOSSIP_SHARDS]),
            counters: HubCounters::default(),
            listener: Box::new(listener),
        }
    }

    fn room(&self, namespace: &Namespace) -> Option<Arc<RwLock<Room>>> {
        self.rooms.read().expect("no holder panics").get(namespace).cloned()
    }

    /// Hands a message to everybody here who wants it; how many that are.
    pub(super) fn deliver(&self, message: &Arc<Message>) -> usize {
        let Some(room) = self.room(&message.namespace) else { return 0 };
        let room = room.read().expect("no holder panics");
        let exact = room.topics.get(&message.topic).map_or(&[][..], Vec::as_slice);
        let mut dropped: u64 = exact.iter().map(|mailbox| mailbox.push(message)).sum();
        let mut count = exact.len();
        for (mailbox, patterns) in &room.patterns {
            let has_it = || exact.iter().any(|other| Arc::ptr_eq(other, mailbox));
            if patterns.iter().any(|pattern| pattern.matches(&message.topic)) && !has_it() {
                dropped += mailbox.push(message);
                count += 1;
            }
        }
        self.counters.delivered.fetch_add(count as u64, Ordering::Relaxed);
        if dropped > 0 {
            self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
        count
    }

    /// Tells everybody who listens on a shard that something on it was lost.
    pub(super) fn network_gap(&self, shard: u8) {
        let rooms: Vec<_> =
            self.rooms.read().expect("no holder panics").iter().map(|(n, r)| (n.clone(), r.clone())).collect();
        for (namespace, room) in rooms {
            let room = room.read().expect("no holder panics");
            let affected = room.topics.iter().filter(|(topic, _)| shard_of(&namespace, topic) == shard);
            affected.flat_map(|(_, mailboxes)| mailboxes).for_each(|mailbox| mailbox.push_network_gap());
            room.patterns.iter().for_each(|(mailbox, _)| mailbox.push_network_gap());
        }
    }

    /// The topics of a namespace that somebody here subscribes to by name.
    pub(super) fn topics(&self, namespace: &Namespace) -> Vec<Topic> {
        let Some(room) = self.room(namespace) else { return Vec::new() };
        room.read().expect("no holder panics").topics.keys().cloned().collect()
    }

    /// Every topic that somebody here subscribes to by name.
    pub(super) fn all_topics(&self) -> Vec<(Namespace, Topic)> {
        let rooms: Vec<Namespace> = self.rooms.read().expect("no holder panics").keys().cloned().collect();
        let of = |namespace: Namespace| {
            let topics = self.topics(&namespace);
            topics.into_iter().map(move |topic| (namespace.clone(), topic))
        };
        rooms.into_iter().flat_map(of).collect()
    }

    /// Whether somebody here subscribes to a topic by name.
    pub(super) fn has_topic(&self, namespace: &Namespace, topic: &Topic) -> bool {
        self.room(namespace).is_some_and(|room| room.read().expect("no holder panics").topics.contains_key(topic))
    }

    /// How many subscriptions there are.
    pub(super) fn subscriptions(&self) -> usize {
        let rooms: Vec<_> = self.rooms.read().expect("no holder panics").values().cloned().collect();
        rooms.iter().map(|room| room.read().expect("no holder panics").subscriptions).sum()
    }

    fn subscribe(
        &self,
        namespace: &Namespace,
        filter: &TopicFilter,
        mailbox: &Arc<Mailbox>,
    ) -> Result<(), SubscribeError> {
        let mut rooms = self.rooms.write().expect("no holder panics");
        let room = rooms.entry(namespace.clone()).or_default().clone();
        let mut room = room.write().expect("no holder panics");
        let full = room.is_full(filter);
        if let Some(error) = full {
            if room.is_empty() {
                rooms.remove(namespace);
            }
            return Err(error);
        }
        drop(rooms);
        room.subscriptions += 1;
        let mut appeared = false;
        match filter {
            TopicFilter::One(topic) => {
                let mailboxes = room.topics.entry(topic.clone()).or_default();
                appeared = mailboxes.is_empty();
                mailboxes.push(mailbox.clone());
            }
            TopicFilter::Pattern(pattern) => match room.patterns.iter_mut().find(|(m, _)| Arc::ptr_eq(m, mailbox)) {
                Some((_, patterns)) => patterns.push(pattern.clone()),
                None => room.patterns.push((mailbox.clone(), vec![pattern.clone()])),
            },
        }
        drop(room);
        self.count_shards(namespace, filter, |count| *count += 1);
        if appeared && let TopicFilter::One(topic) = filter {
            (self.listener)(HubChange::Topic(namespace, topic));
        }
        Ok(())
    }

    fn unsubscribe(&self, namespace: &Namespace, filter: &TopicFilter, mailbox: &Arc<Mailbox>) {
        let mut rooms = self.rooms.write().expect("no holder panics");
        let Some(room) = rooms.get(namespace).cloned() else { return };
        let mut room = room.write().expect("no holder panics");
        room.subscriptions -= 1;
        let mut gone = false;
        match filter {
            TopicFilter::One(topic) => {
                if let Some(mailboxes) = room.topics.get_mut(topic) {
                    mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
                    gone = mailboxes.is_empty();
                }
                if gone {
                    room.topics.remove(topic);
                }
            }
            TopicFilter::Pattern(pattern) => {
                for (_, patterns) in room.patterns.iter_mut().filter(|(m, _)| Arc::ptr_eq(m, mailbox)) {
                    patterns.retain(|other| other != pattern);
                }
                room.patterns.retain(|(_, patterns)| !patterns.is_empty());
            }
        }
        if room.is_empty() {
            rooms.remove(namespace);
        }
        drop(room);
        drop(rooms);
        self.count_shards(namespace, filter, |count| *count -= 1);
        if gone && let TopicFilter::One(topic) = filter {
            (self.listener)(HubChange::Topic(namespace, topic));
        }
    }

    fn count_shards(&self, namespace: &Namespace, filter: &TopicFilter, change: impl Fn(&mut usize)) {
        let mut shards = self.shards.lock().expect("no holder panics");
        match filter {
            TopicFilter::One(topic) => change(&mut shards[usize::from(shard_of(namespace, topic))]),
            // A pattern's topics may be on any of them.
            TopicFilter::Pattern(_) => shards.iter_mut().for_each(change),
        }
        let needed = (0..GOSSIP_SHARDS as u8).filter(|shard| shards[usize::from(*shard)] > 0);
        let needed = needed.fold(Shards::default(), Shards::with);
        // While the counts are held, so that the last word is the newest.
        (self.listener)(HubChange::Shards(needed));
    }
}

impl Room {
    fn is_full(&self, filter: &TopicFilter) -> Option<SubscribeError> {
        if self.subscriptions >= SUBSCRIPTIONS_PER_NAMESPACE_MAX {
            return Some(SubscribeError::NamespaceFull { max: SUBSCRIPTIONS_PER_NAMESPACE_MAX });
        }
        match filter {
            TopicFilter::One(topic)
                if self.topics.len() >= TOPICS_PER_NAMESPACE_MAX && !self.topics.contains_key(topic) =>
            {
                Some(SubscribeError::TooManyTopics { max: TOPICS_PER_NAMESPACE_MAX })
            }
            _ => None,
        }
    }
}

/// One subscriber with its queue and its subscriptions, which end with it.
pub struct Subscriber {
    hub: Arc<Hub>,
    namespace: Namespace,
    mailbox: Arc<Mailbox>,
    filters: Vec<TopicFilter>,
}

impl Subscriber {
    pub(super) fn new(hub: Arc<Hub>, namespace: Namespace) -> Subscriber {
        Subscriber { hub, namespace, mailbox: Arc::default(), filters: Vec::new() }
    }

    /// Subscribes to one thing more. Subscribing again to the same changes nothing.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe(&mut self, filter: TopicFilter) -> Result<(), SubscribeError> {
        if self.filters.contains(&filter) {
            return Ok(());
        }
        if self.filters.len() >= SUBSCRIPTIONS_PER_SUBSCRIBER_MAX {
            return Err(SubscribeError::SubscriberFull { max: SUBSCRIPTIONS_PER_SUBSCRIBER_MAX });
        }
        self.hub.subscribe(&self.namespace, &filter, &self.mailbox)?;
        self.filters.push(filter);
        Ok(())
    }

    /// Ends a subscription; whether there was one.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) -> bool {
        let Some(position) = self.filters.iter().position(|known| known == filter) else { return false };
        let filter = self.filters.swap_remove(position);
        self.hub.unsubscribe(&self.namespace, &filter, &self.mailbox);
        true
    }

    /// Where its messages wait.
    pub fn inbox(&self) -> Inbox {
        Inbox(self.mailbox.clone())
    }
}

/// The queue of a subscriber, for whoever takes from it.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Mailbox>);

impl Inbox {
    /// Waits until there is something; at most `count_max` messages at once. Cancel-safe.
    pub async fn take(&self, count_max: usize) -> Vec<Delivery> {
        self.0.take(count_max).await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for filter in std::mem::take(&mut self.filters) {
            self.hub.unsubscribe(&self.namespace, &filter, &self.mailbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pubsub::message::Publisher;

    fn named(name: &str) -> Namespace {
        name.parse().expect("a name")
    }

    fn filter(text: &str) -> TopicFilter {
        text.parse().expect("a filter")
    }

    fn publish(hub: &Hub, namespace: &str, topic: &str) -> usize {
        let publisher = Publisher::new(named(namespace), "p");
        let message = publisher.next(topic.parse().expect("a topic"), Bytes::new(), 0, |message| message);
        hub.deliver(&Arc::new(message))
    }

    #[tokio::test]
    async fn a_message_reaches_those_who_want_it_once_and_nobody_of_another_namespace() {
        let hub = Arc::new(Hub::new(|_| {}));
        let mut one = Subscriber::new(hub.clone(), named("a"));
        for text in ["t.x", "t.*", "t.>", "t.x"] {
            one.subscribe(filter(text)).expect("subscribed");
        }
        let mut other = Subscriber::new(hub.clone(), named("b"));
        other.subscribe(filter(">")).expect("subscribed");
        assert_eq!(publish(&hub, "a", "t.x"), 1);
        assert_eq!(publish(&hub, "a", "u"), 0);
        assert_eq!(one.inbox().take(9).await.len(), 1);
        assert!(one.unsubscribe(&filter("t.x")) && !one.unsubscribe(&filter("t.x")));
        assert_eq!(publish(&hub, "a", "t.x"), 1);
        assert_eq!(hub.subscriptions(), 3);
        drop(one);
        assert_eq!(publish(&hub, "a", "t.x"), 0);
        assert_eq!(publish(&hub, "b", "t.x"), 1);
        drop(other);
        assert!(hub.rooms.read().expect("no panic").is_empty());
        assert_eq!(*hub.shards.lock().expect("no panic"), [0; GOSSIP_SHARDS]);
    }

    #[test]
    fn shards_are_needed_while_somebody_subscribes() {
        let needed = Arc::new(Mutex::new((Shards::default(), Vec::new())));
        let told = needed.clone();
        let hub = Arc::new(Hub::new(move |change| {
            let mut told = told.lock().expect("no panic");
            match change {
                HubChange::Shards(shards) => told.0 = shards,
                HubChange::Topic(_, topic) => told.1.push(topic.to_string()),
            }
        }));
        let mut one = Subscriber::new(hub.clone(), named("a"));
        one.subscribe(filter("t")).expect("subscribed");
        let shard = shard_of(&named("a"), &"t".parse().expect("a topic"));
        assert_eq!(needed.lock().expect("no panic").0, Shards::default().with(shard));
        one.subscribe(filter("*")).expect("subscribed");
        assert!((0..GOSSIP_SHARDS as u8).all(|shard| needed.lock().expect("no panic").0.contains(shard)));
        drop(one);
        let (shards, topics) = needed.lock().expect("no panic").clone();
        assert_eq!(shards, Shards::default());
        assert_eq!(topics, ["t", "t"]);
    }

    #[test]
    fn a_subscriber_has_a_bounded_number_of_subscriptions() {
        let hub = Arc::new(Hub::new(|_| {}));
        let mut one = Subscriber::new(hub, named("a"));
        for n in 0..SUBSCRIPTIONS_PER_SUBSCRIBER_MAX {
            one.subscribe(filter(&n.to_string())).expect("subscribed");
        }
        let full = SubscribeError::SubscriberFull { max: SUBSCRIPTIONS_PER_SUBSCRIBER_MAX };
        assert_eq!(one.subscribe(filter("more")), Err(full));
    }
}
