//! What the mesh refused or dropped since it was started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Streams that peers opened and nobody saw. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The peer's standing changed between negotiating the protocol and getting it.
    pub refused: u64,
    /// [`Inbound`](super::Inbound) was full: the node above takes streams too slowly.
    pub inbound_full: u64,
    /// A stranger had too many streams open.
    pub strangers_excess: u64,
    /// Gossip frames from nobody of this cluster.
    pub gossip_rejected: u64,
    /// Gossip frames that were sent or taken too slowly.
    pub gossip_dropped: u64,
}

/// The counters while they are counted.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) refused: AtomicU64,
    pub(super) inbound_full: AtomicU64,
    pub(super) strangers_excess: AtomicU64,
    pub(super) gossip_rejected: AtomicU64,
    pub(super) gossip_dropped: AtomicU64,
}

impl Counting {
    pub(super) fn read(&self) -> Counters {
        Counters {
            refused: self.refused.load(Ordering::Relaxed),
            inbound_full: self.inbound_full.load(Ordering::Relaxed),
            strangers_excess: self.strangers_excess.load(Ordering::Relaxed),
            gossip_rejected: self.gossip_rejected.load(Ordering::Relaxed),
            gossip_dropped: self.gossip_dropped.load(Ordering::Relaxed),
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
