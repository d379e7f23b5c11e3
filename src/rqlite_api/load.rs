//! `/db/load` and `/boot`: a whole database from outside, as a SQLite file or as SQL text.
//!
//! A file replaces the database in one log entry, on every node alike; rqlite's `/boot` bypasses its log, ours does not.
//! SQL text runs in one transaction: all of it or nothing.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::call::Call;
use super::counters::Counter;
use super::failure::{Effect, Failure};
use super::json::Operation;
use super::reply::{self, Reply};
use super::sql_script;
use crate::cluster::{Applied, ClusterError, ServedBy, Suffrage};
use crate::types::command::{Atomicity, Execute, Outcome, Refusal};
use crate::types::limits::COMMAND_BYTES_MAX;
use crate::types::statement::{StatementError, StatementErrorKind};
use crate::types::{Command, StatementResult};

/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of a SQLite file's header.
const HEADER_BYTES: usize = 100;

/// The type that Go's server guesses for this endpoint's answers.
const GUESSED_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers `/db/load`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    if let Some(elsewhere) = call.redirect()? {
        return Ok(elsewhere);
    }
    call.face.counters.add(Counter::Loads, 1);
    let mut answer = if call.body.starts_with(MAGIC) { load_file(call).await? } else { load_text(call).await? };
    answer.headers_mut().insert(CONTENT_TYPE, GUESSED_TYPE);
    Ok(answer)
}

async fn load_file(call: &Call<'_>) -> Result<Reply, Failure> {
    let style = call.style(Operation::Execute);
    match replace(call).await {
        Ok(applied) => call.results(&style, &[], &applied.served_by, Some(applied.index)),
        Err(ClusterError::Refused(refusal)) => {
            let failed = StatementError { message: refusal.to_string(), kind: StatementErrorKind::Refused };
            call.results(&style, &[StatementResult::Failed(failed)], &ServedBy::Here, None)
        }
        Err(error) => Err(Failure::Data(error, style, Effect::Writes)),
    }
}

async fn load_text(call: &Call<'_>) -> Result<Reply, Failure> {
    let style = call.style(Operation::Execute);
    let failed = |error| Failure::Data(error, style, Effect::Writes);
    let bytes = call.body.len();
    if bytes > COMMAND_BYTES_MAX {
        return Err(failed(ClusterError::TooLarge { bytes, bytes_max: COMMAND_BYTES_MAX }));
    }
    let script = std::str::from_utf8(&call.body).map_err(|_| Failure::BadRequest("body is not UTF-8"))?;
    let statements = sql_script::statements(script);
    if statements.is_empty() {
        return call.results(&style, &[], &ServedBy::Here, None);
    }
    let execute = Execute {
        atomicity: Atomicity::Transaction,
        idempotency: call.idempotency()?,
        ..Execute::new(call.namespace().clone(), statements)
    };
    let applied = call.face.cluster.submit(Command::Execute(execute), call.deadline()).await.map_err(failed)?;
    match &applied.outcome {
        Outcome::Refused(refusal) => Err(failed(refusal.clone().into())),
        Outcome::Executed(executed) => {
            let last = &executed.results[executed.results.len().saturating_sub(1)..];
            call.results(&style, last, &applied.served_by, Some(applied.index))
        }
        _ => call.results(&style, &[], &applied.served_by, Some(applied.index)),
    }
}

/// Answers `/boot`: only on a cluster of one node, where nobody else can be surprised.
pub(super) async fn boot(call: &Call<'_>) -> Result<Reply, Failure> {
    call.face.counters.add(Counter::Boot, 1);
    let unavailable = |text: &str| Failure::Text(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    if call.body.len() < MAGIC.len() {
        return Err(unavailable("EOF"));
    }
    if !call.body.starts_with(MAGIC) || call.body.len() < HEADER_BYTES {
        return Err(Failure::BadRequest("invalid SQLite data"));
    }
    if !call.face.cluster.is_leader() {
        return Err(unavailable("not leader"));
    }
    let members = call.face.cluster.raft_status().members;
    if members.iter().filter(|member| member.suffrage != Suffrage::Gateway).count() != 1 {
        return Err(unavailable("not single-node"));
    }
    match replace(call).await {
        Ok(applied) => {
            let mut answer = reply::empty(StatusCode::OK);
            reply::set_index(&mut answer, applied.index);
            Ok(answer)
        }
        Err(ClusterError::Refused(Refusal::NotADatabase(_))) => Err(Failure::BadRequest("invalid SQLite data")),
        Err(error) => Err(Failure::Control(error)),
    }
}

async fn replace(call: &Call<'_>) -> Result<Applied, ClusterError> {
    let command = Command::Load { namespace: call.namespace().clone(), database: call.body.to_vec() };
    let applied = call.face.cluster.submit(command, call.deadline()).await?;
    match applied.outcome {
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(applied),
    }
}
