//! Answers that go on: server-sent events (WHATWG HTML, section 9.2).
//!
//! A stream ends when the process stops, when its credential ends, and when its source has nothing more. A reader that
//! takes nothing for too long is cut off as any other.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

use super::call::Call;
use super::reply::Reply;

/// Where a client that was cut off says how far it came.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream without events is told so often that somebody is still there; proxies cut silent connections after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the credential is looked at again.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(2);

/// Where events come from.
pub(super) trait Source: Send + 'static {
    /// Waits for events, not much longer than `patience`: their text, which is empty when none came, or `None` when there
    /// will be nothing more.
    fn next(&mut self, call: &Call, patience: Duration) -> impl Future<Output = Option<String>> + Send;
}

/// One event.
pub(super) fn event(name: &str, id: Option<&str>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// The event with which a stream begins: a client that is cut off comes back after a second.
pub(super) fn ready(id: Option<&str>) -> String {
    format!("retry: 1000\n{}", event("ready", id, "{}"))
}

/// The answer that tells `first`, and then what comes from a source.
pub(super) fn reply<S: Source>(call: Call, first: String, source: S) -> Reply {
    let stream = EventStream { call, source, told: Instant::now(), checked: Instant::now() };
    let events = stream::unfold((stream, Some(first)), |(mut stream, first)| async move {
        let text = match first {
            Some(first) => first,
            None => stream.next().await?,
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), (stream, None)))
    });
    let mut reply = Reply::new(Either::Right(StreamBody::new(events).map_err(|never| match never {}).boxed_unsync()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// One stream.
struct EventStream<S> {
    call: Call,
    source: S,
    told: Instant,
    checked: Instant,
}

impl<S: Source> EventStream<S> {
    /// The next piece of text; `None` when there will be nothing more.
    async fn next(&mut self) -> Option<String> {
        let stopping = self.call.face.stopping().clone();
        let text = stopping.run_until_cancelled(self.events()).await??;
        self.told = Instant::now();
        Some(text)
    }

    async fn events(&mut self) -> Option<String> {
        loop {
            if self.checked.elapsed() >= CREDENTIAL_CHECK {
                self.checked = Instant::now();
                if !self.call.still_allowed().await {
                    return None;
                }
            }
            let patience = HEARTBEAT.saturating_sub(self.told.elapsed()).min(CREDENTIAL_CHECK);
            let text = self.source.next(&self.call, patience).await?;
            if !text.is_empty() {
                return Some(text);
            }
            if self.told.elapsed() >= HEARTBEAT {
                return Some(":\n\n".to_owned());
            }
        }
    }
}
