//! One state of a file, held still while it is looked at: which index it has, and a hash of what is in it.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::connection;
use super::error::SqlError;
use super::internal;
use super::readers::Readers;
use super::tables::{StoredTable, quoted, stored_tables};

/// A read transaction that sees the file as it was when this was made, whatever is written since. It keeps the WAL
/// from being emptied, so it should not live long.
pub struct ReadSnapshot {
    connection: Connection,
    path: PathBuf,
    applied_index: u64,
}

impl Readers {
    /// Takes a snapshot now, on a connection of its own; it can be sent to another thread.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn snapshot(&self) -> Result<ReadSnapshot, SqlError> {
        ReadSnapshot::open(self.path())
    }
}

impl ReadSnapshot {
    fn open(path: &Path) -> Result<ReadSnapshot, SqlError> {
        let connection = connection::open_read_plain(path).map_err(SqlError::open(path))?;
        connection.execute_batch("BEGIN").map_err(SqlError::open(path))?;
        // The transaction's first read is what fixes the state that it sees.
        let applied = internal::read(&connection).map_err(SqlError::open(path))?;
        let applied = applied.ok_or_else(|| SqlError::NotAdopted { path: path.to_owned() })?;
        Ok(ReadSnapshot { connection, path: path.to_owned(), applied_index: applied.index })
    }

    /// The index of the last entry that is in the snapshot.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// BLAKE3 over schema and rows, the internal tables included: equal on replicas with equal content, however
    /// their pages lie.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn content_hash(self) -> Result<[u8; 32], SqlError> {
        let mut hash = ContentHash::default();
        hash.add_content(&self.connection).map_err(SqlError::storage(&self.path))?;
        Ok(hash.finish())
    }
}

/// Bytes gathered before they are hashed; BLAKE3 is several times faster on blocks than on values.
const BLOCK_BYTES: usize = 64 * 1024;

#[derive(Default)]
struct ContentHash {
    hasher: blake3::Hasher,
    block: Vec<u8>,
}

impl ContentHash {
    fn add_content(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for sql in [
            "PRAGMA encoding",
            "PRAGMA user_version",
            "PRAGMA application_id",
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
        ] {
            self.add_rows(connection, sql)?;
        }
        for table in stored_tables(connection)? {
            self.add(ValueRef::Text(table.name.as_bytes()));
            self.add_rows(connection, &select_all(&table))?;
        }
        Ok(())
    }

    fn add_rows(&mut self, connection: &Connection, sql: &str) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                self.add(row.get_ref(column)?);
            }
        }
        // Where one table ends and the next begins must not be a matter of interpretation.
        self.block.push(b'.');
        Ok(())
    }

    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.block.push(b'n'),
            ValueRef::Integer(number) => self.add_tagged(b'i', &number.to_be_bytes()),
            ValueRef::Real(number) => self.add_tagged(b'r', &number.to_bits().to_be_bytes()),
            ValueRef::Text(bytes) => self.add_sized(b't', bytes),
            ValueRef::Blob(bytes) => self.add_sized(b'b', bytes),
        }
        if self.block.len() >= BLOCK_BYTES {
            self.hasher.update(&self.block);
            self.block.clear();
        }
    }

    fn add_tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.block.push(tag);
        self.block.extend_from_slice(bytes);
    }

    fn add_sized(&mut self, tag: u8, bytes: &[u8]) {
        self.add_tagged(tag, &(bytes.len() as u64).to_be_bytes());
        self.block.extend_from_slice(bytes);
    }

    fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.block);
        *self.hasher.finalize().as_bytes()
    }
}

/// NOT INDEXED walks the table's own tree: in the order of rowid or primary key, without sorting.
fn select_all(StoredTable { name, rowid }: &StoredTable) -> String {
    match rowid {
        Some(rowid) => format!("SELECT {rowid}, * FROM {} NOT INDEXED", quoted(name)),
        None => format!("SELECT * FROM {} NOT INDEXED", quoted(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;

    fn hash(fixture: &Fixture) -> [u8; 32] {
        fixture.readers.snapshot().expect("snapshot").content_hash().expect("hashes")
    }

    #[test]
    fn a_snapshot_sees_the_state_of_its_beginning() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
        let before = hash(&fixture);
        let snapshot = fixture.readers.snapshot().expect("snapshot");
        assert_eq!(snapshot.applied_index(), 1);
        fixture.run(&["INSERT INTO t VALUES(2)"]);
        let held = std::thread::spawn(move || snapshot.content_hash().expect("hashes")).join().expect("joins");
        assert_eq!(held, before);
        assert_ne!(hash(&fixture), before);
    }

    #[test]
    fn the_hash_tells_types_rowids_and_schemas_apart() {
        let variants: [&[&str]; 8] = [
            &["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"],
            &["CREATE TABLE t(a)", "INSERT INTO t VALUES('1')"],
            &["CREATE TABLE t(a)", "INSERT INTO t VALUES(x'31')"],
            &["CREATE TABLE t(a)", "INSERT INTO t VALUES(1.0)"],
            &["CREATE TABLE t(a)", "INSERT INTO t(rowid, a) VALUES(2, 1)"],
            &["CREATE TABLE t( a)", "INSERT INTO t VALUES(1)"],
            &["CREATE TABLE t(a)", "INSERT INTO t VALUES(1); PRAGMA user_version = 3"],
            &["CREATE TABLE t(a PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t VALUES(1)"],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for statements in variants {
            let mut fixture = Fixture::new();
            fixture.run(statements);
            assert!(seen.insert(hash(&fixture)), "{statements:?}");
        }
    }

    #[test]
    fn the_hash_does_not_see_where_pages_lie() {
        let hash_of = |entries: Vec<Vec<&str>>| {
            let mut fixture = Fixture::new();
            for statements in entries {
                fixture.run(&statements);
            }
            hash(&fixture)
        };
        let plain = hash_of(vec![
            vec!["CREATE TABLE t(a)"],
            vec!["CREATE INDEX i ON t(a)"],
            vec!["INSERT INTO t VALUES(zeroblob(9000))"],
        ]);
        let moved = hash_of(vec![
            vec![
                "CREATE TABLE u(a)",
                "INSERT INTO u VALUES(zeroblob(90000))",
                "CREATE TABLE t(a)",
                "CREATE INDEX i ON t(a)",
            ],
            vec!["DROP TABLE u", "PRAGMA user_version = 0"],
            vec!["INSERT INTO t VALUES(zeroblob(9000))"],
        ]);
        assert_eq!(plain, moved);
    }
}
