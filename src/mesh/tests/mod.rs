//! Meshes on real sockets of this machine.

mod exchange;
mod forged;
mod gossip;
mod healing;
mod limits;
mod streams;

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use super::{GossipSources, Identity, Inbound, Mesh, MeshConfig, PeerExchange};
use crate::tasks::Tasks;
use crate::types::NodeId;

/// Longest a test waits for anything; a loaded machine needs some of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// One mesh with the tasks that it runs on.
struct Node {
    mesh: Mesh,
    inbound: Inbound,
    tasks: Tasks,
}

fn config() -> MeshConfig {
    MeshConfig {
        identity: Identity::ephemeral(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        advertise: Vec::new(),
        bootstrap_peers: Vec::new(),
        connections_max: 100,
        agent_version: "debros/test".into(),
        peer_exchange: PeerExchange::Off,
        gossip_sources: GossipSources::Roster,
    }
}

async fn start(config: MeshConfig) -> Node {
    let tasks = Tasks::new();
    let (mesh, inbound) = Mesh::bind(config, &tasks).await.expect("bound");
    Node { mesh, inbound, tasks }
}

impl Node {
    fn id(&self) -> NodeId {
        self.mesh.node_id()
    }

    /// With `/p2p`, to dial.
    fn address(&self) -> String {
        format!("{}/p2p/{}", self.mesh.advertised_addresses()[0], self.id())
    }

    async fn stop(self) {
        assert!(self.tasks.stop(Duration::from_secs(5)).await, "a task outlived its mesh");
    }
}

/// The members map of these nodes.
fn members(nodes: &[&Node]) -> HashMap<NodeId, Vec<String>> {
    nodes.iter().map(|node| (node.id(), node.mesh.advertised_addresses())).collect()
}

/// Makes each of the nodes a member for all of them.
fn join(nodes: &[&Node]) {
    for node in nodes {
        node.mesh.set_members(members(nodes), HashMap::new());
    }
}

/// Polls a condition until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connected(from: &Node, to: NodeId) {
    eventually("connected", async || from.mesh.is_connected(to)).await;
}
