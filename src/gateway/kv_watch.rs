//! Changes of keys as server-sent events (WHATWG HTML, section 9.2).
//!
//! The id of an event is the change's number, so a client that was cut off says with `Last-Event-ID` where it was and
//! misses nothing, on whatever node it comes back. What is no longer kept is told with a `gap`. A stream ends when the
//! process stops, when its credential ends, and when its reader takes nothing for too long.

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
use super::error::{ApiError, Effect};
use super::kv_api::{read_terms, refused, store};
use super::reply::Reply;
use crate::cluster::ClusterError;
use crate::kv::{KvError, ReadTerms, Store};
use crate::types::kv::{KvChange, KvChangeKind};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream without events is told so often that somebody is still there; proxies cut silent connections after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the credential is looked at again.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(2);

/// Changes fetched at once.
const CHANGES_PER_READ: usize = 256;

/// How long one look at the store may take.
const READ_MAX: Duration = Duration::from_secs(10);

/// Answers with a stream.
pub(super) async fn watch(call: Call) -> Result<Reply, ApiError> {
    let prefix = call.query.one("prefix")?.unwrap_or_default().to_owned();
    let resumed = match call.headers.get(&LAST_EVENT_ID) {
        Some(value) => Some(value.to_str().unwrap_or("?").to_owned()),
        None => call.query.one("after")?.map(str::to_owned),
    };
    let resumed = resumed.filter(|text| !text.is_empty()).map(|text| {
        let wrong = || ApiError::parameter("after", format!("`{text}` is no number of a change"));
        text.parse::<u64>().map_err(|_| wrong())
    });
    let (store, terms) = (store(&call)?, read_terms(&call)?);
    // Where the namespace is now; it also tells a missing namespace before the stream begins.
    let now =
        store.changes(String::new(), resumed.clone().transpose()?.unwrap_or(u64::MAX), 0, terms.clone(), call.deadline);
    let newest = match now.await {
        Ok(found) => found.value.newest,
        Err(KvError::ChangesGone { newest }) => newest,
        Err(error) => return Err(refused(error, Effect::Reads)),
    };
    let after = resumed.transpose()?.unwrap_or(newest);
    let watcher = Watcher { call, store, terms, prefix, after, told: Instant::now(), checked: Instant::now() };
    let first = format!("retry: 1000\nid: {after}\nevent: ready\ndata: {{}}\n\n");
    let events = stream::unfold((Some(watcher), Some(first)), |(watcher, first)| async move {
        if let Some(first) = first {
            return Some((frame(first), (watcher, None)));
        }
        let (text, watcher) = watcher?.next().await?;
        Some((frame(text), (watcher, None)))
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

/// One stream.
struct Watcher {
    call: Call,
    store: Store,
    terms: ReadTerms,
    prefix: String,
    after: u64,
    told: Instant,
    checked: Instant,
}

impl Watcher {
    /// The next piece of text, and whether there will be more.
    async fn next(mut self) -> Option<(String, Option<Watcher>)> {
        let stopping = self.call.face.stopping().clone();
        let text = stopping.run_until_cancelled(self.events()).await??;
        self.told = Instant::now();
        Some((text, Some(self)))
    }

    /// Waits for something to tell; `None` when there will be nothing more.
    async fn events(&mut self) -> Option<String> {
        loop {
            if self.checked.elapsed() >= CREDENTIAL_CHECK {
                self.checked = Instant::now();
                if !self.call.still_allowed().await {
                    return None;
                }
            }
            match self.read().await {
                Ok(text) if !text.is_empty() => return Some(text),
                Ok(_) => {}
                Err(KvError::Cluster(ClusterError::NoSuchNamespace(_) | ClusterError::Stopping)) => return None,
                // No leader for a moment: the stream goes on when there is one.
                Err(error) => tracing::debug!(%error, "watch could not read"),
            }
            if self.told.elapsed() >= HEARTBEAT {
                return Some(":\n\n".to_owned());
            }
            let pause = HEARTBEAT.saturating_sub(self.told.elapsed()).min(CREDENTIAL_CHECK);
            let waited = self.store.wait_change(self.after, Instant::now() + pause).await;
            if let Err(KvError::Cluster(error)) = &waited
                && !matches!(error, ClusterError::Timeout)
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn read(&mut self) -> Result<String, KvError> {
        let found = self
            .store
            .changes(self.prefix.clone(), self.after, CHANGES_PER_READ, self.terms.clone(), Instant::now() + READ_MAX)
            .await;
        match found {
            Ok(found) => {
                self.after = found.value.next_after;
                Ok(found.value.changes.iter().map(event).collect())
            }
            Err(KvError::ChangesGone { newest }) => {
                self.after = newest;
                Ok(format!("id: {newest}\nevent: gap\ndata: {}\n\n", json!({ "resume_after": newest })))
            }
            Err(error) => Err(error),
        }
    }
}

fn event(change: &KvChange) -> String {
    let name = match change.kind {
        KvChangeKind::Put => "put",
        KvChangeKind::Delete => "delete",
        KvChangeKind::Expire => "expire",
    };
    let data = json!({ "key": change.key, "etag": format!("\"{}\"", change.version) });
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", change.seq)
}
