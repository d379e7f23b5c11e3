//! What is wrong with the effects of a statement that SQLite has run: states in which it would next choose something at
//! random, or give up as it does on a full disk.

use std::cell::Cell;

use rusqlite::hooks::Action;
use rusqlite::{Connection, OptionalExtension};

use super::error::failure;
use super::statement::with_own;
use super::{admission, text};
use crate::types::statement::{StatementError, StatementErrorKind};

thread_local! {
    /// A row got the rowid after which SQLite picks random ones.
    static LARGEST_ROWID_SEEN: Cell<bool> = const { Cell::new(false) };
    /// A row was inserted with rowid 0, which `last_insert_rowid()` cannot tell from no insert.
    static ROWID_ZERO_SEEN: Cell<bool> = const { Cell::new(false) };
}

/// Begins to watch the rows of one statement.
pub(super) fn forget_rowids() {
    LARGEST_ROWID_SEEN.set(false);
    ROWID_ZERO_SEEN.set(false);
}

/// Whether a row was inserted with rowid 0.
pub(super) fn rowid_zero_seen() -> bool {
    ROWID_ZERO_SEEN.get()
}

/// Installs the watch.
pub(super) fn install_rowid_watch(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.update_hook(Some(|action: Action, _: &str, _: &str, rowid: i64| {
        if rowid == i64::MAX && action != Action::SQLITE_DELETE {
            LARGEST_ROWID_SEEN.set(true);
        } else if rowid == 0 && action == Action::SQLITE_INSERT {
            ROWID_ZERO_SEEN.set(true);
        }
    }))
}

/// What is wrong with what the statement that just ran has left, whether it failed or not; it must be undone then.
pub(super) fn objection(connection: &Connection) -> rusqlite::Result<Option<StatementError>> {
    let message = if LARGEST_ROWID_SEEN.get() {
        "rowid 9223372036854775807 is not allowed: SQLite would choose the next ones at random"
    } else if admission::writes_sequence() && sequence_at_end(connection)? {
        "sqlite_sequence may not reach 9223372036854775807: the table could take no more rows"
    } else {
        return Ok(None);
    };
    Ok(Some(failure(StatementErrorKind::Refused, message)))
}

/// What is wrong with the table that a statement has just created.
pub(super) fn objection_to_table(connection: &Connection, sql: &str) -> rusqlite::Result<Option<StatementError>> {
    if !text::begins_with(sql, &["CREATE"]) || !made_generated_names(connection, sql)? {
        return Ok(None);
    }
    let message = "CREATE TABLE AS SELECT with columns of equal names is not allowed: name them with AS";
    Ok(Some(failure(StatementErrorKind::Refused, message)))
}

/// Whether `sql` made a table from a SELECT whose equal column names SQLite had to tell apart (`a`, `a:1`, …). From
/// the fifth on it uses random numbers, which differ between replicas.
fn made_generated_names(connection: &Connection, sql: &str) -> rusqlite::Result<bool> {
    let newest = "/*debros*/ SELECT type, name, sql FROM sqlite_schema ORDER BY rowid DESC LIMIT 1";
    let newest = with_own(connection, newest, |statement| {
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
    })?;
    let Some((kind, name, Some(stored))): Option<(String, String, Option<String>)> = newest else { return Ok(false) };
    // SQLite stores the statement's own text, behind a `CREATE TABLE ` of its own, unless it came from a SELECT.
    if kind != "table" || sql.contains(stored.trim_start_matches("CREATE TABLE ")) {
        return Ok(false);
    }
    let generated = "/*debros*/ SELECT count(*) > 0 FROM pragma_table_xinfo(?1) WHERE name GLOB '*:[0-9]*'";
    with_own(connection, generated, |statement| statement.query_row([name], |row| row.get(0)))
}

/// Whether an AUTOINCREMENT table's counter has reached its end: its next insert would fail as a full disk does.
pub(super) fn sequence_at_end(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "/*debros*/ SELECT count(*) > 0 FROM sqlite_sequence WHERE CAST(seq AS INTEGER) >= 9223372036854775807";
    with_own(connection, sql, |statement| statement.query_row([], |row| row.get(0)))
}
