//! Log and state machine together: openraft's own suite, and what it does not try: closing and opening again.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftLogReader, RaftSnapshotBuilder, StorageError};

use super::apply::{ApplyJoin, ApplyThread, Directories, StateView, Work};
use super::log_store::{Durable, LogStore, LogWriter};
use super::snapshot::Fence;
use super::state_machine::StateMachine;
use super::type_config::{Entry, LeaderId, LogData, LogId, Membership, TypeConfig, Vote};
use crate::types::command::{Execute, MemberRole, Refusal};
use crate::types::{Command, Envelope, Namespace, NodeId, Outcome, Stamp, Statement};

struct Builder;

/// Keeps a store's directory while it is used.
type Guard = tempfile::TempDir;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = Store::open(dir.path());
        // The suite applies entries that it never appended.
        let machine = StateMachine::new(store.machine.apply, Directories::below(dir.path()), Durable::everything());
        Ok((dir, store.log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.expect("every case passes");
}

struct Store {
    log: LogStore,
    machine: StateMachine,
    view: StateView,
    joins: (LogWriter, ApplyJoin),
}

impl Store {
    fn open(data_dir: &Path) -> Store {
        let raft = data_dir.join("raft");
        std::fs::create_dir_all(&raft).expect("makes the directory");
        let (log, log_writer) = LogStore::open(&raft).expect("the log opens");
        let directories = Directories::below(data_dir);
        let (apply, apply_join, view) = ApplyThread::start(directories.clone(), &log).expect("the state opens");
        let machine = StateMachine::new(apply, directories, log.durable());
        Store { log, machine, view, joins: (log_writer, apply_join) }
    }

    fn close(self) {
        let Store { log, machine, view, joins: (log_writer, apply_join) } = self;
        drop((log, machine, view));
        apply_join.join();
        log_writer.join();
    }

    async fn append(&mut self, entries: Vec<Entry>) {
        self.log.save_vote(&Vote::new_committed(1, NodeId::from(1))).await.expect("saves");
        let (done, flushed) = TypeConfig::oneshot();
        self.log.append(entries, IOFlushed::signal(done)).await.expect("appends");
        flushed.await.expect("answers").expect("is durable");
    }

    async fn apply(&mut self, entries: Vec<Entry>) {
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        self.machine.apply(futures::stream::iter(entries)).await.expect("applies");
    }

    fn rows(&self) -> u64 {
        let readers = self.view.readers.get(&Namespace::default_namespace()).expect("opens");
        let count = readers.query(&[Statement::new("SELECT * FROM t")], &Default::default()).expect("reads");
        match &count[0] {
            crate::types::StatementResult::Rows(rows) => rows.values.len() as u64,
            other => panic!("{other:?}"),
        }
    }
}

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId::new(1, NodeId::from(1)), index }
}

fn entry(index: u64, command: Command) -> Entry {
    let envelope = Envelope { stamp: Stamp { unix_ms: 1_700_000_000_000, seed: index }, command };
    Entry::new(log_id(index), EntryPayload::Normal(LogData(Bytes::from(envelope.encode()))))
}

/// Entry 1 makes the namespace, 2 the table, the others insert a row each.
fn entries(from: u64, to: u64) -> Vec<Entry> {
    let sql = |text: &str| Command::Execute(Execute::new(Namespace::default_namespace(), vec![Statement::new(text)]));
    (from..=to)
        .map(|index| match index {
            1 => entry(1, Command::CreateNamespace { namespace: Namespace::default_namespace() }),
            2 => entry(2, sql("CREATE TABLE t (id INTEGER PRIMARY KEY)")),
            _ => entry(index, sql("INSERT INTO t DEFAULT VALUES")),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_state_are_found_again_after_closing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    store.append(entries(1, 50)).await;
    store.apply(entries(1, 40)).await;
    store.close();

    let mut store = Store::open(dir.path());
    assert_eq!(store.log.read_vote().await.expect("reads"), Some(Vote::new_committed(1, NodeId::from(1))));
    assert_eq!(store.log.get_log_state().await.expect("reads").last_log_id, Some(log_id(50)));
    assert_eq!(store.log.try_get_log_entries(1..51).await.expect("reads"), entries(1, 50));
    assert_eq!(store.machine.applied_state().await.expect("reads").0, Some(log_id(40)));
    store.apply(entries(41, 50)).await;
    assert_eq!(store.rows(), 48);
    store.close();
}

/// What a power cut leaves: a namespace's file without its write-ahead log, beside a `_system` that knows better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lost_its_tail_is_replayed_without_doubles() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    store.append(entries(1, 100)).await;
    store.apply(entries(1, 30)).await;
    store.close();
    let database = dir.path().join("db/default.sqlite");
    let older = std::fs::read(&database).expect("reads");

    let mut store = Store::open(dir.path());
    store.apply(entries(31, 100)).await;
    assert_eq!(store.rows(), 98);
    store.close();
    std::fs::write(&database, older).expect("writes");

    let mut store = Store::open(dir.path());
    assert_eq!(store.machine.applied_state().await.expect("reads").0, Some(log_id(30)));
    store.apply(entries(31, 100)).await;
    assert_eq!(store.rows(), 98, "entries were lost or applied twice");
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_older_than_the_purge_point_are_gone_and_the_others_are_not() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    store.append(entries(1, 100)).await;
    store.log.purge(log_id(60)).await.expect("purges");
    store.append(entries(101, 110)).await;
    store.close();
    let mut store = Store::open(dir.path());
    let state = store.log.get_log_state().await.expect("reads");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(60)), Some(log_id(110))));
    assert_eq!(store.log.try_get_log_entries(0..200).await.expect("reads"), entries(61, 110));
    store.close();
}

fn fenced_bytes(fence: &mut Fence) -> Vec<Vec<u8>> {
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("reads");
        bytes
    };
    fence.snapshot.files.iter_mut().map(|fenced| read(&mut fenced.file)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_being_sent_stand_still_while_writes_and_snapshots_go_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    store.append(entries(1, 9000)).await;
    store.apply(entries(1, 50)).await;
    let mut fence = Fence::raise(&store.machine.apply).await.expect("is raised");
    assert_eq!(fence.snapshot.meta.last_log_id, Some(log_id(50)));
    let before = fenced_bytes(&mut fence);
    for start in (51..9000).step_by(10) {
        store.apply(entries(start, start + 9)).await;
    }
    store.machine.build_snapshot().await.expect("a snapshot is taken meanwhile");
    assert!(before == fenced_bytes(&mut fence), "a file changed while it was being sent");
    assert!(Fence::raise(&store.machine.apply).await.is_err(), "one snapshot is sent at a time");
    drop(fence);
    assert_eq!(store.rows(), 8998);
    store.close();
}

fn membership(index: u64, nodes: &[u64]) -> Entry {
    let nodes = nodes.iter().map(|number| NodeId::from(*number));
    let membership = Membership::new_with_defaults(vec![[NodeId::from(1)].into()], nodes);
    Entry::new(log_id(index), EntryPayload::Membership(membership))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_not_let_a_removed_node_in_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = Store::open(dir.path());
    let create = |index, secret, role| {
        entry(index, Command::CreateInvite { secret_hash: [secret; 32], role, expires_unix_ms: i64::MAX })
    };
    let redeem = |index, secret, node: u64, role| {
        let node = NodeId::from(node);
        entry(index, Command::RedeemInvite { secret_hash: [secret; 32], node, role, addresses: Vec::new() })
    };
    let entries = vec![
        create(1, 8, MemberRole::Node),
        create(2, 9, MemberRole::Gateway),
        redeem(3, 8, 2, MemberRole::Node),
        redeem(4, 9, 3, MemberRole::Gateway),
        membership(5, &[1, 2]),
        // The first answer may have been lost.
        redeem(6, 8, 2, MemberRole::Node),
        redeem(7, 9, 3, MemberRole::Gateway),
        membership(8, &[1]),
        entry(9, Command::RemoveGateway { node: NodeId::from(3) }),
        redeem(10, 8, 2, MemberRole::Node),
        redeem(11, 9, 3, MemberRole::Gateway),
    ];
    let outcomes = store.machine.apply.ask(|reply| Work::Apply { entries, reply }).await.expect("applies");
    for admitted in [2, 3, 5, 6] {
        assert_eq!(outcomes[admitted], Outcome::Admitted, "{admitted}");
    }
    for refused in [9, 10] {
        assert_eq!(outcomes[refused], Outcome::Refused(Refusal::InvalidInvite), "{refused}");
    }
    assert!(store.view.system().invites.is_empty() && store.view.system().gateways.is_empty());
    store.close();
}

/// A user's file with a table `t` of so many rows.
fn user_file(dir: &Path, rows: u64) -> Vec<u8> {
    let path = dir.join("user.sqlite");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY)").expect("creates");
    for _ in 0..rows {
        connection.execute_batch("INSERT INTO t DEFAULT VALUES").expect("inserts");
    }
    connection.close().expect("closes");
    std::fs::read(&path).expect("reads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_and_a_drop_end_the_transfer_of_the_files_that_they_replace() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    let other: Namespace = "other".parse().expect("a name");
    store.append(entries(1, 20)).await;
    store.apply(entries(1, 5)).await;
    store.apply(vec![entry(6, Command::CreateNamespace { namespace: other.clone() })]).await;
    let database = user_file(dir.path(), 2);
    let changes = [
        Command::Load { namespace: Namespace::default_namespace(), database },
        Command::DropNamespace { namespace: other },
    ];
    for (index, change) in (7..).zip(changes) {
        let fence = Fence::raise(&store.machine.apply).await.expect("is raised");
        assert!(!fence.snapshot.broken.load(Ordering::Acquire));
        store.apply(vec![entry(index, change)]).await;
        assert!(fence.snapshot.broken.load(Ordering::Acquire), "entry {index}");
    }
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_nobody_waited_for_does_not_stay() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    store.append(entries(1, 20)).await;
    store.apply(entries(1, 10)).await;
    // Gone before the answer.
    let (reply, answer) = tokio::sync::oneshot::channel();
    drop(answer);
    store.machine.apply.send_for_test(Work::Fence { reply }).await;
    drop(Fence::raise(&store.machine.apply).await.expect("the first one is gone"));
    // Gone after the answer was sent and before it was taken.
    let (reply, answer) = tokio::sync::oneshot::channel();
    store.machine.apply.send_for_test(Work::Fence { reply }).await;
    store.apply(entries(11, 12)).await;
    drop(answer);
    let fence = Fence::raise(&store.machine.apply).await.expect("the second one is gone");
    assert!(Fence::raise(&store.machine.apply).await.is_err(), "this one is held");
    drop(fence);
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_a_load_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut store = Store::open(dir.path());
    let load =
        || entry(11, Command::Load { namespace: Namespace::default_namespace(), database: user_file(dir.path(), 3) });
    let log = [entries(1, 10), vec![load()], entries(12, 12)].concat();
    store.append(log).await;
    store.apply(entries(1, 10)).await;
    assert_eq!(store.rows(), 8);
    store.close();
    // As a crash leaves it after the first of the two renames: both files, and the old one's write-ahead log.
    let (old, staged) = (dir.path().join("db/default.sqlite"), dir.path().join("db/default.staged"));
    std::fs::write(&staged, user_file(dir.path(), 3)).expect("writes");
    crate::sql::adopt(&staged, 11, None).expect("adopts");
    std::fs::write(dir.path().join("db/default.sqlite-wal"), b"of the old file").expect("writes");
    let mut store = Store::open(dir.path());
    assert!(old.exists() && !staged.exists());
    assert_eq!(store.rows(), 3, "the loaded file is in its place");
    // The log has the load after what `_system` says was applied: it is there already.
    store.apply(vec![load()]).await;
    store.apply(entries(12, 12)).await;
    assert_eq!(store.rows(), 4);
    store.close();
}
