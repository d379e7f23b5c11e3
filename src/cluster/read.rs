//! Reads: each level's promise, whatever is read.
//!
//! What is read here, and how that is asked of another node, is a [`Question`]: SQL queries in [`super::read_sql`], keys
//! in [`super::kv_read`], durable topics in [`super::topics_read`]. This file only knows where and when it may be read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Cluster;
use super::error::ClusterError;
use super::leader::{Asked, Leader, Search};
use super::peer_api::{PeerRequest, PeerResponse};
use super::request::{Freshness, Level, ServedBy};
use crate::raft::Progress;
use crate::sql::{ReadError, Readers, Work};
use crate::types::{Namespace, NodeId};

/// What is read, of whom, under which promise.
pub(super) trait Question: Clone + Send + Sync + 'static {
    /// What a replica answers.
    type Found: Send + 'static;

    fn terms(&self) -> Terms<'_>;

    /// Asks one replica.
    fn ask(&self, readers: &Readers, allowed: &Allowed) -> Result<Self::Found, ReadError>;

    /// The request to the leader for its answer.
    fn to_leader(self, timeout: Duration) -> PeerRequest;

    /// The leader's answer to that.
    fn answered(response: PeerResponse) -> Result<Self::Found, PeerResponse>;

    /// Puts the question through the log.
    fn through_log(
        self,
        cluster: &Cluster,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer<Self::Found>, ClusterError>> + Send;
}

/// Under which conditions a question is answered.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) level: Level,
    pub(super) freshness: Option<Freshness>,
    pub(super) min_index: Option<u64>,
}

/// What answering a question may cost on a replica.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    pub(super) deadline: Instant,
    pub(super) work: Work,
    pub(super) limits: super::Limits,
}

/// An answer with its circumstances.
pub(super) struct Answer<T> {
    pub(super) found: T,
    pub(super) index: Option<u64>,
    pub(super) served_by: ServedBy,
}

/// Whether the asked node may turn to the leader for the data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    Allowed,
    /// It answers by itself, or says that it does not lead.
    Forbidden,
}

/// Why this replica did not get as far as was asked.
enum Late {
    Deadline,
    Stopping,
}

impl Cluster {
    /// Answers a question under its terms.
    pub(super) async fn answer<Q: Question>(
        &self,
        question: Q,
        hop: Hop,
        deadline: Instant,
    ) -> Result<Answer<Q::Found>, ClusterError> {
        let Terms { level, freshness, .. } = question.terms();
        let level = match level {
            Level::Auto if self.is_voter() => Level::Weak,
            Level::Auto => Level::None,
            level => level,
        };
        match level {
            Level::None | Level::Auto => {
                if let Some(freshness) = freshness {
                    self.check_freshness(freshness)?;
                }
                self.answer_here(&question, deadline).await
            }
            Level::Weak if hop == Hop::Allowed => self.answer_at_leader(question, deadline).await,
            Level::Weak if self.is_leader() => self.answer_as_leader(&question, deadline).await,
            Level::Linearizable => {
                let index = self.read_index_here(deadline).await?;
                self.wait_applied(index, deadline).await?;
                self.answer_here(&question, deadline).await
            }
            Level::Strong if hop == Hop::Allowed || self.is_leader() => question.through_log(self, deadline).await,
            Level::Weak | Level::Strong => Err(ClusterError::NoLeader),
        }
    }

    /// Waits until what the leader has committed by now is applied here; the index reached.
    ///
    /// # Errors
    /// [`ClusterError`] when there is no leader or the wait is too long.
    pub async fn wait_synced(&self, deadline: Instant) -> Result<u64, ClusterError> {
        let index = self.read_index_here(deadline).await?;
        self.wait_applied(index, deadline).await?;
        Ok(index)
    }

    /// An index that covers everything acknowledged before this call, from the leader wherever it is.
    pub(super) async fn read_index_here(&self, deadline: Instant) -> Result<u64, ClusterError> {
        let search = Search::until(deadline);
        loop {
            match self.inner.read_indexes.next(deadline).await {
                Err(ClusterError::NoLeader) => search.pause().await?,
                index => return index,
            }
        }
    }

    pub(super) async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ClusterError> {
        self.wait_for_progress(|progress| progress.index >= index, deadline).await.map_err(|late| match late {
            Late::Deadline => ClusterError::ReadTimeout { index },
            Late::Stopping => ClusterError::Stopping,
        })
    }

    async fn wait_for_progress(&self, reached: impl Fn(&Progress) -> bool, deadline: Instant) -> Result<(), Late> {
        let state = self.raft().state();
        if reached(&state.progress()) {
            return Ok(());
        }
        let mut progress = state.watch_progress();
        match tokio::time::timeout_at(deadline.into(), progress.wait_for(reached)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Late::Stopping),
            Err(_) => Err(Late::Deadline),
        }
    }

    fn check_freshness(&self, freshness: Freshness) -> Result<(), ClusterError> {
        if self.is_leader() {
            let leads = leads_freshly(self.raft().quorum_silence(), self.raft().lease(), freshness.max_age);
            return if leads { Ok(()) } else { Err(ClusterError::StaleRead) };
        }
        let contact = self.last_contact().ok_or(ClusterError::StaleRead)?;
        if contact > freshness.max_age {
            return Err(ClusterError::StaleRead);
        }
        if freshness.strict && self.behind() > freshness.max_age {
            return Err(ClusterError::StaleRead);
        }
        Ok(())
    }

    /// Age of the newest entry applied here, when entries are known that are not.
    fn behind(&self) -> Duration {
        let Progress { index, unix_ms, .. } = self.raft().state().progress();
        let committed = self.raft().metrics().last_log_index.unwrap_or(0);
        if index >= committed {
            return Duration::ZERO;
        }
        let applied = UNIX_EPOCH + Duration::from_millis(unix_ms.max(0) as u64);
        SystemTime::now().duration_since(applied).unwrap_or_default()
    }

    async fn answer_at_leader<Q: Question>(
        &self,
        question: Q,
        deadline: Instant,
    ) -> Result<Answer<Q::Found>, ClusterError> {
        let search = Search::until(deadline);
        loop {
            match self.find_leader(&search).await? {
                Leader::Here => return self.answer_as_leader(&question, deadline).await,
                Leader::At(leader) => {
                    let timeout = deadline.saturating_duration_since(Instant::now());
                    let request = question.clone().to_leader(timeout);
                    match self.ask_leader(leader, request, &search).await {
                        Ok(Asked::Answered(response)) => {
                            let found = Q::answered(response).map_err(|other| super::submit::unexpected(&other))?;
                            return Ok(Answer { found, index: None, served_by: self.served_by(leader) });
                        }
                        // A read changes nothing, so a lost one is simply asked again.
                        Ok(Asked::NotLeader(_) | Asked::NotSent) | Err(ClusterError::LeadershipLost) => {
                            search.pause().await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    async fn answer_as_leader<Q: Question>(
        &self,
        question: &Q,
        deadline: Instant,
    ) -> Result<Answer<Q::Found>, ClusterError> {
        let found = self.find_as_leader(question, deadline).await?;
        Ok(Answer { found, index: None, served_by: ServedBy::Here })
    }

    /// Asks this node's replica when it leads. One that just began to may still be applying what was acknowledged
    /// before, by itself or another.
    pub(super) async fn find_as_leader<Q: Question>(
        &self,
        question: &Q,
        deadline: Instant,
    ) -> Result<Q::Found, ClusterError> {
        if let Some(term) = self.raft().term_led() {
            self.wait_for_progress(|progress| progress.term >= term, deadline).await.map_err(|late| match late {
                Late::Deadline => ClusterError::NoLeader,
                Late::Stopping => ClusterError::Stopping,
            })?;
        }
        self.find_here(question, deadline).await
    }

    async fn answer_here<Q: Question>(
        &self,
        question: &Q,
        deadline: Instant,
    ) -> Result<Answer<Q::Found>, ClusterError> {
        let found = self.find_here(question, deadline).await?;
        Ok(Answer { found, index: None, served_by: ServedBy::Here })
    }

    /// Asks this node's replica.
    pub(super) async fn find_here<Q: Question>(
        &self,
        question: &Q,
        deadline: Instant,
    ) -> Result<Q::Found, ClusterError> {
        let Terms { namespace, min_index, .. } = question.terms();
        if let Some(index) = min_index {
            self.wait_applied(index, deadline).await?;
        }
        let readers = self.readers_of(namespace)?;
        // Most reads need microseconds; one that needs more is run again from its start on a thread where it may block.
        match question.ask(&readers, &self.allowed(deadline, Work::Quick)) {
            Err(ReadError::StepsExhausted | ReadError::Busy { .. }) => {
                self.find_slowly(readers, question, deadline).await
            }
            found => found.map_err(read_error),
        }
    }

    async fn find_slowly<Q: Question>(
        &self,
        readers: Readers,
        question: &Q,
        deadline: Instant,
    ) -> Result<Q::Found, ClusterError> {
        let slow_reads = &self.inner.slow_reads;
        let mut turn = slow_reads.turn(question.terms().namespace, deadline).await?;
        let allowed = self.allowed(deadline, Work::Unbounded);
        loop {
            let (readers, question, allowed) = (readers.clone(), question.clone(), allowed.clone());
            let found;
            (turn, found) = slow_reads.run(turn, move || question.ask(&readers, &allowed)).await?;
            match found {
                // Quick reads hold connections for microseconds.
                Err(ReadError::Busy { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(1)).await
                }
                Err(ReadError::Busy { .. }) => return Err(ClusterError::Overloaded),
                found => return found.map_err(read_error),
            }
        }
    }

    fn allowed(&self, deadline: Instant, work: Work) -> Allowed {
        Allowed { deadline, work, limits: self.inner.limits.clone() }
    }

    pub(super) fn readers_of(&self, namespace: &Namespace) -> Result<Readers, ClusterError> {
        if !self.raft().state().system().namespaces.contains_key(namespace) {
            return Err(ClusterError::NoSuchNamespace(namespace.clone()));
        }
        self.readers().get(namespace).map_err(storage)
    }

    fn is_voter(&self) -> bool {
        let here: NodeId = self.node_id();
        self.raft().metrics().membership_config.voter_ids().any(|voter| voter == here)
    }
}

/// Whether a node that takes itself for the leader is as fresh as asked. One that is cut off does not notice at once
/// that others have elected another; until a quorum has been silent for the lease there can be none.
fn leads_freshly(silence: Option<Duration>, lease: Duration, max_age: Duration) -> bool {
    silence.is_some_and(|silence| silence <= max_age.max(lease))
}

fn read_error(error: ReadError) -> ClusterError {
    match error {
        ReadError::DeadlinePassed => ClusterError::Timeout,
        error => storage(error),
    }
}

pub(super) fn storage(error: impl std::fmt::Display) -> ClusterError {
    ClusterError::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_no_quorum_answers_is_stale_like_anybody() {
        let [short, lease, long] = [10, 1000, 5000].map(Duration::from_millis);
        assert!(leads_freshly(Some(Duration::ZERO), lease, short));
        // Heartbeats are not as frequent as a caller may ask; nobody else can lead yet.
        assert!(leads_freshly(Some(lease), lease, short));
        assert!(!leads_freshly(Some(lease + short), lease, short));
        assert!(leads_freshly(Some(lease + short), lease, long));
        assert!(!leads_freshly(Some(long + short), lease, long));
        assert!(!leads_freshly(None, lease, long), "it has led nobody yet");
    }
}
