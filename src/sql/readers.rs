//! Read-only connections to one namespace's file, shared by threads.
//!
//! A query takes a connection off a small stack and puts it back; the stack grows on demand up to
//! [`READERS_PER_NAMESPACE_MAX`]. A point read on a warm connection takes microseconds, so it may run where it was
//! asked for, bounded in every way ([`Work::Quick`]); what takes more is run again elsewhere.
//!
//! Nothing here waits for anybody: when all connections are in use the answer is [`ReadError::Busy`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::limits::Limit;

use super::bind::bind;
use super::error::{ReadError, SqlError, failure, primary_code};
use super::statement::{Pieces, Prepared, ResultLimits, Trouble, collect, name_bytes, only_reads, run_own};
use super::{connection, ffi, meter};
use crate::types::command::Atomicity;
use crate::types::limits::{
    READ_DEADLINE_DEFAULT, READERS_PER_NAMESPACE_MAX, RESULT_BYTES_MAX, RESULT_ROWS_MAX, SQL_QUICK_VALUE_BYTES_MAX,
    SQL_VALUE_BYTES_MAX,
};
use crate::types::statement::{Rows, Statement, StatementError, StatementErrorKind, StatementResult};

/// The read connections of one namespace. Clones share them.
#[derive(Clone)]
pub struct Readers {
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    /// A std mutex: held for a push or a pop, never across a query.
    state: Mutex<PoolState>,
}

struct PoolState {
    idle: Vec<Connection>,
    open: usize,
}

/// What a query may cost and how it answers.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// When the whole request must be answered.
    pub deadline: Instant,
    /// Longest that one statement may take.
    pub statement_timeout: Option<Duration>,
    /// Most rows of one result.
    pub rows_max: usize,
    /// Most bytes of all results together.
    pub bytes_max: usize,
    /// [`Atomicity::Transaction`]: all statements see one state of the database, the first failure ends the request.
    pub atomicity: Atomicity,
    /// Whether to tell the tables that columns come from.
    pub qualify_columns: bool,
    /// How much may be done here.
    pub work: Work,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions {
            deadline: Instant::now() + READ_DEADLINE_DEFAULT,
            statement_timeout: None,
            rows_max: RESULT_ROWS_MAX,
            bytes_max: RESULT_BYTES_MAX,
            atomicity: Atomicity::EachStatement,
            qualify_columns: false,
            work: Work::Unbounded,
        }
    }
}

/// How much a query may do on the thread that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// As much as its deadline allows, letting others have the core in between.
    Unbounded,
    /// As much as may hold up the thread's other work: about two milliseconds, and no large values. Whatever does not
    /// give rows within that gives [`ReadError::StepsExhausted`].
    Quick,
}

/// VM steps that a quick statement may take, about a millisecond. Most reads need a hundred.
pub(super) const QUICK_STEPS_MAX: u64 = 20_000;

/// Time that a quick statement may take; steps that read the disk take far longer than others.
pub(super) const QUICK_TIME_MAX: Duration = Duration::from_millis(2);

impl Work {
    /// Limits what runs on this thread from now on.
    pub(super) fn arm(self, deadline: Instant) {
        match self {
            Work::Unbounded => {
                meter::arm(u64::MAX, Some(deadline));
                meter::yield_often();
            }
            Work::Quick => meter::arm(QUICK_STEPS_MAX, Some(deadline.min(Instant::now() + QUICK_TIME_MAX))),
        }
    }
}

/// Limits the values that a connection may make or meet: a single step on a large one can take longer than all of a
/// quick read, and nothing stops it.
fn limit_values(connection: &Connection, work: Work) -> rusqlite::Result<()> {
    let bytes_max = match work {
        Work::Unbounded => SQL_VALUE_BYTES_MAX,
        Work::Quick => SQL_QUICK_VALUE_BYTES_MAX,
    };
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes_max as i32).map(drop)
}

/// Runs several statements of our own on one state of the file.
pub(super) fn at_once<T>(connection: &Connection, ask: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    run_own(connection, "/*debros*/ BEGIN")?;
    let answer = ask();
    // A connection with an open transaction is not given back to the pool, so a failure here harms nobody.
    let ended = run_own(connection, "/*debros*/ COMMIT");
    answer.and_then(|found| ended.map(|()| found))
}

fn is_interrupt(error: &rusqlite::Error) -> bool {
    primary_code(error) == rusqlite::ffi::SQLITE_INTERRUPT
}

/// A connection on loan; it returns to the pool when it is dropped.
struct Loan<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Loan<'_> {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a loan holds its connection until it is dropped")
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        meter::disarm();
        let mut state = self.pool.lock();
        match self.connection.take() {
            Some(connection) if connection.is_autocommit() => state.idle.push(connection),
            _ => state.open -= 1,
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Whoever panicked in between left a valid stack: each change is one push, pop or count.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loan(&self) -> Result<Loan<'_>, ReadError> {
        {
            let mut state = self.lock();
            if let Some(connection) = state.idle.pop() {
                return Ok(Loan { pool: self, connection: Some(connection) });
            }
            if state.open >= READERS_PER_NAMESPACE_MAX {
                return Err(ReadError::Busy { path: self.path.clone() });
            }
            state.open += 1;
        }
        let mut loan = Loan { pool: self, connection: None };
        loan.connection = Some(connection::open_read(&self.path).map_err(SqlError::open(&self.path))?);
        Ok(loan)
    }
}

impl Readers {
    /// Opens the first connection; others follow when they are needed.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Readers, SqlError> {
        let connection = connection::open_read(path).map_err(SqlError::open(path))?;
        // Reads the schema now, not in somebody's query.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(SqlError::open(path))?;
        let state = Mutex::new(PoolState { idle: vec![connection], open: 1 });
        Ok(Readers { pool: Arc::new(Pool { path: path.to_owned(), state }) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.pool.path
    }

    /// Asks with statements of our own, which do nothing with values but copy them: their size is not limited.
    pub(super) fn ask<T>(
        &self,
        work: Work,
        deadline: Instant,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let loan = self.pool.loan()?;
        let connection = loan.connection();
        limit_values(connection, Work::Unbounded).map_err(SqlError::storage(self.path()))?;
        work.arm(deadline);
        question(connection).map_err(|error| match work {
            Work::Quick if is_interrupt(&error) => ReadError::StepsExhausted,
            Work::Unbounded if is_interrupt(&error) => ReadError::DeadlinePassed,
            _ => SqlError::storage(self.path())(error).into(),
        })
    }

    /// Runs queries, one result per statement; a text without any statement has none. A write fails as
    /// [`StatementErrorKind::ReadOnly`].
    ///
    /// # Errors
    /// [`ReadError`] when there is no answer at all; a failing statement is an answer.
    pub fn query(&self, statements: &[Statement], options: &ReadOptions) -> Result<Vec<StatementResult>, ReadError> {
        let loan = self.pool.loan()?;
        limit_values(loan.connection(), options.work).map_err(SqlError::storage(&self.pool.path))?;
        let query = Query { connection: loan.connection(), options, path: &self.pool.path };
        match options.atomicity {
            Atomicity::EachStatement => query.run(statements),
            Atomicity::Transaction => query.run_in_transaction(statements),
        }
    }

    /// Whether every statement only reads. One that cannot be compiled counts as a read: running it as one gives its
    /// error.
    ///
    /// # Errors
    /// As [`Readers::query`].
    pub fn all_read_only(&self, statements: &[Statement]) -> Result<bool, ReadError> {
        let loan = self.pool.loan()?;
        for statement in statements {
            let mut pieces = Pieces::of(loan.connection(), &statement.sql);
            loop {
                match pieces.next() {
                    Ok(Some(prepared)) if !only_reads(&prepared, prepared.sql()) => return Ok(false),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(Trouble::Failed(_) | Trouble::OverPageLimit(_) | Trouble::Interrupted) => break,
                    Err(Trouble::Fatal(error)) => return Err(SqlError::storage(&self.pool.path)(error).into()),
                }
            }
        }
        Ok(true)
    }
}

/// One request on one connection.
struct Query<'a> {
    connection: &'a Connection,
    options: &'a ReadOptions,
    path: &'a Path,
}

/// Why a statement has no rows.
enum Stop {
    Failed(StatementError),
    Unanswered(ReadError),
}

impl Query<'_> {
    fn run_in_transaction(&self, statements: &[Statement]) -> Result<Vec<StatementResult>, ReadError> {
        self.control("/*debros*/ BEGIN")?;
        let results = self.run(statements);
        self.control("/*debros*/ COMMIT")?;
        results
    }

    fn control(&self, sql: &'static str) -> Result<(), ReadError> {
        meter::disarm();
        run_own(self.connection, sql).map_err(|error| SqlError::storage(self.path)(error).into())
    }

    fn run(&self, statements: &[Statement]) -> Result<Vec<StatementResult>, ReadError> {
        let mut limits =
            ResultLimits { rows_max: self.options.rows_max as u64, bytes_left: self.options.bytes_max as u64 };
        let mut results = Vec::with_capacity(statements.len());
        for statement in statements {
            match self.run_statement(statement, &mut limits) {
                Ok(None) => {}
                Ok(Some(rows)) => results.push(StatementResult::Rows(rows)),
                Err(Stop::Unanswered(error)) => return Err(error),
                Err(Stop::Failed(error)) => {
                    results.push(StatementResult::Failed(error));
                    if self.options.atomicity == Atomicity::Transaction {
                        break;
                    }
                }
            }
        }
        Ok(results)
    }

    /// The rows of the last statement in the text.
    fn run_statement(&self, statement: &Statement, limits: &mut ResultLimits) -> Result<Option<Rows>, Stop> {
        let start = Instant::now();
        let deadline = match self.options.statement_timeout {
            Some(timeout) => self.options.deadline.min(start + timeout),
            None => self.options.deadline,
        };
        if start >= deadline {
            return Err(Stop::Failed(timeout()));
        }
        self.options.work.arm(deadline);
        let mut pieces = if self.options.qualify_columns {
            Pieces::uncached(self.connection, &statement.sql)
        } else {
            Pieces::of(self.connection, &statement.sql)
        };
        let (mut taken, mut last) = (0, None);
        while let Some(mut prepared) = pieces.next().map_err(|trouble| self.stop_of(trouble))? {
            if !only_reads(&prepared, prepared.sql()) {
                return Err(Stop::Failed(read_only()));
            }
            bind(&mut prepared, statement, &mut taken).map_err(|trouble| self.stop_of(trouble))?;
            let mut rows = collect(&mut prepared, limits).map_err(|trouble| self.stop_of(trouble))?;
            if self.options.qualify_columns {
                let qualified = self.qualified(&prepared, &rows.columns);
                limits.take(qualified.iter().map(name_bytes).sum()).map_err(|trouble| self.stop_of(trouble))?;
                rows.qualified_columns = qualified;
            }
            last = Some(rows);
        }
        Ok(last.map(|rows| Rows { elapsed_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), ..rows }))
    }

    fn qualified(&self, prepared: &Prepared<'_, '_>, columns: &[String]) -> Vec<String> {
        let tables = ffi::column_tables(self.connection, prepared.sql());
        if tables.len() != columns.len() {
            return columns.to_vec();
        }
        let join = |(column, table): (&String, Option<String>)| match table {
            Some(table) => format!("{table}.{column}"),
            None => column.clone(),
        };
        columns.iter().zip(tables).map(join).collect()
    }

    fn stop_of(&self, trouble: Trouble) -> Stop {
        if self.options.work == Work::Quick {
            // It may have failed for the limits of a quick read alone, and failures are rare: look again without.
            return Stop::Unanswered(ReadError::StepsExhausted);
        }
        match trouble {
            Trouble::Failed(error) | Trouble::OverPageLimit(error) => Stop::Failed(error),
            Trouble::Fatal(error) => Stop::Unanswered(SqlError::storage(self.path)(error).into()),
            Trouble::Interrupted => Stop::Failed(timeout()),
        }
    }
}

fn timeout() -> StatementError {
    failure(StatementErrorKind::Timeout, "query timeout")
}

fn read_only() -> StatementError {
    failure(StatementErrorKind::ReadOnly, "attempt to change database via query operation")
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::types::statement::Value;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    #[test]
    fn a_query_answers_each_statement_or_ends_with_the_first_failure() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a INTEGER, b VarChar(5))", "INSERT INTO t VALUES(1, 'x'),(2, NULL)"]);
        let statements = ["SELECT * FROM t", "", "-- nothing", "SELECT nope", "SELECT 1; SELECT b || 'y' FROM t"];
        let got = fixture.query(&statements);
        assert_eq!(got.len(), 3);
        let StatementResult::Rows(rows) = &got[0] else { panic!("{got:?}") };
        assert_eq!(
            (rows.columns.join(","), rows.declared_types.join(",")),
            ("a,b".to_owned(), "integer,varchar(5)".to_owned())
        );
        assert_eq!(rows.values.len(), 2);
        assert_failed(&got[1], StatementErrorKind::Sqlite, "no such column: nope");
        let StatementResult::Rows(rows) = &got[2] else { panic!("{got:?}") };
        assert_eq!((rows.declared_types[0].as_str(), rows.values.len()), ("", 2));

        let statements: Vec<_> = statements.iter().map(|sql| Statement::new(*sql)).collect();
        let options = ReadOptions { atomicity: Atomicity::Transaction, ..ReadOptions::default() };
        assert_eq!(fixture.readers.query(&statements, &options).expect("answers").len(), 2);
    }

    #[test]
    fn parameters_and_qualified_names_work_in_reads() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "CREATE TABLE u(a)", "INSERT INTO t VALUES(5)", "INSERT INTO u VALUES(5)"]);
        let statement = Statement {
            positional: vec![Value::Integer(5)],
            ..Statement::new("SELECT t.a, u.a, 1 AS one FROM t JOIN u USING(a) WHERE t.a = ?")
        };
        let options = ReadOptions { qualify_columns: true, ..ReadOptions::default() };
        let got = fixture.readers.query(&[statement], &options).expect("answers");
        let StatementResult::Rows(rows) = &got[0] else { panic!("{got:?}") };
        assert_eq!(rows.qualified_columns, ["t.a", "u.a", "one"]);
        assert_eq!(rows.columns, ["a", "a", "one"]);
        let short = fixture.query(&["SELECT ?, ?"]);
        assert_failed(&short[0], StatementErrorKind::Parameters, "not enough args to execute query: want 2 got 0");
    }

    #[test]
    fn a_read_ends_at_its_deadline_and_at_its_statements_timeout() {
        let fixture = Fixture::new();
        let soon = Duration::from_millis(30);
        for options in [
            ReadOptions { deadline: Instant::now() + soon, ..ReadOptions::default() },
            ReadOptions { statement_timeout: Some(soon), ..ReadOptions::default() },
            ReadOptions { deadline: Instant::now(), ..ReadOptions::default() },
        ] {
            let got = fixture.readers.query(&[Statement::new(ENDLESS)], &options).expect("answers");
            assert_failed(&got[0], StatementErrorKind::Timeout, "query timeout");
        }
        assert_eq!(fixture.rows("SELECT 1"), ["1"]);
    }

    #[test]
    fn bounded_work_gives_up_without_an_answer() {
        let fixture = Fixture::new();
        let options = ReadOptions { work: Work::Quick, ..ReadOptions::default() };
        for atomicity in [Atomicity::EachStatement, Atomicity::Transaction] {
            let options = ReadOptions { atomicity, ..options };
            let got = fixture.readers.query(&[Statement::new("SELECT 1"), Statement::new(ENDLESS)], &options);
            assert!(matches!(got, Err(ReadError::StepsExhausted)), "{got:?}");
            assert_eq!(fixture.readers.query(&[Statement::new("SELECT 1")], &options).expect("answers").len(), 1);
        }
    }

    #[test]
    fn results_are_bounded_in_rows_and_bytes() {
        let fixture = Fixture::new();
        let thousand = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n";
        let rows_max = ReadOptions { rows_max: 999, ..ReadOptions::default() };
        let bytes_max = ReadOptions { bytes_max: 5_000, ..ReadOptions::default() };
        for (options, part) in [(rows_max, "more than 999 rows"), (bytes_max, "bytes")] {
            let got = fixture.readers.query(&[Statement::new(thousand)], &options).expect("answers");
            assert_failed(&got[0], StatementErrorKind::TooLarge, part);
        }
    }

    #[test]
    fn the_pool_grows_to_its_bound_and_then_says_so() {
        let fixture = Fixture::new();
        let pool = &fixture.readers.pool;
        let loans: Vec<_> = (0..READERS_PER_NAMESPACE_MAX).map(|_| pool.loan().expect("lends")).collect();
        assert!(matches!(pool.loan(), Err(ReadError::Busy { .. })));
        drop(loans);
        assert_eq!(pool.lock().idle.len(), READERS_PER_NAMESPACE_MAX);
        assert_eq!(fixture.rows("SELECT 1"), ["1"]);
    }

    #[test]
    fn threads_share_the_connections() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let readers = fixture.readers.clone();
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let got =
                            readers.query(&[Statement::new("SELECT count(*) > 0 FROM t")], &ReadOptions::default());
                        assert!(matches!(&got.expect("answers")[0], StatementResult::Rows(_)));
                    }
                })
            })
            .collect();
        for value in 0..50 {
            fixture.run(&[&format!("INSERT INTO t VALUES({value})")]);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("joins"));
    }
}
