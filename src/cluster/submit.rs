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
        let repeatable = match &command {
            Command::Execute(execute) => execute.idempotency.is_some(),
            Command::Kv(kv) => kv.idempotency.is_some(),
            _ => false,
        };
        let search = Search::until(deadline);
        let mut unknown = false;
        loop {
            let again = match self.attempt(&command, &search).await {
                Ok(Some(applied)) => return refused_as_error(applied),
                Ok(None) => search.pause().await,
                Err(ClusterError::LeadershipLost) if repeatable => {
                    unknown = true;
                    search.pause().await
                }
                Err(error) => Err(error),
            };
            // Once an attempt may have taken effect, no later one can say that nothing did.
            again.map_err(|error| if unknown { ClusterError::LeadershipLost } else { error })?;
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
        Command::Kv(kv) => kv.ops.iter().map(|op| op.bytes() as usize + size_of_val(op)).sum(),
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
    use super::*;

    #[test]
    fn a_peer_address_is_shown_as_host_and_port() {
        assert_eq!(host_port("/ip4/10.0.0.1/tcp/4001").as_deref(), Some("10.0.0.1:4001"));
        assert_eq!(host_port("/ip6/::1/tcp/4001").as_deref(), Some("[::1]:4001"));
        assert_eq!(host_port("/ip4/10.0.0.1"), None);
    }
}
