//! Messages as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event's id is the message's. Who comes back with `Last-Event-ID` is told with a `gap` that what was published
//! meanwhile is lost: nothing is kept. Of a durable topic the id is the message's cursor, and who comes back with it, to
//! whatever node, misses nothing.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use super::call::Call;
use super::error::ApiError;
use super::publication::check_namespace;
use super::pubsub_api::invalid;
use super::pubsub_durable as durable;
use super::pubsub_frames::{self as frames, After};
use super::reply::Reply;
use crate::pubsub::{Delivery, Followed, Follower, Subscriber};
use crate::types::TopicFilter;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream without events is told so often that somebody is still there; proxies cut silent connections after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the credential is looked at again.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(2);

/// Messages taken from the queue at once.
const TAKE_MAX: usize = 64;

/// Answers with a stream.
pub(super) async fn open(call: Call) -> Result<Reply, ApiError> {
    check_namespace(&call.face, call.grant()?.namespace()).await?;
    let filters = call.query.all("topic").map(|topic| topic.parse().map_err(invalid));
    let filters: Vec<TopicFilter> = filters.collect::<Result<_, _>>()?;
    if filters.is_empty() {
        return Err(ApiError::parameter("topic", "`topic` is missing"));
    }
    let last = call.headers.get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    // Cursors have fewer digits than the ids of messages that nobody keeps.
    let after = last.filter(|id| id.len() < 32).or(call.query.one("after")?).map(|text| After::Word(text.to_owned()));
    let mut first = "retry: 1000\nevent: ready\ndata: {}\n\n".to_owned();
    let source = match after {
        Some(after) => Source::Stored(Box::new(stored(&call, filters, &after).await?)),
        None => {
            let mut subscriber = call.face.pubsub.subscriber(call.grant()?.namespace().clone());
            for filter in filters {
                subscriber.subscribe(filter)?;
            }
            if last.is_some() {
                first.push_str(&event("gap", None, &json!({ "type": "gap", "reason": "away" }).to_string()));
            }
            Source::Live(subscriber)
        }
    };
    let listener = Listener { call, source, told: Instant::now(), checked: Instant::now() };
    let events = stream::unfold((Some(listener), Some(first)), |(listener, first)| async move {
        if let Some(first) = first {
            return Some((frame(first), (listener, None)));
        }
        let (text, listener) = listener?.next().await?;
        Some((frame(text), (Some(listener), None)))
    });
    let mut reply = Reply::new(Either::Right(StreamBody::new(events).map_err(|never| match never {}).boxed_unsync()));
    *reply.status_mut() = StatusCode::OK;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

fn frame(text: String) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(text)))
}

fn event(name: &str, id: Option<&str>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// A reader of one durable topic, or of one pattern: the id of an event has to tell where all of it is.
async fn stored(call: &Call, filters: Vec<TopicFilter>, after: &After) -> Result<Follower, ApiError> {
    let [filter] = <[TopicFilter; 1]>::try_from(filters)
        .map_err(|_| ApiError::parameter("topic", "with `after` there is one `topic`, which may be a pattern"))?;
    durable::follower(&call.face, call.grant()?.namespace(), filter, after.begin()?, call.deadline).await
}

/// Where messages come from.
enum Source {
    Live(Subscriber),
    Stored(Box<Follower>),
}

impl Source {
    /// The next events; none when nothing came for a while.
    async fn next(&mut self) -> String {
        match self {
            Source::Live(subscriber) => {
                let deliveries = tokio::time::timeout(CREDENTIAL_CHECK, subscriber.inbox().take(TAKE_MAX)).await;
                deliveries.unwrap_or_default().iter().map(text_of).collect()
            }
            Source::Stored(follower) => match durable::next(follower, CREDENTIAL_CHECK).await {
                Followed::Messages(messages) => messages
                    .iter()
                    .map(|message| event("message", Some(&message.seq.to_string()), &frames::stored(message)))
                    .collect(),
                Followed::Gap { after } => {
                    event("gap", None, &frames::retention_gap(follower.topic(), after).to_string())
                }
                Followed::Quiet => String::new(),
            },
        }
    }
}

/// One stream.
struct Listener {
    call: Call,
    source: Source,
    told: Instant,
    checked: Instant,
}

impl Listener {
    /// The next piece of text; `None` when there will be nothing more.
    async fn next(mut self) -> Option<(String, Listener)> {
        let stopping = self.call.face.stopping().clone();
        let text = stopping.run_until_cancelled(self.events()).await??;
        self.told = Instant::now();
        Some((text, self))
    }

    async fn events(&mut self) -> Option<String> {
        loop {
            if self.checked.elapsed() >= CREDENTIAL_CHECK {
                self.checked = Instant::now();
                let Call { face, grant, .. } = &self.call;
                let namespace = grant.as_ref()?.namespace();
                if !self.call.still_allowed().await || !face.durable.namespace_exists(face, namespace).await {
                    return None;
                }
            }
            let text = self.source.next().await;
            if !text.is_empty() {
                return Some(text);
            }
            if self.told.elapsed() >= HEARTBEAT {
                return Some(":\n\n".to_owned());
            }
        }
    }
}

fn text_of(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Gap(gap) => event("gap", None, &frames::gap(*gap).to_string()),
        Delivery::Message(message) => {
            let data = frames::framed(message);
            event("message", Some(&message.id.to_string()), std::str::from_utf8(&data).expect("JSON is text"))
        }
    }
}
