//! What can go wrong with a database file, and which of SQLite's errors mean that.
//!
//! The line that matters runs between errors of a *statement* (the same on every replica, part of its result) and
//! errors of this *machine* (full disk, I/O, memory): a replica that reported the latter as a statement's result would
//! differ from the others for ever. They are [`SqlError`]s, and a node that meets one while applying stops.

use std::path::{Path, PathBuf};

use rusqlite::ffi;

use crate::types::limits::SQL_PROGRAM_OPS_MAX;
use crate::types::statement::{StatementError, StatementErrorKind};

/// This machine cannot go on with a database file.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Opening or preparing the file failed.
    #[error("cannot open database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file lacks internal tables: it never was a namespace's database, or was one before the first release.
    #[error("{} is not a debros database of this version: it lacks internal tables", path.display())]
    NotAdopted {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing the file failed: I/O, a full disk, damage, no memory, a foreign lock.
    #[error("database {} failed", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A file operation beside SQLite failed.
    #[error("file {} failed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A promise of this module does not hold.
    #[error("database {}: {what}", path.display())]
    Invariant {
        /// The file.
        path: PathBuf,
        /// Which promise.
        what: &'static str,
    },
}

impl SqlError {
    pub(super) fn open(path: &Path) -> impl FnOnce(rusqlite::Error) -> SqlError {
        let path = path.to_owned();
        move |source| SqlError::Open { path, source }
    }

    pub(super) fn storage(path: &Path) -> impl FnOnce(rusqlite::Error) -> SqlError {
        let path = path.to_owned();
        move |source| SqlError::Storage { path, source }
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> SqlError {
        let path = path.to_owned();
        move |source| SqlError::File { path, source }
    }
}

/// Why a user's file cannot become a namespace's database.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The file is no SQLite database, is damaged, or holds what a namespace cannot: tell its owner.
    #[error("{reason}")]
    Unusable {
        /// What is wrong with it.
        reason: String,
    },
    /// This machine failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Why reads could not be answered at all (a statement that fails is an answer).
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The work allowed was used up; nothing is known. Run it again where it may take longer.
    #[error("the read takes more steps than it was allowed")]
    StepsExhausted,
    /// The time allowed is over.
    #[error("the read takes longer than it was allowed")]
    DeadlinePassed,
    /// All connections are in use.
    #[error("all read connections of {} are in use", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// This machine failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Whether an error is this machine's and not the statement's.
pub(super) fn is_fatal(error: &rusqlite::Error) -> bool {
    let extended = match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => error.extended_code,
        _ => return false,
    };
    match extended {
        // What FTS5's and R-tree's own checks report about data that a tenant gave them, and the same everywhere.
        ffi::SQLITE_CORRUPT_VTAB | ffi::SQLITE_CORRUPT_SEQUENCE => false,
        code if code & 0xff == ffi::SQLITE_NOMEM => !memory_is_available(),
        code => matches!(
            code & 0xff,
            ffi::SQLITE_IOERR
                | ffi::SQLITE_FULL
                | ffi::SQLITE_CORRUPT
                | ffi::SQLITE_NOTADB
                | ffi::SQLITE_CANTOPEN
                | ffi::SQLITE_PROTOCOL
                | ffi::SQLITE_BUSY
                | ffi::SQLITE_READONLY
                | ffi::SQLITE_PERM
                | ffi::SQLITE_NOLFS
        ),
    }
}

/// SQLite says "out of memory" also for a program of more instructions than its limit allows, which is the same on
/// every replica. So it is believed only when there is none.
fn memory_is_available() -> bool {
    const PROBE_BYTES: usize = 64 * 1024 * 1024;
    std::hint::black_box(Vec::<u8>::new()).try_reserve_exact(PROBE_BYTES).is_ok()
}

/// A bare result code as an error.
/// A row that no statement of ours has written: only what was damaged looks so.
pub(super) fn damaged() -> rusqlite::Error {
    from_code(rusqlite::ffi::SQLITE_CORRUPT)
}

pub(super) fn from_code(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// The primary result code, 0 where there is none.
pub(super) fn primary_code(error: &rusqlite::Error) -> i32 {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            error.extended_code & 0xff
        }
        _ => 0,
    }
}

/// SQLite's own words, without anything around them.
pub(super) fn message(error: &rusqlite::Error) -> String {
    if primary_code(error) == ffi::SQLITE_NOMEM {
        return format!(
            "the statement is too complex: it takes more than {SQL_PROGRAM_OPS_MAX} instructions, split it"
        );
    }
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(error, None) => error.to_string(),
        other => other.to_string(),
    }
}

/// Longest message of a failed statement.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A statement's failure as its result.
pub(super) fn failure(kind: StatementErrorKind, message: impl Into<String>) -> StatementError {
    let mut message = message.into();
    // A constraint's name or a RAISE may be a megabyte long, and a request may fail ten thousand times.
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    StatementError { message, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failures_message_is_bounded_and_stays_text() {
        let long = failure(StatementErrorKind::Sqlite, "é".repeat(600_000));
        assert!(long.message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8() && long.message.ends_with("é…"));
        assert_eq!(failure(StatementErrorKind::Sqlite, "short").message, "short");
    }
}
