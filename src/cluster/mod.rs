//! The face that everything above the log uses: submit a command, read, ask who is there.
//!
//! Work is done here if this node can, otherwise one hop over the mesh away, never two. Every write ends in one of
//! three ways: executed (an [`Applied`]), not executed, or unknown; [`ClusterError::outcome`] tells the last two apart.
//!
//! A node is a [`Cluster`], a process that stores nothing a [`RemoteCluster`]; who serves users takes an [`AnyCluster`].

mod any;
mod backup;
mod error;
mod fair_writes;
mod join;
mod keeper;
mod kv_read;
mod leader;
mod membership;
mod network;
mod peer_api;
mod peers;
mod read;
mod read_index;
mod read_sql;
mod remote;
mod remote_keeper;
mod remote_view;
mod request;
mod serve;
mod slow_reads;
mod submit;
mod topics_read;
mod view;
mod wait_change;

#[cfg(test)]
mod tests;

pub use crate::sql::script;
pub use any::AnyCluster;
pub use backup::{BackupFile, BackupFormat};
pub use error::{ClusterError, WriteOutcome};
pub use join::{Admission, InvalidToken, JoinError, JoinToken, join};
pub use keeper::{KeeperOptions, keep};
pub use network::{ConnectError, PeerView};
pub use remote::{Reach, RemoteCluster};
pub use request::{
    Applied, Found, Freshness, KvAnswer, KvRead, Level, Read, ReadAnswer, ReadTerms, ServedBy, TopicsAnswer, TopicsRead,
};
pub use view::{Member, MemberStatus, RaftState, RaftStatus, Suffrage};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::fair_writes::FairWrites;
use self::leader::LeaderWatch;
use self::peers::Peers;
use self::read_index::ReadIndexes;
use self::slow_reads::SlowReads;
use self::submit::InFlight;
use crate::mesh::Mesh;
use crate::raft::{Raft, SharedReaders};
use crate::tasks::Tasks;
use crate::types::{Namespace, NodeId};

/// What this process allows its callers when they ask for more, or for nothing in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest a statement may run. On a write it stands for VM steps, so that all replicas agree.
    pub statement_timeout: Duration,
    /// Most rows of one result.
    pub result_rows_max: usize,
    /// Most bytes of all results of a request.
    pub result_bytes_max: usize,
}

/// The cluster, as a part of this process sees it. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    mesh: Mesh,
    peers: Peers,
    limits: Limits,
    tasks: Tasks,
    read_indexes: ReadIndexes,
    slow_reads: SlowReads,
    in_flight: InFlight,
    write_turns: FairWrites,
    leader: LeaderWatch,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node_id()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster that this group and this mesh make up.
    pub fn new(raft: Raft, mesh: Mesh, limits: Limits, tasks: Tasks) -> Cluster {
        let peers = Peers::new(mesh.clone(), tasks.clone());
        let read_indexes = ReadIndexes::start(raft.clone(), peers.clone(), &tasks);
        let leader = LeaderWatch::Raft(Box::new(raft.clone()));
        tasks.spawn_until_cancelled(leader::follow(raft.node_id(), leader.clone(), peers.clone(), tasks.clone()));
        let inner = Inner {
            raft,
            mesh,
            peers,
            limits,
            tasks,
            read_indexes,
            slow_reads: SlowReads::new(),
            in_flight: InFlight::new(),
            write_turns: FairWrites::default(),
            leader,
        };
        Cluster { inner: Arc::new(inner) }
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.raft().node_id()
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raft().is_leader()
    }

    /// A number that changes whenever the accounts change on this replica.
    pub fn accounts_generation(&self) -> u64 {
        self.raft().state().accounts_index()
    }

    /// Every namespace but those that belong to debros itself.
    pub fn namespaces(&self) -> Vec<Namespace> {
        let system = self.raft().state().system();
        system.namespaces.keys().filter(|namespace| !namespace.is_reserved()).cloned().collect()
    }

    /// Whether a namespace exists, as far as this node knows.
    pub fn namespace_exists(&self, namespace: &Namespace) -> bool {
        self.raft().state().system().namespaces.contains_key(namespace)
    }

    /// Path and sizes (main file, write-ahead log) of a namespace's database here.
    pub fn database_file(&self, namespace: &Namespace) -> Option<(PathBuf, u64, u64)> {
        let path = self.readers().path(namespace);
        let main = std::fs::metadata(&path).ok()?.len();
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        Some((path, main, std::fs::metadata(wal).map_or(0, |meta| meta.len())))
    }

    fn raft(&self) -> &Raft {
        &self.inner.raft
    }

    fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    fn readers(&self) -> &SharedReaders {
        &self.raft().state().readers
    }

    /// Whether a node is in the committed configuration of the group.
    fn is_member(&self, node: NodeId) -> bool {
        self.raft().metrics().membership_config.membership().get_node(&node).is_some()
    }
}
