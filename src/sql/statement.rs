//! One SQL text to SQLite and back: its single statements and their rows.
//!
//! Shared by the writer and the readers; knows nothing of either. A text that surely is one statement comes from the
//! connection's statement cache, one with several is compiled piece by piece.

use std::ops::{Deref, DerefMut};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, CachedStatement, Connection, ffi as codes};

use super::error::{failure, is_fatal, message, primary_code};
use super::{admission, ffi, heap, page_limit, text};
use crate::types::limits::{SQL_MEMORY_BYTES_MAX, SQL_TEXT_BYTES_MAX};
use crate::types::statement::{Rows, StatementError, StatementErrorKind, Value};

/// Why a single statement gave no result.
pub(super) enum Trouble {
    /// It failed; that is its result.
    Failed(StatementError),
    /// The meter stopped it.
    Interrupted,
    /// It would have made the file larger than the entry allows. Its effects are undone with the transaction.
    OverPageLimit(StatementError),
    /// This machine failed.
    Fatal(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        if let Some(reason) = ffi::take_refusal() {
            Trouble::Failed(failure(StatementErrorKind::Refused, reason))
        } else if let Some(over) = page_limit::explains(&error) {
            Trouble::OverPageLimit(over)
        } else if primary_code(&error) == codes::SQLITE_NOMEM && heap::take_refusal() {
            Trouble::Failed(failure(StatementErrorKind::TooLarge, out_of_budget()))
        } else if is_fatal(&error) {
            Trouble::Fatal(error)
        } else if primary_code(&error) == codes::SQLITE_INTERRUPT {
            Trouble::Interrupted
        } else {
            Trouble::Failed(failure(StatementErrorKind::Sqlite, message(&error)))
        }
    }
}

fn out_of_budget() -> String {
    format!("the statement needs more than {SQL_MEMORY_BYTES_MAX} bytes of memory for large values")
}

/// How our own statements begin. The cache knows statements by their text, and asks no authorizer on the way out: a
/// tenant's text that begins so is not looked up in it.
const OWN_MARK: &str = "/*debros*/";

/// Runs `run` with one of our own statements, from the cache, past the fence.
pub(super) fn with_own<T>(
    connection: &Connection,
    sql: &'static str,
    run: impl FnOnce(&mut CachedStatement<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    assert!(sql.starts_with(OWN_MARK), "own statements are told from tenants' by their text");
    admission::trusted(|| run(&mut connection.prepare_cached(sql)?))
}

/// Runs one of our own statements that returns nothing.
pub(super) fn run_own(connection: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    with_own(connection, sql, |statement| statement.execute([])).map(drop)
}

/// Whether a statement leaves the database as it is. SQLite counts EXPLAIN as what it explains, and a PRAGMA that asks
/// for a setting as one that sets it; the latter has no columns.
pub(super) fn only_reads(statement: &rusqlite::Statement<'_>, sql: &str) -> bool {
    statement.readonly()
        || statement.is_explain() != 0
        || statement.column_count() > 0 && text::begins_with(sql, &["PRAGMA"])
}

/// A compiled statement, from the cache or not.
pub(super) enum Prepared<'c, 's> {
    /// With the whole text.
    Cached(CachedStatement<'c>, &'s str),
    /// With the part of the text that is this statement.
    Fresh(rusqlite::Statement<'c>, String),
}

impl Prepared<'_, '_> {
    /// The statement's text.
    pub(super) fn sql(&self) -> &str {
        match self {
            Prepared::Cached(_, sql) => sql,
            Prepared::Fresh(_, sql) => sql,
        }
    }

    /// Forgets the statement instead of giving it back to the cache.
    pub(super) fn discard(self) {
        if let Prepared::Cached(statement, _) = self {
            statement.discard();
        }
    }
}

impl<'c> Deref for Prepared<'c, '_> {
    type Target = rusqlite::Statement<'c>;

    fn deref(&self) -> &rusqlite::Statement<'c> {
        match self {
            Prepared::Cached(statement, _) => statement,
            Prepared::Fresh(statement, _) => statement,
        }
    }
}

impl DerefMut for Prepared<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Prepared::Cached(statement, _) => statement,
            Prepared::Fresh(statement, _) => statement,
        }
    }
}

/// The single statements of a text, compiled one after the other, since a later one may need what an earlier one made.
pub(super) struct Pieces<'c, 's> {
    connection: &'c Connection,
    sql: &'s str,
    rest: Rest<'c, 's>,
}

enum Rest<'c, 's> {
    Single(&'s str),
    Several(Batch<'c, 's>),
    /// SQLite takes a NUL for the end of the text: what follows it would be lost without a word.
    HasNul,
    TooLong,
    Nothing,
}

impl Rest<'_, '_> {
    /// Why a text is not even compiled, if so.
    fn unusable(sql: &str) -> Option<Self> {
        if sql.len() > SQL_TEXT_BYTES_MAX {
            return Some(Rest::TooLong);
        }
        sql.contains('\0').then_some(Rest::HasNul)
    }
}

impl<'c, 's> Pieces<'c, 's> {
    /// The statements of `sql`; none when it holds only white space and comments.
    pub(super) fn of(connection: &'c Connection, sql: &'s str) -> Pieces<'c, 's> {
        let rest = if let Some(unusable) = Rest::unusable(sql) {
            unusable
        } else if !text::is_single(sql) || sql.trim_start().starts_with(OWN_MARK) {
            Rest::Several(Batch::new(connection, sql))
        } else if text::skip_blank(sql).is_empty() {
            Rest::Nothing
        } else {
            Rest::Single(sql)
        };
        Pieces { connection, sql, rest }
    }

    /// As [`Pieces::of`], past the cache, so that [`ffi::column_tables`] finds the statement.
    pub(super) fn uncached(connection: &'c Connection, sql: &'s str) -> Pieces<'c, 's> {
        let rest = Rest::unusable(sql).unwrap_or_else(|| Rest::Several(Batch::new(connection, sql)));
        Pieces { connection, sql, rest }
    }

    /// Compiles the next statement.
    pub(super) fn next(&mut self) -> Result<Option<Prepared<'c, 's>>, Trouble> {
        // A reason left over from a statement that failed otherwise is not this one's.
        let _ = ffi::take_refusal();
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Nothing => Ok(None),
            Rest::HasNul => {
                let message = "SQL text must not contain a NUL character: use a parameter, or char(0)";
                Err(Trouble::Failed(failure(StatementErrorKind::Refused, message)))
            }
            Rest::TooLong => {
                let message =
                    format!("the SQL text has {} bytes, at most {SQL_TEXT_BYTES_MAX} are allowed", self.sql.len());
                Err(Trouble::Failed(failure(StatementErrorKind::Sqlite, message)))
            }
            Rest::Single(sql) => {
                let prepared = admission::compiling(|| self.connection.prepare_cached(sql))?;
                Ok(Some(Prepared::Cached(prepared, sql)))
            }
            Rest::Several(mut batch) => {
                let prepared = admission::compiling(|| batch.next())?;
                self.rest = Rest::Several(batch);
                Ok(prepared
                    .map(|statement| Prepared::Fresh(statement, ffi::newest_statement_text(self.connection, self.sql))))
            }
        }
    }
}

/// What a result may hold; bytes are shared by all results of a request.
#[derive(Clone, Copy)]
pub(super) struct ResultLimits {
    pub(super) rows_max: u64,
    pub(super) bytes_left: u64,
}

impl ResultLimits {
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Trouble> {
        let left = self.bytes_left.checked_sub(bytes as u64);
        self.bytes_left = left.ok_or_else(|| too_large("the result has too many bytes".to_owned()))?;
        Ok(())
    }
}

/// Runs a statement to its end and keeps its rows.
pub(super) fn collect(prepared: &mut rusqlite::Statement<'_>, limits: &mut ResultLimits) -> Result<Rows, Trouble> {
    let mut values = Vec::new();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        if values.len() as u64 >= limits.rows_max {
            return Err(too_large(format!("the result has more than {} rows", limits.rows_max)));
        }
        values.push(read_row(row, limits)?);
    }
    drop(rows);
    // Read after the run: a changed schema makes SQLite compile the statement again when it starts.
    limits.take(prepared.column_names().map(name_bytes).sum())?;
    let declared = prepared.columns().map(|column| name_bytes(column.decl_type().unwrap_or_default())).sum();
    limits.take(declared)?;
    Ok(Rows {
        columns: prepared.column_names().map(str::to_owned).collect(),
        declared_types: declared_types(prepared),
        values,
        ..Rows::default()
    })
}

/// What a column's name takes; those of a view may be long, and ten thousand statements may read it.
pub(super) fn name_bytes(name: impl AsRef<str>) -> usize {
    size_of::<String>() + name.as_ref().len()
}

fn declared_types(prepared: &rusqlite::Statement<'_>) -> Vec<String> {
    let lower = |column: &rusqlite::Column<'_>| column.decl_type().unwrap_or_default().to_ascii_lowercase();
    prepared.columns().map(|column| lower(&column)).collect()
}

fn read_row(row: &rusqlite::Row<'_>, limits: &mut ResultLimits) -> Result<Vec<Value>, Trouble> {
    let columns = row.as_ref().column_count();
    let mut values = Vec::with_capacity(columns);
    let mut bytes = size_of::<Vec<Value>>();
    for column in 0..columns {
        let value = own(row.get_ref(column)?);
        bytes += size_of::<Value>() + heap_bytes(&value);
        values.push(value);
    }
    limits.take(bytes)?;
    Ok(values)
}

fn too_large(message: String) -> Trouble {
    Trouble::Failed(failure(StatementErrorKind::TooLarge, message))
}

/// A copy of a value; text that is no UTF-8 is mended.
pub(super) fn own(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}
