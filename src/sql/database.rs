//! The one connection that writes a namespace's file: it applies batches of log entries.
//!
//! A batch is one SQLite transaction. The index of its last entry is stored in that transaction, so effects and index
//! are never apart, and entries that the file already has are skipped when the log is replayed.
//!
//! Nothing here depends on the wall clock, on sizes of caches or on how entries are batched: the same entries give
//! the same content on every replica. What cannot be kept equal (a full disk, I/O, memory) is an error, and the node
//! stops.
//!
//! Not thread-bound, but not to be shared: entry time, random numbers and step budgets are thread-locals set for the
//! length of [`Database::apply`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::connection::{self, ForeignKeys};
use super::entry::{End, EntryRun, KILLS_MAX, Poison};
use super::error::SqlError;
use super::idempotency::{self, Kept, Known};
use super::internal::{self, Applied, Sticky};
use super::kv::{self, KvRun};
use super::page_limit::{self, PageLimit};
use super::statement::run_own;
use super::topics::{self, TopicRun};
use super::{clock_vfs, effects, ffi, meter, randomness, text};
use crate::types::Statement;
use crate::types::command::{Execute, Executed, IdempotencyKey, Outcome, Replayed, Stamp};
use crate::types::durable::{TopicChange, TopicOp, TopicOutcome, TopicVerdict};
use crate::types::kv::{Kv, KvOp, KvOutcome, KvVerdict};

pub use super::checkpoint::Checkpoint;

/// The single writer of one namespace's file.
pub struct Database {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) wal_frames: Arc<AtomicU32>,
    pub(super) page_bytes: u64,
    page_limit: PageLimit,
    pub(super) checkpoints_held: bool,
    pub(super) checkpoint_tried_at: u32,
    applied: Applied,
    foreign_keys: ForeignKeys,
    seen: Seen,
}

/// SQL that was seen in the schema or in an entry and needs care from then on; until then the care would be in vain.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// A call of `changes()`.
    changes: bool,
    /// A virtual table.
    virtual_table: bool,
}

/// One log entry for this file.
#[derive(Clone, Copy, Debug)]
pub struct BatchEntry<'a> {
    /// Its log index.
    pub index: u64,
    /// Its time and seed.
    pub stamp: Stamp,
    /// What to do.
    pub change: Change<'a>,
}

/// What an entry does to a namespace's file.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Run SQL.
    Execute(&'a Execute),
    /// Change keys.
    Kv(&'a Kv),
    /// Change durable topics.
    Topics(&'a TopicChange),
}

impl Change<'_> {
    fn idempotency(&self) -> Option<&IdempotencyKey> {
        match self {
            Change::Execute(execute) => execute.idempotency.as_ref(),
            Change::Kv(kv) => kv.idempotency.as_ref(),
            Change::Topics(change) => change.idempotency.as_ref(),
        }
    }

    fn database_bytes_max(&self) -> Option<u64> {
        match self {
            Change::Execute(execute) => execute.database_bytes_max,
            // Noting that something is gone may take a page before one becomes free. Who deletes must not be refused.
            Change::Kv(kv) if kv.ops.iter().all(|op| matches!(op, KvOp::Delete { .. })) => None,
            Change::Kv(kv) => kv.database_bytes_max,
            Change::Topics(change) if change.ops.iter().all(|op| matches!(op, TopicOp::Remove { .. })) => None,
            Change::Topics(change) => change.database_bytes_max,
        }
    }
}

/// How a run of entries in one transaction ended.
enum Run {
    Committed(Vec<Outcome>),
    /// Rolled back because of the entry at this position of the run.
    Killed(usize, Poison),
}

/// What entries of a batch hand on to each other.
#[derive(Clone, Copy)]
struct Counters {
    sticky: Sticky,
    kv: kv::Totals,
    topics: topics::Totals,
}

/// Ends the entry time, the page limit and the step budget of this thread, however the batch ends.
struct EntryScope;

impl Drop for EntryScope {
    fn drop(&mut self) {
        clock_vfs::set_time(None);
        page_limit::disarm();
        meter::disarm();
    }
}

impl Database {
    /// Opens a namespace's file, and creates it when it is missing.
    ///
    /// # Errors
    /// When the file is no usable database of debros, or this machine fails.
    pub fn open(path: &Path) -> Result<Database, SqlError> {
        Database::open_with(path, ForeignKeys::Off)
    }

    /// Makes a namespace's file that begins at a log index: the entry that made the namespace.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn create(path: &Path, applied_index: u64) -> Result<Database, SqlError> {
        let mut database = Database::open(path)?;
        let applied = Applied::beginning_at(applied_index);
        internal::write(&database.connection, applied).map_err(SqlError::storage(path))?;
        database.applied = applied;
        Ok(database)
    }

    /// As [`Database::open`], with a choice that all replicas must make alike.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with(path: &Path, foreign_keys: ForeignKeys) -> Result<Database, SqlError> {
        let mut connection = connection::open_apply(path, foreign_keys).map_err(SqlError::open(path))?;
        let applied = read_or_create(&connection, path)?;
        let wal_frames = Arc::new(AtomicU32::new(0));
        let seen = fence(&mut connection, &wal_frames).map_err(SqlError::open(path))?;
        let page_bytes = connection
            .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
            .map_err(SqlError::open(path))?;
        let database = Database {
            connection,
            path: path.to_owned(),
            wal_frames,
            page_bytes: page_bytes.unsigned_abs(),
            page_limit: PageLimit::new(page_bytes.unsigned_abs()),
            checkpoints_held: false,
            checkpoint_tried_at: 0,
            applied,
            foreign_keys,
            seen,
        };
        database.count_wal_of_last_time();
        Ok(database)
    }

    /// The index of the last entry whose effects are in the file.
    pub fn applied_index(&self) -> u64 {
        self.applied.index
    }

    /// What the keys come to.
    pub(super) fn kv_totals(&self) -> kv::Totals {
        self.applied.kv
    }

    /// What the durable topics come to.
    pub(super) fn topic_totals(&self) -> topics::Totals {
        self.applied.topics
    }

    /// The number of the newest change of a key.
    pub fn newest_kv_change(&self) -> u64 {
        self.applied.kv.newest
    }

    /// The number of the newest stored message, or change of the set of durable topics.
    pub fn newest_topic_change(&self) -> u64 {
        self.applied.topics.newest
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies entries in the order of their indexes and gives one outcome for each. Those that the file already has
    /// are skipped; their outcome is [`Outcome::None`].
    ///
    /// # Errors
    /// Any error means that this machine cannot apply the log: stop the node. The file holds the effects of a prefix
    /// of the batch.
    pub fn apply(&mut self, batch: &[BatchEntry<'_>]) -> Result<Vec<Outcome>, SqlError> {
        assert!(batch.is_sorted_by(|a, b| a.index < b.index), "entries come in the order of the log");
        let _scope = EntryScope;
        clock_vfs::forget_full_disk();
        let skipped = batch.partition_point(|entry| entry.index <= self.applied.index);
        let mut outcomes = vec![Outcome::None; skipped];
        let mut killer: Option<(usize, Poison)> = None;
        while outcomes.len() < batch.len() {
            let done = outcomes.len();
            if let Some((_, poison)) = killer.take_if(|(position, _)| *position == done) {
                outcomes.push(self.run_alone(&batch[done], poison)?);
                continue;
            }
            // What ran before the entry that killed the transaction runs again, and is committed before that entry is.
            let end = killer.as_ref().map_or(batch.len(), |(position, _)| *position);
            match self.run(&batch[done..end], &[])? {
                Run::Committed(more) => outcomes.extend(more),
                Run::Killed(position, poison) => killer = Some((done + position, poison)),
            }
        }
        self.checkpoint_when_due()?;
        Ok(outcomes)
    }

    /// Runs an entry in a transaction of its own until the statements that kill it are all known.
    fn run_alone(&mut self, entry: &BatchEntry<'_>, poison: Poison) -> Result<Outcome, SqlError> {
        let mut poisons = vec![poison];
        loop {
            if poisons.len() == KILLS_MAX {
                poisons[KILLS_MAX - 1].fail_the_rest();
            }
            match self.run(std::slice::from_ref(entry), &poisons)? {
                Run::Committed(mut outcomes) => {
                    return outcomes.pop().ok_or_else(|| self.invariant("an entry has an outcome"));
                }
                Run::Killed(_, poison) if poisons.len() < KILLS_MAX => poisons.push(poison),
                Run::Killed(..) => return Err(self.invariant("nothing runs after the last poison")),
            }
        }
    }

    /// Runs entries in one transaction.
    fn run(&mut self, entries: &[BatchEntry<'_>], poisons: &[Poison]) -> Result<Run, SqlError> {
        self.control("/*debros*/ BEGIN IMMEDIATE")?;
        let mut outcomes = Vec::with_capacity(entries.len());
        let Applied { sticky, kv, topics, .. } = self.applied;
        let mut counters = Counters { sticky, kv, topics };
        for (position, entry) in entries.iter().enumerate() {
            match self.run_entry(entry, poisons, &mut counters) {
                Ok(Ok(outcome)) => outcomes.push(outcome),
                Ok(Err(poison)) => {
                    self.roll_back()?;
                    return Ok(Run::Killed(position, poison));
                }
                Err(source) => {
                    // The first error is the one to report; the transaction dies with the connection at the latest.
                    let _ = self.roll_back();
                    return Err(SqlError::Storage { path: self.path.clone(), source });
                }
            }
        }
        let index = entries.last().map_or(self.applied.index, |entry| entry.index);
        let Counters { sticky, kv, topics } = counters;
        let applied = Applied { index, sticky, kv, topics };
        internal::write(&self.connection, applied).map_err(SqlError::storage(&self.path))?;
        self.control("/*debros*/ COMMIT")?;
        self.applied = applied;
        Ok(Run::Committed(outcomes))
    }

    fn run_entry(
        &mut self,
        entry: &BatchEntry<'_>,
        poisons: &[Poison],
        counters: &mut Counters,
    ) -> rusqlite::Result<Result<Outcome, Poison>> {
        let BatchEntry { stamp, change, .. } = *entry;
        let key = change.idempotency();
        if let Some(key) = key {
            // What is ours to do is under no limit.
            self.page_limit.lift(&self.connection)?;
            if let Known::Answered(outcome) = idempotency::look_up(&self.connection, key, stamp)? {
                return Ok(Ok(outcome));
            }
        }
        self.page_limit.set(&self.connection, change.database_bytes_max())?;
        let ran = match change {
            Change::Execute(execute) => self.execute(stamp, execute, poisons, counters)?,
            Change::Kv(kv) => self.change_keys(entry, kv, poisons, counters)?,
            Change::Topics(change) => self.change_topics(entry, change, poisons, counters)?,
        };
        let outcome = match ran {
            Ok(outcome) => outcome,
            Err(poison) => return Ok(Err(poison)),
        };
        if let Some(key) = key {
            let kept = match (&outcome, change) {
                (Outcome::Executed(executed), Change::Execute(execute)) => {
                    idempotency::kept(execute, &executed.results)
                }
                (Outcome::Kv(kv), _) => Kept::Kv(kv.verdict.clone()),
                (Outcome::Topics(topics), _) => Kept::Topics(topics.verdict.clone()),
                _ => unreachable!("each kind of change has its kind of outcome"),
            };
            self.page_limit.lift(&self.connection)?;
            idempotency::store(&self.connection, key, stamp, &kept)?;
        }
        Ok(Ok(outcome))
    }

    fn execute(
        &mut self,
        stamp: Stamp,
        execute: &Execute,
        poisons: &[Poison],
        counters: &mut Counters,
    ) -> rusqlite::Result<Result<Outcome, Poison>> {
        self.begin_entry(stamp, execute)?;
        let (foreign_keys, limit) = (self.foreign_keys, &self.page_limit);
        let mut run = EntryRun::new(&self.connection, foreign_keys, execute, limit, poisons, counters.sticky);
        let end = run.run()?;
        let after = run.sticky;
        let results = match end {
            End::Done(results) => results,
            End::Killed(poison) => return Ok(Err(poison)),
        };
        counters.sticky = after;
        self.end_entry()?;
        Ok(Ok(Outcome::Executed(Executed { results, replayed: Replayed::No })))
    }

    fn change_keys(
        &self,
        entry: &BatchEntry<'_>,
        kv: &Kv,
        poisons: &[Poison],
        counters: &mut Counters,
    ) -> rusqlite::Result<Result<Outcome, Poison>> {
        let BatchEntry { index, stamp, .. } = *entry;
        let replayed = Replayed::No;
        if let (Some(_), Some(bytes_max)) = (poisons.first(), kv.database_bytes_max) {
            let verdict = KvVerdict::DatabaseFull { bytes_max };
            return Ok(Ok(Outcome::Kv(KvOutcome { verdict, replayed })));
        }
        let mut run = KvRun { connection: &self.connection, index, stamp, totals: counters.kv };
        let ran = within_page_limit(run.run(kv))?;
        Ok(ran.map(|verdict| {
            counters.kv = run.totals;
            Outcome::Kv(KvOutcome { verdict, replayed })
        }))
    }

    fn change_topics(
        &self,
        entry: &BatchEntry<'_>,
        change: &TopicChange,
        poisons: &[Poison],
        counters: &mut Counters,
    ) -> rusqlite::Result<Result<Outcome, Poison>> {
        let replayed = Replayed::No;
        if let (Some(_), Some(bytes_max)) = (poisons.first(), change.database_bytes_max) {
            let verdict = TopicVerdict::DatabaseFull { bytes_max };
            return Ok(Ok(Outcome::Topics(TopicOutcome { verdict, replayed })));
        }
        let mut run = TopicRun::new(&self.connection, entry.stamp, counters.topics);
        let ran = within_page_limit(run.run(change))?;
        Ok(ran.map(|verdict| {
            counters.topics = run.totals;
            Outcome::Topics(TopicOutcome { verdict, replayed })
        }))
    }

    fn begin_entry(&mut self, stamp: Stamp, execute: &Execute) -> rusqlite::Result<()> {
        clock_vfs::set_time(Some(stamp.unix_ms));
        randomness::seed(stamp.seed);
        ffi::set_last_insert_rowid(&self.connection, 0);
        for Statement { sql, .. } in &execute.statements {
            self.seen.changes |= text::mentions(sql, "changes");
            self.seen.virtual_table |= text::mentions(sql, "virtual");
        }
        if self.seen.changes {
            internal::reset_changes(&self.connection)?;
            randomness::count_changes_from(&self.connection);
        }
        Ok(())
    }

    /// FTS5 gathers what is inserted until the transaction ends or a savepoint begins. How much it gathers decides how
    /// its index is cut into segments, which must not depend on how the log is cut into batches.
    fn end_entry(&self) -> rusqlite::Result<()> {
        if self.seen.virtual_table {
            // What was accepted can no longer be refused.
            self.page_limit.lift(&self.connection)?;
            run_own(&self.connection, "/*debros*/ SAVEPOINT flush")?;
            run_own(&self.connection, "/*debros*/ RELEASE flush")?;
        }
        Ok(())
    }

    fn roll_back(&self) -> Result<(), SqlError> {
        self.page_limit.forget();
        if self.connection.is_autocommit() { Ok(()) } else { self.control("/*debros*/ ROLLBACK") }
    }

    fn control(&self, sql: &'static str) -> Result<(), SqlError> {
        run_own(&self.connection, sql).map_err(SqlError::storage(&self.path))
    }

    fn invariant(&self, what: &'static str) -> SqlError {
        SqlError::Invariant { path: self.path.clone(), what }
    }

    /// Closes the file. The last connection to it also writes the WAL back and removes it.
    ///
    /// # Errors
    /// When that fails; nothing is lost then, the next open recovers.
    pub fn close(self) -> Result<(), SqlError> {
        self.connection.close().map_err(|(_, source)| SqlError::Storage { path: self.path, source })
    }
}

/// Tells an entry that would make the file too large from a machine that fails.
fn within_page_limit<T>(ran: rusqlite::Result<T>) -> rusqlite::Result<Result<T, Poison>> {
    match ran {
        Ok(verdict) => Ok(Ok(verdict)),
        Err(error) => match page_limit::explains(&error) {
            Some(over) => Ok(Err(Poison::whole(over))),
            None => Err(error),
        },
    }
}

fn read_or_create(connection: &Connection, path: &Path) -> Result<Applied, SqlError> {
    if let Some(applied) = internal::read(connection).map_err(SqlError::open(path))? {
        return Ok(applied);
    }
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(SqlError::open(path))?;
    if objects > 0 {
        return Err(SqlError::NotAdopted { path: path.to_owned() });
    }
    internal::create(connection).map_err(SqlError::open(path))?;
    Ok(Applied::default())
}

/// Sets up hooks and the tenant fence; tells what the schema has.
fn fence(connection: &mut Connection, wal_frames: &Arc<AtomicU32>) -> rusqlite::Result<Seen> {
    let sql = "SELECT total(sql LIKE '%changes%') > 0, total(sql LIKE '%virtual%') > 0 FROM sqlite_schema";
    let seen = connection.query_row(sql, [], |row| Ok(Seen { changes: row.get(0)?, virtual_table: row.get(1)? }))?;
    effects::install_rowid_watch(connection)?;
    let frames = Arc::clone(wal_frames);
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        frames.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }))?;
    connection::fence_apply(connection)?;
    Ok(seen)
}
