//! How a user's SQLite file becomes a namespace's database.
//!
//! Every replica adopts the same bytes at the same log index, so nothing here may depend on anything else. What a
//! namespace could never have made by SQL (damage, names that are no text, rowids after which SQLite would turn to
//! random numbers) is refused with a reason for the file's owner.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::admission::trusted;
use super::database::Database;
use super::error::{AdoptError, SqlError, is_fatal, message, primary_code};
use super::internal::{self, Applied, Sticky};
use super::tables::{quoted, stored_tables};
use super::{connection, effects, kv, topics};

/// The first bytes of every SQLite file.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Makes the file at `path` a namespace's database that has applied the log up to `applied_index`: checks it, adds the
/// internal tables (removing those that it came with), switches it to WAL, and fsyncs it. Nobody else may have it open.
/// The same bytes give the same content everywhere.
///
/// Keys and durable topics of the database that it takes the place of are carried over: what is loaded is SQL.
///
/// # Errors
/// [`AdoptError::Unusable`] when the file's owner has to do something, [`AdoptError::Sql`] when this machine fails.
/// The file is then of no use.
pub fn adopt(path: &Path, applied_index: u64, instead_of: Option<&Database>) -> Result<(), AdoptError> {
    check_header(path)?;
    let connection = connection::open_plain(path).map_err(|error| unusable(path, error))?;
    prepare(&connection, applied_index).map_err(|error| unusable(path, error))?.map_err(refuse)?;
    if let Some(database) = instead_of {
        carry_over(database, &connection, applied_index).map_err(SqlError::storage(path))?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(SqlError::storage(path))?;
    connection.close().map_err(|(_, error)| unusable(path, error))
}

fn check_header(path: &Path) -> Result<(), AdoptError> {
    let mut header = [0; 16];
    let mut file = File::open(path).map_err(SqlError::file(path))?;
    match file.read_exact(&mut header) {
        Ok(()) if header == *HEADER => Ok(()),
        Ok(()) => Err(refuse("it is not a SQLite database".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(refuse("it is not a SQLite database: it has less than 16 bytes".to_owned()))
        }
        Err(error) => Err(SqlError::file(path)(error).into()),
    }
}

fn refuse(reason: String) -> AdoptError {
    AdoptError::Unusable { reason }
}

/// Damage is the owner's here, unlike in a namespace's own file.
fn unusable(path: &Path, error: rusqlite::Error) -> AdoptError {
    let damaged = matches!(primary_code(&error), rusqlite::ffi::SQLITE_CORRUPT | rusqlite::ffi::SQLITE_NOTADB);
    if is_fatal(&error) && !damaged { AdoptError::Sql(SqlError::storage(path)(error)) } else { refuse(message(&error)) }
}

/// The inner result is a reason to refuse the file.
fn prepare(connection: &Connection, applied_index: u64) -> rusqlite::Result<Result<(), String>> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // One journal mode for the whole of it, whatever the file came with.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Err(format!("the database is damaged: {verdict}")));
    }
    for check in [schema_is_ordinary, names_are_text, no_largest_rowid, no_ended_sequence] {
        if let Some(reason) = check(connection)? {
            return Ok(Err(reason));
        }
    }
    // Statistics that nobody may renew would only grow false; and see `admission` for why nobody may.
    connection.execute_batch("DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4")?;
    internal::remove(connection)?;
    internal::create(connection)?;
    internal::write(connection, Applied::beginning_at(applied_index))?;
    Ok(Ok(()))
}

fn carry_over(from: &Database, to: &Connection, applied_index: u64) -> rusqlite::Result<()> {
    to.execute_batch("BEGIN IMMEDIATE")?;
    trusted(|| kv::carry_over(&from.connection, to).and_then(|()| topics::carry_over(&from.connection, to)))?;
    let (kv, topics) = (from.kv_totals(), from.topic_totals());
    internal::write(to, Applied { index: applied_index, sticky: Sticky::default(), kv, topics })?;
    to.execute_batch("COMMIT")
}

/// SQLite's own writes give the schema table texts and small rowids. With other storage classes, or with the largest
/// rowid, later statements would fail or be numbered at random.
fn schema_is_ordinary(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let strange = "SELECT count(*) FROM sqlite_schema WHERE typeof(type) <> 'text' OR typeof(name) <> 'text' \
        OR typeof(tbl_name) <> 'text' OR typeof(sql) NOT IN ('text', 'null') OR rowid > 1000000000000";
    let count: i64 = connection.query_row(strange, [], |row| row.get(0))?;
    Ok((count > 0).then(|| "its schema table was not written by SQLite: rebuild the file with VACUUM".to_owned()))
}

fn names_are_text(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut schema = connection.prepare("SELECT name, tbl_name, sql FROM sqlite_schema")?;
    let mut rows = schema.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..3 {
            let value = row.get_ref(column)?;
            if value.as_bytes_or_null().is_ok_and(|bytes| bytes.is_some_and(|b| std::str::from_utf8(b).is_err())) {
                return Ok(Some("its schema contains text that is not UTF-8".to_owned()));
            }
        }
    }
    Ok(None)
}

fn no_largest_rowid(connection: &Connection) -> rusqlite::Result<Option<String>> {
    for table in stored_tables(connection)? {
        let Some(rowid) = table.rowid else { continue };
        let sql = format!("SELECT count(*) FROM {} WHERE {rowid} = {}", quoted(&table.name), i64::MAX);
        if connection.query_row(&sql, [], |row| row.get::<_, i64>(0))? > 0 {
            return Ok(Some(format!("table `{}` has a row with rowid {}: give it another", table.name, i64::MAX)));
        }
    }
    Ok(None)
}

fn no_ended_sequence(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let ended =
        connection.query_row(there, [], |row| row.get::<_, i64>(0))? > 0 && effects::sequence_at_end(connection)?;
    Ok(ended.then(|| format!("sqlite_sequence has reached {}: reset it", i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn user_file(folder: &Path, sql: &str) -> std::path::PathBuf {
        let path = folder.join("user.sqlite");
        super::connection::prepare_process().expect("first");
        let connection = Connection::open(&path).expect("opens");
        connection.execute_batch(sql).expect("runs");
        connection.close().expect("closes");
        path
    }

    #[test]
    fn a_users_file_becomes_a_database_at_its_index() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = user_file(
            folder.path(),
            "PRAGMA page_size=8192; CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA user_version=7;",
        );
        adopt(&path, 41, None).expect("adopts");
        let mut database = Database::open(&path).expect("opens");
        assert_eq!(database.applied_index(), 41);
        let insert = execute(&["INSERT INTO t VALUES(2)"]);
        let entry =
            super::super::BatchEntry { index: 42, stamp: stamp(42), change: super::super::Change::Execute(&insert) };
        assert_eq!(results(&database.apply(&[entry]).expect("applies")[0]), [written(2, 1)]);
    }

    #[test]
    fn a_database_of_ours_is_adopted_without_its_past() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
        fixture.database.checkpoint().expect("checkpoints");
        let copy = fixture.folder.path().join("copy.sqlite");
        std::fs::copy(fixture.path(), &copy).expect("copies");
        adopt(&copy, 7, None).expect("adopts");
        let database = Database::open(&copy).expect("opens");
        assert_eq!(database.applied_index(), 7);
    }

    #[test]
    fn the_same_bytes_give_the_same_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = user_file(folder.path(), "CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(9000))");
        let copy = folder.path().join("copy.sqlite");
        std::fs::copy(&path, &copy).expect("copies");
        adopt(&path, 5, None).expect("adopts");
        adopt(&copy, 5, None).expect("adopts");
        assert!(std::fs::read(&path).expect("reads") == std::fs::read(&copy).expect("reads"));
    }

    #[test]
    fn what_is_no_database_or_could_diverge_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("user.sqlite");
        let refusal = |path: &Path| match adopt(path, 1, None) {
            Err(AdoptError::Unusable { reason }) => reason,
            other => panic!("{other:?}"),
        };
        for bytes in [&b""[..], b"hello", &[9; 4096]] {
            std::fs::write(&path, bytes).expect("writes");
            assert!(refusal(&path).contains("not a SQLite database"));
        }
        std::fs::write(&path, [&HEADER[..], &[1; 5000]].concat()).expect("writes");
        assert!(!refusal(&path).is_empty());
        for (sql, part) in [
            ("CREATE TABLE t(a, rowid); INSERT INTO t(_rowid_) VALUES(9223372036854775807)", "table `t`"),
            (
                "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES(1); UPDATE sqlite_sequence SET seq=9223372036854775807",
                "sqlite_sequence",
            ),
            (
                "CREATE TABLE t(a); PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = CAST(x'435245415445205441424c45207428ff29' AS TEXT)",
                "not UTF-8",
            ),
            (
                "CREATE TABLE t(a); PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rowid = 9223372036854775807",
                "not written by SQLite",
            ),
            (
                "CREATE TABLE t(a); PRAGMA writable_schema=ON; UPDATE sqlite_schema SET tbl_name = CAST(tbl_name AS BLOB)",
                "not written by SQLite",
            ),
            // Each index holds the other table's row: their sizes are right, which is all that a quick check looks at.
            (
                "CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1);
                 CREATE TABLE u(a); CREATE INDEX j ON u(a); INSERT INTO u VALUES(2);
                 PRAGMA writable_schema=ON;
                 CREATE TABLE roots AS SELECT name, rootpage FROM sqlite_schema WHERE type = 'index';
                 UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM roots WHERE name <> sqlite_schema.name)
                  WHERE type = 'index';",
                "damaged",
            ),
        ] {
            std::fs::remove_file(&path).expect("removes");
            user_file(folder.path(), sql);
            let reason = refusal(&path);
            assert!(reason.contains(part), "{reason}");
        }
    }
}
