//! At most one effect per caller's key: the outcomes of requests that carried one, kept in the same file and the same
//! transaction as their effects.
//!
//! What is stored is the same on every replica: wall-clock durations are left out, and so are the rows of PRAGMA and
//! EXPLAIN. An outcome larger than [`OUTCOME_BYTES_MAX`] is stored without its rows.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::statement::with_own;
use super::text;
use crate::types::command::{Execute, Executed, IdempotencyKey, Outcome, Refusal, Replayed, Stamp};
use crate::types::durable::{TopicOutcome, TopicVerdict};
use crate::types::kv::{KvOutcome, KvVerdict};
use crate::types::limits::IDEMPOTENCY_TTL;
use crate::types::statement::{Rows, StatementError, StatementErrorKind, StatementResult, Written};

/// Largest outcome that is kept whole; keys live for a day, and a database should not be mostly old answers.
const OUTCOME_BYTES_MAX: usize = 1024 * 1024;

/// Makes room: the key itself if it has expired, and four others that have. More than an entry adds, so that they do not
/// pile up, and few. The number stands in the text: see [`super::kv::EXPIRED`].
const EXPIRE: &str = "/*debros*/ DELETE FROM sqlite_debros_idempotency WHERE key = ?2 AND unix_ms < ?1 OR key IN \
    (SELECT key FROM sqlite_debros_idempotency WHERE unix_ms < ?1 ORDER BY unix_ms, key LIMIT 4)";

/// What the table says about a key.
pub(super) enum Known {
    /// The request has not run.
    No,
    /// It has run, or another request has taken its key.
    Answered(Outcome),
}

/// Looks a key up, after some of the expired ones are gone.
pub(super) fn look_up(connection: &Connection, key: &IdempotencyKey, stamp: Stamp) -> rusqlite::Result<Known> {
    let oldest_alive = stamp.unix_ms.saturating_sub(IDEMPOTENCY_TTL.as_millis() as i64);
    with_own(connection, EXPIRE, |statement| statement.execute((oldest_alive, &key.key)))?;
    let find = "/*debros*/ SELECT fingerprint, outcome FROM sqlite_debros_idempotency WHERE key = ?1";
    let stored: Option<(Vec<u8>, Vec<u8>)> = with_own(connection, find, |statement| {
        statement.query_row([&key.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    })?;
    Ok(match stored {
        None => Known::No,
        Some((fingerprint, _)) if fingerprint != key.fingerprint => {
            Known::Answered(Outcome::Refused(Refusal::IdempotencyMismatch(key.key.clone())))
        }
        Some((_, outcome)) => Known::Answered(decode(&outcome)),
    })
}

/// What is kept of an outcome.
#[derive(Serialize, Deserialize)]
pub(super) enum Kept {
    /// What SQL gave.
    Results(Vec<StatementResult>),
    /// What became of changes of keys.
    Kv(KvVerdict),
    /// What became of changes of durable topics.
    Topics(TopicVerdict),
}

/// Stores an outcome in the open transaction.
pub(super) fn store(
    connection: &Connection,
    key: &IdempotencyKey,
    stamp: Stamp,
    outcome: &Kept,
) -> rusqlite::Result<()> {
    let outcome = bytes_of(outcome);
    let sql = "/*debros*/ INSERT INTO sqlite_debros_idempotency(key, unix_ms, fingerprint, outcome) \
        VALUES(?1, ?2, ?3, ?4)";
    let values = (&key.key, stamp.unix_ms, key.fingerprint.as_slice(), outcome);
    with_own(connection, sql, |statement| statement.execute(values)).map(drop)
}

/// What is kept of what SQL gave.
pub(super) fn kept(execute: &Execute, results: &[StatementResult]) -> Kept {
    let volatile = execute
        .statements
        .iter()
        .any(|statement| text::mentions(&statement.sql, "pragma") || text::mentions(&statement.sql, "explain"));
    let kept: Vec<StatementResult> = results.iter().map(|result| timeless(result, volatile)).collect();
    let kept = Kept::Results(kept);
    match kept {
        Kept::Results(results) if bytes_of(&kept).len() > OUTCOME_BYTES_MAX => {
            Kept::Results(results.into_iter().map(rowless).collect())
        }
        kept => kept,
    }
}

fn bytes_of(outcome: &Kept) -> Vec<u8> {
    postcard::to_stdvec(outcome).expect("an outcome has no unserialisable part")
}

fn timeless(result: &StatementResult, volatile: bool) -> StatementResult {
    match result {
        StatementResult::Written(written) => StatementResult::Written(Written { elapsed_ns: 0, ..*written }),
        StatementResult::Rows(rows) if volatile => StatementResult::Rows(Rows {
            columns: rows.columns.clone(),
            declared_types: rows.declared_types.clone(),
            ..Rows::default()
        }),
        StatementResult::Rows(rows) => StatementResult::Rows(Rows { elapsed_ns: 0, ..rows.clone() }),
        StatementResult::Failed(error) => StatementResult::Failed(error.clone()),
    }
}

fn rowless(result: StatementResult) -> StatementResult {
    match result {
        StatementResult::Rows(_) => StatementResult::Failed(StatementError {
            message: "the request was executed before; its rows were too large to be kept".to_owned(),
            kind: StatementErrorKind::TooLarge,
        }),
        other => other,
    }
}

fn decode(bytes: &[u8]) -> Outcome {
    let replayed = Replayed::Yes;
    match postcard::from_bytes(bytes) {
        Ok(Kept::Results(results)) => Outcome::Executed(Executed { results, replayed }),
        Ok(Kept::Kv(verdict)) => Outcome::Kv(KvOutcome { verdict, replayed }),
        Ok(Kept::Topics(verdict)) => Outcome::Topics(TopicOutcome { verdict, replayed }),
        // Written by a build with another format: that it ran is still known.
        Err(_) => {
            let message = "the request was executed before; its result can no longer be read".to_owned();
            let failed = StatementError { message, kind: StatementErrorKind::TooLarge };
            Outcome::Executed(Executed { results: vec![StatementResult::Failed(failed)], replayed })
        }
    }
}
