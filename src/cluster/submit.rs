//! Writes: through the log, from any node.

use std::time::Instant;

use super::Cluster;
use super::error::ClusterError;
use super::leader::{Asked, Leader, Search};
use super::peer_api::{PeerRequest, PeerResponse};
use super::request::{Applied, ServedBy};
use crate::raft::ProposeError;
use crate::types::limits::WRITE_STEPS_MAX;
use crate::types::{Command, NodeId, Outcome, Statement, Value};

impl Cluster {
    /// Puts a command through the log and waits until it is applied on the leader.
    ///
    /// While there is no leader it waits for one, a few seconds at most. A command with an idempotency key is tried
    /// again when its outcome is unknown; any other is not.
    ///
    /// # Errors
    /// [`ClusterError`]; its [`outcome`](ClusterError::outcome) says whether the command may have taken effect. A
    /// refusal by the state machine is [`ClusterError::Refused`]. Dropping the future leaves the outcome open.
    pub async fn submit(&self, command: Command, deadline: Instant) -> Result<Applied, ClusterError> {
        let command = self.limited(command);
        let kib = (size_of(&command) / 1024 + 1).min(super::IN_FLIGHT_KIB_MAX) as u32;
        let wait = tokio::time::timeout_at(deadline.into(), self.inner.in_flight_kib.acquire_many(kib));
        let _in_flight = wait.await.map_err(|_| ClusterError::Overloaded)?.map_err(|_| ClusterError::Stopping)?;
        let repeatable = matches!(&command, Command::Execute(execute) if execute.idempotency.is_some());
        let search = Search::until(deadline);
        let mut attempts = Attempts { repeatable, unknown: false };
        loop {
            match attempts.judge(self.attempt(&command, &search).await) {
                Verdict::Done(applied) => return refused_as_error(applied),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again => search.pause().await.map_err(|error| attempts.at_last(error))?,
            }
        }
    }

    /// Bounds what SQL may cost; the bounds travel with the command.
    fn limited(&self, mut command: Command) -> Command {
        if let Command::Execute(execute) = &mut command {
            let limits = &self.inner.limits;
            if execute.steps_max == WRITE_STEPS_MAX {
                execute.limit_time(limits.statement_timeout);
            }
            execute.result_rows_max = execute.result_rows_max.min(limits.result_rows_max as u64);
            execute.result_bytes_max = execute.result_bytes_max.min(limits.result_bytes_max as u64);
        }
        command
    }

    /// One attempt; `None` when nothing was done and another may be made.
    async fn attempt(&self, command: &Command, search: &Search) -> Result<Option<Applied>, ClusterError> {
        match self.find_leader(search).await? {
            Leader::Here => {
                let proposal = self.raft().propose(command);
                match tokio::time::timeout_at(search.deadline().into(), proposal).await {
                    Ok(Ok((outcome, index))) => Ok(Some(Applied { outcome, index, served_by: ServedBy::Here })),
                    Ok(Err(ProposeError::NotLeader { .. })) => Ok(None),
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err(ClusterError::Timeout),
                }
            }
            Leader::At(leader) => {
                let timeout = search.deadline().saturating_duration_since(Instant::now());
                let request = PeerRequest::Submit { command: command.clone(), timeout };
                match self.ask_leader(leader, request, search).await? {
                    Asked::Answered(PeerResponse::Applied { outcome, index }) => {
                        Ok(Some(Applied { outcome, index, served_by: self.served_by(leader) }))
                    }
                    Asked::Answered(other) => Err(unexpected(&other)),
                    Asked::Again => Ok(None),
                }
            }
        }
    }

    pub(super) fn served_by(&self, node: NodeId) -> ServedBy {
        let member = self.member(node);
        let address = member.and_then(|member| member.addresses.first().and_then(|address| host_port(address)));
        ServedBy::Peer { node, address: address.unwrap_or_default() }
    }
}

/// What is known of the attempts to carry out one command.
struct Attempts {
    /// Whether a second effect is impossible.
    repeatable: bool,
    /// Whether one of them may have taken effect.
    unknown: bool,
}

enum Verdict {
    Done(Applied),
    Again,
    Failed(ClusterError),
}

impl Attempts {
    fn judge(&mut self, attempt: Result<Option<Applied>, ClusterError>) -> Verdict {
        match attempt {
            Ok(Some(applied)) => Verdict::Done(applied),
            Ok(None) => Verdict::Again,
            Err(ClusterError::LeadershipLost) if self.repeatable => {
                self.unknown = true;
                Verdict::Again
            }
            Err(error) => Verdict::Failed(self.at_last(error)),
        }
    }

    /// Once an attempt may have taken effect, no later one can say that nothing did.
    fn at_last(&self, error: ClusterError) -> ClusterError {
        if self.unknown { ClusterError::LeadershipLost } else { error }
    }
}

pub(super) fn unexpected(response: &PeerResponse) -> ClusterError {
    ClusterError::Storage(format!("the leader's answer does not fit the question: {response:?}"))
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

    #[test]
    fn a_peer_address_is_shown_as_host_and_port() {
        assert_eq!(host_port("/ip4/10.0.0.1/tcp/4001").as_deref(), Some("10.0.0.1:4001"));
        assert_eq!(host_port("/ip6/::1/tcp/4001").as_deref(), Some("[::1]:4001"));
        assert_eq!(host_port("/ip4/10.0.0.1"), None);
    }

    #[test]
    fn an_unknown_outcome_is_not_turned_into_a_known_one_by_later_attempts() {
        let lost = || Err(ClusterError::LeadershipLost);
        let mut attempts = Attempts { repeatable: true, unknown: false };
        assert!(matches!(attempts.judge(Ok(None)), Verdict::Again));
        assert_eq!(attempts.at_last(ClusterError::NoLeader).outcome(), WriteOutcome::NotExecuted);
        assert!(matches!(attempts.judge(lost()), Verdict::Again));
        assert!(matches!(attempts.judge(Ok(None)), Verdict::Again));
        for error in [ClusterError::NoLeader, ClusterError::Overloaded, ClusterError::Stopping] {
            assert_eq!(attempts.at_last(error.clone()).outcome(), WriteOutcome::Unknown);
            let Verdict::Failed(told) = attempts.judge(Err(error)) else { panic!("it is over") };
            assert_eq!(told.outcome(), WriteOutcome::Unknown);
        }
        // Without a key it is not tried again at all.
        let mut attempts = Attempts { repeatable: false, unknown: false };
        assert!(matches!(attempts.judge(lost()), Verdict::Failed(ClusterError::LeadershipLost)));
    }

    #[test]
    fn a_core_that_stopped_with_an_entry_on_its_way_says_nothing_about_it() {
        let stopped = ClusterError::from(ProposeError::Stopped("storage failed".to_owned()));
        assert_eq!(stopped.outcome(), WriteOutcome::Unknown);
        assert_eq!(ClusterError::from(ProposeError::Unknown).outcome(), WriteOutcome::Unknown);
    }
}
