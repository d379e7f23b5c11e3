//! The tables that debros keeps in every namespace's file, beside the tenant's.
//!
//! `sqlite_debros_applied`: one row, the log index that the file has reached, the counters that responses repeat, and
//! what keys and durable topics come to.
//! `sqlite_debros_idempotency`: the outcomes of requests that carried a key.
//! `sqlite_debros_kv`, `_kv_expiry`, `_kv_change`: keys with their values, those of them that will expire in the order in
//! which they do, and the newest changes. Keys are bytes, so that a file's text encoding has no say in their order.
//! Values make rows long, which a WITHOUT ROWID table would read whole on the way to a key.
//! `sqlite_debros_topic`, `_topic_removed`, `_message`: durable topics, what is still known of those that are none any
//! more, and messages.
//!
//! Names that begin with `sqlite_` can only be created with a writable schema, which defensive mode forbids later, and
//! can not be indexed by CREATE INDEX at all: the index by time is a UNIQUE constraint.

use rusqlite::{Connection, OptionalExtension};

use super::admission::trusted;
use super::statement::{run_own, with_own};
use super::{kv, topics};

const CREATE: &str = "
PRAGMA writable_schema=ON;
CREATE TABLE sqlite_debros_applied(
    id INTEGER PRIMARY KEY,
    log_index TEXT NOT NULL,
    last_insert_id TEXT NOT NULL,
    rows_affected TEXT NOT NULL,
    kv_keys TEXT NOT NULL,
    kv_bytes TEXT NOT NULL,
    kv_newest TEXT NOT NULL,
    topics_newest TEXT NOT NULL,
    topics_forgotten TEXT NOT NULL
);
CREATE TABLE sqlite_debros_idempotency(
    key TEXT PRIMARY KEY NOT NULL,
    unix_ms INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    outcome BLOB NOT NULL,
    UNIQUE(unix_ms, key)
) WITHOUT ROWID;
CREATE TABLE sqlite_debros_kv(
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    content_type TEXT,
    created_unix_ms INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER,
    value BLOB NOT NULL
);
CREATE TABLE sqlite_debros_kv_expiry(
    unix_ms INTEGER NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY(unix_ms, id)
) WITHOUT ROWID;
CREATE TABLE sqlite_debros_kv_change(
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    kind INTEGER NOT NULL,
    version INTEGER NOT NULL
);
CREATE TABLE sqlite_debros_topic(
    id INTEGER PRIMARY KEY,
    topic BLOB NOT NULL UNIQUE,
    count_max INTEGER,
    age_ms_max INTEGER,
    bytes_max INTEGER,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    dropped INTEGER NOT NULL
);
CREATE TABLE sqlite_debros_topic_removed(
    dropped INTEGER PRIMARY KEY,
    topic BLOB NOT NULL UNIQUE
);
CREATE TABLE sqlite_debros_message(
    seq INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    message_id BLOB NOT NULL,
    publisher BLOB NOT NULL,
    data BLOB NOT NULL,
    UNIQUE(topic, seq),
    UNIQUE(topic, message_id)
);
PRAGMA writable_schema=OFF;
INSERT INTO sqlite_debros_applied
    VALUES(1, '00000000000000000000', '00000000000000000000', '00000000000000000000',
        '00000000000000000000', '00000000000000000000', '00000000000000000000',
        '00000000000000000000', '00000000000000000000');
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
    pub(super) kv: kv::Totals,
    pub(super) topics: topics::Totals,
}

impl Applied {
    /// Of a namespace that begins at a log index.
    pub(super) fn beginning_at(index: u64) -> Applied {
        let (kv, topics) = (kv::Totals::beginning_at(index), topics::Totals::beginning_at(index));
        Applied { index, sticky: Sticky::default(), kv, topics }
    }
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
    // The youngest of the tables: a file without it is none that this build can go on with.
    let there = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_debros_message'";
    if connection.query_row(there, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT CAST(log_index AS INTEGER), CAST(last_insert_id AS INTEGER), CAST(rows_affected AS INTEGER), \
        CAST(kv_keys AS INTEGER), CAST(kv_bytes AS INTEGER), CAST(kv_newest AS INTEGER), \
        CAST(topics_newest AS INTEGER), CAST(topics_forgotten AS INTEGER) FROM sqlite_debros_applied WHERE id = 1";
    trusted(|| {
        connection.query_row(sql, [], |row| {
            let sticky = Sticky { last_insert_id: row.get(1)?, rows_affected: row.get(2)? };
            let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
            let kv = kv::Totals { keys: number(3)?, bytes: number(4)?, newest: number(5)? };
            let topics = topics::Totals { newest: number(6)?, forgotten: number(7)? };
            Ok(Some(Applied { index: number(0)?, sticky, kv, topics }))
        })
    })
}

/// Writes what the file has applied, in the open transaction.
pub(super) fn write(connection: &Connection, applied: Applied) -> rusqlite::Result<()> {
    let sql = "/*debros*/ UPDATE sqlite_debros_applied SET log_index = ?1, last_insert_id = ?2, rows_affected = ?3, \
        kv_keys = ?4, kv_bytes = ?5, kv_newest = ?6, topics_newest = ?7, topics_forgotten = ?8";
    let Applied { index, sticky, kv, topics } = applied;
    let values = [
        index as i64,
        sticky.last_insert_id,
        sticky.rows_affected,
        kv.keys as i64,
        kv.bytes as i64,
        kv.newest as i64,
        topics.newest as i64,
        topics.forgotten as i64,
    ]
    .map(fixed_width);
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
