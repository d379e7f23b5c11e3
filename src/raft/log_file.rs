//! The Raft log on disk: one SQLite database (WAL, `synchronous=FULL`), used by one thread at a time.
//!
//! Layout: table `log(position, record)` with `position = group << 48 | index`, and table `state(key, record)` with the
//! vote, the purge point and the committed index. Every record is `version (1) ‖ crc32 (4) ‖ body`; the CRC also covers
//! the position or key, so a row that moved is noticed.
//!
//! What opening promises: entries are without gap and intact, or it fails and names file and position; nothing is ever
//! cut. The one thing that disappears silently is a transaction that SQLite had not finished, whose entries nobody was
//! told about. [`super::wal_check`] tells that case from damage to finished transactions, which SQLite itself cannot.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use super::codec;
use super::type_config::{Entry, LogId, Vote};
use super::wal_check;

/// The only group so far. It is part of every key so that several groups can share the file and its fsync.
const GROUP: i64 = 0;
const GROUP_SHIFT: u32 = 48;
const RECORD_VERSION: u8 = 1;

const KEY_VOTE: &str = "vote";
const KEY_PURGED: &str = "purged";
const KEY_COMMITTED: &str = "committed";

/// The WAL is written over from its start after each checkpoint. At this size a checkpoint costs a few percent of the
/// time that filling it took, and the file stays in place, so that commits need not change its length.
const WAL_PAGES: i64 = 2000;

/// A log that cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// A record is damaged, or entries are missing between two others.
    #[error(
        "{}: {what} at {position} is damaged ({reason}); refusing to start, nothing was changed. Restore this node's \
         directory, or remove the node from the cluster and join again with an empty one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: &'static str,
        /// Log index, or byte offset for a part of the file.
        position: String,
        /// How it shows.
        reason: String,
    },
    /// The log was written by a newer build.
    #[error("{}: format {found} is newer than this build reads ({RECORD_VERSION}); upgrade debros", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u8,
    },
    /// SQLite or the operating system failed.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// Reading the file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl From<LogFileError> for io::Error {
    fn from(error: LogFileError) -> io::Error {
        io::Error::other(error)
    }
}

/// One change of the log; changes are made durable together, in order.
pub(super) enum Change {
    Append(Vec<Entry>),
    TruncateAfter(u64),
    TruncateAll,
    Purge(LogId),
    Vote(Vote),
    Committed(LogId),
}

/// What a freshly opened log holds besides its entries.
#[derive(Default)]
pub(super) struct Recovered {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// The newest entries, oldest first, without gap up to the end of the log.
    pub(super) tail: Vec<Entry>,
    /// Bytes of the entries before those.
    pub(super) older_bytes: u64,
}

/// The open file.
pub(super) struct LogFile {
    connection: Connection,
    path: PathBuf,
}

impl LogFile {
    /// Opens or makes the log, checks all of it, and returns its newest `tail_max` entries.
    pub(super) fn open(path: &Path, tail_max: usize) -> Result<(LogFile, Recovered), LogFileError> {
        wal_check::check(path)?;
        let connection = open_connection(path)?;
        let file = LogFile { connection, path: path.to_owned() };
        // A log that is refused stays as it is: closing it must not move what its write-ahead log holds.
        file.checkpoint_on_close(false).map_err(|e| file.sqlite(e))?;
        file.prepare().map_err(|e| file.sqlite(e))?;
        let recovered = file.recover(tail_max)?;
        file.checkpoint_on_close(true).map_err(|e| file.sqlite(e))?;
        file.renew_wal().map_err(|e| file.sqlite(e))?;
        Ok((file, recovered))
    }

    fn checkpoint_on_close(&self, wanted: bool) -> rusqlite::Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !wanted).map(drop)
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
        self.connection.pragma_update(None, "journal_size_limit", -1)?;
        self.connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS log (position INTEGER PRIMARY KEY, record BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;",
        )
    }

    /// Fills the WAL once, so that later commits overwrite blocks that exist: a growing file makes each fsync also
    /// write the file's length, which about doubles its time. Then starts a new generation of frames, so that what a
    /// crash tore in an earlier run can never be taken for part of this one.
    fn renew_wal(&self) -> rusqlite::Result<()> {
        let wal = self
            .path
            .with_file_name(format!("{}-wal", self.path.file_name().and_then(|n| n.to_str()).unwrap_or("log.sqlite")));
        let page_bytes: i64 = self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let wanted = (WAL_PAGES * page_bytes) as u64;
        if !std::fs::metadata(&wal).is_ok_and(|meta| meta.len() >= wanted) {
            self.connection.execute_batch(&format!(
                "CREATE TABLE filler (bytes BLOB);
                 INSERT INTO filler VALUES (zeroblob({wanted}));
                 DROP TABLE filler;"
            ))?;
        }
        self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
    }

    fn recover(&self, tail_max: usize) -> Result<Recovered, LogFileError> {
        let mut recovered = Recovered {
            vote: self.state(KEY_VOTE)?.map(|body| self.decode("vote", body, codec::take_vote)).transpose()?,
            purged: self.state(KEY_PURGED)?.map(|body| self.decode("state", body, codec::take_log_id)).transpose()?,
            committed: self
                .state(KEY_COMMITTED)?
                .map(|body| self.decode("state", body, codec::take_log_id))
                .transpose()?,
            ..Recovered::default()
        };
        let mut expected = recovered.purged.map(|id| id.index + 1);
        let mut tail = std::collections::VecDeque::with_capacity(tail_max.min(1024));
        let mut statement = self
            .connection
            .prepare("SELECT position, record FROM log ORDER BY position")
            .map_err(|e| self.sqlite(e))?;
        let mut rows = statement.query([]).map_err(|e| self.sqlite(e))?;
        while let Some(row) = rows.next().map_err(|e| self.sqlite(e))? {
            let entry = self.entry_of_row(row)?;
            let index = entry.log_id.index;
            if let Some(expected) = expected.filter(|expected| *expected != index) {
                return Err(self.damaged(
                    "log entry",
                    expected.to_string(),
                    format!("the next entry found is {index}"),
                ));
            }
            expected = Some(index + 1);
            if tail.len() == tail_max
                && let Some(older) = tail.pop_front()
            {
                recovered.older_bytes += codec::entry_bytes(&older) as u64;
            }
            tail.push_back(entry);
        }
        recovered.tail = tail.into();
        // Only the first entry of a bootstrapped log is older than the first vote. A node that forgot its vote could
        // give it twice in one term.
        let older_than_all_votes = |entry: &Entry| entry.log_id.index == 0;
        let has_history = recovered.purged.is_some() || !recovered.tail.iter().all(older_than_all_votes);
        if recovered.vote.is_none() && has_history {
            return Err(self.damaged(
                "vote",
                "key vote".to_owned(),
                "it is missing although there are entries".to_owned(),
            ));
        }
        Ok(recovered)
    }

    /// Makes all changes durable in one transaction, with one fsync.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), LogFileError> {
        self.try_commit(changes).map_err(|e| self.sqlite(e))
    }

    fn try_commit(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        // As cached statements: SQLite would compile both anew for every commit. An error ends the process, so there
        // is nobody for whom a transaction would have to be rolled back.
        let transaction = &self.connection;
        transaction.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut record = Vec::with_capacity(256);
        for change in changes {
            match change {
                Change::Append(entries) => {
                    let mut insert =
                        transaction.prepare_cached("INSERT OR REPLACE INTO log (position, record) VALUES (?1, ?2)")?;
                    for entry in entries {
                        let position = position_of(entry.log_id.index);
                        seal(&mut record, &position.to_le_bytes(), |out| codec::put_entry(out, entry));
                        insert.execute(params![position, &record[..]])?;
                    }
                }
                Change::TruncateAfter(index) => {
                    transaction
                        .prepare_cached("DELETE FROM log WHERE position > ?1 AND position < ?2")?
                        .execute(params![position_of(*index), position_of_next_group()])?;
                }
                Change::TruncateAll => {
                    transaction
                        .prepare_cached("DELETE FROM log WHERE position >= ?1 AND position < ?2")?
                        .execute(params![position_of(0), position_of_next_group()])?;
                }
                Change::Purge(upto) => {
                    put_state(transaction, &mut record, KEY_PURGED, |out| codec::put_log_id(out, upto))?;
                    transaction
                        .prepare_cached("DELETE FROM log WHERE position >= ?1 AND position <= ?2")?
                        .execute(params![position_of(0), position_of(upto.index)])?;
                }
                Change::Vote(vote) => {
                    put_state(transaction, &mut record, KEY_VOTE, |out| codec::put_vote(out, vote))?;
                }
                Change::Committed(id) => {
                    put_state(transaction, &mut record, KEY_COMMITTED, |out| codec::put_log_id(out, id))?;
                }
            }
        }
        transaction.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    fn state(&self, key: &str) -> Result<Option<Bytes>, LogFileError> {
        let record: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT record FROM state WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(|e| self.sqlite(e))?;
        record
            .map(|record| unseal(record, key.as_bytes()).map_err(|e| self.refused("state", key.to_owned(), e)))
            .transpose()
    }

    fn decode<T>(
        &self,
        what: &'static str,
        mut body: Bytes,
        take: impl FnOnce(&mut Bytes) -> io::Result<T>,
    ) -> Result<T, LogFileError> {
        take(&mut body).map_err(|e| self.damaged(what, what.to_owned(), e.to_string()))
    }

    fn entry_of_row(&self, row: &rusqlite::Row<'_>) -> Result<Entry, LogFileError> {
        read_entry(row).map_err(|e| match e {
            RowError::Sqlite(source) => self.sqlite(source),
            RowError::Record { index, refusal } => self.refused("log entry", index.to_string(), refusal),
        })
    }

    fn refused(&self, what: &'static str, position: String, refusal: Unsealed) -> LogFileError {
        match refusal {
            Unsealed::Newer(found) => LogFileError::NewerFormat { path: self.path.clone(), found },
            Unsealed::Damaged(reason) => self.damaged(what, position, reason),
        }
    }

    fn damaged(&self, what: &'static str, position: String, reason: String) -> LogFileError {
        LogFileError::Damaged { path: self.path.clone(), what, position, reason }
    }

    fn sqlite(&self, source: rusqlite::Error) -> LogFileError {
        LogFileError::Sqlite { path: self.path.clone(), source }
    }
}

/// A second, read-only connection for entries that are no longer in memory.
pub(super) struct LogFileReader {
    connection: Connection,
    path: PathBuf,
}

impl LogFileReader {
    pub(super) fn open(path: &Path) -> Result<LogFileReader, LogFileError> {
        let connection = open_connection(path)?;
        let read_only = connection.pragma_update(None, "query_only", true);
        read_only.map_err(|source| LogFileError::Sqlite { path: path.to_owned(), source })?;
        Ok(LogFileReader { connection, path: path.to_owned() })
    }

    /// Entries from `start` up to, not including, `end`, without gap; stops before an entry that passes `bytes_max`.
    pub(super) fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, LogFileError> {
        let sqlite = |source| LogFileError::Sqlite { path: self.path.clone(), source };
        let mut statement = self
            .connection
            .prepare_cached("SELECT position, record FROM log WHERE position >= ?1 AND position < ?2 ORDER BY position")
            .map_err(sqlite)?;
        let mut rows = statement.query(params![position_of(start), position_of(end)]).map_err(sqlite)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(sqlite)? {
            let entry = read_entry(row).map_err(|e| match e {
                RowError::Sqlite(source) => sqlite(source),
                RowError::Record { index, refusal } => LogFileError::Damaged {
                    path: self.path.clone(),
                    what: "log entry",
                    position: index.to_string(),
                    reason: refusal.to_string(),
                },
            })?;
            bytes += codec::entry_bytes(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn open_connection(path: &Path) -> Result<Connection, LogFileError> {
    let open = || -> rusqlite::Result<Connection> {
        crate::sql::prepare_process()?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(connection)
    };
    open().map_err(|source| LogFileError::Sqlite { path: path.to_owned(), source })
}

fn position_of(index: u64) -> i64 {
    assert!(index < 1 << GROUP_SHIFT, "log index {index} does not fit its key");
    GROUP << GROUP_SHIFT | index as i64
}

fn position_of_next_group() -> i64 {
    (GROUP + 1) << GROUP_SHIFT
}

fn put_state(
    transaction: &Connection,
    record: &mut Vec<u8>,
    key: &str,
    put: impl FnOnce(&mut Vec<u8>),
) -> rusqlite::Result<()> {
    seal(record, key.as_bytes(), put);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO state (key, record) VALUES (?1, ?2)")?
        .execute(params![key, &record[..]])
        .map(|_| ())
}

/// Writes `version ‖ crc32(key ‖ body) ‖ body`.
fn seal(record: &mut Vec<u8>, key: &[u8], put: impl FnOnce(&mut Vec<u8>)) {
    record.clear();
    record.put_u8(RECORD_VERSION);
    record.put_u32_le(0);
    put(record);
    let crc = crc_of(key, &record[5..]);
    record[1..5].copy_from_slice(&crc.to_le_bytes());
}

#[derive(Debug)]
enum Unsealed {
    Newer(u8),
    Damaged(String),
}

impl std::fmt::Display for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unsealed::Newer(found) => write!(f, "format {found}"),
            Unsealed::Damaged(reason) => f.write_str(reason),
        }
    }
}

fn unseal(record: Vec<u8>, key: &[u8]) -> Result<Bytes, Unsealed> {
    let mut bytes = Bytes::from(record);
    if bytes.len() < 5 {
        return Err(Unsealed::Damaged("it is cut short".to_owned()));
    }
    let version = bytes.get_u8();
    if version > RECORD_VERSION {
        return Err(Unsealed::Newer(version));
    }
    let stored = bytes.get_u32_le();
    let computed = crc_of(key, &bytes);
    if version != RECORD_VERSION || stored != computed {
        return Err(Unsealed::Damaged(format!("checksum {stored:08x} is stored, {computed:08x} is computed")));
    }
    Ok(bytes)
}

fn crc_of(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

enum RowError {
    Sqlite(rusqlite::Error),
    Record { index: u64, refusal: Unsealed },
}

fn read_entry(row: &rusqlite::Row<'_>) -> Result<Entry, RowError> {
    let position: i64 = row.get(0).map_err(RowError::Sqlite)?;
    let record: Vec<u8> = row.get(1).map_err(RowError::Sqlite)?;
    let index = (position - (GROUP << GROUP_SHIFT)) as u64;
    let entry = unseal(record, &position.to_le_bytes())
        .and_then(|body| codec::take_entry(body).map_err(|e| Unsealed::Damaged(e.to_string())))
        .map_err(|refusal| RowError::Record { index, refusal })?;
    if entry.log_id.index != index {
        let reason = format!("it says that it is entry {}", entry.log_id.index);
        return Err(RowError::Record { index, refusal: Unsealed::Damaged(reason) });
    }
    Ok(entry)
}
