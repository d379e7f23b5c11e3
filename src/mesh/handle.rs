//! The handle that everything above holds, and what it takes to make one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::timeout_at;

use super::address::{PeerAddress, Scope, scope};
use super::bind;
use super::counters::{Counters, Counting};
use super::error::MeshError;
use super::event_loop::Command;
use super::gossip::{GossipHandle, GossipInbox, GossipSources};
use super::identity::Identity;
use super::peers::{ConnectedPeer, ConnectionChange, Peers};
use super::protocol::{Protocol, Wire};
use super::roster::Roster;
use super::stream::{InboundStream, MeshStream};
use super::streams::OpenRequest;
use crate::tasks::Tasks;
use crate::types::NodeId;

/// What a mesh needs to know to start.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Who this node is.
    pub identity: Identity,
    /// Multiaddrs to listen on, port 0 for any; none at all for a node that only dials.
    pub listen: Vec<String>,
    /// Multiaddrs that others should dial; empty = the ones listened on.
    pub advertise: Vec<String>,
    /// Multiaddrs to dial until they answer, with or without `/p2p/<peer id>`.
    pub bootstrap_peers: Vec<String>,
    /// Most connections in which strangers count; members come on top.
    pub connections_max: u32,
    /// What identify tells others, `debros/<version>`.
    pub agent_version: String,
    /// Whether to ask others for peers.
    pub peer_exchange: PeerExchange,
    /// Whose gossip is let in.
    pub gossip_sources: GossipSources,
}

/// Whether and how often to ask members and bootstrap peers for the addresses they know. Answering is always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerExchange {
    /// Ask again after this time.
    Every(Duration),
    /// Never ask.
    Off,
}

/// The running mesh. Clones are the same mesh; it runs until the [`Tasks`] it was bound with are stopped.
#[derive(Clone, Debug)]
pub struct Mesh {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) node_id: NodeId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) roster: watch::Sender<Arc<Roster>>,
    pub(super) peers: Arc<Peers>,
    pub(super) listening: Arc<RwLock<Vec<Multiaddr>>>,
    pub(super) advertise: Vec<Multiaddr>,
    pub(super) counting: Arc<Counting>,
    pub(super) gossip: GossipHandle,
}

/// Streams that peers have opened, in the order of arrival. One reader; a full queue drops streams, so take them quickly
/// and serve each on a task of its own.
#[derive(Debug)]
pub struct Inbound {
    pub(super) streams: mpsc::Receiver<InboundStream>,
    pub(super) gossip: Option<GossipInbox>,
}

impl Inbound {
    /// The next stream; `None` after the mesh has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<InboundStream> {
        self.streams.recv().await
    }

    /// Where gossip arrives, for whoever asks first.
    pub fn take_gossip(&mut self) -> Option<GossipInbox> {
        self.gossip.take()
    }
}

impl Mesh {
    /// Binds the listen addresses and starts: tasks run on `tasks` until it is stopped, and peers are let in at once,
    /// as strangers until [`Mesh::set_members`] knows better.
    ///
    /// # Errors
    /// [`MeshError`] that names the address: malformed, in use, or not one of this machine.
    pub async fn bind(config: MeshConfig, tasks: &Tasks) -> Result<(Mesh, Inbound), MeshError> {
        bind::bind(config, tasks).await
    }

    /// Who this node is.
    pub fn node_id(&self) -> NodeId {
        self.shared.node_id
    }

    /// What the sockets listen on now, as multiaddrs without peer id, with real ports; `0.0.0.0` as the addresses of the
    /// interfaces.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.shared.listening.read().unwrap_or_else(PoisonError::into_inner).iter().map(Multiaddr::to_string).collect()
    }

    /// What others should dial, as multiaddrs without peer id: what the operator advertises, else what the sockets listen
    /// on. Loopback addresses only if there are no others.
    pub fn advertised_addresses(&self) -> Vec<String> {
        if !self.shared.advertise.is_empty() {
            return self.shared.advertise.iter().map(Multiaddr::to_string).collect();
        }
        let listening = self.shared.listening.read().unwrap_or_else(PoisonError::into_inner);
        let reachable: Vec<_> = listening.iter().filter(|address| scope(address) > Some(Scope::Loopback)).collect();
        if reachable.is_empty() {
            listening.iter().map(Multiaddr::to_string).collect()
        } else {
            reachable.into_iter().map(Multiaddr::to_string).collect()
        }
    }

    /// Says who belongs to the cluster, with their addresses (multiaddrs, with or without `/p2p`). It replaces what was
    /// said before and holds from this moment for every stream that is opened. Those named are kept connected; those
    /// no longer named are disconnected. This node itself may be among them. A member that is also a gateway is a member.
    pub fn set_members(&self, members: HashMap<NodeId, Vec<String>>, gateways: HashMap<NodeId, Vec<String>>) {
        let roster = Roster::new(members, gateways, self.shared.node_id);
        self.shared.roster.send_replace(Arc::new(roster));
    }

    /// Opens a stream, dialling the peer first if there is no connection. The peer has agreed to the protocol when this
    /// returns. Cancel-safe: a stream that comes too late is dropped.
    ///
    /// # Errors
    /// [`MeshError::NoAddress`], [`MeshError::Unreachable`] and [`MeshError::WrongPeer`] when there is no connection and
    /// none can be made, [`MeshError::Refused`] when the peer does not admit this node, [`MeshError::Lost`] when another
    /// attempt may work at once, [`MeshError::Timeout`], [`MeshError::Busy`], [`MeshError::Stopped`].
    pub async fn open(&self, peer: NodeId, protocol: Protocol, timeout: Duration) -> Result<MeshStream, MeshError> {
        let deadline = Instant::now() + timeout;
        let (reply, answer) = oneshot::channel();
        let request = OpenRequest { wire: Wire::Node(protocol), deadline, reply };
        let open = async {
            self.send(Command::Open { peer, request }).await?;
            answer.await.unwrap_or_else(|_| Err(self.gone(peer)))
        };
        let timed_out = |_| MeshError::Timeout { peer: format!("node {peer}"), after: timeout };
        timeout_at(deadline.into(), open).await.map_err(timed_out)?
    }

    /// Connects to an address (a multiaddr, better with `/p2p/<peer id>`) and says who answered. A peer that is connected
    /// already is not dialled again. Cancel-safe; the attempt then goes on by itself.
    ///
    /// # Errors
    /// [`MeshError::Address`] for a malformed text, [`MeshError::WrongPeer`] when somebody else answers,
    /// [`MeshError::Itself`], [`MeshError::Unreachable`], [`MeshError::Timeout`], [`MeshError::Stopped`].
    pub async fn dial(&self, address: &str, timeout: Duration) -> Result<NodeId, MeshError> {
        let parsed = PeerAddress::parse(address)?;
        let (reply, answer) = oneshot::channel();
        let dial = async {
            self.send(Command::Dial { address: parsed, reply }).await?;
            answer.await.unwrap_or(Err(MeshError::Stopped))
        };
        let timed_out = |_| MeshError::Timeout { peer: address.to_owned(), after: timeout };
        tokio::time::timeout(timeout, dial).await.map_err(timed_out)?
    }

    /// The peers that are connected now, ordered by id.
    pub fn connected(&self) -> Vec<ConnectedPeer> {
        self.shared.peers.list(&self.shared.roster.borrow())
    }

    /// Whether there is a connection to this peer now.
    pub fn is_connected(&self, peer: NodeId) -> bool {
        self.shared.peers.contains(peer)
    }

    /// Connections as they come and go from now on, strangers' too. A reader that lags behind gets `Lagged` and should
    /// read [`Mesh::connected`] again.
    pub fn on_connection_changes(&self) -> broadcast::Receiver<ConnectionChange> {
        self.shared.peers.changes()
    }

    /// Closes every connection to a peer; streams on them end. One that belongs to the cluster is dialled again, so take
    /// it off [`Mesh::set_members`] first. Returns when closing has begun.
    pub async fn disconnect(&self, peer: NodeId) {
        let (done, closing) = oneshot::channel();
        if self.send(Command::Disconnect { peer, done }).await.is_ok() {
            // An error means that the mesh has stopped, which disconnects as well.
            let _ = closing.await;
        }
    }

    /// What was refused or dropped since the start.
    pub fn counters(&self) -> Counters {
        self.shared.counting.read()
    }

    async fn send(&self, command: Command) -> Result<(), MeshError> {
        self.shared.commands.send(command).await.map_err(|_| MeshError::Stopped)
    }

    /// Why a request was dropped without an answer.
    fn gone(&self, peer: NodeId) -> MeshError {
        if self.shared.commands.is_closed() {
            MeshError::Stopped
        } else {
            MeshError::Lost { peer, reason: "it was closed while the stream was being opened".into() }
        }
    }
}
