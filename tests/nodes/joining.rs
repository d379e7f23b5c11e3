//! Who gets in, and who does not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use debros::mesh::{GossipSources, Identity, Mesh, MeshConfig, PeerExchange, Protocol};
use debros::tasks::Tasks;
use serde_json::Value;

use crate::support::node::{Launch, root};
use crate::support::{TestCluster, TestNode, soon};

/// Starts a newcomer that must be refused; what it said.
fn refused(role: &'static str, token: &str) -> String {
    let mut newcomer = TestNode::new(Launch::new(role).flag("--join", token), &root(), "newcomer");
    let (status, said) = newcomer.start_refused();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(!newcomer.data().join("cluster.json").exists(), "it belongs to no cluster");
    said
}

#[test]
fn a_token_lets_one_process_in() {
    let cluster = TestCluster::start(1);
    let token = cluster[0].invite("node");
    let second = TestNode::join(Launch::new("node"), &token, &cluster.root, "second");
    let said = refused("node", &token);
    assert!(said.contains("the cluster refused"), "{said}");
    assert_eq!(cluster[0].nodes().nodes.len(), 2);
    drop(second);
}

#[test]
fn an_expired_token_lets_nobody_in() {
    let cluster = TestCluster::start(1);
    let made = cluster[0].cli_ok(&["cluster", "invite", "--ttl", "1s", "--format", "json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let expires = made["expires_unix_ms"].as_u64().expect("a time");
    soon("the token has expired", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        (now > expires).then_some(())
    });
    let said = refused("node", made["token"].as_str().expect("a token"));
    assert!(said.contains("the cluster refused"), "{said}");
    assert_eq!(cluster[0].nodes().nodes.len(), 1);
}

#[test]
fn a_text_that_is_no_token_is_told_apart() {
    let cluster = TestCluster::start(1);
    let token = cluster[0].invite("node");
    let cut = &token[..token.len() - 2];
    for garbage in ["garbage", cut] {
        let said = refused("node", garbage);
        assert!(said.contains("not a join token"), "{said}");
    }
    // The typo did not use the token up.
    TestNode::join(Launch::new("node"), &token, &cluster.root, "second");
}

#[test]
fn a_token_is_good_for_its_role_only() {
    let cluster = TestCluster::start(1);
    let said = refused("node", &cluster[0].invite("gateway"));
    assert!(said.contains("debros gateway"), "{said}");
    let said = refused("gateway", &cluster[0].invite("node"));
    assert!(said.contains("debros node"), "{said}");
    assert_eq!(cluster[0].nodes().nodes.len(), 1, "a newcomer in the wrong role is no member");
}

#[test]
fn a_newcomer_finds_the_leader_through_any_member() {
    let mut cluster = TestCluster::start(3);
    let follower = cluster.follower();
    let token = cluster[follower].invite("node");
    let fourth = TestNode::join(Launch::new("node"), &token, &cluster.root, "fourth");
    cluster.nodes.push(fourth);
    cluster.wait_voters(4);
    cluster.verify();
}

#[test]
fn another_clusters_node_is_nobody_here() {
    let mut cluster = TestCluster::start(3);
    let leader = cluster.leader();
    let term = cluster[leader].raft().term;
    let friends = cluster[leader].addresses().peer.join(",");
    let mut stranger =
        TestNode::new(Launch::new("bootstrap").set("DISCOVERY__BOOTSTRAP_PEERS", &friends), &root(), "other");
    stranger.start();
    stranger.sql().execute("CREATE TABLE elsewhere (x)");
    assert_eq!(stranger.nodes().nodes.len(), 1, "it is alone in its own cluster");
    assert_ne!(stranger.status().cluster, cluster[0].status().cluster);
    assert_eq!(cluster[leader].nodes().nodes.len(), 3);
    assert_eq!(cluster[leader].raft().term, term, "it disturbed no leader");
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'elsewhere'";
    assert_eq!(cluster[0].sql().number(tables), 0);
}

#[test]
fn a_stranger_cannot_speak_what_members_speak() {
    let cluster = TestCluster::start(1);
    let address = cluster[0].addresses().peer[0].clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let tasks = Tasks::new();
        let config = MeshConfig {
            identity: Identity::ephemeral(),
            listen: Vec::new(),
            advertise: Vec::new(),
            bootstrap_peers: Vec::new(),
            connections_max: 10,
            agent_version: "stranger".to_owned(),
            peer_exchange: PeerExchange::Off,
            gossip_sources: GossipSources::Roster,
        };
        let (mesh, _inbound) = Mesh::bind(config, &tasks).await.expect("a mesh");
        let member = mesh.dial(&address, Duration::from_secs(10)).await.expect("anybody may knock");
        // What this side thinks of membership does not matter: the other side decides.
        mesh.set_members([(member, vec![address.clone()])].into(), Default::default());
        for protocol in [Protocol::RaftAppend, Protocol::RaftControl, Protocol::RaftSnapshot, Protocol::Rpc] {
            let opened = mesh.open(member, protocol, Duration::from_secs(10)).await;
            assert!(opened.is_err(), "{protocol} was opened to a stranger");
        }
        mesh.open(member, Protocol::Join, Duration::from_secs(10)).await.expect("only joining is open to strangers");
        assert!(tasks.stop(Duration::from_secs(10)).await);
    });
    cluster[0].sql().execute("CREATE TABLE unharmed (x)");
}
