//! What stands behind the gateway: a node in this process, or the nodes that it reaches.

use std::time::Duration;

use crate::cluster::{Cluster, ConnectError, PeerView, RaftStatus, RemoteCluster};
use crate::types::{Namespace, NodeId};

/// What stands behind this face.
#[derive(Clone, Debug)]
pub enum Backend {
    /// This process is a node.
    Node(Cluster),
    /// This process stores nothing.
    Remote(RemoteCluster),
}

impl Backend {
    pub(super) fn node_id(&self) -> NodeId {
        match self {
            Backend::Node(cluster) => cluster.node_id(),
            Backend::Remote(cluster) => cluster.node_id(),
        }
    }

    pub(super) fn peers(&self) -> Vec<PeerView> {
        match self {
            Backend::Node(cluster) => cluster.peers(),
            Backend::Remote(cluster) => cluster.peers(),
        }
    }

    pub(super) fn peers_connected(&self) -> usize {
        match self {
            Backend::Node(cluster) => cluster.peers_connected(),
            Backend::Remote(cluster) => cluster.peers_connected(),
        }
    }

    /// This process's view of the log; `None` where there is none.
    pub(super) fn raft_status(&self) -> Option<RaftStatus> {
        match self {
            Backend::Node(cluster) => Some(cluster.raft_status()),
            Backend::Remote(_) => None,
        }
    }

    /// Bytes of a namespace's database here; none where nothing is stored.
    pub(super) fn database_bytes(&self, namespace: &Namespace) -> u64 {
        match self {
            Backend::Node(cluster) => cluster.database_file(namespace).map_or(0, |(_, main, wal)| main + wal),
            Backend::Remote(_) => 0,
        }
    }

    pub(super) async fn connect(&self, address: &str, timeout: Duration) -> Result<NodeId, ConnectError> {
        match self {
            Backend::Node(cluster) => cluster.connect(address, timeout).await,
            Backend::Remote(cluster) => cluster.connect(address, timeout).await,
        }
    }

    pub(super) async fn disconnect(&self, peer: NodeId) {
        match self {
            Backend::Node(cluster) => cluster.disconnect(peer).await,
            Backend::Remote(cluster) => cluster.disconnect(peer).await,
        }
    }
}
