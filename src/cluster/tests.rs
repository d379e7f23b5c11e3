//! Three nodes in one process, over real sockets and files: what holds of keys and of durable topics whichever node is
//! asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::peer_api::{PeerError, PeerRequest, PeerResponse};
use super::{Cluster, ClusterError, KvRead, Level, Limits, Read, TopicsRead};
use crate::mesh::{GossipSources, Identity, Inbound, Mesh, MeshConfig, PeerExchange, Protocol};
use crate::raft::{Peer, Raft, RaftOptions, RaftOwner};
use crate::tasks::Tasks;
use crate::types::command::Refusal;
use crate::types::durable::{MessageId, OnGap, Retain, TopicEffect, TopicFound, TopicOp, TopicQuery, TopicVerdict};
use crate::types::kv::{Condition, Expiry, KvEffect, KvFound, KvOp, KvQuery, KvValues, KvVerdict};
use crate::types::{ClusterId, Command, Kv, Namespace, NodeId, Outcome, Statement, TopicChange};

/// Longest a test waits for anything; a loaded machine needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

struct Node {
    cluster: Cluster,
    raft: Raft,
    owner: RaftOwner,
    tasks: Tasks,
    mesh_tasks: Tasks,
    /// Removed when the node is gone.
    _folder: TempDir,
}

async fn serve(mut inbound: Inbound, raft: Raft, cluster: Cluster, tasks: Tasks) {
    while let Some(stream) = inbound.next().await {
        let (raft, cluster) = (raft.clone(), cluster.clone());
        tasks.spawn_until_cancelled(async move {
            // A stream that breaks is its asker's to notice.
            let _ = match stream.protocol {
                Protocol::Rpc => cluster.serve_peer(stream).await,
                _ => raft.serve(stream).await,
            };
        });
    }
}

/// Three voters with the namespace `default`; the first leads.
async fn three() -> Vec<Node> {
    let id = ClusterId::from_bytes([7; 16]);
    let mut bound = Vec::new();
    for _ in 0..3 {
        let tasks = Tasks::new();
        let config = MeshConfig {
            identity: Identity::ephemeral(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            advertise: Vec::new(),
            bootstrap_peers: Vec::new(),
            connections_max: 100,
            agent_version: "debros/test".to_owned(),
            peer_exchange: PeerExchange::Off,
            gossip_sources: GossipSources::Roster,
        };
        let (mesh, inbound) = Mesh::bind(config, &tasks).await.expect("binds");
        bound.push((mesh, inbound, tasks));
    }
    let members: HashMap<NodeId, Vec<String>> =
        bound.iter().map(|(mesh, ..)| (mesh.node_id(), mesh.advertised_addresses())).collect();
    let options = RaftOptions {
        heartbeat_interval: Duration::from_millis(100),
        election_timeout_min: Duration::from_millis(1000),
        election_timeout_max: Duration::from_millis(2000),
        entries_kept: 1000,
    };
    let limits = Limits { statement_timeout: PATIENCE, result_rows_max: 1000, result_bytes_max: 1024 * 1024 };
    let mut nodes: Vec<Node> = Vec::new();
    for (mesh, inbound, mesh_tasks) in bound {
        mesh.set_members(members.clone(), HashMap::new());
        let folder = tempfile::tempdir().expect("a folder");
        let own = Peer { addresses: mesh.advertised_addresses(), ..Peer::default() };
        let started = Raft::start(mesh.node_id(), id, folder.path(), mesh.clone(), &options).await;
        let (raft, owner) = started.expect("starts");
        let tasks = Tasks::new();
        let cluster = Cluster::new(raft.clone(), mesh.clone(), limits.clone(), tasks.clone());
        tasks.spawn_until_cancelled(serve(inbound, raft.clone(), cluster.clone(), tasks.clone()));
        match nodes.first() {
            None => {
                raft.initialize(own).await.expect("founds");
                let default = Command::CreateNamespace { namespace: Namespace::default_namespace() };
                cluster.submit(default, deadline()).await.expect("makes the namespace");
            }
            Some(first) => {
                first.raft.set_member(mesh.node_id(), own).await.expect("takes it in");
                first.raft.promote([mesh.node_id()]).await.expect("gives it a vote");
            }
        }
        nodes.push(Node { cluster, raft, owner, tasks, mesh_tasks, _folder: folder });
    }
    for node in &nodes {
        node.cluster.wait_synced(deadline()).await.expect("catches up");
    }
    nodes
}

async fn stop(nodes: Vec<Node>) {
    for Node { cluster, raft, owner, tasks, mesh_tasks, _folder } in nodes {
        assert!(tasks.stop(PATIENCE).await, "a task outlived its node");
        drop((cluster, raft));
        assert!(owner.stop().await, "the group did not stop");
        assert!(mesh_tasks.stop(PATIENCE).await, "a task outlived its mesh");
    }
}

fn put(key: &str, value: &str, condition: Condition) -> Command {
    let (key, value) = (key.parse().expect("a key"), value.as_bytes().to_vec());
    let op = KvOp::Put { key, value, content_type: None, condition, expiry: Expiry::Never };
    Command::Kv(Kv::new(Namespace::default_namespace(), vec![op]))
}

fn get(key: &str, level: Level, min_index: Option<u64>) -> KvRead {
    let query = KvQuery::Get { keys: vec![key.parse().expect("a key")], values: KvValues::Included };
    KvRead { namespace: Namespace::default_namespace(), query, level, freshness: None, min_index }
}

fn value(found: KvFound) -> Option<String> {
    let KvFound::Entries(mut entries) = found else { panic!("{found:?}") };
    let value = entries.pop().expect("an answer")?.value.expect("its value");
    Some(String::from_utf8(value).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_put_anywhere_is_read_everywhere_at_every_level() {
    let nodes = three().await;
    for (round, writer) in nodes.iter().enumerate() {
        let text = format!("round {round}");
        let applied = writer.cluster.submit(put("k", &text, Condition::Always), deadline()).await.expect("puts");
        for node in &nodes {
            for level in [Level::Linearizable, Level::Weak, Level::Strong, Level::Auto, Level::None] {
                // A node's own data may be behind the leader's unless it is told how far they must be.
                let min_index = (level == Level::None).then_some(applied.index);
                let answer = node.cluster.read_kv(get("k", level, min_index), deadline()).await.expect("reads");
                assert_eq!(value(answer.found).as_deref(), Some(&*text), "{level:?}");
                assert_eq!(answer.index.is_some(), level == Level::Strong);
            }
        }
    }
    let refused = nodes[2].cluster.submit(put("k", "no", Condition::IfAbsent), deadline()).await.expect("answers");
    let Outcome::Kv(outcome) = refused.outcome else { panic!("{refused:?}") };
    assert!(matches!(outcome.verdict, KvVerdict::ConditionFailed { op: 0, found: Some(_) }), "{outcome:?}");
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_hears_of_changes_on_any_node_and_only_of_its_namespace() {
    let nodes = three().await;
    let other: Namespace = "other".parse().expect("a namespace");
    nodes[0].cluster.submit(Command::CreateNamespace { namespace: other.clone() }, deadline()).await.expect("makes it");
    let default = Namespace::default_namespace();
    let soon = Instant::now() + Duration::from_millis(300);
    let waiting = |after| {
        let (cluster, default) = (nodes[1].cluster.clone(), default.clone());
        async move { cluster.wait_kv_change(&default, after, deadline()).await }
    };
    assert_eq!(nodes[1].cluster.wait_kv_change(&default, 1 << 40, soon).await, Err(ClusterError::Timeout));
    nodes[2].cluster.submit(put("k", "1", Condition::Always), deadline()).await.expect("puts");
    let first = waiting(0).await.expect("hears");
    let (next, written) =
        tokio::join!(waiting(first), nodes[2].cluster.submit(put("k", "2", Condition::Always), deadline()));
    written.expect("puts");
    assert_eq!(next, Ok(first + 1));
    let missing: Namespace = "missing".parse().expect("a namespace");
    let nowhere = nodes[0].cluster.wait_kv_change(&missing, 0, deadline()).await;
    assert_eq!(nowhere, Err(ClusterError::NoSuchNamespace(missing)));
    let (ended, dropped) = tokio::join!(
        nodes[0].cluster.wait_kv_change(&other, u64::MAX / 2, deadline()),
        nodes[0].cluster.submit(Command::DropNamespace { namespace: other.clone() }, deadline()),
    );
    dropped.expect("drops");
    assert_eq!(ended, Err(ClusterError::NoSuchNamespace(other)));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_survive_a_load_and_are_the_same_on_all_nodes() {
    let nodes = three().await;
    nodes[1].cluster.submit(put("kept", "value", Condition::Always), deadline()).await.expect("puts");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("loaded.sqlite");
    let namespace = Namespace::default_namespace();
    let backup = nodes[0].cluster.backup(&namespace, super::BackupFormat::DeleteMode, false).await.expect("copies");
    std::fs::copy(&backup.path, &file).expect("copies");
    let load = |namespace| Command::Load { namespace, database: std::fs::read(&file).expect("reads") };
    let loaded = nodes[2].cluster.submit(load(namespace), deadline()).await.expect("loads");
    for node in &nodes {
        let answer = node.cluster.read_kv(get("kept", Level::None, Some(loaded.index)), deadline()).await;
        assert_eq!(value(answer.expect("reads").found).as_deref(), Some("value"));
    }
    let (_, sums) = nodes[0].cluster.verify(deadline()).await.expect("verifies");
    let sums: Vec<_> = sums.into_iter().map(|(_, sum)| sum.expect("a checksum")).collect();
    assert_eq!(sums.len(), 3);
    assert!(sums.windows(2).all(|two| two[0] == two[1]));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reserved_namespace_can_be_used_and_not_taken() {
    let nodes = three().await;
    let (cluster, accounts) = (&nodes[1].cluster, Namespace::accounts());
    let make = Command::CreateNamespace { namespace: accounts.clone() };
    cluster.submit(make, deadline()).await.expect("makes it");
    cluster.wait_synced(deadline()).await.expect("catches up");
    assert!(cluster.namespace_exists(&accounts));
    assert_eq!(cluster.namespaces(), [Namespace::default_namespace()]);
    let statements = vec![Statement::new("SELECT count(*) FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'")];
    let read = Read::new(accounts.clone(), statements, Level::Linearizable);
    cluster.read(read, deadline()).await.expect("reads");
    let reserved = Err(ClusterError::Refused(Refusal::ReservedNamespace(accounts.clone())));
    for command in [
        Command::DropNamespace { namespace: accounts.clone() },
        Command::Load { namespace: accounts.clone(), database: vec![1] },
    ] {
        assert_eq!(cluster.submit(command, deadline()).await, reserved);
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_asked_for_itself_answers_or_says_who_leads() {
    let nodes = three().await;
    let applied = nodes[0].cluster.submit(put("k", "v", Condition::Always), deadline()).await.expect("puts");
    let Outcome::Kv(outcome) = &applied.outcome else { panic!("{applied:?}") };
    assert_eq!(outcome.verdict, KvVerdict::Done(vec![KvEffect::Created { version: applied.index }]));
    let (asker, leader) = (&nodes[2].cluster, nodes[0].raft.leader().expect("a leader"));
    let follower = nodes.iter().map(|node| node.cluster.node_id()).find(|id| *id != leader).expect("a follower");
    let ask = |peer, level| {
        let request = PeerRequest::ReadKvAt { read: get("k", level, None), timeout: PATIENCE };
        asker.inner.peers.call(peer, request, deadline())
    };
    for (peer, level) in
        [(leader, Level::Weak), (leader, Level::Strong), (leader, Level::Linearizable), (follower, Level::Linearizable)]
    {
        match ask(peer, level).await.expect("a call").expect("an answer") {
            PeerResponse::Kv { found, .. } => assert_eq!(value(found).as_deref(), Some("v")),
            other => panic!("{other:?}"),
        }
    }
    for level in [Level::Weak, Level::Strong] {
        match ask(follower, level).await.expect("a call") {
            Err(PeerError::NotLeader { leader: known }) => assert_eq!(known, Some(leader)),
            other => panic!("{other:?}"),
        }
    }
    stop(nodes).await;
}

fn topics(ops: Vec<TopicOp>) -> Command {
    Command::Topics(TopicChange::new(Namespace::default_namespace(), ops))
}

fn configure(topic: &str, retain: Retain) -> TopicOp {
    TopicOp::Configure { topic: topic.parse().expect("a topic"), retain }
}

fn publish(topic: &str, id: u8) -> TopicOp {
    TopicOp::Publish {
        topic: topic.parse().expect("a topic"),
        publisher: "somebody".to_owned(),
        message_id: MessageId::from_bytes([id; 16]),
        data: vec![id],
    }
}

/// What one change of topics did.
async fn change_topics(node: &Node, op: TopicOp) -> (TopicEffect, u64) {
    let applied = node.cluster.submit(topics(vec![op]), deadline()).await.expect("submits");
    let Outcome::Topics(outcome) = &applied.outcome else { panic!("{applied:?}") };
    match &outcome.verdict {
        TopicVerdict::Done(effects) => (effects[0], applied.index),
        other => panic!("{other:?}"),
    }
}

fn messages(filter: &str, after: u64, level: Level, min_index: Option<u64>) -> TopicsRead {
    let filter = filter.parse().expect("a filter");
    let query = TopicQuery::Messages { filter, after, on_gap: OnGap::Tell, count_max: 100, bytes_max: 1 << 20 };
    TopicsRead { namespace: Namespace::default_namespace(), query, level, freshness: None, min_index }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_anywhere_are_read_everywhere_in_order_once() {
    let nodes = three().await;
    change_topics(&nodes[1], configure("a.x", Retain::newest(3))).await;
    change_topics(&nodes[2], configure("a.y", Retain::newest(100))).await;
    let mut published = Vec::new();
    let mut last_index = 0;
    for (round, writer) in nodes.iter().cycle().take(6).enumerate() {
        let (topic, id) = (["a.x", "a.y"][round % 2], round as u8);
        let (effect, _) = change_topics(writer, publish(topic, id)).await;
        let TopicEffect::Published { seq } = effect else { panic!("{effect:?}") };
        published.push((seq, id));
        // Sent again, to another node.
        let (again, index) = change_topics(&nodes[(round + 1) % 3], publish(topic, id)).await;
        assert_eq!(again, TopicEffect::AlreadyPublished { seq });
        last_index = index;
    }
    for node in &nodes {
        for level in [Level::Linearizable, Level::Weak, Level::Strong, Level::Auto, Level::None] {
            let min_index = (level == Level::None).then_some(last_index);
            let read = messages("a.*", 0, level, min_index);
            let answer = node.cluster.read_topics(read, deadline()).await.expect("reads");
            let TopicFound::Messages { messages, next_after, newest, .. } = answer.found else { panic!("{answer:?}") };
            let got: Vec<_> = messages.iter().map(|message| (message.seq, message.data[0])).collect();
            assert_eq!((got, next_after), (published.clone(), newest), "{level:?}");
            assert_eq!(answer.index.is_some(), level == Level::Strong);
        }
    }
    let (effect, index) = change_topics(&nodes[0], publish("a.x", 9)).await;
    assert!(matches!(effect, TopicEffect::Published { .. }));
    let dropped = published[0].0;
    for node in &nodes {
        let ask =
            |filter, after| node.cluster.read_topics(messages(filter, after, Level::None, Some(index)), deadline());
        let gone = ask("a.x", 0).await.expect("reads").found;
        assert!(matches!(gone, TopicFound::Gone { resume_after, .. } if resume_after == dropped), "{gone:?}");
        for (filter, after) in [("a.x", dropped), ("a.y", 0)] {
            let found = ask(filter, after).await.expect("reads").found;
            assert!(matches!(&found, TopicFound::Messages { messages, .. } if messages.len() == 3), "{found:?}");
        }
    }
    let (_, sums) = nodes[0].cluster.verify(deadline()).await.expect("verifies");
    let sums: Vec<_> = sums.into_iter().map(|(_, sum)| sum.expect("a checksum")).collect();
    assert_eq!(sums.len(), 3);
    assert!(sums.windows(2).all(|two| two[0] == two[1]));
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_messages_is_woken_on_any_node_and_only_for_its_namespace() {
    let nodes = three().await;
    let (default, other) = (Namespace::default_namespace(), "other".parse::<Namespace>().expect("a namespace"));
    nodes[0].cluster.submit(Command::CreateNamespace { namespace: other.clone() }, deadline()).await.expect("makes it");
    let waiting = |after| {
        let (cluster, default) = (nodes[1].cluster.clone(), default.clone());
        async move { cluster.wait_topics_change(&default, after, deadline()).await }
    };
    let soon = Instant::now() + Duration::from_millis(300);
    assert_eq!(nodes[1].cluster.wait_topics_change(&default, 1 << 40, soon).await, Err(ClusterError::Timeout));
    change_topics(&nodes[2], configure("t", Retain::newest(3))).await;
    // Behind what the namespace begins with, this node may not have it yet.
    nodes[1].cluster.wait_synced(deadline()).await.expect("catches up");
    let first = waiting(0).await.expect("hears of the topic");
    let (next, published) = tokio::join!(waiting(first), change_topics(&nodes[2], publish("t", 1)));
    assert_eq!((next, published.0), (Ok(first + 1), TopicEffect::Published { seq: first + 1 }));
    // Keys have numbers of their own.
    nodes[0].cluster.submit(put("k", "1", Condition::Always), deadline()).await.expect("puts");
    let soon = Instant::now() + Duration::from_millis(300);
    assert_eq!(nodes[1].cluster.wait_topics_change(&default, first + 1, soon).await, Err(ClusterError::Timeout));
    // Nothing of it is to be found from the other namespace.
    for query in [TopicQuery::Configured, messages(">", 0, Level::Weak, None).query] {
        let read = TopicsRead {
            namespace: other.clone(),
            query,
            level: Level::Linearizable,
            freshness: None,
            min_index: None,
        };
        let found = nodes[1].cluster.read_topics(read, deadline()).await.expect("reads").found;
        let empty = match &found {
            TopicFound::Configured { topics, .. } => topics.is_empty(),
            TopicFound::Messages { messages, oldest_kept, .. } => messages.is_empty() && oldest_kept.is_none(),
            _ => false,
        };
        assert!(empty, "{found:?}");
    }
    let stranger = Command::Topics(TopicChange::new(other.clone(), vec![publish("t", 2)]));
    let applied = nodes[1].cluster.submit(stranger, deadline()).await.expect("answers");
    let Outcome::Topics(outcome) = &applied.outcome else { panic!("{applied:?}") };
    assert_eq!(outcome.verdict, TopicVerdict::NotDurable { op: 0 });
    let (ended, dropped) = tokio::join!(
        nodes[0].cluster.wait_topics_change(&other, u64::MAX / 2, deadline()),
        nodes[0].cluster.submit(Command::DropNamespace { namespace: other.clone() }, deadline()),
    );
    dropped.expect("drops");
    assert_eq!(ended, Err(ClusterError::NoSuchNamespace(other)));
    stop(nodes).await;
}
