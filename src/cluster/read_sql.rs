//! Reads of SQL.

use std::time::{Duration, Instant};

use super::Cluster;
use super::error::ClusterError;
use super::peer_api::{PeerRequest, PeerResponse};
use super::read::{Allowed, Answer, Hop, Question, Terms, storage};
use super::request::{Read, ReadAnswer};
use crate::sql::{ReadError, ReadOptions, Readers};
use crate::types::command::{Execute, RowsWanted};
use crate::types::statement::{StatementError, StatementErrorKind};
use crate::types::{Command, Namespace, Outcome, Statement, StatementResult};

impl Question for Read {
    type Found = Vec<StatementResult>;

    fn terms(&self) -> Terms<'_> {
        let Read { namespace, level, freshness, min_index, .. } = self;
        Terms { namespace, level: *level, freshness: *freshness, min_index: *min_index }
    }

    fn ask(&self, readers: &Readers, allowed: &Allowed) -> Result<Vec<StatementResult>, ReadError> {
        let limits = &allowed.limits;
        let longest = limits.statement_timeout;
        let options = ReadOptions {
            deadline: allowed.deadline,
            statement_timeout: Some(self.statement_timeout.map_or(longest, |asked| asked.min(longest))),
            rows_max: limits.result_rows_max,
            bytes_max: limits.result_bytes_max,
            atomicity: self.atomicity,
            qualify_columns: self.qualify_columns,
            work: allowed.work,
        };
        readers.query(&self.statements, &options)
    }

    fn to_leader(self, timeout: Duration) -> PeerRequest {
        PeerRequest::Read { read: self, timeout }
    }

    fn answered(response: PeerResponse) -> Result<Vec<StatementResult>, PeerResponse> {
        match response {
            PeerResponse::Results(results) => Ok(results),
            other => Err(other),
        }
    }

    async fn through_log(self, cluster: &Cluster, deadline: Instant) -> Result<Answer<Self::Found>, ClusterError> {
        cluster.read_through_log(self, deadline).await
    }
}

impl Cluster {
    /// Reads at the level asked for.
    ///
    /// # Errors
    /// [`ClusterError`]; a statement's own failure is a result, not an error.
    pub async fn read(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        let Answer { found, index, served_by } = self.answer(read, Hop::Allowed, deadline).await?;
        Ok(ReadAnswer { results: found, index, served_by })
    }

    /// Whether every statement only reads (then a request needs no log entry). Unparsable ones count as reads.
    ///
    /// # Errors
    /// [`ClusterError`] when the namespace does not exist or cannot be read.
    pub async fn all_read_only(&self, namespace: &Namespace, statements: &[Statement]) -> Result<bool, ClusterError> {
        self.readers_of(namespace)?.all_read_only(statements).map_err(storage)
    }

    /// Statements that write are answered here and kept out of the log.
    async fn read_through_log(
        &self,
        read: Read,
        deadline: Instant,
    ) -> Result<Answer<Vec<StatementResult>>, ClusterError> {
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
        Ok(Answer { found: results, index: Some(applied.index), served_by: applied.served_by })
    }
}
