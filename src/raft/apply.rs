//! The apply thread: the only writer of the state files.
//!
//! A batch of committed entries is sorted by namespace and written as one SQLite transaction per file, each with its
//! applied index; `_system` is committed last (see [`super::system`]). Entries that a file already has are skipped
//! there, so replaying any stretch of the log after a crash is harmless. Commands that concern more than one file's
//! rows (creating, dropping and loading databases, checksums) are barriers: what was collected before them is written
//! first.
//!
//! Nothing here looks at a clock, a local limit or a local error to decide what an entry does: whatever goes wrong with
//! the disk is returned as an error, which stops the node.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use openraft::EntryPayload;
use tokio::sync::{mpsc, oneshot, watch};

use super::checksum::{Checksums, Marks};
use super::databases::{Databases, SharedReaders};
use super::feeds::Feeds;
use super::files;
use super::log_store::LogStore;
use super::snapshot::{FencedFile, FencedSnapshot};
use super::system::{System, SystemView, Touched};
use super::type_config::{Entry, LogData, LogId, SnapshotMeta, StoredMembership};
use crate::sql::{self, BatchEntry, Change, Checkpoint};
use crate::types::command::{Execute, Refusal};
use crate::types::limits::FENCED_WAL_BYTES_MAX;
use crate::types::{Command, Envelope, Kv, Namespace, Outcome, Stamp, TopicChange};

/// Work waiting for the apply thread; openraft hands over one batch at a time, the rest is rare.
const QUEUE_MAX: usize = 64;

/// How often, and how long apart, a file is tried to be filled while reads hold it back.
const FILL_ATTEMPTS: u32 = 20;
const FILL_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Where the state machine keeps its files, below the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    pub(crate) databases: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Directories {
    pub(crate) fn below(data_dir: &Path) -> Directories {
        Directories {
            databases: data_dir.join("db"),
            snapshots: data_dir.join("snapshots"),
            scratch: data_dir.join("tmp"),
        }
    }
}

/// How far this replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Index of the last entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its leader's time, in milliseconds since 1970; 0 when it carried none.
    pub unix_ms: i64,
}

/// What everybody may see of the state machine.
#[derive(Clone)]
pub struct StateView {
    /// Readers of the namespaces' databases.
    pub readers: SharedReaders,
    pub(super) system: Arc<RwLock<Arc<SystemView>>>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) checksums: Checksums,
    pub(super) kv_feeds: Feeds,
    pub(super) topic_feeds: Feeds,
    /// Index of the last entry that changed the accounts.
    pub(super) accounts_index: Arc<AtomicU64>,
}

impl StateView {
    /// The system tables as of the last applied batch.
    pub fn system(&self) -> Arc<SystemView> {
        self.system.read().expect("no writer panics").clone()
    }

    /// Index of the last entry that changed the accounts.
    pub fn accounts_index(&self) -> u64 {
        self.accounts_index.load(Ordering::Acquire)
    }

    /// How far this replica is, now.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Follows how far this replica is.
    pub fn watch_progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Who waits for changes of keys.
    pub fn kv_feeds(&self) -> &Feeds {
        &self.kv_feeds
    }

    /// Who waits for stored messages and for changes of the set of durable topics.
    pub fn topic_feeds(&self) -> &Feeds {
        &self.topic_feeds
    }

    /// Content hashes taken at [`Command::Checksum`] entries.
    pub fn checksums(&self) -> &Checksums {
        &self.checksums
    }
}

pub(super) type Reply<T> = oneshot::Sender<io::Result<T>>;

pub(super) enum Work {
    Apply {
        entries: Vec<Entry>,
        reply: Reply<Vec<Outcome>>,
    },
    AppliedState {
        reply: Reply<(Option<LogId>, StoredMembership)>,
    },
    CurrentSnapshot {
        reply: Reply<Option<SnapshotMeta>>,
    },
    BuildSnapshot {
        reply: Reply<SnapshotMeta>,
    },
    Fence {
        reply: Reply<FencedSnapshot>,
    },
    /// Ends the fence that this flag belongs to, unless it has ended already.
    Unfence {
        broken: Arc<AtomicBool>,
    },
    Install {
        directory: PathBuf,
        reply: Reply<()>,
    },
    Checkpoint {
        reply: Reply<u64>,
    },
}

/// Handle to the thread.
#[derive(Clone)]
pub(super) struct ApplyThread {
    queue: mpsc::Sender<Work>,
}

/// Joins the thread, once every [`ApplyThread`] handle is gone.
pub(super) struct ApplyJoin {
    thread: std::thread::JoinHandle<()>,
}

impl ApplyJoin {
    /// Waits until the files are closed.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the apply thread panicked");
        }
    }
}

impl ApplyThread {
    /// Opens the state files and starts the thread.
    pub(crate) fn start(directories: Directories, log: &LogStore) -> io::Result<(ApplyThread, ApplyJoin, StateView)> {
        let readers = SharedReaders::new(&directories.databases);
        let (progress, progress_receiver) = watch::channel(Progress::default());
        let view = StateView {
            readers: readers.clone(),
            system: Arc::default(),
            progress: progress_receiver,
            checksums: Checksums::new(),
            accounts_index: Arc::default(),
            kv_feeds: Feeds::default(),
            topic_feeds: Feeds::default(),
        };
        let mut owner = Owner::open(directories, readers, progress, view.clone())?;
        owner.find_resume_point(log)?;
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("apply".to_owned()).spawn(move || owner.run(inbox))?;
        Ok((ApplyThread { queue }, ApplyJoin { thread }, view))
    }

    pub(super) async fn ask<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let stopped = || io::Error::other("the apply thread has stopped");
        self.queue.send(work(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Asks for something without waiting for it.
    #[cfg(test)]
    pub(super) async fn send_for_test(&self, work: Work) {
        assert!(self.queue.send(work).await.is_ok(), "the thread runs");
    }

    /// Ends a fence from a destructor, where nobody can wait.
    pub(super) fn unfence(&self, broken: Arc<AtomicBool>) {
        if let Err(mpsc::error::TrySendError::Full(work)) = self.queue.try_send(Work::Unfence { broken }) {
            let queue = self.queue.clone();
            std::thread::spawn(move || queue.blocking_send(work));
        }
    }
}

/// A command of the batch that waits for its namespace's transaction.
struct Waiting {
    position: usize,
    index: u64,
    stamp: Stamp,
    change: OwnedChange,
}

/// What the command does to its namespace's file.
enum OwnedChange {
    Execute(Execute),
    Kv(Kv),
    Topics(TopicChange),
}

impl OwnedChange {
    fn namespace(&self) -> &Namespace {
        match self {
            OwnedChange::Execute(execute) => &execute.namespace,
            OwnedChange::Kv(kv) => &kv.namespace,
            OwnedChange::Topics(change) => &change.namespace,
        }
    }

    fn borrowed(&self) -> Change<'_> {
        match self {
            OwnedChange::Execute(execute) => Change::Execute(execute),
            OwnedChange::Kv(kv) => Change::Kv(kv),
            OwnedChange::Topics(change) => Change::Topics(change),
        }
    }
}

struct Owner {
    directories: Directories,
    system: System,
    databases: Databases,
    resume_from: Option<LogId>,
    /// Raised while a snapshot is being sent; the flag tells its sender when the fence had to be let go.
    fence: Option<Arc<AtomicBool>>,
    progress: watch::Sender<Progress>,
    view: StateView,
    /// Namespaces that the batch being applied has dropped.
    dropped: Vec<Namespace>,
}

impl Owner {
    fn open(
        directories: Directories,
        readers: SharedReaders,
        progress: watch::Sender<Progress>,
        view: StateView,
    ) -> io::Result<Owner> {
        super::snapshot::recover_directories(&directories)?;
        let system = System::open(&directories.databases.join("_system.sqlite")).map_err(fatal)?;
        let databases = Databases::new(&directories.databases, readers);
        databases.finish_replacements()?;
        databases.remove_strangers(|name| system.namespaces().keys().any(|known| known.as_str() == name))?;
        Ok(Owner {
            directories,
            system,
            databases,
            resume_from: None,
            fence: None,
            progress,
            view,
            dropped: Vec::new(),
        })
    }

    /// Replay starts after the least index that some file has lost; normally that is what `_system` says.
    fn find_resume_point(&mut self, log: &LogStore) -> io::Result<()> {
        let mut resume = self.system.applied_index();
        for (namespace, touched) in self.system.namespaces().clone() {
            let reached = self.databases.applied_index(&namespace, touched).map_err(fatal)?;
            if reached < touched.last_index {
                tracing::warn!(%namespace, reached, expected = touched.last_index, "database lost its tail; replaying");
                resume = resume.min(reached);
            }
        }
        self.resume_from = match self.system.applied() {
            Some(applied) if resume < applied.index => log.log_id_at(resume)?,
            applied => applied,
        };
        if resume > 0 && self.resume_from.is_none() {
            return Err(io::Error::other(format!(
                "{}: a database lost writes after log index {resume}, and the log no longer has them; remove this \
                 node from the cluster and join again with an empty directory",
                self.directories.databases.display()
            )));
        }
        self.publish(0);
        Ok(())
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Work>) {
        while let Some(work) = inbox.blocking_recv() {
            match work {
                Work::Apply { entries, reply } => answer(reply, self.apply(&entries)),
                Work::AppliedState { reply } => {
                    answer(reply, Ok((self.resume_from, self.system.membership().clone())));
                }
                Work::CurrentSnapshot { reply } => answer(reply, Ok(self.system.snapshot().cloned())),
                Work::BuildSnapshot { reply } => answer(reply, self.build_snapshot()),
                Work::Fence { reply } => {
                    let fenced = self.fence();
                    let raised = fenced.is_ok();
                    // Nobody waits any more: then nobody will let go either.
                    if reply.send(fenced).is_err() && raised {
                        self.unfence();
                    }
                }
                Work::Unfence { broken } => {
                    if self.fence.as_ref().is_some_and(|fence| Arc::ptr_eq(fence, &broken)) {
                        self.unfence();
                    }
                }
                Work::Install { directory, reply } => answer(reply, self.install(&directory)),
                Work::Checkpoint { reply } => answer(reply, self.checkpoint()),
            }
        }
        if let Err(error) = self.databases.close_all() {
            tracing::error!(%error, "database not closed cleanly");
        }
    }

    /// One outcome for each entry.
    fn apply(&mut self, entries: &[Entry]) -> io::Result<Vec<Outcome>> {
        let Some(last) = entries.last() else { return Ok(Vec::new()) };
        let last = last.log_id;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(entries.len());
        let mut waiting: BTreeMap<Namespace, Vec<Waiting>> = BTreeMap::new();
        let mut unix_ms = 0;
        for (position, entry) in entries.iter().enumerate() {
            outcomes.push(Outcome::None);
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) if self.is_new(entry.log_id) => {
                    let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                    self.system.set_membership(stored).map_err(fatal)?;
                }
                EntryPayload::Membership(_) => {}
                EntryPayload::Normal(LogData(bytes)) => {
                    let Envelope { stamp, command } = Envelope::decode(bytes).map_err(fatal)?;
                    unix_ms = stamp.unix_ms;
                    let index = entry.log_id.index;
                    let change = match command {
                        Command::Execute(execute) => OwnedChange::Execute(execute),
                        Command::Kv(kv) => OwnedChange::Kv(kv),
                        Command::Topics(change) => OwnedChange::Topics(change),
                        command => {
                            self.write_waiting(&mut waiting, &mut outcomes)?;
                            outcomes[position] = self.barrier(entry.log_id, stamp, command)?;
                            continue;
                        }
                    };
                    let namespace = change.namespace();
                    if self.system.namespaces().contains_key(namespace) {
                        let queue = waiting.entry(namespace.clone()).or_default();
                        queue.push(Waiting { position, index, stamp, change });
                    } else {
                        outcomes[position] = Outcome::Refused(Refusal::NoSuchNamespace(namespace.clone()));
                    }
                }
            }
        }
        self.write_waiting(&mut waiting, &mut outcomes)?;
        let newest = self.system.applied().map_or(last, |applied| applied.max(last));
        self.system.commit(newest).map_err(fatal)?;
        self.resume_from = Some(last);
        self.break_fence_if_too_large();
        self.publish(unix_ms);
        // Watchers look again, and must see by then that the namespace is gone.
        for namespace in self.dropped.drain(..) {
            self.view.kv_feeds.end(&namespace);
            self.view.topic_feeds.end(&namespace);
        }
        Ok(outcomes)
    }

    /// Writes what was collected: one transaction per namespace.
    fn write_waiting(
        &mut self,
        waiting: &mut BTreeMap<Namespace, Vec<Waiting>>,
        outcomes: &mut [Outcome],
    ) -> io::Result<()> {
        for (namespace, commands) in std::mem::take(waiting) {
            let Some(Touched { incarnation, .. }) = self.system.namespaces().get(&namespace).copied() else { continue };
            let batch: Vec<BatchEntry<'_>> = commands
                .iter()
                .map(|command| BatchEntry {
                    index: command.index,
                    stamp: command.stamp,
                    change: command.change.borrowed(),
                })
                .collect();
            let database = self.databases.writer(&namespace, incarnation).map_err(fatal)?;
            let results = database.apply(&batch).map_err(fatal)?;
            self.view.kv_feeds.tell(&namespace, database.newest_kv_change());
            self.view.topic_feeds.tell(&namespace, database.newest_topic_change());
            for (command, outcome) in commands.iter().zip(results) {
                outcomes[command.position] = outcome;
            }
            if let Some(last) = commands.last() {
                self.system.touch(&namespace, last.index).map_err(fatal)?;
            }
        }
        Ok(())
    }

    /// Whether `_system` has not seen the entry yet; it has when only another file's lost tail is being replayed.
    fn is_new(&self, id: LogId) -> bool {
        self.system.applied().is_none_or(|applied| id.index > applied.index)
    }

    /// A command that is not for one namespace's file.
    fn barrier(&mut self, id: LogId, stamp: Stamp, command: Command) -> io::Result<Outcome> {
        let index = id.index;
        let replayed = !self.is_new(id);
        let system = &mut self.system;
        let outcome = match command {
            Command::Execute(_) | Command::Kv(_) | Command::Topics(_) => unreachable!("the caller collects these"),
            Command::Load { namespace, database } => return self.load(index, replayed, &namespace, &database),
            Command::Checksum => {
                self.take_checksum(index)?;
                return Ok(Outcome::Done);
            }
            _ if replayed => return Ok(Outcome::None),
            Command::CreateNamespace { namespace } => {
                if !system.namespaces().contains_key(&namespace) {
                    system.create_namespace(&namespace, index).map_err(fatal)?;
                    self.databases.remove(&namespace).map_err(fatal)?;
                    self.databases.writer(&namespace, index).map_err(fatal)?;
                }
                return Ok(Outcome::Done);
            }
            Command::DropNamespace { namespace } => return self.drop_namespace(id, &namespace),
            Command::CreateInvite { secret_hash, role, expires_unix_ms } => {
                system.create_invite(stamp, &secret_hash, role, expires_unix_ms)
            }
            Command::RedeemInvite { secret_hash, node, role, addresses } => {
                system.redeem_invite(stamp, &secret_hash, node, role, &addresses)
            }
            Command::RemoveGateway { node } => system.remove_gateway(node),
        };
        outcome.map_err(fatal)
    }

    /// The file goes only after `_system` says durably that the namespace is gone. A crash between the two leaves a
    /// file without a row, which [`Databases::remove_strangers`] removes; the reverse would be a lost file.
    fn drop_namespace(&mut self, id: LogId, namespace: &Namespace) -> io::Result<Outcome> {
        if *namespace == Namespace::default_namespace() {
            return Ok(Outcome::Refused(Refusal::DefaultNamespace));
        }
        if namespace.is_reserved() {
            return Ok(Outcome::Refused(Refusal::ReservedNamespace(namespace.clone())));
        }
        if !self.system.namespaces().contains_key(namespace) {
            return Ok(Outcome::Refused(Refusal::NoSuchNamespace(namespace.clone())));
        }
        self.break_fence();
        self.system.drop_namespace(namespace).map_err(fatal)?;
        self.system.commit(id).map_err(fatal)?;
        self.system.make_durable().map_err(fatal)?;
        self.databases.remove(namespace).map_err(fatal)?;
        self.dropped.push(namespace.clone());
        Ok(Outcome::Done)
    }

    /// What was loaded takes the place of the SQL database; the namespace's keys and durable topics stay.
    fn load(&mut self, index: u64, replayed: bool, namespace: &Namespace, database: &[u8]) -> io::Result<Outcome> {
        if namespace.is_reserved() {
            return Ok(Outcome::Refused(Refusal::ReservedNamespace(namespace.clone())));
        }
        let Some(touched) = self.system.namespaces().get(namespace).copied() else {
            return Ok(Outcome::Refused(Refusal::NoSuchNamespace(namespace.clone())));
        };
        if replayed && self.databases.applied_index(namespace, touched).map_err(fatal)? >= index {
            return Ok(Outcome::None);
        }
        let scratch = self.directories.scratch.join(format!("load-{namespace}-{index}.sqlite"));
        std::fs::write(&scratch, database)?;
        let database = self.databases.writer(namespace, touched.incarnation).map_err(fatal)?;
        match sql::adopt(&scratch, index, Some(&*database)) {
            Ok(()) => {}
            Err(sql::AdoptError::Unusable { reason }) => {
                std::fs::remove_file(&scratch)?;
                return Ok(Outcome::Refused(Refusal::NotADatabase(reason)));
            }
            Err(sql::AdoptError::Sql(error)) => return Err(fatal(error)),
        }
        files::sync_file(&scratch)?;
        self.break_fence();
        self.databases.replace(namespace, &scratch).map_err(fatal)?;
        self.system.touch(namespace, index).map_err(fatal)?;
        Ok(Outcome::Done)
    }

    fn take_checksum(&mut self, index: u64) -> io::Result<()> {
        let mut marks = Marks::new(index, self.system.content_hash().map_err(fatal)?);
        for (namespace, touched) in self.system.namespaces().clone() {
            // Opening the writer first makes the file exist.
            self.databases.writer(&namespace, touched.incarnation).map_err(fatal)?;
            // A database that cannot be read is told, not a reason to stop every node at the same entry.
            let snapshot = self.view.readers.get(&namespace).and_then(|readers| readers.snapshot());
            marks.push(namespace, snapshot.map_err(|error| error.to_string()));
        }
        self.view.checksums.compute(marks)
    }

    fn build_snapshot(&mut self) -> io::Result<SnapshotMeta> {
        self.databases.make_durable().map_err(fatal)?;
        let meta = self.system.note_snapshot(self.resume_from).map_err(fatal)?;
        self.system.make_durable().map_err(fatal)?;
        Ok(meta)
    }

    fn checkpoint(&mut self) -> io::Result<u64> {
        let count = self.databases.make_durable().map_err(fatal)?;
        self.system.make_durable().map_err(fatal)?;
        Ok(count)
    }

    /// Brings every main file to the applied index and keeps it there until [`Owner::unfence`].
    fn fence(&mut self) -> io::Result<FencedSnapshot> {
        match &self.fence {
            // Its answer was on the way when nobody waited any more, so nobody has it to let go of.
            Some(broken) if Arc::strong_count(broken) == 1 => self.unfence(),
            Some(_) => return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another snapshot is being sent")),
            None => {}
        }
        if self.resume_from < self.system.applied() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "a database is still being replayed"));
        }
        let meta = self.build_snapshot()?;
        let mut fenced = vec![FencedFile::open("_system.sqlite", &self.directories.databases.join("_system.sqlite"))?];
        // Nothing is written meanwhile: this thread is the only writer. A file that has been filled may be closed again
        // when there are more namespaces than may be open.
        for (namespace, touched) in self.system.namespaces().clone() {
            self.fill_main_file(&namespace, touched)?;
            fenced.push(FencedFile::open(&format!("{namespace}.sqlite"), &self.databases.path(&namespace))?);
        }
        self.databases.hold_checkpoints(true);
        self.system.hold_checkpoints(true).map_err(fatal)?;
        let broken = Arc::new(AtomicBool::new(false));
        self.fence = Some(broken.clone());
        Ok(FencedSnapshot { meta, broken, files: fenced })
    }

    /// Short reads are over within milliseconds; a long one makes the sender come back later.
    fn fill_main_file(&mut self, namespace: &Namespace, touched: Touched) -> io::Result<()> {
        for _ in 0..FILL_ATTEMPTS {
            let database = self.databases.writer(namespace, touched.incarnation).map_err(fatal)?;
            if database.checkpoint().map_err(fatal)? == Checkpoint::Complete {
                return Ok(());
            }
            std::thread::sleep(FILL_PAUSE);
        }
        let message = format!("a long read of namespace `{namespace}` holds the snapshot back");
        Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
    }

    fn unfence(&mut self) {
        self.fence = None;
        self.databases.hold_checkpoints(false);
        if let Err(error) = self.system.hold_checkpoints(false) {
            tracing::error!(%error, "checkpoints could not be switched on again");
        }
    }

    /// A transfer to a slow follower must not fill the disk.
    fn break_fence_if_too_large(&mut self) {
        if let Some(broken) = self.fence.as_ref().filter(|broken| !broken.load(Ordering::Relaxed))
            && self.databases.wal_bytes() > FENCED_WAL_BYTES_MAX
        {
            broken.store(true, Ordering::Release);
            self.databases.hold_checkpoints(false);
        }
    }

    /// A file that is being sent is about to be closed, which checkpoints it.
    fn break_fence(&self) {
        if let Some(broken) = &self.fence {
            broken.store(true, Ordering::Release);
        }
    }

    /// Takes a received and checked directory in the place of the databases.
    fn install(&mut self, received: &Path) -> io::Result<()> {
        self.databases.close_all().map_err(fatal)?;
        // `_system` is reopened below; until then an empty one stands in, so that the file is closed.
        self.system = System::open(Path::new(":memory:")).map_err(fatal)?;
        super::snapshot::swap_in(&self.directories, received)?;
        // A read may have opened the old files meanwhile.
        self.view.readers.clear();
        self.system = System::open(&self.directories.databases.join("_system.sqlite")).map_err(fatal)?;
        self.check_files_are_whole()?;
        self.system.note_snapshot(self.system.applied()).map_err(fatal)?;
        self.system.make_durable().map_err(fatal)?;
        self.resume_from = self.system.applied();
        self.publish(0);
        self.view.kv_feeds.end_all();
        self.view.topic_feeds.end_all();
        Ok(())
    }

    /// What was sent as one state must be one: no file behind what `_system` says of it.
    fn check_files_are_whole(&mut self) -> io::Result<()> {
        for (namespace, touched) in self.system.namespaces().clone() {
            let reached = self.databases.applied_index(&namespace, touched).map_err(fatal)?;
            if reached < touched.last_index {
                return Err(io::Error::other(format!(
                    "the received database of namespace `{namespace}` ends at log index {reached}, {} was expected",
                    touched.last_index
                )));
            }
        }
        Ok(())
    }

    fn publish(&self, unix_ms: i64) {
        *self.view.system.write().expect("no reader panics") = self.system.view();
        if let Some(touched) = self.system.namespaces().get(&Namespace::accounts()) {
            self.view.accounts_index.store(touched.last_index, Ordering::Release);
        }
        let (index, term) = self.resume_from.map_or((0, 0), |id| (id.index, id.leader_id.term));
        self.progress.send_modify(|progress| {
            progress.index = index;
            progress.term = term;
            if unix_ms != 0 {
                progress.unix_ms = unix_ms;
            }
        });
    }
}

/// An error that stops the node, with all its causes in its text: openraft passes on only the text.
fn fatal(error: impl std::error::Error) -> io::Error {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    io::Error::other(message)
}

fn answer<T>(reply: Reply<T>, result: io::Result<T>) {
    if let Err(error) = &result {
        tracing::error!(%error, "state machine failed");
    }
    // The asker may have been dropped at shutdown; what was done stays done.
    let _ = reply.send(result);
}
