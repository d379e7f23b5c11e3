//! A reader of durable topics: what was stored behind a number, then what is stored from now on, without a hole and
//! without a double.

use std::time::{Duration, Instant};

use super::durable::{DurableError, DurableTopics, Messages, Wanted};
use crate::cluster::{ClusterError, Level, ReadTerms};
use crate::types::TopicFilter;
use crate::types::durable::{OnGap, StoredMessage};

/// Longest that one look may take.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Messages of one look.
const MESSAGES_MAX: usize = 128;

/// Bytes of one look, unless a single message has more: a connection may have many readers.
const BYTES_MAX: u64 = 1024 * 1024;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the oldest message that is kept.
    Oldest,
    /// Behind the message with this number.
    After(u64),
    /// With the next one that is stored.
    Newest,
}

/// What a reader comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Messages, in order.
    Messages(Vec<StoredMessage>),
    /// Some behind this number are no longer kept; what is kept follows.
    Gap {
        /// Behind which.
        after: u64,
    },
    /// Nothing for a while.
    Quiet,
}

/// A reader.
#[derive(Debug)]
pub struct Follower {
    topics: DurableTopics,
    filter: TopicFilter,
    after: u64,
    on_gap: OnGap,
}

impl Follower {
    /// Begins to read.
    ///
    /// # Errors
    /// [`DurableError::Cluster`].
    pub async fn begin(
        topics: DurableTopics,
        filter: TopicFilter,
        begin: Begin,
        deadline: Instant,
    ) -> Result<Follower, DurableError> {
        let (after, on_gap) = match begin {
            Begin::Oldest => (0, OnGap::Skip),
            Begin::After(after) => (after, OnGap::Tell),
            Begin::Newest => (topics.newest(ReadTerms::default(), deadline).await?.value, OnGap::Tell),
        };
        Ok(Follower { topics, filter, after, on_gap })
    }

    /// The number behind which it reads.
    pub fn cursor(&self) -> u64 {
        self.after
    }

    /// Of which topic or pattern.
    pub fn topic(&self) -> &str {
        self.filter.as_str()
    }

    /// Waits for something, but not for longer than `patience`. Cancel-safe: what was not returned comes again.
    ///
    /// # Errors
    /// [`DurableError::Cluster`]; the reader may be asked again.
    pub async fn next(&mut self, patience: Duration) -> Result<Followed, DurableError> {
        let until = Instant::now() + patience;
        loop {
            let wanted = Wanted {
                filter: self.filter.clone(),
                after: self.after,
                on_gap: self.on_gap,
                count_max: MESSAGES_MAX,
                bytes_max: BYTES_MAX,
            };
            // What is here, for the node never goes back: a cursor from a node that was ahead waits.
            let terms = ReadTerms::at(Level::None);
            let Messages { messages, next_after, newest, .. } =
                match self.topics.messages(wanted, terms, Instant::now() + LOOK_MAX).await {
                    Ok(found) => found.value,
                    Err(DurableError::Gone { .. }) => {
                        self.on_gap = OnGap::Skip;
                        return Ok(Followed::Gap { after: self.after });
                    }
                    Err(error) => return Err(error),
                };
            self.after = self.after.max(next_after);
            if !messages.is_empty() {
                self.on_gap = OnGap::Tell;
                return Ok(Followed::Messages(messages));
            }
            if self.after < newest {
                continue;
            }
            self.on_gap = OnGap::Tell;
            match self.topics.wait_change(self.after, until).await {
                Ok(_) => {}
                Err(DurableError::Cluster(ClusterError::Timeout)) => return Ok(Followed::Quiet),
                Err(error) => return Err(error),
            }
        }
    }
}
