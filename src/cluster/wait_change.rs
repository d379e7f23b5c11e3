//! Waiting until this node has a newer change than the one that a caller knows.

use std::time::Instant;

use super::Cluster;
use super::error::ClusterError;
use super::read::Question;
use crate::raft::Feeds;

impl Cluster {
    /// Waits until this node's replica knows a change numbered higher than `after`; the number of the newest.
    /// `newest_of` is what the answer to `question` says of it.
    pub(super) async fn wait_change<Q: Question>(
        &self,
        feeds: &Feeds,
        question: &Q,
        newest_of: impl Fn(&Q::Found) -> Option<u64>,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        loop {
            // Before the look, so that no change falls between the two.
            let mut newest = feeds.subscribe(question.terms().namespace);
            let found = self.find_here(question, deadline).await?;
            if let Some(newest) = newest_of(&found).filter(|newest| *newest > after) {
                return Ok(newest);
            }
            let passed = newest.wait_for(|newest| *newest > after);
            match tokio::time::timeout_at(deadline.into(), passed).await {
                Ok(Ok(newest)) => return Ok(*newest),
                // The file was replaced, or the namespace dropped: look again.
                Ok(Err(_)) => {}
                Err(_) => return Err(ClusterError::Timeout),
            }
        }
    }
}
