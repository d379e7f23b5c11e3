//! The task that owns the Swarm. Everything that changes a connection happens here, one thing after the other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, ping};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::address::{PeerAddress, scope, without_peer};
use super::address_book::AddressBook;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::counters::Counting;
use super::dialling::{BootstrapPeer, Dial, chance};
use super::error::MeshError;
use super::exchange_rounds::Heard;
use super::gossip::GossipState;
use super::handle::PeerExchange;
use super::peer_id;
use super::peers::{Connection, Direction, Peers};
use super::protocol::Wire;
use super::reconnect::{Reconnect, Target};
use super::roster::Roster;
use super::stream::MeshStream;
use super::streams::OpenRequest;
use crate::tasks::Tasks;
use crate::types::NodeId;
use crate::types::limits::PEER_EXCHANGES_MAX;

/// How long connections may take to close when the mesh stops; peers notice a vanished one as well.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// What a handle asks of the event loop.
#[derive(Debug)]
pub(super) enum Command {
    Open { peer: NodeId, request: OpenRequest },
    Dial { address: PeerAddress, reply: oneshot::Sender<Result<NodeId, MeshError>> },
    Disconnect { peer: NodeId, done: oneshot::Sender<()> },
}

/// Where the event loop is spoken to.
pub(super) struct Inboxes {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    /// Peers that ask for peers.
    pub(super) exchanges: mpsc::Receiver<(NodeId, MeshStream)>,
}

pub(super) struct EventLoop {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) own: NodeId,
    inboxes: Inboxes,
    pub(super) roster: Arc<Roster>,
    pub(super) peers: Arc<Peers>,
    listening: Arc<RwLock<Vec<Multiaddr>>>,
    pub(super) book: AddressBook,
    pub(super) reconnect: Reconnect,
    pub(super) bootstrap: Vec<BootstrapPeer>,
    pub(super) dials: HashMap<ConnectionId, Dial>,
    /// Callers who wait for a connection; each peer here is being dialled.
    pub(super) waiting: HashMap<NodeId, Vec<OpenRequest>>,
    pub(super) exchange_slots: Arc<Semaphore>,
    pub(super) heard_sender: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    listeners: Vec<ListenerId>,
    pub(super) tasks: Tasks,
    pub(super) gossip: GossipState,
    pub(super) counting: Arc<Counting>,
}

impl EventLoop {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        inboxes: Inboxes,
        (gossip, counting): (GossipState, Arc<Counting>),
        peers: Arc<Peers>,
        (listeners, listening): (Vec<ListenerId>, Arc<RwLock<Vec<Multiaddr>>>),
        bootstrap: Vec<BootstrapPeer>,
        tasks: Tasks,
    ) -> EventLoop {
        let own = peer_id::to_node_id(swarm.local_peer_id()).expect("our own key is Ed25519");
        let roster = inboxes.roster.borrow().clone();
        let (heard_sender, heard) = mpsc::channel(PEER_EXCHANGES_MAX);
        let mut event_loop = EventLoop {
            swarm,
            own,
            inboxes,
            roster,
            peers,
            listening,
            book: AddressBook::default(),
            reconnect: Reconnect::default(),
            bootstrap,
            dials: HashMap::new(),
            waiting: HashMap::new(),
            exchange_slots: Arc::new(Semaphore::new(PEER_EXCHANGES_MAX)),
            heard_sender,
            heard,
            listeners,
            tasks,
            gossip,
            counting,
        };
        for BootstrapPeer { address, peer, .. } in &event_loop.bootstrap {
            if let Some(peer) = *peer {
                event_loop.book.configure(peer, address.clone());
                event_loop.swarm.behaviour_mut().limits.bypass_peer_id(&peer_id::to_peer_id(peer));
            }
        }
        event_loop.watch_bootstrap();
        event_loop
    }

    /// Runs until `stop`, then closes every connection and, at last, abandons what is still open.
    pub(super) async fn run(mut self, exchange: PeerExchange, stop: CancellationToken, abandon: CancellationToken) {
        // Whatever happens to this task, connections do not outlive it.
        let _abandon = abandon.drop_guard();
        let mut rounds = match exchange {
            PeerExchange::Every(interval) => Some(tokio::time::interval(interval.max(Duration::from_millis(100)))),
            PeerExchange::Off => None,
        };
        while !stop.is_cancelled() {
            self.dial_due();
            let next_dial = self.reconnect.next_at();
            let weigh_again = self.weigh_again_at();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(command) = self.inboxes.commands.recv() => self.on_command(command),
                Ok(()) = self.inboxes.roster.changed() => self.on_roster(),
                Some((peer, stream)) = self.inboxes.exchanges.recv() => self.answer_exchange(peer, stream),
                Some(frame) = self.gossip.outgoing.recv() => self.send_gossip(frame),
                Ok(()) = self.gossip.wanted.changed() => self.on_gossip_wanted(),
                Some(heard) = self.heard.recv() => self.on_heard(heard),
                () = at(next_dial) => {}
                () = at(weigh_again) => self.weigh_again(),
                () = tick(&mut rounds) => self.ask_for_peers(),
                () = stop.cancelled() => {}
            }
        }
        self.close().await;
    }

    async fn close(mut self) {
        // Callers that come now learn that the mesh has stopped.
        self.inboxes.commands.close();
        self.waiting.clear();
        // Peers try again at once; they should meet a closed port, not a node that is going away.
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        for peer in self.peers.nodes() {
            let _ = self.swarm.disconnect_peer_id(peer_id::to_peer_id(peer));
        }
        let closing = async {
            while self.swarm.network_info().connection_counters().num_established() > 0 {
                match self.swarm.select_next_some().await {
                    SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                        peer_id::to_node_id(&peer_id).map(|peer| self.peers.closed(peer, connection_id));
                    }
                    SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                        self.swarm.close_connection(connection_id);
                    }
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(CLOSING_GRACE, closing).await.is_err() {
            tracing::debug!("connections did not close in time");
        }
        for peer in self.peers.nodes() {
            self.peers.gone(peer);
        }
    }

    fn on_command(&mut self, command: Command) {
        // Two inboxes have no order between them: who names a member and then opens a stream to it must not be told
        // that nobody knows it.
        if self.inboxes.roster.has_changed().unwrap_or(false) {
            self.on_roster();
        }
        match command {
            Command::Open { peer, request } => self.open(peer, request),
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Disconnect { peer, done } => {
                let _ = self.swarm.disconnect_peer_id(peer_id::to_peer_id(peer));
                let _ = done.send(());
            }
        }
    }

    fn on_roster(&mut self) {
        let after = self.inboxes.roster.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.roster, after);
        let now = Instant::now();
        for node in self.roster.clone().nodes() {
            self.swarm.behaviour_mut().limits.bypass_peer_id(&peer_id::to_peer_id(node));
            self.reconnect.watch(Target::Known(node), now);
            if self.peers.contains(node) {
                self.reconnect.connected(Target::Known(node), now);
            } else if self.roster.addresses(node) != before.addresses(node) {
                self.reconnect.moved(Target::Known(node), now);
            }
        }
        for node in before.nodes().filter(|node| !self.roster.contains(*node)) {
            tracing::info!(peer = %node, "peer no longer belongs to the cluster");
            if self.bootstrap_places(node).is_empty() {
                self.swarm.behaviour_mut().limits.remove_peer_id(&peer_id::to_peer_id(node));
            }
            self.reconnect.forget(Target::Known(node));
            self.book.forget_identified(node);
            let _ = self.swarm.disconnect_peer_id(peer_id::to_peer_id(node));
        }
        // Somebody may have become a gateway.
        self.gossip_listeners_changed();
        self.weigh_again();
        self.watch_bootstrap();
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(&peer_id, connection_id, endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let cause = cause.map(|cause| cause.to_string());
                self.on_closed(&peer_id, connection_id, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => self.dial_failed(connection_id, &error),
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "mesh listens");
                let mut listening = self.listening.write().unwrap_or_else(PoisonError::into_inner);
                if !listening.contains(&address) {
                    listening.push(address);
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                tracing::info!(%address, "mesh no longer listens");
                self.listening.write().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != address);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "mesh listener failed, going on"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "mesh listener closed: peers cannot connect to this node there");
                let mut listening = self.listening.write().unwrap_or_else(PoisonError::into_inner);
                listening.retain(|known| !addresses.contains(known));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.on_identified(&peer_id, info);
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: &PeerId, id: ConnectionId, endpoint: ConnectedPoint) {
        let Some(node) = peer_id::to_node_id(peer) else { return };
        let (remote, direction) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (without_peer(&address), Direction::Outbound),
            ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, Direction::Inbound),
        };
        if direction == Direction::Outbound {
            self.book.hear(node, remote.clone(), Instant::now());
        }
        let standing = self.roster.standing(node);
        tracing::debug!(peer = %node, address = %remote, ?direction, ?standing, "connected");
        self.peers.opened(node, Connection { id, remote, direction });
        self.dial_succeeded(id, node);
    }

    fn on_closed(&mut self, peer: &PeerId, id: ConnectionId, cause: Option<String>) {
        let Some(node) = peer_id::to_node_id(peer) else { return };
        tracing::debug!(peer = %node, cause, "connection closed");
        if !self.peers.closed(node, id) {
            return;
        }
        self.gossip_listener_gone(node);
        if !self.roster.contains(node) {
            self.book.forget_identified(node);
        }
        let now = Instant::now();
        self.reconnect.lost(Target::Known(node), now, chance());
        for place in self.bootstrap_places(node) {
            self.reconnect.lost(Target::Bootstrap(place), now, chance());
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(node) = peer_id::to_node_id(&event.peer) else { return };
        match event.result {
            Ok(rtt) => self.peers.measured(node, rtt),
            // A client need not answer pings.
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                tracing::info!(peer = %node, %error, "connection does not answer and is closed");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_identified(&mut self, peer: &PeerId, info: identify::Info) {
        let Some(node) = peer_id::to_node_id(peer) else { return };
        let exchanges_peers = info.protocols.contains(&Wire::PeerExchange.stream_protocol());
        self.peers.identified(node, info.agent_version, exchanges_peers);
        // Only what means something from where we are, and nothing that cannot be dialled.
        let Some(remote) = self.peers.scope(node) else { return };
        let told = info.listen_addrs.iter().map(without_peer);
        let usable = told.filter(|address| scope(address).is_some_and(|scope| scope.concerns(remote))).collect();
        self.book.identify(node, usable);
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
