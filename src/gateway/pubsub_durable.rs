//! Readers of durable topics on a socket or a stream of events.
//!
//! A reader has what is stored from the log and nothing from the live topic, so that there is no seam between what was
//! and what comes. It waits for its client: what is stored is not lost meanwhile, unless it is kept no longer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Face;
use super::error::{ApiError, Code, Effect};
use super::publication::{durable_topics, refused};
use super::pubsub_frames as frames;
use crate::cluster::ReadTerms;
use crate::pubsub::{Begin, Followed, Follower};
use crate::types::{Namespace, TopicFilter};

/// Readers of one socket: each looks by itself.
const READERS_MAX: usize = 16;

/// How long a reader waits before it looks again whether it is to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause after a failure: there is no leader for a moment, or no node is reached.
const RETRY: Duration = Duration::from_millis(200);

/// A reader of what is stored. A topic that is named must be durable; of a pattern, topics may become so later.
///
/// # Errors
/// [`Code::Conflict`] for a topic that is not durable.
pub(super) async fn follower(
    face: &Face,
    namespace: &Namespace,
    filter: TopicFilter,
    begin: Begin,
    deadline: Instant,
) -> Result<Follower, ApiError> {
    let topics = durable_topics(face, namespace);
    if let TopicFilter::One(topic) = &filter {
        let found = topics.configured(ReadTerms::default(), deadline).await;
        let found = found.map_err(|error| refused(error, Effect::Reads))?;
        if !found.value.topics.iter().any(|configured| configured.topic == *topic) {
            let message = format!(
                "topic `{topic}` is not durable: subscribe without `after`, or make it so with PUT /v1/pubsub/durable"
            );
            return Err(ApiError::new(Code::Conflict, message));
        }
    }
    Follower::begin(topics, filter, begin, deadline).await.map_err(|error| refused(error, Effect::Reads))
}

/// The next thing that a reader comes to; failures are waited out.
pub(super) async fn next(follower: &mut Follower, patience: Duration) -> Followed {
    match follower.next(patience).await {
        Ok(followed) => followed,
        Err(error) => {
            tracing::debug!(%error, "what is stored cannot be read for the moment");
            tokio::time::sleep(RETRY).await;
            Followed::Quiet
        }
    }
}

/// The readers of one socket.
#[derive(Default)]
pub(super) struct Readers {
    known: Mutex<HashMap<String, CancellationToken>>,
    begun: Mutex<Vec<(String, Follower, CancellationToken)>>,
    some: Notify,
}

impl Readers {
    /// Takes a reader in; one of the same topic before it ends.
    ///
    /// # Errors
    /// [`Code::TooMany`].
    pub(super) fn start(&self, topic: &str, follower: Follower) -> Result<(), ApiError> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        if known.len() >= READERS_MAX && !known.contains_key(topic) {
            let message = format!("one connection may read {READERS_MAX} durable topics: read a pattern");
            return Err(ApiError::new(Code::TooMany, message));
        }
        let stop = CancellationToken::new();
        if let Some(before) = known.insert(topic.to_owned(), stop.clone()) {
            before.cancel();
        }
        drop(known);
        let reader = (topic.to_owned(), follower, stop);
        self.begun.lock().expect("nobody panics while holding it").push(reader);
        self.some.notify_one();
        Ok(())
    }

    /// Ends a reader; whether there was one.
    pub(super) fn stop(&self, topic: &str) -> bool {
        let known = self.known.lock().expect("nobody panics while holding it").remove(topic);
        known.is_some_and(|stop| {
            stop.cancel();
            true
        })
    }

    /// Lets all of them read.
    pub(super) async fn run(&self, out: &mpsc::Sender<String>) -> Infallible {
        let mut reading: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = self.some.notified() => {
                    let begun = std::mem::take(&mut *self.begun.lock().expect("nobody panics while holding it"));
                    for (topic, follower, stop) in begun {
                        reading.push(Box::pin(async move {
                            stop.run_until_cancelled(read(&topic, follower, out)).await;
                        }));
                    }
                }
                Some(()) = reading.next(), if !reading.is_empty() => {}
            }
        }
    }
}

async fn read(topic: &str, mut follower: Follower, out: &mpsc::Sender<String>) {
    loop {
        // Put into frames one after the other: they are larger than what they tell.
        let told = match next(&mut follower, PATIENCE).await {
            Followed::Messages(messages) => {
                let mut sent = Ok(());
                for message in messages {
                    sent = sent.and(out.send(frames::stored(&message)).await);
                }
                sent
            }
            Followed::Gap { after } => out.send(frames::retention_gap(topic, after).to_string()).await,
            Followed::Quiet => Ok(()),
        };
        if told.is_err() {
            return;
        }
    }
}
