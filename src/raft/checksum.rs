//! Content hashes of every database at one point of the log, for `debros cluster verify`.
//!
//! When a checksum entry is applied, each database's state is pinned by a read transaction, which costs microseconds;
//! the hashes are then computed on a thread of their own while writes go on.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::sql::ReadSnapshot;
use crate::types::Namespace;

/// What one node's databases contained at one log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The log index.
    pub index: u64,
    /// BLAKE3 of the system tables.
    pub system: [u8; 32],
    /// BLAKE3 of each namespace's content, or why it could not be read.
    pub namespaces: BTreeMap<Namespace, Result<[u8; 32], String>>,
}

/// The newest checksum, for those who wait for it.
#[derive(Clone)]
pub struct Checksums {
    newest: Arc<watch::Sender<Option<Checksum>>>,
}

/// Pinned states, about to be hashed.
pub(super) struct Marks {
    index: u64,
    system: [u8; 32],
    snapshots: Vec<(Namespace, Result<ReadSnapshot, String>)>,
}

impl Marks {
    pub(super) fn new(index: u64, system: [u8; 32]) -> Marks {
        Marks { index, system, snapshots: Vec::new() }
    }

    pub(super) fn push(&mut self, namespace: Namespace, snapshot: Result<ReadSnapshot, String>) {
        self.snapshots.push((namespace, snapshot));
    }
}

impl Checksums {
    pub(super) fn new() -> Checksums {
        Checksums { newest: Arc::new(watch::Sender::new(None)) }
    }

    pub(super) fn compute(&self, marks: Marks) -> io::Result<()> {
        let newest = self.newest.clone();
        let hash = move || {
            let namespaces = marks
                .snapshots
                .into_iter()
                .map(|(namespace, snapshot)| {
                    let hash = snapshot.and_then(|snapshot| snapshot.content_hash().map_err(|e| e.to_string()));
                    (namespace, hash)
                })
                .collect();
            newest.send_replace(Some(Checksum { index: marks.index, system: marks.system, namespaces }));
        };
        std::thread::Builder::new().name("checksum".to_owned()).spawn(hash).map(|_| ())
    }

    /// Waits for the checksum of the entry at `index`; `None` when a later one came first.
    ///
    /// Cancel safe.
    pub async fn wait(&self, index: u64) -> Option<Checksum> {
        let mut newest = self.newest.subscribe();
        let found = newest.wait_for(|newest| newest.as_ref().is_some_and(|newest| newest.index >= index)).await;
        found.ok().and_then(|newest| newest.clone()).filter(|checksum| checksum.index == index)
    }
}
