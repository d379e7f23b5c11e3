//! `/db/query`, and whatever else reads.

use super::call::{Call, after};
use super::counters::Counter;
use super::failure::{Effect, Failure};
use super::json::Operation;
use super::parameters::Flag;
use super::pragma;
use super::reply::Reply;
use crate::cluster::{Level, Read, ReadAnswer, ServedBy};
use crate::types::Statement;
use crate::types::command::Atomicity;

/// Answers `/db/query`: `GET` with `q`, or `POST`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let statements = match (call.method == hyper::Method::GET, &call.parameters.q) {
        (true, Some(sql)) => vec![Statement::new(sql.as_ref())],
        (true, None) => Vec::new(),
        (false, _) => call.statements_or_text()?,
    };
    call.face.counters.add(Counter::Queries, 1);
    call.face.counters.add(Counter::QueryStatements, statements.len() as u64);
    let style = call.style(Operation::Query);
    if statements.iter().any(|statement| pragma::is_disallowed(&statement.sql)) {
        return Err(Failure::RefusedInside(pragma::DISALLOWED, style));
    }
    if call.parameters.level() != Level::None
        && let Some(elsewhere) = call.redirect()?
    {
        return Ok(elsewhere);
    }
    if statements.is_empty() {
        return call.results(&style, &[], &ServedBy::Here, None);
    }
    let answer = read(call, statements).await.map_err(|error| Failure::Data(error, style, Effect::Reads))?;
    call.results(&style, &answer.results, &answer.served_by, answer.index)
}

/// Reads at the level that the caller asked for.
pub(super) async fn read(
    call: &Call<'_>,
    statements: Vec<Statement>,
) -> Result<ReadAnswer, crate::cluster::ClusterError> {
    let parameters = &call.parameters;
    let level = parameters.level();
    let mut deadline = call.deadline();
    if let (Level::Linearizable, Some(wait)) = (level, parameters.linearizable_timeout) {
        deadline = deadline.min(after(call.started, wait));
    }
    let read = Read {
        namespace: call.namespace().clone(),
        statements,
        atomicity: if parameters.has(Flag::Transaction) { Atomicity::Transaction } else { Atomicity::EachStatement },
        level,
        freshness: parameters.freshness().filter(|_| level == Level::None),
        min_index: parameters.min_index,
        statement_timeout: parameters.db_timeout.filter(|timeout| !timeout.is_zero()),
        qualify_columns: parameters.has(Flag::QualifyColumns),
    };
    call.face.cluster.read(read, deadline).await
}
