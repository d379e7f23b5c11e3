//! Publishing, whatever it comes by: a message of a durable topic is stored first, then handed to those who listen.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use super::Face;
use super::error::{ApiError, Code, Effect, Outcome};
use super::pubsub_frames::AskedAck;
use crate::cluster::{ClusterError, Level, ReadTerms};
use crate::pubsub::durable::{ChangeTerms, DurableError, DurableTopics, NewMessage, StoredWhen};
use crate::pubsub::{Published, Publisher};
use crate::types::command::IdempotencyKey;
use crate::types::durable::MessageId;
use crate::types::{Namespace, Topic};

/// How long the set of a namespace's durable topics is believed.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Longest that a look at it may take.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Namespaces of which it is remembered.
const NAMESPACES_MAX: usize = 10_000;

/// A message that is published.
pub(super) struct Publication {
    pub(super) published: Published,
    /// Its number, where it is stored.
    pub(super) cursor: Option<u64>,
}

/// Publishes.
pub(super) async fn publish(
    face: &Face,
    publisher: &Publisher,
    topic: Topic,
    data: Bytes,
    ack: AskedAck,
    idempotency: Option<IdempotencyKey>,
    deadline: Instant,
) -> Result<Publication, ApiError> {
    let namespace = publisher.namespace();
    if ack != AskedAck::Durable && !face.durable.contains(face, namespace, &topic).await? {
        if idempotency.is_some() {
            let message =
                format!("topic `{topic}` is not durable: only what is stored can be told from its repetition");
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
        let published = face.pubsub.publish(publisher, topic, data, ack.wait()).await?;
        return Ok(Publication { published, cursor: None });
    }
    let name = idempotency.as_ref().map(|key| name_of(namespace, key));
    let message = face.pubsub.prepare(publisher, topic.clone(), data, name)?;
    let new = NewMessage {
        topic,
        publisher: publisher.name().to_owned(),
        message_id: message.id,
        data: message.data.to_vec(),
    };
    let stored = durable_topics(face, namespace).publish(new, change_terms(face, idempotency), deadline).await;
    let stored = stored.map_err(|error| refused(error, Effect::Writes))?;
    if stored.stored == StoredWhen::Before {
        // Those who listen have had it.
        let published = Published { id: message.id, seq: message.seq, subscribers: 0, peers: 0 };
        return Ok(Publication { published, cursor: Some(stored.seq) });
    }
    let (id, seq) = (message.id, message.seq);
    let published = face.pubsub.send(message, ack.wait()).await.unwrap_or_else(|error| {
        // It is stored, whoever of those who listen has missed it; sent again, it would be stored again.
        tracing::debug!(%namespace, %error, "a stored message is not told to everybody");
        Published { id, seq, subscribers: 0, peers: 0 }
    });
    Ok(Publication { published, cursor: Some(stored.seq) })
}

/// The name of a message that is the same however often it is sent.
fn name_of(namespace: &Namespace, IdempotencyKey { key, fingerprint }: &IdempotencyKey) -> MessageId {
    let mut hasher = blake3::Hasher::new();
    for part in [namespace.as_str().as_bytes(), key.as_bytes(), fingerprint] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash = *hasher.finalize().as_bytes();
    MessageId::from_bytes(std::array::from_fn(|place| hash[place]))
}

/// The durable topics of a namespace.
pub(super) fn durable_topics(face: &Face, namespace: &Namespace) -> DurableTopics {
    DurableTopics::new(face.cluster().clone(), namespace.clone())
}

/// What a namespace may store.
pub(super) fn change_terms(face: &Face, idempotency: Option<IdempotencyKey>) -> ChangeTerms {
    ChangeTerms { database_bytes_max: face.quotas().database_bytes_max, idempotency, ..ChangeTerms::default() }
}

/// What is refused, as HTTP.
pub(super) fn refused(error: DurableError, effect: Effect) -> ApiError {
    let message = error.to_string();
    match error {
        DurableError::NotDurable { topic } => {
            let message = format!("{message}; make it durable with PUT /v1/pubsub/durable?topic={topic}");
            ApiError::new(Code::Conflict, message).outcome(Outcome::NotExecuted)
        }
        DurableError::InvalidRetain(_) | DurableError::TooMany { .. } | DurableError::PublisherTooLong { .. } => {
            ApiError::new(Code::InvalidBody, message)
        }
        DurableError::TooManyTopics { .. } => ApiError::new(Code::TooMany, message).outcome(Outcome::NotExecuted),
        DurableError::DatabaseFull { .. } => ApiError::new(Code::QuotaExceeded, message).outcome(Outcome::NotExecuted),
        DurableError::MessageTooLarge { .. } => ApiError::new(Code::BodyTooLarge, message),
        DurableError::Gone { resume_after, .. } => {
            ApiError::new(Code::CursorTooOld, message).details(json!({ "resume_after": resume_after }))
        }
        DurableError::Cluster(error) => ApiError::cluster(error, effect),
    }
}

/// Makes sure that there is such a namespace: a credential of the operator opens any name.
///
/// # Errors
/// [`Code::NoSuchNamespace`].
pub(super) async fn check_namespace(face: &Face, namespace: &Namespace) -> Result<(), ApiError> {
    if face.durable.namespace_exists(face, namespace).await {
        return Ok(());
    }
    Err(ApiError::cluster(ClusterError::NoSuchNamespace(namespace.clone()), Effect::Reads))
}

/// Which topics are durable, as this process last saw.
#[derive(Debug, Default)]
pub(super) struct KnownDurable {
    namespaces: Mutex<HashMap<Namespace, Seen>>,
    /// Changes made through this process that it has not seen yet: their place in the log.
    changed: Mutex<HashMap<Namespace, u64>>,
}

/// What was seen of a namespace.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    /// `None`: there is no such namespace.
    topics: Option<Arc<HashSet<Topic>>>,
}

impl KnownDurable {
    /// Whether a topic is durable: a topic that has become so through another process is known within a second.
    ///
    /// # Errors
    /// When nothing is known and nobody could be asked: what is to be stored would not be.
    async fn contains(&self, face: &Face, namespace: &Namespace, topic: &Topic) -> Result<bool, ApiError> {
        let seen = self.look(face, namespace).await.map_err(|error| refused(error, Effect::Reads))?;
        Ok(seen.topics.is_some_and(|topics| topics.contains(topic)))
    }

    /// Whether there is such a namespace, as far as can be told: one that was dropped is known within a second.
    pub(super) async fn namespace_exists(&self, face: &Face, namespace: &Namespace) -> bool {
        self.look(face, namespace).await.map_or(true, |seen| seen.topics.is_some())
    }

    /// What is known of a namespace is out of date since the change with this place in the log.
    pub(super) fn changed(&self, namespace: &Namespace, index: u64) {
        let mut changed = self.changed.lock().expect("nobody panics while holding it");
        let newest = changed.entry(namespace.clone()).or_default();
        *newest = index.max(*newest);
        drop(changed);
        self.namespaces.lock().expect("nobody panics while holding it").remove(namespace);
    }

    /// What is known, or was when nothing newer can be had.
    async fn look(&self, face: &Face, namespace: &Namespace) -> Result<Seen, DurableError> {
        let known = self.namespaces.lock().expect("nobody panics while holding it").get(namespace).cloned();
        if let Some(seen) = &known
            && seen.at.elapsed() < KNOWN_FOR
        {
            return Ok(seen.clone());
        }
        let topics = durable_topics(face, namespace);
        let min_index = self.changed.lock().expect("nobody panics while holding it").get(namespace).copied();
        // What is here will do; a gateway asks a node. But a namespace may be so new that it is not here yet.
        let here = ReadTerms { min_index, ..ReadTerms::at(Level::None) };
        let mut found = topics.configured(here, Instant::now() + LOOK_MAX).await;
        if let Err(DurableError::Cluster(ClusterError::NoSuchNamespace(_))) = found {
            found = topics.configured(ReadTerms::default(), Instant::now() + LOOK_MAX).await;
        }
        let topics = match found {
            Ok(found) => {
                let topics = found.value.topics.into_iter().map(|configured| configured.topic);
                Some(Arc::new(topics.collect()))
            }
            Err(DurableError::Cluster(ClusterError::NoSuchNamespace(_))) => None,
            Err(error) => {
                tracing::debug!(%namespace, %error, "which topics are durable is not known for the moment");
                return known.ok_or(error);
            }
        };
        let seen = Seen { at: Instant::now(), topics };
        // Held to the end: what changes meanwhile is noted after this, and forgets it.
        let mut changed = self.changed.lock().expect("nobody panics while holding it");
        if changed.get(namespace).copied() != min_index {
            return Ok(seen);
        }
        changed.remove(namespace);
        let mut namespaces = self.namespaces.lock().expect("nobody panics while holding it");
        if namespaces.len() >= NAMESPACES_MAX {
            namespaces.retain(|_, seen| seen.at.elapsed() < KNOWN_FOR);
        }
        namespaces.insert(namespace.clone(), seen.clone());
        Ok(seen)
    }
}
