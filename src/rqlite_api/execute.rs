//! `/db/execute`, and whatever else puts SQL through the log.

use super::call::Call;
use super::counters::Counter;
use super::failure::{Effect, Failure};
use super::json::Operation;
use super::parameters::Flag;
use super::reply::{self, Reply};
use super::{pragma, queue};
use crate::cluster::ServedBy;
use crate::types::command::{Atomicity, Execute, Executed, Outcome, Replayed, RowsWanted};
use crate::types::limits::{WRITE_STEPS_MAX, WRITE_STEPS_PER_MILLISECOND};
use crate::types::{Command, Statement};

/// Answers `/db/execute`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let statements = call.statements_or_text()?;
    call.face.counters.add(Counter::Executions, 1);
    call.face.counters.add(Counter::ExecuteStatements, statements.len() as u64);
    if call.parameters.has(Flag::Queue) {
        return queue::handle(call, statements).await;
    }
    through_the_log(call, statements, RowsWanted::FromReturning, Operation::Execute).await
}

/// Runs statements through the log and answers with their results.
pub(super) async fn through_the_log(
    call: &Call<'_>,
    statements: Vec<Statement>,
    rows: RowsWanted,
    operation: Operation,
) -> Result<Reply, Failure> {
    let style = call.style(operation);
    if statements.iter().any(|statement| pragma::is_disallowed(&statement.sql)) {
        return Err(Failure::RefusedInside(pragma::DISALLOWED, style));
    }
    if let Some(elsewhere) = call.redirect()? {
        return Ok(elsewhere);
    }
    if statements.is_empty() {
        return call.results(&style, &[], &ServedBy::Here, None);
    }
    let atomicity =
        if call.parameters.has(Flag::Transaction) { Atomicity::Transaction } else { Atomicity::EachStatement };
    let execute = Execute {
        atomicity,
        rows,
        steps_max: steps_max(call, statements.len()),
        idempotency: call.idempotency()?,
        ..Execute::new(call.namespace().clone(), statements)
    };
    let failed = |error| Failure::Data(error, style, Effect::Writes);
    let applied = call.face.cluster.submit(Command::Execute(execute), call.deadline()).await.map_err(failed)?;
    let Executed { results, replayed } = match applied.outcome {
        Outcome::Executed(executed) => executed,
        Outcome::Refused(refusal) => return Err(failed(refusal.into())),
        Outcome::None | Outcome::Done | Outcome::Admitted | Outcome::Kv(_) | Outcome::Topics(_) => Executed::default(),
    };
    let mut answer = call.results(&style, &results, &applied.served_by, Some(applied.index))?;
    if replayed == Replayed::Yes {
        reply::set_replayed(&mut answer);
    }
    Ok(answer)
}

/// A time limit on a write, as work that every replica measures alike.
fn steps_max(call: &Call<'_>, statements: usize) -> u64 {
    let Some(timeout) = call.parameters.db_timeout.filter(|timeout| !timeout.is_zero()) else {
        return WRITE_STEPS_MAX;
    };
    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    milliseconds.saturating_mul(WRITE_STEPS_PER_MILLISECOND).saturating_mul(statements as u64).min(WRITE_STEPS_MAX)
}
