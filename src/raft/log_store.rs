//! The Raft log as openraft sees it: newest entries in memory, all of them in [`LogFile`], one thread in between.
//!
//! The thread takes everything that waits, commits it in one transaction with one fsync, and only then answers, in
//! order. That is group commit: under load one fsync carries hundreds of entries, at rest an entry waits for nobody.
//! It also gives what Raft's safety asks for: votes and entries reach the disk strictly in the order they were written.
//!
//! Entries can be read from the moment they are appended, which openraft needs, long before they are durable; those
//! that are not yet durable therefore always are in memory. Any error of the file is final: the callbacks get it,
//! openraft stops, and the process ends rather than acknowledge on a disk that lost something.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::{mpsc, oneshot, watch};

use super::codec;
use super::log_file::{Change, LogFile, LogFileError, LogFileReader};
use super::type_config::{Entry, LogId, TypeConfig, Vote};

/// Entries kept in memory for replication and apply; beyond them readers go to the file. About what a follower misses
/// during a restart under load.
const TAIL_ENTRIES_MAX: usize = 65_536;

/// Bytes of entries kept in memory; the count alone would let large values take gigabytes.
const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of entries handed to one replication request: large enough to fill the pipe, small enough not to delay votes.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Changes waiting for the writer thread. openraft batches up to 4096 writes per change, so this never fills unless
/// the disk stands still; then appending waits, which is right.
const QUEUE_MAX: usize = 1024;

/// How often the committed index is noted in the file. It only saves a restarted node from re-reading what it knew, so
/// it rides along with other commits and is never worth an fsync of its own. It is noted only when the entry is in the
/// file: at the next start everything up to it is applied as the file has it, and before an entry of a former leader is
/// overwritten the file has another one in its place.
const COMMITTED_INTERVAL: Duration = Duration::from_millis(200);

/// Handle to the log. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    durable: Durable,
}

/// Follows how far the log is on disk.
#[derive(Clone)]
pub(super) struct Durable(watch::Receiver<Option<LogId>>);

impl Durable {
    /// For a state machine that is tested without its log.
    #[cfg(test)]
    pub(super) fn everything() -> Durable {
        use openraft::vote::RaftLeaderId;
        let leader_id = super::type_config::LeaderId::new(u64::MAX, crate::types::NodeId::default());
        Durable(watch::channel(Some(LogId { leader_id, index: u64::MAX })).1)
    }

    /// Waits until a committed entry is on disk here: the last entry there is it, or one that was written after it.
    /// Leaders do not forget committed entries, so a later leader's entry has it before it.
    ///
    /// # Errors
    /// When the log can no longer be written.
    pub(super) async fn wait(&mut self, committed: LogId) -> io::Result<()> {
        let reached = self.0.wait_for(|last| *last >= Some(committed)).await;
        reached.map(drop).map_err(|_| io::Error::other("the log writer has stopped"))
    }
}

/// Joins the writer thread, once every [`LogStore`] handle is gone.
pub(super) struct LogWriter {
    thread: std::thread::JoinHandle<()>,
}

impl LogWriter {
    /// Waits until everything queued is on disk and the file is closed.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the log writer thread panicked");
        }
    }
}

struct Shared {
    path: PathBuf,
    tail: Mutex<Tail>,
    /// For entries older than the tail; opened when first needed.
    old_entries: Mutex<Option<LogFileReader>>,
}

/// The newest entries and the ends of the log.
#[derive(Default)]
struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Counts up only.
    appended_bytes: u64,
    /// From this index on memory has every entry that exists; the file may still have others there that are about to be
    /// overwritten, and is read only below it.
    base: u64,
    /// Everything up to this index is durable and may leave memory.
    durable_index: u64,
}

impl Tail {
    fn last_log_id(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).max(self.purged)
    }

    fn push(&mut self, entry: Entry) {
        let bytes = codec::entry_bytes(&entry);
        self.bytes += bytes;
        self.appended_bytes += bytes as u64;
        self.entries.push_back(entry);
    }

    fn has(&self, id: LogId) -> bool {
        let first = self.entries.front().map_or(0, |entry| entry.log_id.index);
        let entry = id.index.checked_sub(first).and_then(|at| self.entries.get(at as usize));
        entry.is_some_and(|entry| entry.log_id == id)
    }

    /// Drops the oldest durable entries above the limits.
    fn shrink(&mut self) {
        while self.entries.len() > TAIL_ENTRIES_MAX || self.bytes > TAIL_BYTES_MAX {
            match self.entries.front() {
                // The very last entry stays: its id is the end of the log.
                Some(first) if first.log_id.index <= self.durable_index && self.entries.len() > 1 => {
                    self.bytes -= codec::entry_bytes(first);
                    self.base = first.log_id.index + 1;
                    self.entries.pop_front();
                }
                _ => break,
            }
        }
    }

    fn truncate_after(&mut self, index: Option<u64>) {
        while self.entries.back().is_some_and(|last| index.is_none_or(|index| last.log_id.index > index)) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= codec::entry_bytes(&entry);
            }
        }
        self.base = self.base.min(index.map_or(0, |index| index + 1));
        self.durable_index = self.durable_index.min(index.unwrap_or(0));
    }

    /// These changes are in the file.
    fn note_durable(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Append(entries) => {
                    // Entries that were cut off while they were being written say nothing of those in their place.
                    let last = entries.last().map(|entry| entry.log_id).filter(|id| self.has(*id));
                    if let Some(last) = last {
                        self.durable_index = last.index;
                    }
                }
                Change::TruncateAfter(index) => self.durable_index = self.durable_index.min(*index),
                Change::TruncateAll => self.durable_index = 0,
                Change::Purge(_) | Change::Vote(_) | Change::Committed(_) => {}
            }
        }
        self.shrink();
    }

    fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|first| first.log_id.index <= upto.index) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= codec::entry_bytes(&entry);
            }
        }
        self.purged = self.purged.max(Some(upto));
        self.base = self.base.max(upto.index + 1);
        self.durable_index = self.durable_index.max(upto.index);
    }
}

struct Job {
    change: Change,
    done: Done,
}

enum Done {
    Flushed(IOFlushed<TypeConfig>),
    Reply(oneshot::Sender<io::Result<()>>),
    Nobody,
}

impl LogStore {
    /// Opens or makes the log below `directory` and starts its thread.
    ///
    /// # Errors
    /// [`LogFileError`] when the log is damaged, of a newer format, or cannot be read.
    pub(super) fn open(directory: &Path) -> Result<(LogStore, LogWriter), LogFileError> {
        let path = directory.join("log.sqlite");
        let (file, recovered) = LogFile::open(&path, TAIL_ENTRIES_MAX)?;
        let mut tail = Tail {
            purged: recovered.purged,
            vote: recovered.vote,
            committed: recovered.committed,
            appended_bytes: recovered.older_bytes,
            ..Tail::default()
        };
        tail.base = recovered
            .tail
            .first()
            .map_or_else(|| recovered.purged.map_or(0, |id| id.index + 1), |entry| entry.log_id.index);
        for entry in recovered.tail {
            tail.push(entry);
        }
        tail.durable_index = tail.last_log_id().map_or(0, |id| id.index);
        tail.shrink();
        let (durable, durable_receiver) = watch::channel(tail.last_log_id());
        let shared = Arc::new(Shared { path: path.clone(), tail: Mutex::new(tail), old_entries: Mutex::new(None) });
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { file, shared: shared.clone(), committed_noted: Instant::now(), durable };
        let thread = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|source| LogFileError::Io { path, source })?;
        Ok((LogStore { shared, queue, durable: Durable(durable_receiver) }, LogWriter { thread }))
    }

    /// How far the log is on disk.
    pub(super) fn durable(&self) -> Durable {
        self.durable.clone()
    }

    /// The id of the entry at `index`, or of the purge point when that is `index`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn log_id_at(&self, index: u64) -> io::Result<Option<LogId>> {
        if let Some(purged) = self.shared.tail().purged.filter(|purged| purged.index == index) {
            return Ok(Some(purged));
        }
        Ok(self.shared.read(index, index + 1, usize::MAX)?.first().map(|entry| entry.log_id))
    }

    /// Bytes of entries that the log held at start or that were appended since.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.shared.tail().appended_bytes
    }

    /// Bytes on disk: main file and write-ahead log.
    pub(super) fn disk_bytes(&self) -> u64 {
        ["", "-wal"]
            .iter()
            .filter_map(|suffix| {
                let mut name = self.shared.path.clone().into_os_string();
                name.push(suffix);
                std::fs::metadata(name).ok()
            })
            .map(|meta| meta.len())
            .sum()
    }

    async fn enqueue(&self, change: Change, done: Done) -> io::Result<()> {
        self.queue.send(Job { change, done }).await.map_err(|_| io::Error::other("the log writer has stopped"))
    }

    async fn make_durable(&self, change: Change) -> io::Result<()> {
        let (reply, outcome) = oneshot::channel();
        self.enqueue(change, Done::Reply(reply)).await?;
        outcome.await.map_err(|_| io::Error::other("the log writer has stopped"))?
    }
}

impl Shared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect("nothing panics while it holds the tail")
    }

    /// Entries from `start` up to, not including, `end`: from memory when it reaches back that far.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let base;
        {
            let tail = self.tail();
            if tail.base <= start {
                return Ok(take_range(&tail.entries, start, end, bytes_max));
            }
            base = tail.base;
        }
        let mut reader = self.old_entries.lock().expect("nothing panics while it holds the reader");
        let reader = match &mut *reader {
            Some(reader) => reader,
            none => none.insert(LogFileReader::open(&self.path)?),
        };
        let mut entries = reader.read(start, end.min(base), bytes_max)?;
        let tail = self.tail();
        // The log may have been cut below what was just read; then the file's entries are not the log's any more.
        let base = base.min(tail.base);
        entries.truncate(entries.partition_point(|entry| entry.log_id.index < base));
        let bytes: usize = entries.iter().map(codec::entry_bytes).sum();
        let complete = entries.last().is_none_or(|last| last.log_id.index + 1 == base);
        if complete && base < end && bytes < bytes_max {
            entries.extend(take_range(&tail.entries, start.max(base), end, bytes_max - bytes));
        }
        drop(tail);
        match entries.windows(2).find(|pair| pair[0].log_id.index + 1 != pair[1].log_id.index) {
            Some(gap) => Err(io::Error::other(format!("the log has no entry after index {}", gap[0].log_id.index))),
            None => Ok(entries),
        }
    }
}

fn take_range(entries: &VecDeque<Entry>, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
    let Some(first) = entries.front().map(|entry| entry.log_id.index) else { return Vec::new() };
    let from = start.saturating_sub(first) as usize;
    let until = (end.saturating_sub(first) as usize).min(entries.len());
    if from >= until {
        return Vec::new();
    }
    let mut bytes = 0;
    let mut taken = Vec::with_capacity((until - from).min(4096));
    for entry in entries.range(from..until) {
        bytes += codec::entry_bytes(entry);
        // Stops before the entry that would pass the limit: a frame has one too. The first is always taken.
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry.clone());
    }
    taken
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => self.shared.tail().last_log_id().map_or(0, |id| id.index + 1),
        };
        self.shared.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.shared.read(start, end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.tail().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let tail = self.shared.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last_log_id() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.shared.tail().vote = Some(*vote);
        self.make_durable(Change::Vote(*vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.tail().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.tail().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut tail = self.shared.tail();
            for entry in &entries {
                tail.push(entry.clone());
            }
        }
        self.enqueue(Change::Append(entries), Done::Flushed(callback)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let index = last_log_id.map(|id| id.index);
        self.shared.tail().truncate_after(index);
        let change = match (index, self.shared.tail().purged) {
            (Some(index), _) => Change::TruncateAfter(index),
            (None, Some(purged)) => Change::TruncateAfter(purged.index),
            (None, None) => Change::TruncateAll,
        };
        self.enqueue(change, Done::Nobody).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.shared.tail().purge(log_id);
        self.enqueue(Change::Purge(log_id), Done::Nobody).await
    }
}

struct Writer {
    file: LogFile,
    shared: Arc<Shared>,
    committed_noted: Instant,
    /// The last entry in the file.
    durable: watch::Sender<Option<LogId>>,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(QUEUE_MAX);
        while inbox.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
            let (mut changes, done): (Vec<Change>, Vec<Done>) =
                jobs.drain(..).map(|job| (job.change, job.done)).unzip();
            let last = self.last_with(&changes);
            changes.extend(self.committed_to_note(last));
            let outcome = self.file.commit(&changes);
            if outcome.is_ok() {
                self.shared.tail().note_durable(&changes);
                self.durable.send_if_modified(|durable| std::mem::replace(durable, last) != last);
            }
            let failed = outcome.as_ref().err().map(ToString::to_string);
            for done in done {
                done.answer(failed.as_deref());
            }
            if let Err(error) = outcome {
                tracing::error!(%error, "the log cannot be written; nothing more is acknowledged");
                return;
            }
        }
    }

    /// The last entry in the file once it has these changes. After a cut it is unknown until the entries that take the
    /// place of those cut off are there: nothing that follows the cut may pass for durable by the id of what was cut.
    fn last_with(&self, changes: &[Change]) -> Option<LogId> {
        let before = *self.durable.borrow();
        changes.iter().fold(before, |last, change| match change {
            Change::Append(entries) => entries.last().map(|entry| entry.log_id).or(last),
            Change::Purge(upto) => last.max(Some(*upto)),
            Change::TruncateAfter(_) | Change::TruncateAll => None,
            _ => last,
        })
    }

    fn committed_to_note(&mut self, last: Option<LogId>) -> Option<Change> {
        if self.committed_noted.elapsed() < COMMITTED_INTERVAL {
            return None;
        }
        let committed = self.shared.tail().committed.filter(|committed| Some(*committed) <= last)?;
        self.committed_noted = Instant::now();
        Some(Change::Committed(committed))
    }
}

impl Done {
    fn answer(self, failed: Option<&str>) {
        let outcome = failed.map_or(Ok(()), |message| Err(io::Error::other(message.to_owned())));
        match self {
            Done::Flushed(callback) => callback.io_completed(outcome),
            Done::Reply(reply) => {
                // The asker may have been dropped at shutdown; the write happened all the same.
                let _ = reply.send(outcome);
            }
            Done::Nobody => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::entry::RaftEntry as _;
    use openraft::type_config::TypeConfigExt as _;
    use openraft::vote::RaftLeaderId as _;

    use super::super::type_config::{LeaderId, LogData};
    use super::*;
    use crate::types::NodeId;

    fn id(term: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId::new(term, NodeId::from(1)), index }
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry::new(id(term, index), EntryPayload::Normal(LogData(vec![7; 100].into())))
    }

    fn entries(term: u64, from: u64, to: u64) -> Vec<Entry> {
        (from..=to).map(|index| entry(term, index)).collect()
    }

    fn ids(entries: &[Entry]) -> Vec<LogId> {
        entries.iter().map(|entry| entry.log_id).collect()
    }

    async fn append(log: &mut LogStore, entries: Vec<Entry>) {
        let (done, flushed) = TypeConfig::oneshot();
        log.append(entries, IOFlushed::signal(done)).await.expect("appends");
        flushed.await.expect("answers").expect("is durable");
    }

    /// A writer that cannot write: what is cut off stays in the file for as long as this lives.
    fn stop_writes(directory: &Path) -> rusqlite::Connection {
        let other = rusqlite::Connection::open(directory.join("log.sqlite")).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("locks");
        other
    }

    #[tokio::test]
    async fn what_was_cut_off_is_not_read_again_while_it_is_still_in_the_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut log, writer) = LogStore::open(dir.path()).expect("opens");
        append(&mut log, entries(1, 1, 30)).await;
        // Entries 1 to 20 have left memory, as they do when there are many.
        {
            let mut tail = log.shared.tail();
            tail.entries.drain(..20);
            tail.base = 21;
        }
        let locked = stop_writes(dir.path());
        log.truncate_after(Some(id(1, 10))).await.expect("cuts");
        assert_eq!(ids(&log.shared.read(1, 40, usize::MAX).expect("reads")), ids(&entries(1, 1, 10)));
        let (done, flushed) = TypeConfig::oneshot();
        log.append(entries(2, 11, 15), IOFlushed::signal(done)).await.expect("appends");
        let expected = [ids(&entries(1, 5, 10)), ids(&entries(2, 11, 15))].concat();
        assert_eq!(ids(&log.shared.read(5, 40, usize::MAX).expect("reads")), expected);
        assert_eq!(ids(&log.shared.read(12, 14, usize::MAX).expect("reads")), ids(&entries(2, 12, 13)));
        drop(locked);
        flushed.await.expect("answers").expect("is durable");
        assert_eq!(ids(&log.shared.read(5, 40, usize::MAX).expect("reads")), expected);
        drop(log);
        writer.join();
    }

    #[tokio::test]
    async fn after_a_cut_nothing_passes_for_durable_by_the_id_of_what_was_cut() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut log, writer) = LogStore::open(dir.path()).expect("opens");
        append(&mut log, entries(1, 1, 30)).await;
        log.truncate_after(Some(id(1, 10))).await.expect("cuts");
        // Votes and changes of the log go the same way, in order: the cut is done.
        log.save_vote(&Vote::new_committed(1, NodeId::from(1))).await.expect("saves");
        let locked = stop_writes(dir.path());
        let (done, flushed) = TypeConfig::oneshot();
        log.append(entries(1, 11, 15), IOFlushed::signal(done)).await.expect("appends");
        let mut durable = log.durable();
        let early = tokio::time::timeout(Duration::from_millis(200), durable.wait(id(1, 15))).await;
        assert!(early.is_err(), "entry 15 is not on disk");
        drop(locked);
        flushed.await.expect("answers").expect("is durable");
        durable.wait(id(1, 15)).await.expect("is on disk");
        drop((log, durable));
        writer.join();
    }

    #[test]
    fn entries_cut_off_while_they_were_written_do_not_let_their_successors_leave_memory() {
        let mut tail = Tail { base: 1, ..Tail::default() };
        entries(1, 1, 20).into_iter().for_each(|entry| tail.push(entry));
        tail.note_durable(&[Change::Append(entries(1, 1, 10))]);
        // Entries 11 to 20 are on their way to the file when a new leader puts others in their place.
        tail.truncate_after(Some(10));
        entries(2, 11, 20).into_iter().for_each(|entry| tail.push(entry));
        tail.note_durable(&[Change::Append(entries(1, 11, 20))]);
        assert_eq!(tail.durable_index, 10);
        tail.note_durable(&[Change::TruncateAfter(10), Change::Append(entries(2, 11, 20))]);
        assert_eq!(tail.durable_index, 20);
    }

    #[tokio::test]
    async fn a_read_ends_before_the_entry_that_would_pass_its_limit_from_memory_and_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (mut log, writer) = LogStore::open(dir.path()).expect("opens");
        append(&mut log, entries(1, 1, 9)).await;
        let one = codec::entry_bytes(&entry(1, 1));
        for in_memory in [true, false] {
            if !in_memory {
                let mut tail = log.shared.tail();
                tail.entries.drain(..5);
                tail.base = 6;
            }
            for (bytes_max, count) in [(1, 1), (one, 1), (2 * one, 2), (3 * one - 1, 2), (3 * one, 3)] {
                assert_eq!(log.shared.read(1, 6, bytes_max).expect("reads").len(), count, "{bytes_max} {in_memory}");
            }
            assert_eq!(log.shared.read(1, 10, 8 * one).expect("reads").len(), 8, "{in_memory}");
        }
        drop(log);
        writer.join();
    }
}
