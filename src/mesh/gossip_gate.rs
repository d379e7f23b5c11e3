//! Keeps gossip among those who belong to the cluster.
//!
//! gossipsub itself talks to everybody who is connected, and gives a peer up for the life of a connection once it has
//! refused. Here a stranger is not offered the protocol, nothing is opened to it, and when it has become a member on the
//! same connection it is talked to from then on.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use either::Either;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, gossipsub};

use super::gossip::Gossipsub;
use super::peer_id;
use super::protocol::Standing;
use super::streams::Gate;

/// How soon a peer is asked again that did not speak the protocol: it may not know yet that we belong together.
const RETRY: Duration = Duration::from_millis(200);

type Inner = THandler<Gossipsub>;

/// gossipsub behind the gate.
pub(super) struct GossipGate {
    pub(super) gossipsub: Gossipsub,
    gate: Arc<Gate>,
}

impl GossipGate {
    pub(super) fn new(gossipsub: Gossipsub, gate: Arc<Gate>) -> GossipGate {
        GossipGate { gossipsub, gate }
    }

    fn guarded(&self, peer: PeerId, inner: Inner) -> GuardedHandler {
        GuardedHandler { inner, peer, gate: Arc::clone(&self.gate), retry: None }
    }
}

impl NetworkBehaviour for GossipGate {
    type ConnectionHandler = GuardedHandler;
    type ToSwarm = gossipsub::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.gossipsub.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.guarded(peer, inner))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.gossipsub.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(self.guarded(peer, inner))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.gossipsub.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.gossipsub.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.gossipsub.poll(cx)
    }
}

/// gossipsub's side of one connection.
pub(super) struct GuardedHandler {
    inner: Inner,
    peer: PeerId,
    gate: Arc<Gate>,
    /// When to open the stream that gossipsub waits for.
    retry: Option<BoxFuture<'static, ()>>,
}

impl GuardedHandler {
    fn is_stranger(&self) -> bool {
        peer_id::to_node_id(&self.peer).is_none_or(|node| self.gate.standing(node) == Standing::Stranger)
    }

    fn later(&mut self) {
        self.retry = Some(tokio::time::sleep(RETRY).boxed());
    }
}

impl ConnectionHandler for GuardedHandler {
    type FromBehaviour = <Inner as ConnectionHandler>::FromBehaviour;
    type ToBehaviour = <Inner as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <Inner as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <Inner as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    /// Asked for each inbound stream.
    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        if self.is_stranger() {
            return SubstreamProtocol::new(Either::Right(DeniedUpgrade), ());
        }
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        while let Some(retry) = &mut self.retry {
            if retry.poll_unpin(cx).is_pending() {
                break;
            }
            self.retry = None;
            if self.is_stranger() {
                self.later();
            } else if let (Either::Left(protocol), ()) = self.inner.listen_protocol().into_upgrade() {
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: SubstreamProtocol::new(protocol, ()),
                });
            }
        }
        match self.inner.poll(cx) {
            Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { .. }) if self.is_stranger() => {
                self.later();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            event => event,
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        if let ConnectionEvent::DialUpgradeError(DialUpgradeError {
            error: StreamUpgradeError::NegotiationFailed,
            ..
        }) = event
        {
            self.later();
            return;
        }
        self.inner.on_connection_event(event);
    }
}
