//! Pub/sub: messages to whoever listens now, across the cluster, at most once; and durable topics, whose messages are
//! stored and can be read later ([`durable`], [`follow`]).
//!
//! What is live does not pass through the log, so it works while Raft has no leader. What is promised of it:
//!
//! * A message reaches every subscriber that keeps up, unless nodes lose it between them; messages of one publisher in
//!   one topic come in the order in which they were published, each once.
//! * What a subscriber misses, it is told: a [`Gap`] where messages gave way in its queue or were lost between nodes. And
//!   each message carries its place among its publisher's in its topic.
//! * Subscribers here never wait for other nodes, and no subscriber waits for another: queues are bounded, and the oldest
//!   message gives way.
//! * Topics of two namespaces have nothing in common: everything is kept, sent and handed over by namespace.
//!
//! In reading order: [`message`], [`mailbox`] (what waits for one subscriber), [`hub`] (who subscribes here), [`frame`]
//! and [`order`] (what travels, and its order), [`relay`] (to other processes and from them), [`presence`] (who is there),
//! [`durable`] and [`follow`] (what is stored, and reading it).

pub mod durable;
mod follow;
mod frame;
mod hub;
mod mailbox;
mod message;
mod order;
mod presence;
mod relay;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

use self::frame::{Content, News, Piece};
use self::hub::{CONTROL_SHARD, Hub, HubChange, shard_of};
use self::presence::{LOOK_EVERY, Presence, TELL_EVERY};
use self::relay::{Outbox, Receiver, Sender};
use crate::mesh::{GossipInbox, Gossiped, Mesh, Shards};
use crate::tasks::Tasks;
use crate::types::durable::MessageId;
use crate::types::limits::MESSAGE_BYTES_MAX;
use crate::types::{Namespace, Topic};

pub use follow::{Begin, Followed, Follower};
pub use hub::{Inbox, SubscribeError, Subscriber};
pub use mailbox::{Delivery, Gap};
pub use message::{Message, Publisher, Rendering};
pub use presence::Member;

/// When a publisher is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// When the subscribers here have it in their queues and it waits for the other nodes.
    Local,
    /// When it is on its way to the other nodes.
    Mesh,
}

/// What is known of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name.
    pub id: MessageId,
    /// Its place among the publisher's in the topic.
    pub seq: u64,
    /// To how many subscribers here it was handed.
    pub subscribers: usize,
    /// To how many other processes it goes, which have subscribers of their own.
    pub peers: usize,
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishError {
    /// It is too large.
    #[error("the message has {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// Subscribers here have it; those elsewhere do not, for more is published than can be sent to other nodes.
    #[error("more is published than can be sent to the other nodes: publish more slowly")]
    Congested,
}

/// How long a publisher waits for its message to be on its way.
const MESH_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long changes are collected before they are told.
const NEWS_PAUSE: Duration = Duration::from_millis(50);

/// Most entries of one piece of news: with the longest topics it fits into a frame.
const NEWS_ENTRIES_MAX: usize = 512;

/// What happened since the start. Each number only grows, but `subscriptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PubSubCounters {
    /// Messages published at this process.
    pub published: u64,
    /// Messages handed to subscribers of this process.
    pub delivered: u64,
    /// Messages that gave way because their subscriber was slow.
    pub dropped: u64,
    /// Messages that other processes did not get because too many waited.
    pub congested: u64,
    /// Subscriptions that there are.
    pub subscriptions: u64,
}

/// Pub/sub of this process. Clones are the same.
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    mesh: Mesh,
    hub: Arc<Hub>,
    outbox: Arc<Outbox>,
    sender: Arc<Sender>,
    presence: Arc<Mutex<Presence>>,
    changes: Arc<Changes>,
    published: AtomicU64,
    congested: AtomicU64,
}

/// A message on its way.
struct Sending {
    published: Published,
    /// Whether there was room for it on the way to the others.
    fits: bool,
    /// What became of it there, for who asked.
    told: Option<oneshot::Receiver<Gossiped>>,
}

fn check_size(data: &Bytes) -> Result<(), PublishError> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(PublishError::TooLarge { bytes: data.len() });
    }
    Ok(())
}

/// What the other processes have not been told yet.
#[derive(Default)]
struct Changes {
    pending: Mutex<PendingChanges>,
    some: Notify,
}

#[derive(Default)]
struct PendingChanges {
    topics: HashSet<(Namespace, Topic)>,
    members: Vec<(Namespace, Topic, Member, bool)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub").field("counters", &self.counters()).finish()
    }
}

impl PubSub {
    /// Starts: tasks run on `tasks` until it is stopped.
    pub fn start(mesh: Mesh, inbox: GossipInbox, tasks: &Tasks) -> PubSub {
        let (changes, paused) = (Arc::<Changes>::default(), Arc::new(Mutex::new(Shards::default())));
        let hub = Arc::new(Hub::new(listener(mesh.clone(), changes.clone(), paused.clone())));
        mesh.listen_on_shards(Shards::default().with(CONTROL_SHARD));
        let inner = Inner {
            hub: hub.clone(),
            outbox: Arc::new(Outbox::new()),
            sender: Arc::new(Sender::new(mesh.clone())),
            mesh,
            presence: Arc::default(),
            changes,
            published: AtomicU64::new(0),
            congested: AtomicU64::new(0),
        };
        let presence = inner.presence.clone();
        let receiver = Receiver { hub, presence, paused, orders: Default::default(), runs: Default::default() };
        tasks.spawn_until_cancelled(receiver.run(inbox));
        tasks.spawn_until_cancelled(relay::send(inner.outbox.clone(), inner.sender.clone()));
        let pubsub = PubSub { inner: Arc::new(inner) };
        tasks.spawn_until_cancelled(pubsub.clone().tell());
        pubsub
    }

    /// A subscriber of a namespace, who subscribes to nothing yet.
    pub fn subscriber(&self, namespace: Namespace) -> Subscriber {
        Subscriber::new(self.inner.hub.clone(), namespace)
    }

    /// Publishes a message. Dropping the future leaves open whether it was sent to other nodes; the subscribers here have
    /// it when the future has been polled once.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(
        &self,
        publisher: &Publisher,
        topic: Topic,
        data: Bytes,
        ack: Ack,
    ) -> Result<Published, PublishError> {
        check_size(&data)?;
        let sending = publisher.next(topic, data, unix_ms(), |message| self.hand_over(Arc::new(message), ack));
        self.settle(sending).await
    }

    /// Makes a message without publishing it, for whoever stores it first. A `name` of its own is for a message that may
    /// be sent again.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`].
    pub fn prepare(
        &self,
        publisher: &Publisher,
        topic: Topic,
        data: Bytes,
        name: Option<MessageId>,
    ) -> Result<Arc<Message>, PublishError> {
        check_size(&data)?;
        Ok(publisher.next(topic, data, unix_ms(), |message| {
            let id = name.unwrap_or(message.id);
            Arc::new(message.named(id))
        }))
    }

    /// Publishes a message that was prepared.
    ///
    /// # Errors
    /// [`PublishError::Congested`].
    pub async fn send(&self, message: Arc<Message>, ack: Ack) -> Result<Published, PublishError> {
        self.settle(self.hand_over(message, ack)).await
    }

    /// Hands a message to the subscribers here, and puts it on its way to the others.
    fn hand_over(&self, message: Arc<Message>, ack: Ack) -> Sending {
        let shard = shard_of(&message.namespace, &message.topic);
        let peers = self.inner.mesh.shard_listeners(shard);
        let (tell, told) = match ack {
            Ack::Mesh if peers > 0 => {
                let (tell, told) = oneshot::channel();
                (Some(tell), Some(told))
            }
            _ => (None, None),
        };
        let subscribers = self.inner.hub.deliver(&message);
        let published = Published { id: message.id, seq: message.seq, subscribers, peers };
        let fits = peers == 0 || self.inner.outbox.push(shard, message, tell);
        Sending { published, fits, told }
    }

    async fn settle(&self, sending: Sending) -> Result<Published, PublishError> {
        let Sending { published, fits, told } = sending;
        self.inner.published.fetch_add(1, Ordering::Relaxed);
        let congested = || {
            self.inner.congested.fetch_add(1, Ordering::Relaxed);
            PublishError::Congested
        };
        if !fits {
            return Err(congested());
        }
        match told {
            None => Ok(published),
            Some(told) => match tokio::time::timeout(MESH_WAIT_MAX, told).await {
                Ok(Ok(Gossiped::Sent { peers })) => Ok(Published { peers, ..published }),
                Ok(Ok(Gossiped::NoListener)) => Ok(Published { peers: 0, ..published }),
                _ => Err(congested()),
            },
        }
    }

    /// Topics of a namespace with a subscriber by name anywhere in the cluster, as far as it is known here: changes
    /// elsewhere are known within some 100 ms.
    pub fn topics(&self, namespace: &Namespace) -> Vec<Topic> {
        let mut topics: BTreeSet<Topic> = self.inner.hub.topics(namespace).into_iter().collect();
        topics.extend(lock(&self.inner.presence).topics_elsewhere(namespace).cloned());
        topics.into_iter().collect()
    }

    /// Everybody in a topic, anywhere in the cluster.
    pub fn members(&self, namespace: &Namespace, topic: &Topic) -> Vec<Member> {
        lock(&self.inner.presence).members(&(namespace.clone(), topic.clone()))
    }

    /// Names a member of a topic until the returned value is dropped. Coming and going are told in the topic.
    pub fn join(&self, publisher: Arc<Publisher>, topic: Topic, id: String, meta: Option<String>) -> Attendance {
        let member = Member { id, meta, joined_at: unix_ms() / 1000 };
        let namespace = publisher.namespace().clone();
        let is_new = lock(&self.inner.presence).join((namespace.clone(), topic.clone()), member.clone());
        if is_new {
            self.tell_member(&publisher, &topic, member.clone(), true);
        }
        Attendance { pubsub: self.clone(), publisher, topic, id: member.id }
    }

    /// What happened since the start.
    pub fn counters(&self) -> PubSubCounters {
        let counters = &self.inner.hub.counters;
        PubSubCounters {
            published: self.inner.published.load(Ordering::Relaxed),
            delivered: counters.delivered.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            congested: self.inner.congested.load(Ordering::Relaxed),
            subscriptions: self.inner.hub.subscriptions() as u64,
        }
    }

    fn tell_member(&self, publisher: &Publisher, topic: &Topic, member: Member, there: bool) {
        let data = presence_text(&member, there);
        let change = (publisher.namespace().clone(), topic.clone(), member, there);
        lock(&self.inner.changes.pending).members.push(change);
        self.inner.changes.some.notify_one();
        let hand_over = |message| self.hand_over(Arc::new(message), Ack::Local);
        if !publisher.next(topic.clone(), data, unix_ms(), hand_over).fits {
            self.inner.congested.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the other processes what changes here, and from time to time everything; and notices when one is silent.
    async fn tell(self) {
        let mut whole = tokio::time::interval(TELL_EVERY);
        whole.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Who begins to listen has heard nothing yet.
        let mut listeners = self.inner.mesh.watch_shard_listeners();
        let mut known = 0;
        loop {
            tokio::select! {
                _ = whole.tick() => self.tell_all().await,
                _ = look.tick() => self.expire(),
                () = self.inner.changes.some.notified() => {
                    tokio::time::sleep(NEWS_PAUSE).await;
                    self.tell_changes().await;
                }
                Ok(()) = listeners.changed() => {
                    let now = listeners.borrow_and_update()[usize::from(CONTROL_SHARD)];
                    if std::mem::replace(&mut known, now) < now {
                        self.tell_all().await;
                    }
                }
            }
        }
    }

    async fn tell_changes(&self) {
        let PendingChanges { topics, members } = std::mem::take(&mut *lock(&self.inner.changes.pending));
        let topics = topics.into_iter().map(|(namespace, topic)| {
            let there = self.inner.hub.has_topic(&namespace, &topic);
            (namespace, topic, there)
        });
        for news in pieces(topics.collect(), members) {
            self.inner.sender.send(CONTROL_SHARD, Content::News(news), false).await;
        }
    }

    async fn tell_all(&self) {
        let topics = self.inner.hub.all_topics().into_iter().map(|(namespace, topic)| (namespace, topic, true));
        let members = lock(&self.inner.presence).all_here();
        let mut news = pieces(topics.collect(), members);
        if news.is_empty() {
            news.push(News::default());
        }
        let count = news.len();
        for (position, mut news) in news.into_iter().enumerate() {
            news.whole = Some(Piece { first: position == 0, last: position + 1 == count });
            self.inner.sender.send(CONTROL_SHARD, Content::News(news), false).await;
        }
    }

    /// Tells subscribers here that members of a dead process are gone: it cannot do it any more.
    fn expire(&self) {
        let left = lock(&self.inner.presence).expire(Instant::now());
        for ((namespace, topic), member) in left {
            let nobody = Publisher::new(namespace, "debros");
            nobody.next(topic, presence_text(&member, false), unix_ms(), |message| {
                self.inner.hub.deliver(&Arc::new(message));
            });
        }
    }
}

/// What the hub's changes mean for the mesh and for the other processes.
fn listener(
    mesh: Mesh,
    changes: Arc<Changes>,
    paused: Arc<Mutex<Shards>>,
) -> impl Fn(HubChange<'_>) + Send + Sync + 'static {
    move |change| match change {
        HubChange::Shards(shards) => {
            let needed = shards.with(CONTROL_SHARD);
            let mut paused = lock(&paused);
            *paused = (0..CONTROL_SHARD).filter(|shard| !needed.contains(*shard)).fold(*paused, Shards::with);
            mesh.listen_on_shards(needed);
        }
        HubChange::Topic(namespace, topic) => {
            lock(&changes.pending).topics.insert((namespace.clone(), topic.clone()));
            changes.some.notify_one();
        }
    }
}

/// News that fit into a frame each.
fn pieces(mut topics: Vec<(Namespace, Topic, bool)>, mut members: Vec<(Namespace, Topic, Member, bool)>) -> Vec<News> {
    let mut pieces = Vec::new();
    while !topics.is_empty() || !members.is_empty() {
        let topics = topics.drain(..topics.len().min(NEWS_ENTRIES_MAX)).collect();
        let members = members.drain(..members.len().min(NEWS_ENTRIES_MAX)).collect();
        pieces.push(News { whole: None, topics, members });
    }
    pieces
}

/// The message that tells of a member.
fn presence_text(member: &Member, there: bool) -> Bytes {
    let kind = if there { "presence.join" } else { "presence.leave" };
    let mut text = json!({ "type": kind, "member_id": member.id, "timestamp": unix_ms() / 1000 });
    // It was checked when the member came.
    if let Some(meta) = member.meta.as_deref().and_then(|meta| serde_json::from_str(meta).ok()) {
        let meta: serde_json::Value = meta;
        text["meta"] = meta;
    }
    Bytes::from(text.to_string())
}

/// A member's presence by one socket; it goes when this is dropped.
pub struct Attendance {
    pubsub: PubSub,
    publisher: Arc<Publisher>,
    topic: Topic,
    id: String,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let place = (self.publisher.namespace().clone(), self.topic.clone());
        let left = lock(&self.pubsub.inner.presence).leave(&place, &self.id);
        if let Some(member) = left {
            self.pubsub.tell_member(&self.publisher, &self.topic, member, false);
        }
    }
}
