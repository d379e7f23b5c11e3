//! The tables that debros keeps in every namespace's file, beside the tenant's.
//!
//! `sqlite_debros_applied`: one row, the log index that the file has reached and the counters that responses repeat.
//! `sqlite_debros_idempotency`: the outcomes of requests that carried a key.
//!
//! Names that begin with `sqlite_` can only be created with a writable schema, which defensive mode forbids later, and
//! can not be indexed by CREATE INDEX at all: the index by time is a UNIQUE constraint.

use rusqlite::{Connection, OptionalExtension};

use super::admission::trusted;
use super::statement::{run_own, with_own};

const CREATE: &str = "
PRAGMA writable_schema=ON;
CREATE TABLE sqlite_debros_applied(
    id INTEGER PRIMARY KEY,
    log_index TEXT NOT NULL,
    last_insert_id TEXT NOT NULL,
    rows_affected TEXT NOT NULL
);
CREATE TABLE sqlite_debros_idempotency(
    key TEXT PRIMARY KEY NOT NULL,
    unix_ms INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    outcome BLOB NOT NULL,
    UNIQUE(unix_ms, key)
) WITHOUT ROWID;
PRAGMA writable_schema=OFF;
INSERT INTO sqlite_debros_applied
    VALUES(1, '00000000000000000000', '00000000000000000000', '00000000000000000000');
";

/// The internal tables take a plain name before they are dropped: SQLite drops nothing that begins with `sqlite_`.
const REMOVE: &str = "
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET
    name = replace(name, 'sqlite_debros_', 'debros_removed_internal_'),
    tbl_name = replace(tbl_name, 'sqlite_debros_', 'debros_removed_internal_'),
    sql = replace(sql, 'sqlite_debros_', 'debros_removed_internal_')
WHERE tbl_name GLOB 'sqlite_debros_*';
PRAGMA writable_schema=RESET;
";

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Applied {
    pub(super) index: u64,
    pub(super) sticky: Sticky,
}

/// The counters that a write's response repeats when it changed nothing. They are stored because stored outcomes
/// repeat them: a restarted replica must not answer otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Sticky {
    pub(super) last_insert_id: i64,
    pub(super) rows_affected: i64,
}

/// Numbers have one width: the row is then always overwritten where it lies, and leaves no remains of shorter ones
/// that would depend on how the log was batched. Replicas' files stay equal byte by byte.
fn fixed_width(number: i64) -> String {
    format!("{number:020}")
}

/// Makes the internal tables in a transaction of its own.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(CREATE)?;
    connection.execute_batch("COMMIT")
}

/// Reads what the file has applied; `None` when the internal tables are not there.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<Applied>> {
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_debros_applied'";
    if connection.query_row(there, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT CAST(log_index AS INTEGER), CAST(last_insert_id AS INTEGER), CAST(rows_affected AS INTEGER) \
        FROM sqlite_debros_applied WHERE id = 1";
    trusted(|| {
        connection.query_row(sql, [], |row| {
            let sticky = Sticky { last_insert_id: row.get(1)?, rows_affected: row.get(2)? };
            Ok(Some(Applied { index: row.get::<_, i64>(0)? as u64, sticky }))
        })
    })
}

/// Writes what the file has applied, in the open transaction.
pub(super) fn write(connection: &Connection, applied: Applied) -> rusqlite::Result<()> {
    let sql = "/*debros*/ UPDATE sqlite_debros_applied SET log_index = ?1, last_insert_id = ?2, rows_affected = ?3";
    let Applied { index, sticky } = applied;
    let values = [index as i64, sticky.last_insert_id, sticky.rows_affected].map(fixed_width);
    with_own(connection, sql, |statement| statement.execute(values)).map(drop)
}

/// Sets what `changes()` answers to 0: nothing but a statement that changes rows can set it.
pub(super) fn reset_changes(connection: &Connection) -> rusqlite::Result<()> {
    run_own(connection, "/*debros*/ DELETE FROM sqlite_debros_applied WHERE 0")
}

/// Removes the internal tables from a file that is nobody's live database.
pub(super) fn remove(connection: &Connection) -> rusqlite::Result<()> {
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'sqlite_debros_*'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    connection.execute_batch(REMOVE)?;
    for table in tables {
        let renamed = table.replace("sqlite_debros_", "debros_removed_internal_").replace('"', "\"\"");
        connection.execute_batch(&format!("DROP TABLE \"{renamed}\""))?;
    }
    Ok(())
}
