//! How connections are opened: what every one is set to before it sees a tenant's SQL.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::admission::Role;
use super::{clock_vfs, ffi, functions, heap, meter, randomness};
use crate::types::limits;

/// How long to wait for a lock that only recovery of the WAL takes, for moments.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Page cache of an apply connection, in KiB: upper B-tree levels of a large database.
const APPLY_CACHE_KIB: i64 = 16 * 1024;

/// Page cache of one read connection, in KiB; there may be many.
const READ_CACHE_KIB: i64 = 4 * 1024;

/// Whether foreign keys are enforced. A property of the cluster: all replicas must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForeignKeys {
    /// Declared, not enforced: what rqlite does unless told otherwise.
    #[default]
    Off,
    /// Enforced.
    On,
}

/// Prepares SQLite for tenants, once per process. Whoever opens a connection without this module calls it before.
///
/// # Errors
/// When SQLite was used before.
pub fn prepare_process() -> rusqlite::Result<()> {
    heap::install().map_err(super::error::from_code)
}

/// A writable connection without any fence, for our own work on a file.
pub(super) fn open_plain(path: &Path) -> rusqlite::Result<Connection> {
    prepare_process()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The connection that applies the log; not yet fenced, so that internal tables can be made.
pub(super) fn open_apply(path: &Path, foreign_keys: ForeignKeys) -> rusqlite::Result<Connection> {
    prepare_process()?;
    clock_vfs::register().map_err(super::error::from_code)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, clock_vfs::VFS_NAME)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit that a power cut takes away is replayed from the Raft log.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // What a freed page held shows through when it is used again in the same transaction, and only then. Zeroed, files
    // stay equal byte by byte however the log is cut into batches.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "cache_size", -APPLY_CACHE_KIB)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, foreign_keys == ForeignKeys::On)?;
    Ok(connection)
}

/// Fences an apply connection.
pub(super) fn fence_apply(connection: &mut Connection) -> rusqlite::Result<()> {
    randomness::register(connection)?;
    fence(connection, Role::Apply)
}

/// A read-only connection without any fence, for our own walks over a file.
pub(super) fn open_read_plain(path: &Path) -> rusqlite::Result<Connection> {
    prepare_process()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(connection)
}

/// A read-only connection, fenced.
pub(super) fn open_read(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = open_read_plain(path)?;
    connection.pragma_update(None, "cache_size", -READ_CACHE_KIB)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    fence(&mut connection, Role::Read)?;
    Ok(connection)
}

/// Double-quoted string literals stay on, as in the bundled build's and rqlite's default. The length of SQL text is
/// limited where it comes in: SQLite's own limit would also apply to the schema, which ALTER TABLE can grow beyond it,
/// and the file could not be opened again.
fn fence(connection: &mut Connection, role: Role) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let as_limit = |max: usize| i32::try_from(max).unwrap_or(i32::MAX);
    for (limit, max) in [
        (Limit::SQLITE_LIMIT_LENGTH, limits::SQL_VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits::SQL_PATTERN_BYTES_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, limits::SQL_EXPRESSION_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, limits::SQL_COMPOUND_TERMS_MAX),
        (Limit::SQLITE_LIMIT_VDBE_OP, limits::SQL_PROGRAM_OPS_MAX),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits::SQL_PARAMETERS_MAX),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, limits::SQL_TRIGGER_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        connection.set_limit(limit, as_limit(max))?;
    }
    connection.set_prepared_statement_cache_capacity(limits::STATEMENT_CACHE_MAX);
    functions::register(connection)?;
    meter::install(connection)?;
    ffi::install_authorizer(connection, role)
}
