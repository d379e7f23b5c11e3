//! What runs on each connection, and who gets one.

use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId, identify, memory_connection_limits, ping};

use super::gossip;
use super::gossip_gate::GossipGate;
use super::identity::Identity;
use super::peer_id;
use super::protocol::Standing;
use super::streams::{Gate, Streams};
use crate::types::limits::{
    MESH_CONNECTIONS_PER_STRANGER_MAX, MESH_MEMORY_SHARE_MAX, MESH_PENDING_INBOUND_MAX, MESH_PENDING_OUTBOUND_MAX,
    MESH_PING_INTERVAL,
};

/// The protocol family that identify announces.
const PROTOCOL_FAMILY: &str = "/debros/1.0.0";

/// The order matters: limits are asked first, so that nothing else hears of a connection that is turned away.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    memory: MemoryGate,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: Streams,
    pub(super) gossip: GossipGate,
}

/// Whether peers learn the addresses that the sockets listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenAddresses {
    /// They are what others should dial.
    Told,
    /// The operator advertises others.
    Hidden,
}

impl Behaviour {
    pub(super) fn new(
        identity: &Identity,
        gate: Arc<Gate>,
        connections_max: u32,
        agent_version: String,
        listen_addresses: ListenAddresses,
    ) -> Behaviour {
        let limits = ConnectionLimits::default()
            .with_max_established(Some(connections_max))
            .with_max_established_per_peer(Some(MESH_CONNECTIONS_PER_STRANGER_MAX))
            .with_max_pending_incoming(Some(MESH_PENDING_INBOUND_MAX))
            .with_max_pending_outgoing(Some(MESH_PENDING_OUTBOUND_MAX));
        let identify = identify::Config::new(PROTOCOL_FAMILY.into(), identity.keypair().public())
            .with_agent_version(agent_version)
            .with_push_listen_addr_updates(true)
            .with_hide_listen_addrs(listen_addresses == ListenAddresses::Hidden)
            // Addresses of peers are kept in our own address book.
            .with_cache_size(0);
        Behaviour {
            limits: connection_limits::Behaviour::new(limits),
            memory: MemoryGate::new(Arc::clone(&gate)),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(
                ping::Config::new().with_interval(MESH_PING_INTERVAL).with_timeout(MESH_PING_INTERVAL),
            ),
            streams: Streams::new(Arc::clone(&gate)),
            gossip: GossipGate::new(gossip::behaviour(identity), gate),
        }
    }
}

/// Turns strangers away while the process uses more than its share of memory.
///
/// libp2p's own check comes before the handshake and would shut out members too, just when a loaded node needs them.
pub(super) struct MemoryGate {
    check: memory_connection_limits::Behaviour,
    gate: Arc<Gate>,
}

impl MemoryGate {
    fn new(gate: Arc<Gate>) -> MemoryGate {
        MemoryGate { check: memory_connection_limits::Behaviour::with_max_percentage(MESH_MEMORY_SHARE_MAX), gate }
    }

    fn is_stranger(&self, peer: &PeerId) -> bool {
        peer_id::to_node_id(peer).is_none_or(|node| self.gate.standing(node) == Standing::Stranger)
    }
}

impl NetworkBehaviour for MemoryGate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.is_stranger(&peer) {
            self.check.handle_pending_inbound_connection(connection, local, remote)?;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Only this node decides to dial.
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
