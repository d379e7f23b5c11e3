//! A copy of a namespace as its owner sees it: a SQLite file without our tables.

use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::connection;
use super::error::SqlError;
use super::internal;
use super::readers::Readers;

/// How a backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BackupOptions {
    /// Whether to compact it.
    pub vacuum: Vacuum,
    /// Its journal mode.
    pub journal: Journal,
}

/// Whether a copy is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Vacuum {
    /// Free pages are copied as well.
    #[default]
    No,
    /// It is rewritten without free pages; tables without an INTEGER PRIMARY KEY may get other rowids.
    Yes,
}

/// The journal mode that a copy is left in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Journal {
    /// WAL, as the original.
    #[default]
    Wal,
    /// DELETE: readable from media that cannot be written.
    Delete,
}

impl Readers {
    /// Writes a copy of the database to `to`, which must not exist or be empty, and fsyncs it. Writes go on meanwhile.
    ///
    /// # Errors
    /// When reading or writing fails; `to` is then of no use.
    pub fn backup(&self, to: &Path, options: BackupOptions) -> Result<(), SqlError> {
        let source = connection::open_read_plain(self.path()).map_err(SqlError::open(self.path()))?;
        copy(&source, to).map_err(SqlError::storage(to))?;
        make_plain(to, options).map_err(SqlError::storage(to))
    }
}

fn copy(source: &Connection, to: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    super::prepare_process()?;
    let mut target = Connection::open_with_flags(to, flags)?;
    // All pages in one step: in several, each write by others would start it anew.
    Backup::new(source, &mut target)?.run_to_completion(i32::MAX, std::time::Duration::ZERO, None)?;
    target.close().map_err(|(_, error)| error)
}

fn make_plain(path: &Path, options: BackupOptions) -> rusqlite::Result<()> {
    let connection = connection::open_plain(path)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    // What the dropped tables held must not be found on free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    internal::remove(&connection)?;
    if options.vacuum == Vacuum::Yes {
        connection.execute_batch("VACUUM")?;
    }
    if options.journal == Journal::Wal {
        connection.pragma_update(None, "journal_mode", "WAL")?;
    }
    connection.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_backup_is_the_owners_data_and_nothing_else() {
        for (vacuum, journal) in [
            (Vacuum::No, Journal::Wal),
            (Vacuum::Yes, Journal::Delete),
            (Vacuum::No, Journal::Delete),
            (Vacuum::Yes, Journal::Wal),
        ] {
            let mut fixture = Fixture::new();
            fixture.run(&[
                "CREATE TABLE debros_removed_internal(a)",
                "CREATE TABLE t(a)",
                "INSERT INTO t VALUES(1),(2)",
                "PRAGMA user_version = 5",
            ]);
            let to = fixture.folder.path().join("backup.sqlite");
            fixture.readers.backup(&to, BackupOptions { vacuum, journal }).expect("backs up");
            assert!(!fixture.folder.path().join("backup.sqlite-wal").exists());
            let copy = Connection::open(&to).expect("opens");
            let text = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, String>(0)).expect(sql);
            assert_eq!(
                text("SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)"),
                "debros_removed_internal,t"
            );
            assert_eq!(text("PRAGMA integrity_check"), "ok");
            assert_eq!(text("SELECT group_concat(a) FROM t"), "1,2");
            assert_eq!(text("PRAGMA journal_mode"), if journal == Journal::Wal { "wal" } else { "delete" });
            assert_eq!(copy.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).expect("reads"), 5);
        }
    }

    #[test]
    fn a_backup_can_be_adopted() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
        let to = fixture.folder.path().join("backup.sqlite");
        fixture.readers.backup(&to, BackupOptions::default()).expect("backs up");
        super::super::adopt(&to, 12, None).expect("adopts");
        assert_eq!(super::super::Database::open(&to).expect("opens").applied_index(), 12);
    }
}
