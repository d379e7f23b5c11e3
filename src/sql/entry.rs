//! One log entry's SQL on the apply connection: its statements in order, its atomicity, its budget of steps.
//!
//! SQLite undoes a failing statement by itself, so only [`Atomicity::Transaction`] needs a savepoint. But some
//! failures end the batch's whole transaction (`INSERT OR ROLLBACK`, `RAISE(ROLLBACK)`, an interrupted write), and
//! some are only seen when the statement has already had its effect (too many steps, too large an answer, the largest
//! rowid). Both are [`End::Killed`]: the caller rolls the transaction back and runs the entry again, with the
//! statement's failure known in advance, so that it does not run. Whatever the batch was, the effects are those of a
//! statement that failed and changed nothing.

use std::time::Instant;

use rusqlite::Connection;
use rusqlite::StatementStatus;

use super::bind::bind;
use super::connection::ForeignKeys;
use super::error::failure;
use super::internal::Sticky;
use super::page_limit::PageLimit;
use super::statement::{Pieces, Prepared, ResultLimits, Trouble, collect, only_reads, run_own};
use super::{admission, effects, ffi, meter, randomness, text};
use crate::types::command::{Atomicity, Execute, RowsWanted};
use crate::types::statement::{Expect, Rows, Statement, StatementError, StatementErrorKind, StatementResult, Written};

/// Statements of one entry that may end the batch's transaction. Each costs a run of the entry up to it.
pub(super) const KILLS_MAX: usize = 16;

/// Steps that a statement may run beyond its budget before it is stopped on the spot. What is counted there includes
/// work that differs between replicas (see [`meter`]); the slack is far beyond such differences.
const STEPS_SLACK: u64 = 16_000_000;

/// A statement whose failure is known from an earlier run of its entry.
#[derive(Clone, Debug)]
pub(super) struct Poison {
    statement: usize,
    piece: usize,
    error: StatementError,
    rest: Rest,
}

/// What happens to the statements after a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// The entry's atomicity decides.
    GoesOn,
    /// They fail alike, without running.
    FailsAlike,
}

impl Poison {
    /// An entry that fails as a whole.
    pub(super) fn whole(error: StatementError) -> Poison {
        Poison { statement: 0, piece: 0, error, rest: Rest::FailsAlike }
    }

    /// Ends the entry with this statement: it has ended too many transactions.
    pub(super) fn fail_the_rest(&mut self) {
        self.rest = Rest::FailsAlike;
    }
}

/// How a run of an entry ended.
pub(super) enum End {
    /// Its effects stand in the open transaction.
    Done(Vec<StatementResult>),
    /// The transaction is gone or must go; the entry is to be run again with this poison.
    Killed(Poison),
}

/// A statement that ran and failed.
struct Failure {
    error: StatementError,
    rest: Rest,
    effects: Effects,
}

/// What a failed statement has left in the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effects {
    /// Nothing: it only read, or SQLite has undone it.
    None,
    /// Rows: the transaction must go.
    Left,
}

/// Why a piece has no result.
enum Stop {
    Failed(StatementError, Rest),
    Killed(Poison),
    Fatal(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Fatal(error)
    }
}

/// A run of one entry.
pub(super) struct EntryRun<'a> {
    connection: &'a Connection,
    foreign_keys: ForeignKeys,
    poisons: &'a [Poison],
    execute: &'a Execute,
    page_limit: &'a PageLimit,
    steps_left: u64,
    limits: ResultLimits,
    /// Whether the statement being run is expected to affect or return some number of rows.
    counts_rows: bool,
    /// Rows that the piece run last affected or returned.
    rows: u64,
    /// The counters that responses repeat.
    pub(super) sticky: Sticky,
}

impl<'a> EntryRun<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        foreign_keys: ForeignKeys,
        execute: &'a Execute,
        page_limit: &'a PageLimit,
        poisons: &'a [Poison],
        sticky: Sticky,
    ) -> EntryRun<'a> {
        let limits = ResultLimits { rows_max: execute.result_rows_max, bytes_left: execute.result_bytes_max };
        EntryRun {
            connection,
            foreign_keys,
            poisons,
            execute,
            page_limit,
            steps_left: execute.steps_max,
            limits,
            counts_rows: false,
            rows: 0,
            sticky,
        }
    }

    /// Runs all statements. An error is this machine's.
    pub(super) fn run(&mut self) -> rusqlite::Result<End> {
        match self.execute.atomicity {
            Atomicity::EachStatement => self.run_statements(),
            Atomicity::Transaction => self.run_transaction(),
        }
    }

    fn run_transaction(&mut self) -> rusqlite::Result<End> {
        let before = self.sticky;
        run_own(self.connection, "/*debros*/ SAVEPOINT entry")?;
        let end = self.run_statements()?;
        if let End::Done(results) = &end {
            // FTS5 may write here what it has gathered, and what cannot be refused must not fail.
            self.page_limit.lift(self.connection)?;
            if matches!(results.last(), Some(StatementResult::Failed(_))) {
                run_own(self.connection, "/*debros*/ ROLLBACK TO entry")?;
                self.sticky = before;
            }
            run_own(self.connection, "/*debros*/ RELEASE entry")?;
        }
        Ok(end)
    }

    fn run_statements(&mut self) -> rusqlite::Result<End> {
        let mut results = Vec::with_capacity(self.execute.statements.len());
        let mut fails_alike: Option<StatementError> = None;
        for (position, statement) in self.execute.statements.iter().enumerate() {
            if let Some(error) = &fails_alike {
                results.push(StatementResult::Failed(error.clone()));
                continue;
            }
            match self.run_statement(position, statement) {
                Ok(None) => {}
                Ok(Some(result)) => results.push(result),
                Err(Stop::Killed(poison)) => return Ok(End::Killed(poison)),
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Failed(error, rest)) => {
                    results.push(StatementResult::Failed(error.clone()));
                    if self.execute.atomicity == Atomicity::Transaction {
                        break;
                    }
                    fails_alike = (rest == Rest::FailsAlike).then_some(error);
                }
            }
        }
        Ok(self.check_deferred_keys(results))
    }

    /// A violation that is still there at the end of the entry would fail the commit of everybody's batch.
    fn check_deferred_keys(&self, results: Vec<StatementResult>) -> End {
        let failed = matches!(results.last(), Some(StatementResult::Failed(_)));
        if failed || !self.violates_foreign_keys() {
            return End::Done(results);
        }
        let last = self.execute.statements.len().saturating_sub(1);
        End::Killed(foreign_key_poison(last, 0))
    }

    fn violates_foreign_keys(&self) -> bool {
        self.foreign_keys == ForeignKeys::On && ffi::has_deferred_violation(self.connection)
    }

    /// Runs the pieces of one text; the last one's result is the text's. A failing piece ends the text, those before
    /// it stay.
    fn run_statement(&mut self, position: usize, statement: &Statement) -> Result<Option<StatementResult>, Stop> {
        let start = Instant::now();
        let mut pieces = Pieces::of(self.connection, &statement.sql);
        let (mut taken, mut result) = (0, None);
        let expect = statement.expect.filter(|_| self.execute.atomicity == Atomicity::Transaction);
        (self.counts_rows, self.rows) = (expect.is_some(), 0);
        for piece in 0.. {
            if let Some(poison) = self.poisons.iter().find(|p| p.statement == position && p.piece == piece) {
                return Err(Stop::Failed(poison.error.clone(), poison.rest));
            }
            admission::watch_writes();
            let prepared = match pieces.next() {
                Ok(None) => break,
                Ok(Some(prepared)) => prepared,
                Err(trouble) => return Err(self.stop_of(trouble)),
            };
            let place = (position, piece);
            result = Some(self.run_piece(prepared, statement, &mut taken, place)?);
        }
        if let Some(expect) = expect
            && !expect.is_met_by(self.rows)
        {
            // The transaction is rolled back to where it began, and the statement with it.
            return Err(Stop::Failed(unexpected(expect, self.rows), Rest::GoesOn));
        }
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(result.map(|result| self.answer(result, elapsed)))
    }

    fn answer(&self, rows: Option<Rows>, elapsed_ns: u64) -> StatementResult {
        match rows {
            Some(rows) => StatementResult::Rows(Rows { elapsed_ns, ..rows }),
            None => StatementResult::Written(Written {
                last_insert_id: self.sticky.last_insert_id,
                rows_affected: self.sticky.rows_affected,
                elapsed_ns,
            }),
        }
    }

    fn run_piece(
        &mut self,
        mut prepared: Prepared<'_, '_>,
        statement: &Statement,
        taken: &mut usize,
        place: (usize, usize),
    ) -> Result<Option<Rows>, Stop> {
        let read_only = only_reads(&prepared, prepared.sql());
        if text::begins_with(prepared.sql(), &["VACUUM"]) {
            return Err(refused("VACUUM is not allowed: it would change each node's file on its own"));
        }
        if !read_only && admission::read_a_pragma_function() {
            prepared.discard();
            return Err(refused("a write may not read from pragma functions: their answers may differ between nodes"));
        }
        bind(&mut prepared, statement, taken).map_err(|trouble| self.stop_of(trouble))?;
        let generator = randomness::state();
        let rowid_before = self.connection.last_insert_rowid();
        effects::forget_rowids();
        let ran = self.step(&mut prepared, read_only);
        let judged = self.judge(ran, read_only, prepared.sql());
        if matches!(judged, Ok(Ok(_))) {
            self.remember(read_only, prepared.sql(), rowid_before);
        }
        if admission::writes_sequence() {
            prepared.discard();
        }
        judged?.map_err(|failure| {
            randomness::restore(generator);
            ffi::set_last_insert_rowid(self.connection, rowid_before);
            self.undo(failure, place)
        })
    }

    /// Runs a statement and takes its steps off the budget.
    fn step(&mut self, prepared: &mut rusqlite::Statement<'_>, read_only: bool) -> Result<Option<Rows>, Trouble> {
        prepared.reset_status(StatementStatus::VmStep);
        meter::arm(self.steps_left.saturating_mul(2).saturating_add(STEPS_SLACK), None);
        let ran = self.step_to_end(prepared, read_only);
        let charged = meter::charged();
        // Our own statements follow; they are not the tenant's to pay for.
        meter::disarm();
        let steps = u64::from(prepared.get_status(StatementStatus::VmStep).cast_unsigned());
        let steps = steps.saturating_add(charged);
        match self.steps_left.checked_sub(steps) {
            Some(left) => self.steps_left = left,
            None if matches!(ran, Err(Trouble::Fatal(_))) => {}
            None => return Err(Trouble::Interrupted),
        }
        ran
    }

    fn step_to_end(
        &mut self,
        prepared: &mut rusqlite::Statement<'_>,
        read_only: bool,
    ) -> Result<Option<Rows>, Trouble> {
        self.rows = 0;
        if prepared.column_count() == 0 {
            prepared.raw_execute()?;
            return Ok(None);
        }
        if read_only && self.execute.rows == RowsWanted::FromReturning {
            // As rqlite: it is run for its effect, of which it has none, and answers as a write.
            let mut rows = prepared.raw_query();
            while rows.next()?.is_some() {
                self.rows += 1;
                if !self.counts_rows {
                    break;
                }
            }
            return Ok(None);
        }
        let rows = collect(prepared, &mut self.limits)?;
        self.rows = rows.values.len() as u64;
        Ok(Some(rows))
    }

    /// Decides what a run statement's result is. The outer error is this machine's.
    fn judge(
        &self,
        ran: Result<Option<Rows>, Trouble>,
        read_only: bool,
        sql: &str,
    ) -> Result<Result<Option<Rows>, Failure>, Stop> {
        let effects = if read_only { Effects::None } else { Effects::Left };
        // OR FAIL and RAISE(FAIL) keep the rows before the failing one, so failed statements are looked at as well.
        let mut objection = match ran {
            Ok(_) | Err(Trouble::Failed(_)) if !read_only => effects::objection(self.connection)?,
            _ => None,
        };
        if objection.is_none() && ran.is_ok() && !read_only {
            objection = effects::objection_to_table(self.connection, sql)?;
        }
        if let Some(error) = objection {
            return Ok(Err(Failure { error, rest: Rest::GoesOn, effects }));
        }
        match ran {
            Err(Trouble::Fatal(error)) => Err(Stop::Fatal(error)),
            Err(Trouble::Interrupted) => Ok(Err(Failure { error: timeout(), rest: Rest::FailsAlike, effects })),
            Err(Trouble::OverPageLimit(error)) => {
                Ok(Err(Failure { error, rest: Rest::GoesOn, effects: Effects::Left }))
            }
            Err(Trouble::Failed(error)) => {
                // Too large an answer is found by us, with the rows written; everything else is undone by SQLite.
                let by_sqlite = error.kind != StatementErrorKind::TooLarge;
                let effects = if by_sqlite { Effects::None } else { effects };
                Ok(Err(Failure { error, rest: Rest::GoesOn, effects }))
            }
            Ok(_) if self.execute.atomicity == Atomicity::EachStatement && self.violates_foreign_keys() => {
                Ok(Err(Failure { error: foreign_key_failure(), rest: Rest::GoesOn, effects }))
            }
            Ok(rows) => Ok(Ok(rows)),
        }
    }

    fn undo(&self, failure: Failure, (statement, piece): (usize, usize)) -> Stop {
        let Failure { error, rest, effects } = failure;
        if effects == Effects::None && !self.connection.is_autocommit() {
            Stop::Failed(error, rest)
        } else {
            Stop::Killed(Poison { statement, piece, error, rest })
        }
    }

    fn remember(&mut self, read_only: bool, sql: &str, rowid_before: i64) {
        if read_only {
            return;
        }
        let rowid = self.connection.last_insert_rowid();
        if rowid != 0 || rowid_before != 0 || effects::rowid_zero_seen() {
            self.sticky.last_insert_id = rowid;
        }
        if !text::begins_with(sql, &["CREATE", "DROP", "ALTER", "ANALYZE", "REINDEX", "PRAGMA"]) {
            self.rows = self.connection.changes();
            self.sticky.rows_affected = i64::try_from(self.rows).unwrap_or(i64::MAX);
        } else {
            self.rows = 0;
        }
    }

    fn stop_of(&self, trouble: Trouble) -> Stop {
        match trouble {
            Trouble::Failed(error) | Trouble::OverPageLimit(error) => Stop::Failed(error, Rest::GoesOn),
            Trouble::Interrupted => Stop::Failed(timeout(), Rest::FailsAlike),
            Trouble::Fatal(error) => Stop::Fatal(error),
        }
    }
}

/// In SQLite's own words.
fn foreign_key_failure() -> StatementError {
    failure(StatementErrorKind::Sqlite, "FOREIGN KEY constraint failed")
}

fn foreign_key_poison(statement: usize, piece: usize) -> Poison {
    Poison { statement, piece, error: foreign_key_failure(), rest: Rest::GoesOn }
}

fn timeout() -> StatementError {
    failure(StatementErrorKind::Timeout, "execute timeout")
}

fn unexpected(expect: Expect, rows: u64) -> StatementError {
    let message = format!("expected {expect} rows to be affected or returned, found {rows}");
    failure(StatementErrorKind::Expectation, message)
}

fn refused(message: &str) -> Stop {
    Stop::Failed(failure(StatementErrorKind::Refused, message), Rest::GoesOn)
}
