//! The cluster, however this process is part of it.

use std::time::{Duration, Instant};

use super::error::ClusterError;
use super::network::{ConnectError, PeerView};
use super::request::{Applied, KvAnswer, KvRead, Level, Read, ReadAnswer, TopicsAnswer, TopicsRead};
use super::view::{MemberStatus, RaftStatus};
use super::{Cluster, RemoteCluster};
use crate::types::{Command, Namespace, NodeId};

/// The cluster, for those who serve users and need not know whether this process has a replica. Clones share it.
#[derive(Clone, Debug)]
pub enum AnyCluster {
    /// This process is a node.
    Node(Cluster),
    /// This process stores nothing.
    Remote(RemoteCluster),
}

impl AnyCluster {
    /// This process's id.
    pub fn node_id(&self) -> NodeId {
        match self {
            AnyCluster::Node(cluster) => cluster.node_id(),
            AnyCluster::Remote(cluster) => cluster.node_id(),
        }
    }

    /// Puts a command through the log and waits until it is applied on the leader.
    ///
    /// # Errors
    /// As [`Cluster::submit`].
    pub async fn submit(&self, command: Command, deadline: Instant) -> Result<Applied, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.submit(command, deadline).await,
            AnyCluster::Remote(cluster) => cluster.submit(command, deadline).await,
        }
    }

    /// Reads at the level asked for.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub async fn read(&self, read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.read(read, deadline).await,
            AnyCluster::Remote(cluster) => cluster.read(read, deadline).await,
        }
    }

    /// Reads keys at the level asked for.
    ///
    /// # Errors
    /// As [`Cluster::read_kv`].
    pub async fn read_kv(&self, read: KvRead, deadline: Instant) -> Result<KvAnswer, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.read_kv(read, deadline).await,
            AnyCluster::Remote(cluster) => cluster.read_kv(read, deadline).await,
        }
    }

    /// Waits until a key of `namespace` has changed after the change numbered `after`; the newest change's number.
    ///
    /// # Errors
    /// As [`Cluster::wait_kv_change`].
    pub async fn wait_kv_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.wait_kv_change(namespace, after, deadline).await,
            AnyCluster::Remote(cluster) => cluster.wait_kv_change(namespace, after, deadline).await,
        }
    }

    /// Reads durable topics or their messages at the level asked for.
    ///
    /// # Errors
    /// As [`Cluster::read_topics`].
    pub async fn read_topics(&self, read: TopicsRead, deadline: Instant) -> Result<TopicsAnswer, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.read_topics(read, deadline).await,
            AnyCluster::Remote(cluster) => cluster.read_topics(read, deadline).await,
        }
    }

    /// Waits for a stored message of `namespace`, or a change of its set of durable topics, behind the one numbered
    /// `after`; the newest one's number.
    ///
    /// # Errors
    /// As [`Cluster::wait_topics_change`].
    pub async fn wait_topics_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        match self {
            AnyCluster::Node(cluster) => cluster.wait_topics_change(namespace, after, deadline).await,
            AnyCluster::Remote(cluster) => cluster.wait_topics_change(namespace, after, deadline).await,
        }
    }

    /// Whether there is such a namespace, everything considered that was acknowledged before this call.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub async fn namespace_exists(&self, namespace: &Namespace, deadline: Instant) -> Result<bool, ClusterError> {
        // Whether it exists is looked at before any statement is.
        let read = Read::new(namespace.clone(), Vec::new(), Level::Linearizable);
        match self.read(read, deadline).await {
            Ok(_) => Ok(true),
            Err(ClusterError::NoSuchNamespace(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every member, asked now whether it answers.
    pub async fn members(&self, timeout: Duration) -> Vec<MemberStatus> {
        match self {
            AnyCluster::Node(cluster) => cluster.members(timeout).await,
            AnyCluster::Remote(cluster) => cluster.members(timeout).await,
        }
    }

    /// Members and connected peers, this process first.
    pub fn peers(&self) -> Vec<PeerView> {
        match self {
            AnyCluster::Node(cluster) => cluster.peers(),
            AnyCluster::Remote(cluster) => cluster.peers(),
        }
    }

    /// How many peers are connected.
    pub fn peers_connected(&self) -> usize {
        match self {
            AnyCluster::Node(cluster) => cluster.peers_connected(),
            AnyCluster::Remote(cluster) => cluster.peers_connected(),
        }
    }

    /// This process's view of the log; `None` where there is none.
    pub fn raft_status(&self) -> Option<RaftStatus> {
        match self {
            AnyCluster::Node(cluster) => Some(cluster.raft_status()),
            AnyCluster::Remote(_) => None,
        }
    }

    /// Bytes of a namespace's database here; none where nothing is stored.
    pub fn database_bytes(&self, namespace: &Namespace) -> u64 {
        match self {
            AnyCluster::Node(cluster) => cluster.database_file(namespace).map_or(0, |(_, main, wal)| main + wal),
            AnyCluster::Remote(_) => 0,
        }
    }

    /// Connects to a peer.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, address: &str, timeout: Duration) -> Result<NodeId, ConnectError> {
        match self {
            AnyCluster::Node(cluster) => cluster.connect(address, timeout).await,
            AnyCluster::Remote(cluster) => cluster.connect(address, timeout).await,
        }
    }

    /// Ends the connection to a peer.
    pub async fn disconnect(&self, peer: NodeId) {
        match self {
            AnyCluster::Node(cluster) => cluster.disconnect(peer).await,
            AnyCluster::Remote(cluster) => cluster.disconnect(peer).await,
        }
    }

    /// A number that changes whenever the accounts have changed here; always the same where they are asked elsewhere.
    pub fn accounts_generation(&self) -> u64 {
        match self {
            AnyCluster::Node(cluster) => cluster.accounts_generation(),
            AnyCluster::Remote(_) => 0,
        }
    }
}
