//! Several nodes that are one cluster.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use debros::types::NodeId;
use tempfile::TempDir;

use super::http::Client;
use super::node::{Launch, TestNode, root};
use super::wait::soon;

/// A cluster; its nodes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct TestCluster {
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) root: Arc<TempDir>,
}

impl TestCluster {
    /// Starts `count` nodes and waits until all have a vote.
    pub(crate) fn start(count: usize) -> TestCluster {
        TestCluster::start_with(count, |launch| launch)
    }

    /// As [`TestCluster::start`], with each node's launch passed through `adjust`.
    pub(crate) fn start_with(count: usize, adjust: impl Fn(Launch) -> Launch) -> TestCluster {
        let root = root();
        let launch = |role, number| adjust(Launch { host: host(&root, number), ..Launch::new(role) });
        let mut first = TestNode::new(launch("bootstrap", 0), &root, "node0");
        first.start();
        let mut nodes = vec![first];
        for number in 1..count {
            let token = nodes[0].invite("node");
            let name = format!("node{number}");
            nodes.push(TestNode::join(launch("node", number), &token, &root, &name));
        }
        let mut cluster = TestCluster { nodes, root };
        cluster.wait_voters(count);
        cluster
    }

    /// Waits until `count` nodes have a vote, as every running node sees it.
    pub(crate) fn wait_voters(&mut self, count: usize) {
        for node in &mut self.nodes {
            if node.is_running() {
                soon(&format!("{count} nodes have a vote"), || (node.raft().voters == count).then_some(()));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Waits until the running nodes agree on who leads, and that one runs; its position.
    pub(crate) fn leader(&mut self) -> usize {
        soon("the running nodes agree on a leader", || {
            let running = self.running();
            let named: Vec<Option<NodeId>> = running.iter().map(|node| self[*node].raft().leader).collect();
            let leader = (*named.first()?)?;
            let agreed = named.iter().all(|name| *name == Some(leader));
            running.into_iter().find(|node| agreed && self[*node].id() == leader)
        })
    }

    /// Positions of the nodes that run.
    pub(crate) fn running(&mut self) -> Vec<usize> {
        (0..self.len()).filter(|node| self.nodes[*node].is_running()).collect()
    }

    /// A node that runs and does not lead.
    pub(crate) fn follower(&mut self) -> usize {
        let leader = self.leader();
        self.running().into_iter().find(|node| *node != leader).expect("there is a follower")
    }

    /// Clients of all nodes.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(TestNode::sql).collect()
    }

    /// Every replica holds the same.
    pub(crate) fn verify(&self) {
        self[0].verify(self.len());
    }
}

impl Index<usize> for TestCluster {
    type Output = TestNode;

    fn index(&self, node: usize) -> &TestNode {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for TestCluster {
    fn index_mut(&mut self, node: usize) -> &mut TestNode {
        &mut self.nodes[node]
    }
}

/// A loopback address of the node's own: a port that it had can then not be taken by somebody else while it is down.
fn host(root: &TempDir, number: usize) -> String {
    let hash = blake3::hash(format!("{} {number}", root.path().display()).as_bytes());
    let [a, b, c, ..] = *hash.as_bytes();
    format!("127.{}.{b}.{}", 1 + a % 250, 1 + c % 250)
}
