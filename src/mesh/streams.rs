//! The libp2p behaviour that opens and accepts streams.
//!
//! libp2p's own `libp2p-stream` would do for a first try, but it keeps one slot for inbound streams of a protocol (two
//! peers that open at once lose one), remembers every connection that ever was, and negotiates one stream after the
//! other. What a debros node needs is less: no dialling here, a bounded queue, and a check of who asks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::ConnectionClosed;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::counters::{Counting, count};
use super::error::MeshError;
use super::peer_id;
use super::protocol::{Standing, Wire};
use super::roster::Roster;
use super::stream::{InboundStream, MeshStream};
use super::stream_handler::StreamHandler;
use crate::types::NodeId;

/// Somebody waits for a stream.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) wire: Wire,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<MeshStream, MeshError>>,
}

/// Who may open what, and where admitted streams go. Shared by every connection.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) inbound: mpsc::Sender<InboundStream>,
    pub(super) exchanges: mpsc::Sender<(NodeId, MeshStream)>,
    pub(super) counting: Arc<Counting>,
}

impl Gate {
    pub(super) fn standing(&self, peer: NodeId) -> Standing {
        self.roster.borrow().standing(peer)
    }

    /// Passes on a stream that a peer has opened, or drops it. Never waits.
    pub(super) fn admit(&self, peer: NodeId, wire: Wire, stream: libp2p::Stream, strangers_share: &Arc<Semaphore>) {
        let standing = self.standing(peer);
        // Only offered protocols are negotiated, but the roster may have changed since.
        if !wire.admits(standing) {
            count(&self.counting.refused);
            tracing::debug!(%peer, protocol = wire.name(), "stream refused: peer is no longer admitted");
            return;
        }
        let Ok(permit) = share_of(standing, strangers_share) else {
            count(&self.counting.strangers_excess);
            tracing::debug!(%peer, protocol = wire.name(), "stream dropped: stranger has too many open");
            return;
        };
        let stream = MeshStream::new(stream, permit);
        let taken = match wire {
            Wire::Node(protocol) => self.inbound.try_send(InboundStream { peer, protocol, stream }).is_ok(),
            Wire::PeerExchange => self.exchanges.try_send((peer, stream)).is_ok(),
        };
        if !taken {
            count(&self.counting.inbound_full);
            tracing::debug!(%peer, protocol = wire.name(), "stream dropped: nobody takes it");
        }
    }
}

/// A stranger's permit for one more stream; others need none.
fn share_of(standing: Standing, share: &Arc<Semaphore>) -> Result<Option<OwnedSemaphorePermit>, ()> {
    match standing {
        Standing::Member | Standing::Gateway => Ok(None),
        Standing::Stranger => share.clone().try_acquire_owned().map(Some).map_err(|_| ()),
    }
}

/// Knows the connections of each peer and hands requests to their handlers.
pub(super) struct Streams {
    gate: Arc<Gate>,
    /// Oldest first.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    /// Requests on their way to a handler. Emptied at each poll; bounded by the event loop's own inbox.
    requests: VecDeque<(PeerId, ConnectionId, OpenRequest)>,
}

/// The key of a peer is of another kind than a debros node's.
#[derive(Debug, thiserror::Error)]
#[error("peer {0} has no Ed25519 key")]
struct OtherKeyType(PeerId);

impl Streams {
    pub(super) fn new(gate: Arc<Gate>) -> Streams {
        Streams { gate, connections: HashMap::new(), requests: VecDeque::new() }
    }

    /// Opens a stream on the newest connection to `peer`: after a restart the old one may be dead without knowing.
    /// Gives the request back when there is no connection.
    pub(super) fn open(&mut self, peer: PeerId, request: OpenRequest) -> Result<(), OpenRequest> {
        match self.connections.get(&peer).and_then(|connections| connections.last()) {
            Some(&connection) => {
                self.requests.push_back((peer, connection, request));
                Ok(())
            }
            None => Err(request),
        }
    }

    fn handler(&self, peer: PeerId) -> Result<StreamHandler, ConnectionDenied> {
        match peer_id::to_node_id(&peer) {
            Some(node) => Ok(StreamHandler::new(node, Arc::clone(&self.gate))),
            None => Err(ConnectionDenied::new(OtherKeyType(peer))),
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.connections.entry(established.peer_id).or_default().push(established.connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(connections) = self.connections.get_mut(&peer_id) {
                    connections.retain(|connection| *connection != connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker: requests come from the task that polls the Swarm, just before it polls again.
        match self.requests.pop_front() {
            Some((peer_id, connection, event)) => {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event })
            }
            None => Poll::Pending,
        }
    }
}
