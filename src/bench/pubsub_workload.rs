//! Who publishes to whom.

use std::fmt;

use serde::Serialize;

/// A shape of publishers and subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PubSubWorkload {
    /// One publisher, many subscribers.
    FanOut,
    /// Many publishers, one subscriber.
    FanIn,
    /// Many topics with a publisher and a subscriber each.
    ManyTopics,
}

/// Most messages in flight in one topic: a quarter of what a node holds for one subscriber.
const WINDOW_MESSAGES_MAX: usize = 64;

/// Most bytes in flight, all topics together: half of what a node holds for one subscriber, and what waits between two
/// nodes stays far below its bound.
const WINDOW_BYTES_MAX: usize = 2 * 1024 * 1024;

impl PubSubWorkload {
    /// All.
    pub const ALL: [PubSubWorkload; 3] = [PubSubWorkload::FanOut, PubSubWorkload::FanIn, PubSubWorkload::ManyTopics];

    /// As it is written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            PubSubWorkload::FanOut => "fan-out",
            PubSubWorkload::FanIn => "fan-in",
            PubSubWorkload::ManyTopics => "many-topics",
        }
    }

    /// How many topics, and how many publishers and subscribers each has.
    pub(super) const fn shape(self, clients: usize) -> Shape {
        match self {
            PubSubWorkload::FanOut => Shape { topics: 1, publishers: 1, subscribers: clients },
            PubSubWorkload::FanIn => Shape { topics: 1, publishers: clients, subscribers: 1 },
            PubSubWorkload::ManyTopics => Shape { topics: clients, publishers: 1, subscribers: 1 },
        }
    }
}

impl fmt::Display for PubSubWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Topics, and what each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) topics: usize,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
}

impl Shape {
    /// How many messages of a size may be in flight in each topic.
    pub(super) fn window(self, size_bytes: usize) -> usize {
        (WINDOW_BYTES_MAX / (self.topics * size_bytes)).clamp(1, WINDOW_MESSAGES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::limits::{MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX, MESSAGE_BYTES_MAX};

    #[test]
    fn a_window_fits_into_what_a_node_holds_for_one_subscriber() {
        for workload in PubSubWorkload::ALL {
            for size in [16, 1024, 64 * 1024, MESSAGE_BYTES_MAX] {
                let window = workload.shape(100).window(size);
                assert!((1..=MAILBOX_MESSAGES_MAX / 2).contains(&window), "{workload}, {size}: {window}");
                assert!(window * size <= MAILBOX_BYTES_MAX / 2, "{workload}, {size}: {window}");
            }
        }
        assert_eq!(PubSubWorkload::FanOut.shape(100).window(16), WINDOW_MESSAGES_MAX);
    }
}
