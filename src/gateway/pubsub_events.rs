//! Messages as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event's id is the message's. Who comes back with `Last-Event-ID` is told with a `gap` that what was published
//! meanwhile is lost: nothing is kept.

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
use super::pubsub_api::invalid;
use super::pubsub_frames as frames;
use super::reply::Reply;
use crate::pubsub::{Delivery, Subscriber};
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
    let mut topics = call.query.all("topic").peekable();
    if topics.peek().is_none() {
        return Err(ApiError::parameter("topic", "`topic` is missing"));
    }
    let mut subscriber = call.face.pubsub.subscriber(call.grant()?.namespace().clone());
    for topic in topics {
        let filter: TopicFilter = topic.parse().map_err(invalid)?;
        subscriber.subscribe(filter)?;
    }
    let mut first = "retry: 1000\nevent: ready\ndata: {}\n\n".to_owned();
    if call.headers.get(&LAST_EVENT_ID).is_some_and(|id| !id.is_empty()) {
        first.push_str(&event("gap", None, &json!({ "type": "gap", "reason": "away" }).to_string()));
    }
    let listener = Listener { call, subscriber, told: Instant::now(), checked: Instant::now() };
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

/// One stream.
struct Listener {
    call: Call,
    subscriber: Subscriber,
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
        let inbox = self.subscriber.inbox();
        loop {
            if self.checked.elapsed() >= CREDENTIAL_CHECK {
                self.checked = Instant::now();
                if !self.call.still_allowed().await {
                    return None;
                }
            }
            if let Ok(deliveries) = tokio::time::timeout(CREDENTIAL_CHECK, inbox.take(TAKE_MAX)).await {
                return Some(deliveries.iter().map(text_of).collect());
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
