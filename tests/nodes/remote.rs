//! A process without data that reads and writes while nodes die.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use debros::cluster::{
    AnyCluster, ClusterError, JoinToken, KvRead, Level, Limits, Read, ReadTerms, RemoteCluster, ServedBy, WriteOutcome,
    join,
};
use debros::mesh::{GossipSources, Identity, Mesh, MeshConfig, PeerExchange};
use debros::pubsub::durable::{ChangeTerms, DurableError, DurableTopics, NewMessage, StoredWhen, Wanted};
use debros::raft::Peer;
use debros::tasks::Tasks;
use debros::types::command::{Atomicity, Execute, IdempotencyKey, MemberRole};
use debros::types::durable::{MessageId, Retain, TopicEffect};
use debros::types::kv::{Condition, Expiry, Kv, KvFound, KvOp, KvQuery, KvValues};
use debros::types::{Command, Namespace, NodeId, Statement, StatementResult, Topic, Value};
use tokio::runtime::Runtime;

use crate::support::{TestCluster, TestNode, soon};

/// Longest that any one request may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Without another word a read goes on to the next node, a write to the next leader.
const FAILOVER_MAX: Duration = Duration::from_millis(1500);

/// A gateway's inside, in this process.
struct Remote {
    cluster: RemoteCluster,
    tasks: Tasks,
    runtime: Runtime,
}

impl Remote {
    fn join(through: &TestNode) -> Remote {
        let runtime = Runtime::new().expect("a runtime");
        let token: JoinToken = through.invite("gateway").parse().expect("a token");
        let tasks = Tasks::new();
        let cluster = runtime.block_on(async {
            let config = MeshConfig {
                identity: Identity::ephemeral(),
                listen: Vec::new(),
                advertise: Vec::new(),
                bootstrap_peers: Vec::new(),
                connections_max: 100,
                agent_version: "debros/test".to_owned(),
                peer_exchange: PeerExchange::Off,
                gossip_sources: GossipSources::Roster,
            };
            let (mesh, _inbound) = Mesh::bind(config, &tasks).await.expect("a mesh");
            let admission = join(&mesh, &token, &Peer::default(), MemberRole::Gateway).await.expect("admitted");
            let limits = Limits {
                statement_timeout: Duration::from_secs(10),
                result_rows_max: 1000,
                result_bytes_max: 1024 * 1024,
            };
            RemoteCluster::start(mesh, admission.members, limits, &tasks)
        });
        let remote = Remote { cluster, tasks, runtime };
        soon("it reaches the leader", || remote.cluster.reach().writable.then_some(()));
        remote
    }

    fn write(&self, sql: &str, key: Option<&str>) -> Result<u64, ClusterError> {
        let mut execute = Execute::new(Namespace::default_namespace(), vec![Statement::new(sql)]);
        execute.idempotency = key.map(|key| IdempotencyKey { key: key.to_owned(), fingerprint: [1; 32] });
        let written = self.cluster.submit(Command::Execute(execute), Instant::now() + DEADLINE);
        self.runtime.block_on(written).map(|applied| applied.index)
    }

    /// The first value, and who read it.
    fn read(&self, sql: &str, level: Level, min_index: Option<u64>) -> Result<(Value, NodeId), ClusterError> {
        let read = Read {
            namespace: Namespace::default_namespace(),
            statements: vec![Statement::new(sql)],
            atomicity: Atomicity::EachStatement,
            level,
            freshness: None,
            min_index,
            statement_timeout: None,
            qualify_columns: false,
        };
        let answer = self.runtime.block_on(self.cluster.read(read, Instant::now() + DEADLINE))?;
        let ServedBy::Peer { node, .. } = answer.served_by else { panic!("nothing is here: {answer:?}") };
        let Some(StatementResult::Rows(rows)) = answer.results.first() else { panic!("{answer:?}") };
        Ok((rows.values[0][0].clone(), node))
    }

    fn stop(self) {
        assert!(self.runtime.block_on(self.tasks.stop(Duration::from_secs(10))), "a task outlived its owner");
    }
}

fn position(cluster: &TestCluster, node: NodeId) -> usize {
    cluster.nodes.iter().position(|test| test.id() == node).expect("one of the nodes")
}

#[test]
fn every_level_sees_what_was_written() {
    let mut cluster = TestCluster::start(3);
    let leader = cluster.leader();
    let remote = Remote::join(&cluster[leader]);
    remote.write("CREATE TABLE t (x INTEGER)", None).expect("created");
    for number in 1..=20 {
        let index = remote.write("INSERT INTO t VALUES (1)", None).expect("written");
        for level in [Level::Linearizable, Level::Weak, Level::Strong, Level::Auto, Level::None] {
            let min_index = (level == Level::None).then_some(index);
            let (count, node) = remote.read("SELECT count(*) FROM t", level, min_index).expect("read");
            assert_eq!(count, Value::Integer(number), "{level:?}");
            let anybody = matches!(level, Level::None | Level::Linearizable);
            assert!(anybody || node == cluster[leader].id(), "{level:?} was read at {node}");
        }
    }
    remote.stop();
}

#[test]
fn keys_are_written_read_and_watched_through_other_nodes() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    let namespace = Namespace::default_namespace();
    let deadline = || Instant::now() + DEADLINE;
    let put = |value: &str| {
        let op = KvOp::Put {
            key: "k".parse().expect("a key"),
            value: value.as_bytes().to_vec(),
            content_type: None,
            condition: Condition::Always,
            expiry: Expiry::Never,
        };
        let command = Command::Kv(Kv::new(namespace.clone(), vec![op]));
        remote.runtime.block_on(remote.cluster.submit(command, deadline())).expect("written").index
    };
    let get = |level: Level| {
        let query = KvQuery::Get { keys: vec!["k".parse().expect("a key")], values: KvValues::Included };
        let read = KvRead { namespace: namespace.clone(), query, level, freshness: None, min_index: None };
        remote.runtime.block_on(remote.cluster.read_kv(read, deadline())).expect("read")
    };
    for number in 1..=5 {
        put(&format!("value {number}"));
        for level in [Level::Linearizable, Level::Weak, Level::Strong] {
            let answer = get(level);
            let KvFound::Entries(entries) = &answer.found else { panic!("{answer:?}") };
            let value = entries[0].as_ref().and_then(|entry| entry.value.as_deref());
            assert_eq!(value, Some(format!("value {number}").as_bytes()), "{level:?}");
        }
    }
    let newest = remote.runtime.block_on(remote.cluster.wait_kv_change(&namespace, 0, deadline())).expect("changes");
    let watching = remote.runtime.spawn({
        let (cluster, namespace) = (remote.cluster.clone(), namespace.clone());
        async move { cluster.wait_kv_change(&namespace, newest, Instant::now() + DEADLINE).await }
    });
    // Whichever node it waits at, the others go on.
    let ServedBy::Peer { node: serving, .. } = get(Level::None).served_by else { panic!("nothing is here") };
    let serving = position(&cluster, serving);
    cluster[serving].kill9();
    cluster.leader();
    put("the last value");
    let told = remote.runtime.block_on(watching).expect("it ends").expect("a change");
    assert!(told > newest, "{told} after {newest}");
    remote.stop();
}

#[test]
fn messages_are_stored_read_and_waited_for_through_other_nodes() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    let any = AnyCluster::Remote(remote.cluster.clone());
    let topics = DurableTopics::new(any, Namespace::default_namespace());
    let deadline = || Instant::now() + DEADLINE;
    let topic: Topic = "news.today".parse().expect("a topic");
    let message = |number: u8| NewMessage {
        topic: topic.clone(),
        publisher: "somebody".to_owned(),
        message_id: MessageId::from_bytes([number; 16]),
        data: vec![number],
    };
    let publish = |number| topics.publish(message(number), ChangeTerms::default(), deadline());
    let messages = |filter: &str, after| {
        let wanted = Wanted::after(filter.parse().expect("a filter"), after);
        topics.messages(wanted, ReadTerms::default(), deadline())
    };
    let early = remote.runtime.block_on(publish(1));
    assert_eq!(early, Err(DurableError::NotDurable { topic: topic.clone() }));
    let configure = topics.configure(topic.clone(), Retain::newest(3), ChangeTerms::default(), deadline());
    assert_eq!(remote.runtime.block_on(configure).expect("configured").effects, [TopicEffect::Created]);
    let mut seqs = Vec::new();
    for number in 1..=4 {
        let stored = remote.runtime.block_on(publish(number)).expect("published");
        let again = remote.runtime.block_on(publish(number)).expect("published");
        assert_eq!((stored.stored, again.stored, again.seq), (StoredWhen::Now, StoredWhen::Before, stored.seq));
        seqs.push(stored.seq);
    }
    let gone = remote.runtime.block_on(messages("news.*", 0)).expect_err("the first is gone");
    assert!(matches!(gone, DurableError::Gone { resume_after, .. } if resume_after == seqs[0]), "{gone}");
    let found = remote.runtime.block_on(messages("news.*", seqs[0])).expect("read");
    assert_eq!(found.value.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), seqs[1..]);
    let newest = found.value.newest;
    let waiting = remote.runtime.spawn({
        let topics = topics.clone();
        async move { topics.wait_change(newest, Instant::now() + DEADLINE).await }
    });
    // Whichever node serves, the others go on.
    let ServedBy::Peer { node: serving, .. } = found.served_by else { panic!("nothing is here") };
    let serving = position(&cluster, serving);
    cluster[serving].kill9();
    cluster.leader();
    let last = remote.runtime.block_on(publish(5)).expect("published");
    let told = remote.runtime.block_on(waiting).expect("it ends").expect("a message");
    assert!(told >= last.seq, "{told} after {}", last.seq);
    let configured = remote.runtime.block_on(topics.configured(ReadTerms::default(), deadline())).expect("read").value;
    assert_eq!((configured.topics[0].messages, configured.topics[0].last_seq), (3, Some(last.seq)));
    let removed = remote.runtime.block_on(topics.remove(topic.clone(), ChangeTerms::default(), deadline()));
    assert_eq!(removed.expect("removed").effects, [TopicEffect::Removed]);
    remote.stop();
}

#[test]
fn a_namespace_that_was_just_made_exists_and_another_does_not() {
    let cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    let any = AnyCluster::Remote(remote.cluster.clone());
    let exists = |name: &str| {
        let namespace = name.parse().expect("a name");
        remote.runtime.block_on(any.namespace_exists(&namespace, Instant::now() + DEADLINE)).expect("an answer")
    };
    for name in ["one", "two", "three"] {
        assert!(!exists(name), "{name}");
        cluster[0].cli_ok(&["namespace", "create", name]);
        assert!(exists(name), "{name}");
    }
    remote.stop();
}

#[test]
fn reads_go_on_within_a_second_and_a_half_after_the_death_of_the_node_that_served_them() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    remote.write("CREATE TABLE t (x INTEGER)", None).expect("created");
    for _ in 0..3 {
        let (_, serving) = remote.read("SELECT count(*) FROM t", Level::None, None).expect("read");
        let serving = position(&cluster, serving);
        cluster[serving].kill9();
        let killed = Instant::now();
        let (_, other) = remote.read("SELECT count(*) FROM t", Level::None, None).expect("read at another node");
        assert!(killed.elapsed() < FAILOVER_MAX, "answered after {:?}", killed.elapsed());
        assert_ne!(position(&cluster, other), serving);
        cluster[serving].start();
        soon("it is connected again", || (remote.cluster.reach().nodes_answering == 3).then_some(()));
    }
    remote.stop();
}

#[test]
fn a_silent_node_is_left_for_another() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    remote.write("CREATE TABLE t (x INTEGER)", None).expect("created");
    let (_, serving) = remote.read("SELECT count(*) FROM t", Level::None, None).expect("read");
    let serving = position(&cluster, serving);
    cluster[serving].signal("STOP");
    let stopped = Instant::now();
    let (_, other) = remote.read("SELECT count(*) FROM t", Level::Linearizable, None).expect("read at another node");
    assert!(stopped.elapsed() < Duration::from_secs(10), "answered after {:?}", stopped.elapsed());
    assert_ne!(position(&cluster, other), serving);
    remote.write("INSERT INTO t VALUES (1)", Some("once")).expect("written");
    cluster[serving].signal("CONT");
    cluster.leader();
    remote.stop();
}

#[test]
fn writes_go_on_under_a_new_leader_and_none_happens_twice() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    remote.write("CREATE TABLE t (x TEXT)", None).expect("created");
    let (mut acknowledged, mut unknown) = (0, 0);
    for round in 0..4 {
        let leader = cluster.leader();
        let killed = AtomicBool::new(false);
        let writes = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut writes = HashMap::new();
                let mut written_since = 0;
                for number in 0.. {
                    if written_since == 30 {
                        break;
                    }
                    let keyed = number % 2 == 0;
                    let name = format!("{round}-{number}");
                    let sql = format!("INSERT INTO t VALUES ('{name}')");
                    let was_killed = killed.load(Ordering::SeqCst);
                    let written = remote.write(&sql, keyed.then_some(name.as_str()));
                    let known = written.as_ref().map_or_else(|e| e.outcome() == WriteOutcome::NotExecuted, |_| true);
                    assert!(!keyed || known, "what became of a write that may be repeated is known: {written:?}");
                    written_since += usize::from(was_killed && written.is_ok());
                    writes.insert(name, written);
                }
                writes
            });
            soon("writes are on their way", || {
                let (count, _) = remote.read("SELECT count(*) FROM t", Level::None, None).ok()?;
                matches!(count, Value::Integer(count) if count > acknowledged + 20).then_some(())
            });
            cluster[leader].kill9();
            killed.store(true, Ordering::SeqCst);
            writing.join().expect("the writer ends")
        });
        for (name, written) in writes {
            let sql = format!("SELECT count(*) FROM t WHERE x = '{name}'");
            let (count, _) = remote.read(&sql, Level::Linearizable, None).expect("read");
            match written {
                Ok(_) => assert_eq!(count, Value::Integer(1), "{name} was acknowledged"),
                Err(error) if error.outcome() == WriteOutcome::NotExecuted => {
                    assert_eq!(count, Value::Integer(0), "{name} was not executed: {error}");
                }
                Err(_) => {
                    unknown += 1;
                    assert!(matches!(count, Value::Integer(0 | 1)), "{name} happened twice");
                }
            }
        }
        let (count, _) = remote.read("SELECT count(*) FROM t", Level::Linearizable, None).expect("read");
        let Value::Integer(count) = count else { panic!("{count:?}") };
        assert!(count > acknowledged + 40, "writing went on under the new leader");
        acknowledged = count;
        cluster[leader].start();
    }
    assert!(unknown <= 4, "at most the one write in flight is unknown: {unknown}");
    remote.stop();
}

#[test]
fn without_a_node_the_reason_is_told_and_without_a_quorum_another() {
    let mut cluster = TestCluster::start(3);
    let remote = Remote::join(&cluster[0]);
    remote.write("CREATE TABLE t (x TEXT)", None).expect("created");
    let leader = cluster.leader();
    for node in (0..3).filter(|node| *node != leader) {
        cluster[node].kill9();
    }
    let (count, _) = remote.read("SELECT count(*) FROM t", Level::None, None).expect("one node is enough");
    assert_eq!(count, Value::Integer(0));
    cluster[leader].kill9();
    soon("all are missed", || (remote.cluster.reach().nodes_answering == 0).then_some(()));
    let error = remote.write("INSERT INTO t VALUES ('x')", None).expect_err("nobody is there");
    assert_eq!((error.clone(), error.outcome()), (ClusterError::NoNode, WriteOutcome::NotExecuted));
    let error = remote.read("SELECT 1", Level::None, None).expect_err("nobody is there");
    assert_eq!(error, ClusterError::NoNode);
    let follower = (leader + 1) % 3;
    cluster[follower].start();
    soon("one is back", || (remote.cluster.reach().nodes_answering == 1).then_some(()));
    assert_eq!(remote.write("INSERT INTO t VALUES ('x')", None).expect_err("no quorum"), ClusterError::NoLeader);
    remote.stop();
}
