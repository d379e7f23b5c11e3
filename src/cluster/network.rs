//! Who is connected, and connections made or ended by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cluster, RemoteCluster};
use crate::mesh::{ConnectedPeer, Mesh, MeshError, Standing};
use crate::types::NodeId;

/// A member or a connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub node: NodeId,
    /// Its multiaddrs, without `/p2p`: those it is dialled at, or else the remote end of its connection.
    pub addresses: Vec<String>,
    /// Whether there is a connection now. This node itself counts as connected.
    pub connected: bool,
    /// Whether it belongs to the cluster.
    pub member: bool,
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no address.
    #[error("{0}")]
    Address(String),
    /// Nobody answered there, or not who should have.
    #[error("{0}")]
    Unreachable(String),
}

impl Cluster {
    /// Members and connected peers, this node first.
    pub fn peers(&self) -> Vec<PeerView> {
        let mut peers: BTreeMap<NodeId, PeerView> = connected(&self.inner.mesh);
        for member in self.raft_status().members {
            let own = member.node == self.node_id();
            let peer = peers.entry(member.node).or_insert_with(|| PeerView {
                node: member.node,
                addresses: Vec::new(),
                connected: own,
                member: true,
            });
            peer.member = true;
            if !member.addresses.is_empty() {
                peer.addresses = member.addresses;
            }
        }
        own_first(peers, self.node_id())
    }

    /// How many peers are connected.
    pub fn peers_connected(&self) -> usize {
        self.inner.mesh.connected().len()
    }

    /// How long ago a quorum of voters last answered this leader; on a follower, when it last heard from the leader.
    /// `None` when that never was.
    pub fn quorum_contact(&self) -> Option<Duration> {
        if !self.is_leader() {
            return self.last_contact();
        }
        let followers = self.raft().followers();
        let mut voters: Vec<Option<Duration>> =
            followers.iter().filter(|follower| follower.votes).map(|follower| follower.silent_for).collect();
        // Those that never answered come last.
        voters.sort_by_key(|silent| silent.unwrap_or(Duration::MAX));
        // With the leader itself that many make a majority of `voters + 1`.
        let needed = voters.len().div_ceil(2);
        if needed == 0 { Some(Duration::ZERO) } else { voters[needed - 1] }
    }

    /// Connects to a multiaddr with `/p2p/<peer id>`; who answered.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, address: &str, timeout: Duration) -> Result<NodeId, ConnectError> {
        dial(&self.inner.mesh, address, timeout).await
    }

    /// Closes every connection to a peer. A member is dialled again.
    pub async fn disconnect(&self, peer: NodeId) {
        self.inner.mesh.disconnect(peer).await;
    }
}

impl RemoteCluster {
    /// Connected peers, this process first.
    pub fn peers(&self) -> Vec<PeerView> {
        let own = self.node_id();
        let mut peers = connected(&self.inner.mesh);
        let addresses = self.inner.mesh.advertised_addresses();
        peers.insert(own, PeerView { node: own, addresses, connected: true, member: true });
        own_first(peers, own)
    }

    /// How many peers are connected.
    pub fn peers_connected(&self) -> usize {
        self.inner.mesh.connected().len()
    }

    /// As [`Cluster::connect`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, address: &str, timeout: Duration) -> Result<NodeId, ConnectError> {
        dial(&self.inner.mesh, address, timeout).await
    }

    /// As [`Cluster::disconnect`].
    pub async fn disconnect(&self, peer: NodeId) {
        self.inner.mesh.disconnect(peer).await;
    }
}

fn connected(mesh: &Mesh) -> BTreeMap<NodeId, PeerView> {
    let view = |peer: ConnectedPeer| PeerView {
        node: peer.node_id,
        addresses: vec![peer.address],
        connected: true,
        member: peer.standing != Standing::Stranger,
    };
    mesh.connected().into_iter().map(|peer| (peer.node_id, view(peer))).collect()
}

fn own_first(mut peers: BTreeMap<NodeId, PeerView>, own: NodeId) -> Vec<PeerView> {
    let own = peers.remove(&own);
    own.into_iter().chain(peers.into_values()).collect()
}

async fn dial(mesh: &Mesh, address: &str, timeout: Duration) -> Result<NodeId, ConnectError> {
    mesh.dial(address, timeout).await.map_err(|error| match error {
        MeshError::Address(_) | MeshError::Itself(_) => ConnectError::Address(error.to_string()),
        other => ConnectError::Unreachable(other.to_string()),
    })
}
