//! How large a namespace's file may become, where the entry says so.
//!
//! SQLite counts pages, and so do all replicas alike: their files are equal page by page. A statement that would need
//! one page too many fails with SQLite's "disk full", and so does one on a disk that *is* full. The first is the same
//! everywhere and the statement's result, the second is this machine's and stops the node. They are told apart by the
//! files' write method, which notes when the platform had no room ([`clock_vfs::disk_was_full`]).

use std::cell::Cell;

use rusqlite::{Connection, ffi as codes};

use super::admission::trusted;
use super::clock_vfs;
use super::error::{failure, primary_code};
use crate::types::statement::{StatementError, StatementErrorKind};

/// SQLite's own limit.
const PAGES_MAX: u64 = 4_294_967_294;

thread_local! {
    /// The limit that the entry being applied carries, in bytes.
    static BYTES_MAX: Cell<Option<u64>> = const { Cell::new(None) };
}

/// What an apply connection is limited to. SQLite never sets a limit below the pages that there are at that moment, so
/// what was set inside a transaction must be forgotten when that is rolled back.
#[derive(Debug, Default)]
pub(super) struct PageLimit {
    set: Cell<Option<u64>>,
    page_bytes: u64,
}

impl PageLimit {
    pub(super) fn new(page_bytes: u64) -> PageLimit {
        PageLimit { set: Cell::new(None), page_bytes }
    }

    /// Limits the connection to what an entry says.
    pub(super) fn set(&self, connection: &Connection, bytes_max: Option<u64>) -> rusqlite::Result<()> {
        BYTES_MAX.set(bytes_max);
        let pages = bytes_max.map_or(PAGES_MAX, |bytes| (bytes / self.page_bytes).clamp(1, PAGES_MAX));
        if self.set.get() == Some(pages) || self.set.get().is_none() && bytes_max.is_none() {
            return Ok(());
        }
        self.set.set(Some(pages));
        trusted(|| connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))
    }

    /// What follows is ours, or cannot be refused any more.
    pub(super) fn lift(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.set(connection, None)
    }

    /// The transaction was rolled back: what SQLite made of the limit may no longer be what it would make of it now.
    pub(super) fn forget(&self) {
        self.set.set(self.set.get().map(|_| 0));
    }
}

/// Ends the limit of this thread.
pub(super) fn disarm() {
    BYTES_MAX.set(None);
}

/// What an error means for its statement, if the limit is its reason.
pub(super) fn explains(error: &rusqlite::Error) -> Option<StatementError> {
    let bytes_max = BYTES_MAX.get()?;
    let by_limit = primary_code(error) == codes::SQLITE_FULL && !clock_vfs::disk_was_full();
    by_limit.then(|| failure(StatementErrorKind::TooLarge, message(bytes_max)))
}

fn message(bytes_max: u64) -> String {
    format!(
        "the namespace's database may have {bytes_max} bytes and would become larger: delete something, or raise the quota"
    )
}
