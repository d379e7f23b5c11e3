//! Writes: through the log, from any node.

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ClusterError;
use super::leader::{Asked, Leader, Search};
use super::peer_api::{PeerRequest, PeerResponse};
use super::request::{Applied, ServedBy};
use super::view::Member;
use super::{Cluster, Limits};
use crate::raft::ProposeError;
use crate::types::limits::WRITE_STEPS_MAX;
use crate::types::statement::StatementErrorKind;
use crate::types::{Command, Namespace, NodeId, Outcome, Statement, StatementResult, Value};

/// Bytes of commands on their way through the log at once, in KiB: what a process may hold in memory for its clients.
const IN_FLIGHT_KIB_MAX: usize = 512 * 1024;

impl Cluster {
    /// Puts a command through the log and waits until it is applied on the leader.
    ///
    /// While there is no leader it waits for one, a few seconds at most. A command with an idempotency key, or that only
    /// stores messages, is tried again when its outcome is unknown; any other is not.
    ///
    /// # Errors
    /// [`ClusterError`]; its [`outcome`](ClusterError::outcome) says whether the command may have taken effect. A
    /// refusal by the state machine is [`ClusterError::Refused`]. Dropping the future leaves the outcome open.
    pub async fn submit(&self, command: Command, deadline: Instant) -> Result<Applied, ClusterError> {
        let command = self.inner.limits.apply(command);
        let _in_flight = self.inner.in_flight.reserve(&command, deadline).await?;
        let mut attempts = Attempts::of(&command, deadline);
        loop {
            let attempt = self.attempt(&command, &attempts.search).await;
            if let Some(applied) = attempts.after(attempt).await? {
                return Ok(applied);
            }
        }
    }

    /// One attempt; `None` when nothing was done and another may be made.
    async fn attempt(&self, command: &Command, search: &Search) -> Result<Option<Applied>, ClusterError> {
        match self.find_leader(search).await? {
            Leader::Here => match self.propose_in_turn(command, search.deadline()).await? {
                Ok((outcome, index)) => {
                    Ok(Some(Applied { outcome, index, served_by: ServedBy::Here, repeated: false }))
                }
                Err(ProposeError::NotLeader { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Leader::At(leader) => {
                let timeout = search.deadline().saturating_duration_since(Instant::now());
                let request = PeerRequest::Submit { command: command.clone(), timeout };
                match self.ask_leader(leader, request, search).await? {
                    Asked::Answered(PeerResponse::Applied { outcome, index }) => {
                        Ok(Some(Applied { outcome, index, served_by: self.served_by(leader), repeated: false }))
                    }
                    Asked::Answered(other) => Err(unexpected(&other)),
                    Asked::NotLeader(_) | Asked::NotSent => Ok(None),
                }
            }
        }
    }

    /// Proposes a command here, wherever it came from, when it is its namespace's turn.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`], [`ClusterError::Timeout`].
    pub(super) async fn propose_in_turn(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<Result<(Outcome, u64), ProposeError>, ClusterError> {
        let begun = Instant::now();
        // Who asked is to hear in time that nothing was done.
        let patience = begun + deadline.saturating_duration_since(begun) * 9 / 10;
        let mut turn = match written(command) {
            Some(namespace) => Some(self.inner.write_turns.turn(namespace, patience).await?),
            None => None,
        };
        let begun = Instant::now();
        if let Some(turn) = &mut turn {
            turn.proposed();
        }
        let proposal = self.raft().propose(command);
        let proposed = tokio::time::timeout_at(deadline.into(), proposal).await.map_err(|_| ClusterError::Timeout)?;
        if let Some(turn) = &mut turn {
            turn.worked(proposed.as_ref().map_or(Duration::ZERO, |(outcome, _)| work_of(outcome, begun.elapsed())));
        }
        Ok(proposed)
    }

    pub(super) fn served_by(&self, node: NodeId) -> ServedBy {
        served_by(node, self.member(node).as_ref())
    }
}

/// The tenant's data that a command changes. What the system does for all of them stands in no tenant's line.
fn written(command: &Command) -> Option<&Namespace> {
    match command {
        Command::Execute(execute) => Some(&execute.namespace),
        Command::Kv(kv) => Some(&kv.namespace),
        Command::Topics(change) => Some(&change.namespace),
        _ => None,
    }
    .filter(|namespace| **namespace != Namespace::accounts())
}

/// How long the statements of a command took; of one that took too long, about as long as all of it.
fn work_of(outcome: &Outcome, all: Duration) -> Duration {
    let Outcome::Executed(executed) = outcome else { return Duration::ZERO };
    let work = executed.results.iter().map(|result| match result {
        StatementResult::Rows(rows) => Duration::from_nanos(rows.elapsed_ns),
        StatementResult::Written(written) => Duration::from_nanos(written.elapsed_ns),
        StatementResult::Failed(error) if error.kind == StatementErrorKind::Timeout => all,
        StatementResult::Failed(_) => Duration::ZERO,
    });
    work.sum::<Duration>().min(all)
}

/// Where a node served, by what is known of it.
pub(super) fn served_by(node: NodeId, member: Option<&Member>) -> ServedBy {
    let address = member.and_then(|member| member.addresses.first().and_then(|address| host_port(address)));
    ServedBy::Peer { node, address: address.unwrap_or_default() }
}

pub(super) fn unexpected(response: &PeerResponse) -> ClusterError {
    ClusterError::Storage(format!("the leader's answer does not fit the question: {response:?}"))
}

/// The tries at one command. They know what may have happened so far, and so whether another may follow.
pub(super) struct Attempts {
    pub(super) search: Search,
    /// The command takes effect once, however often it arrives.
    repeatable: bool,
    /// An earlier attempt may have taken effect.
    unknown: bool,
}

impl Attempts {
    pub(super) fn of(command: &Command, deadline: Instant) -> Attempts {
        let repeatable = match command {
            Command::Execute(execute) => execute.idempotency.is_some(),
            Command::Kv(kv) => kv.idempotency.is_some(),
            Command::Topics(change) => change.is_repeatable(),
            _ => false,
        };
        Attempts { search: Search::until(deadline), repeatable, unknown: false }
    }

    /// Judges an attempt, whose own `None` means that nothing was done. `None` after a pause: make another.
    pub(super) async fn after(
        &mut self,
        attempt: Result<Option<Applied>, ClusterError>,
    ) -> Result<Option<Applied>, ClusterError> {
        let again = match attempt {
            Ok(Some(applied)) => {
                return refused_as_error(Applied { repeated: self.unknown, ..applied }).map(Some);
            }
            Ok(None) => self.search.pause().await,
            Err(ClusterError::LeadershipLost) if self.repeatable => {
                self.unknown = true;
                self.search.pause().await
            }
            Err(error) => Err(error),
        };
        // Once an attempt may have taken effect, no later one can say that nothing did.
        again.map(|()| None).map_err(|error| if self.unknown { ClusterError::LeadershipLost } else { error })
    }
}

/// Commands of this process on their way through the log: bounded in bytes.
pub(super) struct InFlight {
    kib: Semaphore,
}

impl InFlight {
    pub(super) fn new() -> InFlight {
        InFlight { kib: Semaphore::new(IN_FLIGHT_KIB_MAX) }
    }

    /// A command's share, until it is dropped.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`] when there is none before the deadline.
    pub(super) async fn reserve(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, ClusterError> {
        let kib = (size_of(command) / 1024 + 1).min(IN_FLIGHT_KIB_MAX) as u32;
        let wait = tokio::time::timeout_at(deadline.into(), self.kib.acquire_many(kib));
        wait.await.map_err(|_| ClusterError::Overloaded)?.map_err(|_| ClusterError::Stopping)
    }
}

impl Limits {
    /// Bounds what SQL may cost; the bounds travel with the command.
    pub(super) fn apply(&self, mut command: Command) -> Command {
        if let Command::Execute(execute) = &mut command {
            if execute.steps_max == WRITE_STEPS_MAX {
                execute.limit_time(self.statement_timeout);
            }
            execute.result_rows_max = execute.result_rows_max.min(self.result_rows_max as u64);
            execute.result_bytes_max = execute.result_bytes_max.min(self.result_bytes_max as u64);
        }
        command
    }
}

fn refused_as_error(applied: Applied) -> Result<Applied, ClusterError> {
    match applied.outcome {
        Outcome::Refused(refusal) => Err(ClusterError::Refused(refusal)),
        _ => Ok(applied),
    }
}

/// `/ip4/10.0.0.1/tcp/4001` as `10.0.0.1:4001`.
fn host_port(multiaddr: &str) -> Option<String> {
    let mut parts = multiaddr.split('/').skip(1);
    let (kind, host, _tcp, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(if kind == "ip6" { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// About how many bytes a command takes in memory and in the log.
fn size_of(command: &Command) -> usize {
    match command {
        Command::Execute(execute) => execute.statements.iter().map(size_of_statement).sum(),
        Command::Kv(kv) => kv.ops.iter().map(|op| op.bytes() as usize + size_of_val(op)).sum(),
        Command::Topics(change) => change.ops.iter().map(|op| op.stored_bytes() as usize + size_of_val(op)).sum(),
        Command::Load { database, .. } => database.len(),
        _ => 256,
    }
}

fn size_of_statement(statement: &Statement) -> usize {
    let values = statement.positional.iter().chain(statement.named.iter().map(|(_, value)| value));
    let values: usize = values
        .map(|value| match value {
            Value::Text(text) => text.len() + 16,
            Value::Blob(bytes) => bytes.len() + 16,
            Value::Null | Value::Integer(_) | Value::Real(_) => 16,
        })
        .sum();
    statement.sql.len() + values
}

#[cfg(test)]
mod tests {
    use super::super::error::WriteOutcome;
    use super::*;
    use crate::types::Namespace;
    use crate::types::command::{Execute, IdempotencyKey};

    #[tokio::test]
    async fn only_a_write_that_happens_once_is_tried_again_when_it_may_have_happened() {
        let mut execute = Execute::new(Namespace::default_namespace(), Vec::new());
        let once = Command::Execute(execute.clone());
        execute.idempotency = Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [0; 32] });
        let keyed = Command::Execute(execute);
        let deadline = Instant::now() + Duration::from_secs(60);
        let lost = || Err(ClusterError::LeadershipLost);
        assert_eq!(Attempts::of(&once, deadline).after(lost()).await, Err(ClusterError::LeadershipLost));
        assert_eq!(Attempts::of(&once, deadline).after(Ok(None)).await, Ok(None), "nothing was done: again");
        let mut attempts = Attempts::of(&keyed, deadline);
        assert_eq!(attempts.after(lost()).await, Ok(None));
        let later = attempts.after(Err(ClusterError::NoLeader)).await;
        assert_eq!(later, Err(ClusterError::LeadershipLost), "an earlier attempt may have taken effect");
    }

    #[test]
    fn a_peer_address_is_shown_as_host_and_port() {
        assert_eq!(host_port("/ip4/10.0.0.1/tcp/4001").as_deref(), Some("10.0.0.1:4001"));
        assert_eq!(host_port("/ip6/::1/tcp/4001").as_deref(), Some("[::1]:4001"));
        assert_eq!(host_port("/ip4/10.0.0.1"), None);
    }

    #[test]
    fn a_core_that_stopped_with_an_entry_on_its_way_says_nothing_about_it() {
        let stopped = ClusterError::from(ProposeError::Stopped("storage failed".to_owned()));
        assert_eq!(stopped.outcome(), WriteOutcome::Unknown);
        assert_eq!(ClusterError::from(ProposeError::Unknown).outcome(), WriteOutcome::Unknown);
    }
}
