//! Reads: each level's promise, then SQLite.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Cluster;
use super::error::ClusterError;
use super::leader::{Asked, Leader, Search};
use super::peer_api::{PeerRequest, PeerResponse};
use super::request::{Freshness, Level, Read, ReadAnswer, ServedBy};
use crate::raft::Progress;
use crate::sql::{ReadError, ReadOptions, Readers, Work};
use crate::types::command::{Execute, RowsWanted};
use crate::types::statement::{StatementError, StatementErrorKind};
use crate::types::{Command, Namespace, NodeId, Outcome, Statement, StatementResult};

impl Cluster {
    /// Reads at the level asked for.
    ///
    /// # Errors
    /// [`ClusterError`]; a statement's own failure is a result, not an error.
    pub async fn read(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        match read.level {
            Level::None => self.read_stale(&read, deadline).await,
            Level::Auto if self.is_voter() => self.read_at_leader(read, deadline).await,
            Level::Auto => self.read_stale(&read, deadline).await,
            Level::Weak => self.read_at_leader(read, deadline).await,
            Level::Linearizable => {
                let index = self.read_index_here(deadline).await?;
                self.wait_applied(index, deadline).await?;
                self.answer_here(&read, deadline).await
            }
            Level::Strong => self.read_through_log(read, deadline).await,
        }
    }

    /// Whether every statement only reads (then a request needs no log entry). Unparsable ones count as reads.
    ///
    /// # Errors
    /// [`ClusterError`] when the namespace does not exist or cannot be read.
    pub async fn all_read_only(&self, namespace: &Namespace, statements: &[Statement]) -> Result<bool, ClusterError> {
        self.readers_of(namespace)?.all_read_only(statements).map_err(storage)
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

    async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ClusterError> {
        let state = self.raft().state();
        if state.progress().index >= index {
            return Ok(());
        }
        let mut progress = state.watch_progress();
        let reached = progress.wait_for(|progress| progress.index >= index);
        match tokio::time::timeout_at(deadline.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ClusterError::Stopping),
            Err(_) => Err(ClusterError::ReadTimeout { index }),
        }
    }

    async fn read_stale(&self, read: &Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        if let Some(freshness) = read.freshness {
            self.check_freshness(freshness)?;
        }
        self.answer_here(read, deadline).await
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
        let Progress { index, unix_ms } = self.raft().state().progress();
        let committed = self.raft().metrics().last_log_index.unwrap_or(0);
        if index >= committed {
            return Duration::ZERO;
        }
        let applied = UNIX_EPOCH + Duration::from_millis(unix_ms.max(0) as u64);
        SystemTime::now().duration_since(applied).unwrap_or_default()
    }

    async fn read_at_leader(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        let search = Search::until(deadline);
        loop {
            match self.find_leader(&search).await? {
                Leader::Here => return self.answer_here(&read, deadline).await,
                Leader::At(leader) => {
                    let timeout = deadline.saturating_duration_since(Instant::now());
                    let request = PeerRequest::Read { read: read.clone(), timeout };
                    match self.ask_leader(leader, request, &search).await {
                        Ok(Asked::Answered(PeerResponse::Results(results))) => {
                            return Ok(ReadAnswer { results, index: None, served_by: self.served_by(leader) });
                        }
                        Ok(Asked::Answered(other)) => return Err(super::submit::unexpected(&other)),
                        // A read changes nothing, so a lost one is simply asked again.
                        Ok(Asked::Again) | Err(ClusterError::LeadershipLost) => search.pause().await?,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// Statements that write are answered here and kept out of the log.
    async fn read_through_log(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        let readers = self.readers_of(&read.namespace)?;
        let mut admitted = Vec::with_capacity(read.statements.len());
        let mut refused = Vec::new();
        for (position, statement) in read.statements.into_iter().enumerate() {
            if readers.all_read_only(std::slice::from_ref(&statement)).map_err(storage)? {
                admitted.push(statement);
            } else {
                refused.push(position);
            }
        }
        let mut execute = Execute::new(read.namespace, admitted);
        execute.rows = RowsWanted::FromAll;
        if let Some(timeout) = read.statement_timeout {
            execute.limit_time(timeout);
        }
        let applied = self.submit(Command::Execute(execute), deadline).await?;
        let Outcome::Executed(executed) = applied.outcome else {
            return Err(ClusterError::Storage("a read through the log gave no result".to_owned()));
        };
        let mut results = executed.results;
        for position in refused {
            let message = "attempt to change database via query operation".to_owned();
            let failed = StatementError { message, kind: StatementErrorKind::ReadOnly };
            results.insert(position.min(results.len()), StatementResult::Failed(failed));
        }
        Ok(ReadAnswer { results, index: Some(applied.index), served_by: applied.served_by })
    }

    async fn answer_here(&self, read: &Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        let results = self.read_here(read, deadline).await?;
        Ok(ReadAnswer { results, index: None, served_by: ServedBy::Here })
    }

    /// Runs a read on this node's replica.
    pub(super) async fn read_here(&self, read: &Read, deadline: Instant) -> Result<Vec<StatementResult>, ClusterError> {
        if let Some(index) = read.min_index {
            self.wait_applied(index, deadline).await?;
        }
        let readers = self.readers_of(&read.namespace)?;
        // Most reads need microseconds; one that needs more is run again from its start on a thread where it may block.
        let quick = self.options(read, deadline, Work::Quick);
        match readers.query(&read.statements, &quick) {
            Err(ReadError::StepsExhausted | ReadError::Busy { .. }) => self.read_slowly(readers, read, deadline).await,
            results => results.map_err(storage),
        }
    }

    async fn read_slowly(
        &self,
        readers: Readers,
        read: &Read,
        deadline: Instant,
    ) -> Result<Vec<StatementResult>, ClusterError> {
        let turn = tokio::time::timeout_at(deadline.into(), self.inner.slow_reads.acquire()).await;
        let _turn = turn.map_err(|_| ClusterError::Overloaded)?.map_err(|_| ClusterError::Stopping)?;
        let (statements, options) = (read.statements.clone(), self.options(read, deadline, Work::Unbounded));
        loop {
            let (readers, statements, options) = (readers.clone(), statements.clone(), options);
            let query = tokio::task::spawn_blocking(move || readers.query(&statements, &options));
            match query.await.map_err(|e| ClusterError::Storage(e.to_string()))? {
                // Quick reads hold connections for microseconds.
                Err(ReadError::Busy { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(1)).await
                }
                Err(ReadError::Busy { .. }) => return Err(ClusterError::Overloaded),
                results => return results.map_err(storage),
            }
        }
    }

    pub(super) fn readers_of(&self, namespace: &Namespace) -> Result<Readers, ClusterError> {
        if !self.raft().state().system().namespaces.contains_key(namespace) {
            return Err(ClusterError::NoSuchNamespace(namespace.clone()));
        }
        self.readers().get(namespace).map_err(storage)
    }

    fn options(&self, read: &Read, deadline: Instant, work: Work) -> ReadOptions {
        let limits = &self.inner.limits;
        ReadOptions {
            deadline,
            statement_timeout: Some(
                read.statement_timeout.map_or(limits.statement_timeout, |asked| asked.min(limits.statement_timeout)),
            ),
            rows_max: limits.result_rows_max,
            bytes_max: limits.result_bytes_max,
            atomicity: read.atomicity,
            qualify_columns: read.qualify_columns,
            work,
        }
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
