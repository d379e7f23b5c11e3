//! Changes of keys as server-sent events (WHATWG HTML, section 9.2).
//!
//! The id of an event is the change's number, so a client that was cut off says with `Last-Event-ID` where it was and
//! misses nothing, on whatever node it comes back. What is no longer kept is told with a `gap`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::call::Call;
use super::consistency;
use super::error::{ApiError, Effect};
use super::event_stream::{self, LAST_EVENT_ID, Source};
use super::kv_api::{refused, store};
use super::reply::Reply;
use crate::cluster::{ClusterError, ReadTerms};
use crate::kv::{KvError, Store};
use crate::types::kv::{KvChange, KvChangeKind};

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
    let (store, terms) = (store(&call)?, consistency::read_terms(&call)?);
    // Where the namespace is now; it also tells a missing namespace before the stream begins.
    let now = store.changes(String::new(), resumed.clone().transpose()?.unwrap_or(u64::MAX), 0, terms, call.deadline);
    let newest = match now.await {
        Ok(found) => found.value.newest,
        Err(KvError::ChangesGone { newest }) => newest,
        Err(error) => return Err(refused(error, Effect::Reads)),
    };
    let after = resumed.transpose()?.unwrap_or(newest);
    let first = event_stream::ready(Some(&after.to_string()));
    Ok(event_stream::reply(call, first, Watcher { store, terms, prefix, after }))
}

/// Reads the changes of one stream.
struct Watcher {
    store: Store,
    terms: ReadTerms,
    prefix: String,
    after: u64,
}

impl Source for Watcher {
    async fn next(&mut self, _: &Call, patience: Duration) -> Option<String> {
        match self.read().await {
            Ok(text) if !text.is_empty() => return Some(text),
            Ok(_) => {}
            Err(KvError::Cluster(ClusterError::NoSuchNamespace(_) | ClusterError::Stopping)) => return None,
            // No leader for a moment: the stream goes on when there is one.
            Err(error) => tracing::debug!(%error, "watch could not read"),
        }
        let waited = self.store.wait_change(self.after, Instant::now() + patience).await;
        if let Err(KvError::Cluster(error)) = &waited
            && !matches!(error, ClusterError::Timeout)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(String::new())
    }
}

impl Watcher {
    async fn read(&mut self) -> Result<String, KvError> {
        let found = self
            .store
            .changes(self.prefix.clone(), self.after, CHANGES_PER_READ, self.terms, Instant::now() + READ_MAX)
            .await;
        match found {
            Ok(found) => {
                self.after = found.value.next_after;
                Ok(found.value.changes.iter().map(event).collect())
            }
            Err(KvError::ChangesGone { newest }) => {
                self.after = newest;
                let data = json!({ "resume_after": newest }).to_string();
                Ok(event_stream::event("gap", Some(&newest.to_string()), &data))
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
    event_stream::event(name, Some(&change.seq.to_string()), &data.to_string())
}
