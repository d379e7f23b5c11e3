//! `/db/request`: reads and writes in one list. Only reads need no log entry.

use super::call::Call;
use super::counters::Counter;
use super::execute;
use super::failure::{Effect, Failure};
use super::json::Operation;
use super::pragma;
use super::query;
use super::reply::Reply;
use crate::cluster::{Level, ServedBy};
use crate::types::StatementResult;
use crate::types::command::RowsWanted;
use crate::types::statement::StatementErrorKind;

/// Answers `/db/request`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let statements = call.statements()?;
    call.face.counters.add(Counter::Requests, 1);
    call.face.counters.add(Counter::RequestStatements, statements.len() as u64);
    let style = call.style(Operation::Request);
    if statements.iter().any(|statement| pragma::is_disallowed(&statement.sql)) {
        return Err(Failure::RefusedInside(pragma::DISALLOWED, style));
    }
    if statements.is_empty() {
        return call.results(&style, &[], &ServedBy::Here, None);
    }
    let failed = |error| Failure::Data(error, style, Effect::Reads);
    if call.face.cluster.all_read_only(call.namespace(), &statements).await.map_err(failed)? {
        if call.parameters.level() != Level::None
            && let Some(elsewhere) = call.redirect()?
        {
            return Ok(elsewhere);
        }
        let answer = query::read(call, statements.clone()).await.map_err(failed)?;
        if !answer.results.iter().any(is_refused_write) {
            return call.results(&style, &answer.results, &answer.served_by, answer.index);
        }
        // This node did not know the table yet and took a write for a read; nothing happened.
    }
    execute::through_the_log(call, statements, RowsWanted::FromAll, Operation::Request).await
}

fn is_refused_write(result: &StatementResult) -> bool {
    matches!(result, StatementResult::Failed(failure) if failure.kind == StatementErrorKind::ReadOnly)
}
