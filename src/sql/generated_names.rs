//! States in which SQLite would next choose something at random or give up, found after the statement that leads there.

use rusqlite::{Connection, OptionalExtension};

use super::statement::with_own;

/// Whether `sql` made a table from a SELECT whose equal column names SQLite had to tell apart (`a`, `a:1`, …). From
/// the fifth on it uses random numbers, which differ between replicas.
pub(super) fn in_newest_table(connection: &Connection, sql: &str) -> rusqlite::Result<bool> {
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
