//! Who waits for changes of one kind, of keys or of durable topics: the apply thread tells the namespaces' watchers, and
//! nobody where nobody watches.
//!
//! A watcher first subscribes, then looks at what is there, then waits: so it misses nothing. A channel that ends means
//! that the namespace's file was replaced or dropped, and that it should look again.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::watch;

use crate::types::Namespace;

/// Watchers by namespace. Clones share them.
#[derive(Clone, Default)]
pub struct Feeds {
    watched: Arc<RwLock<HashMap<Namespace, watch::Sender<u64>>>>,
}

impl Feeds {
    /// Follows the number of the newest change in a namespace. The first value may be older than what is there.
    pub fn subscribe(&self, namespace: &Namespace) -> watch::Receiver<u64> {
        let mut watched = self.watched.write().expect("no holder panics");
        // Bounds the map by the watchers that there are.
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.entry(namespace.clone()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Tells watchers of a namespace its newest change.
    pub(super) fn tell(&self, namespace: &Namespace, newest: u64) {
        if let Some(sender) = self.watched.read().expect("no holder panics").get(namespace) {
            sender.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        }
    }

    /// Ends the channels of a namespace that is no longer what it was.
    pub(super) fn end(&self, namespace: &Namespace) {
        self.watched.write().expect("no holder panics").remove(namespace);
    }

    /// Ends all channels.
    pub(super) fn end_all(&self) {
        self.watched.write().expect("no holder panics").clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watchers_are_told_of_their_namespace_and_forgotten_when_they_go() {
        let feeds = Feeds::default();
        let (here, there) = (Namespace::default_namespace(), "other".parse().expect("a namespace"));
        let mut receiver = feeds.subscribe(&here);
        feeds.tell(&there, 5);
        assert!(!receiver.has_changed().expect("open"));
        feeds.tell(&here, 7);
        assert_eq!(*receiver.wait_for(|newest| *newest > 3).await.expect("open"), 7);
        drop(receiver);
        let mut other = feeds.subscribe(&there);
        assert_eq!(feeds.watched.read().expect("no holder panics").len(), 1);
        feeds.end(&there);
        assert!(other.changed().await.is_err());
    }
}
