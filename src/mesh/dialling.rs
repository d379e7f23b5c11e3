//! The event loop's part that makes connections: for callers who wait, and for peers that should be connected.

use std::time::Instant;

use libp2p::Multiaddr;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use tokio::sync::oneshot;

use super::address::{PeerAddress, without_peer};
use super::address_book::Others;
use super::error::MeshError;
use super::event_loop::EventLoop;
use super::peer_id;
use super::reconnect::Target;
use super::streams::OpenRequest;
use crate::types::NodeId;
use crate::types::limits::MESH_OPENS_PER_PEER_MAX;

/// A configured peer.
#[derive(Debug)]
pub(super) struct BootstrapPeer {
    pub(super) address: Multiaddr,
    /// From the configuration, or who answered last.
    pub(super) peer: Option<NodeId>,
    /// The configuration names the peer: nobody else will do.
    pinned: bool,
}

impl From<PeerAddress> for BootstrapPeer {
    fn from(parsed: PeerAddress) -> BootstrapPeer {
        BootstrapPeer { address: parsed.address, peer: parsed.peer, pinned: parsed.peer.is_some() }
    }
}

/// A connection being made.
#[derive(Debug)]
pub(super) struct Dial {
    /// Who should answer, if that is known.
    peer: Option<NodeId>,
    /// For messages.
    place: String,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// To reach a node by its id, under every address known. There is at most one at a time for a node.
    Node(NodeId),
    /// To reach a bootstrap peer, by its place in the configuration.
    Bootstrap(usize),
    /// A caller named the address and waits.
    Caller(oneshot::Sender<Result<NodeId, MeshError>>),
}

impl EventLoop {
    /// A caller wants a stream.
    pub(super) fn open(&mut self, peer: NodeId, request: OpenRequest) {
        if peer == self.own {
            let _ = request.reply.send(Err(MeshError::Itself(peer.to_string())));
            return;
        }
        let streams = &mut self.swarm.behaviour_mut().streams;
        let Err(request) = streams.open(peer_id::to_peer_id(peer), request) else { return };
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|request| !request.reply.is_closed());
        if waiting.len() >= MESH_OPENS_PER_PEER_MAX {
            let _ = request.reply.send(Err(MeshError::Busy(peer)));
            return;
        }
        waiting.push(request);
        self.dial_known(peer);
    }

    /// A caller wants a connection.
    pub(super) fn dial(&mut self, wanted: PeerAddress, reply: oneshot::Sender<Result<NodeId, MeshError>>) {
        let PeerAddress { address, peer } = wanted;
        let is_own = peer.map_or_else(|| self.is_own_address(&address), |peer| peer == self.own);
        if is_own {
            let _ = reply.send(Err(MeshError::Itself(address.to_string())));
        } else if let Some(peer) = peer.filter(|peer| self.peers.contains(*peer)) {
            let _ = reply.send(Ok(peer));
        } else {
            let dial = Dial { peer, place: address.to_string(), purpose: Purpose::Caller(reply) };
            self.start(options(peer, vec![address]), dial);
        }
    }

    /// Dials whoever is due.
    pub(super) fn dial_due(&mut self) {
        for target in self.reconnect.due(Instant::now()) {
            match target {
                Target::Known(peer) => self.dial_known(peer),
                Target::Bootstrap(place) => self.dial_bootstrap(place),
            }
        }
    }

    /// Dials a peer under every address known, unless that is going on already.
    fn dial_known(&mut self, peer: NodeId) {
        if self.dials.values().any(|dial| matches!(dial.purpose, Purpose::Node(node) if node == peer)) {
            return;
        }
        let now = Instant::now();
        let mut addresses = self.book.candidates(peer, &self.roster, now);
        addresses.retain(|address| !self.is_own_address(address));
        if addresses.is_empty() {
            self.reconnect.failed(Target::Known(peer), now, chance());
            self.fail_waiting(peer, || MeshError::NoAddress(peer));
            return;
        }
        let dial = Dial { peer: Some(peer), place: format!("node {peer}"), purpose: Purpose::Node(peer) };
        self.start(options(Some(peer), addresses), dial);
    }

    fn dial_bootstrap(&mut self, place: usize) {
        let Some(bootstrap) = self.bootstrap.get(place) else { return };
        let peer = bootstrap.peer.filter(|_| bootstrap.pinned);
        let address = bootstrap.address.clone();
        let dial = Dial { peer, place: address.to_string(), purpose: Purpose::Bootstrap(place) };
        self.start(options(peer, vec![address]), dial);
    }

    fn start(&mut self, options: DialOpts, dial: Dial) {
        let connection = options.connection_id();
        self.dials.insert(connection, dial);
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(connection, &error);
        }
    }

    /// A connection has been made, by whomever.
    pub(super) fn dial_succeeded(&mut self, connection: ConnectionId, peer: NodeId) {
        let now = Instant::now();
        self.reconnect.connected(Target::Known(peer), now);
        match self.dials.remove(&connection).map(|dial| dial.purpose) {
            Some(Purpose::Caller(reply)) => drop(reply.send(Ok(peer))),
            Some(Purpose::Bootstrap(place)) => self.bootstrap_answered(place, peer),
            Some(Purpose::Node(_)) | None => {}
        }
        for place in self.bootstrap_places(peer) {
            self.reconnect.connected(Target::Bootstrap(place), now);
        }
        for request in self.waiting.remove(&peer).unwrap_or_default() {
            // A request that finds no connection any more is dropped, which its caller sees.
            let _ = self.swarm.behaviour_mut().streams.open(peer_id::to_peer_id(peer), request);
        }
    }

    fn bootstrap_answered(&mut self, place: usize, peer: NodeId) {
        let before = self.bootstrap[place].peer.replace(peer);
        let limits = &mut self.swarm.behaviour_mut().limits;
        limits.bypass_peer_id(&peer_id::to_peer_id(peer));
        if let Some(before) = before
            && !self.is_trusted(before)
        {
            self.swarm.behaviour_mut().limits.remove_peer_id(&peer_id::to_peer_id(before));
        }
        self.watch_bootstrap();
    }

    pub(super) fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(Dial { peer, place, purpose }) = self.dials.remove(&connection) else { return };
        tracing::debug!(peer = place, %error, "dial failed");
        let now = Instant::now();
        match purpose {
            Purpose::Caller(reply) => drop(reply.send(Err(explain(error, peer, &place)))),
            Purpose::Bootstrap(place) => {
                if matches!(error, DialError::LocalPeerId { .. }) {
                    self.bootstrap[place].peer = Some(self.own);
                    self.watch_bootstrap();
                }
                self.reconnect.failed(Target::Bootstrap(place), now, chance());
            }
            Purpose::Node(node) if self.peers.contains(node) => {}
            Purpose::Node(node) => {
                // The first address that answers ends the attempt for all of them, whoever answers there. An address
                // that somebody else has now must not stand in the way of the right one.
                if let DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } = error
                    && self.book.doubt(node, &without_peer(address), &self.roster, now) == Others::Left
                {
                    return self.dial_known(node);
                }
                self.reconnect.failed(Target::Known(node), now, chance());
                self.fail_waiting(node, || explain(error, peer, &place));
            }
        }
    }

    fn fail_waiting(&mut self, peer: NodeId, error: impl Fn() -> MeshError) {
        for request in self.waiting.remove(&peer).unwrap_or_default() {
            let _ = request.reply.send(Err(error()));
        }
    }

    /// Cares for the bootstrap peers that the roster does not care for, and not for ourselves.
    pub(super) fn watch_bootstrap(&mut self) {
        let now = Instant::now();
        for (place, bootstrap) in self.bootstrap.iter().enumerate() {
            let target = Target::Bootstrap(place);
            let itself = bootstrap.peer == Some(self.own) || self.is_own_address(&bootstrap.address);
            if itself || bootstrap.peer.is_some_and(|peer| self.roster.contains(peer)) {
                self.reconnect.forget(target);
                continue;
            }
            self.reconnect.watch(target, now);
            if bootstrap.peer.is_some_and(|peer| self.peers.contains(peer)) {
                self.reconnect.connected(target, now);
            }
        }
    }

    /// The places at which a peer stands in the configuration.
    pub(super) fn bootstrap_places(&self, peer: NodeId) -> Vec<usize> {
        let places = self.bootstrap.iter().enumerate();
        places.filter(|(_, bootstrap)| bootstrap.peer == Some(peer)).map(|(place, _)| place).collect()
    }

    fn is_own_address(&self, address: &Multiaddr) -> bool {
        self.swarm.listeners().chain(self.swarm.external_addresses()).any(|own| own == address)
    }
}

/// A dial from a port of its own: sharing the listening port, as libp2p would, makes two peers that dial each other at
/// the same time meet in one connection where both think that they began it.
fn options(peer: Option<NodeId>, addresses: Vec<Multiaddr>) -> DialOpts {
    match peer {
        Some(peer) => DialOpts::peer_id(peer_id::to_peer_id(peer))
            // Whether to dial is decided here; libp2p would refuse a second address while the first is being tried.
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .allocate_new_port()
            .build(),
        None => {
            let address = addresses.into_iter().next().unwrap_or_else(Multiaddr::empty);
            DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
        }
    }
}

/// The same for people.
fn explain(error: &DialError, expected: Option<NodeId>, peer: &str) -> MeshError {
    match (error, expected) {
        (DialError::LocalPeerId { address }, _) => MeshError::Itself(address.to_string()),
        (DialError::WrongPeerId { obtained, address }, Some(expected)) => {
            MeshError::WrongPeer { expected, found: obtained.to_string(), address: address.to_string() }
        }
        (DialError::Transport(attempts), _) => {
            let reasons: Vec<_> =
                attempts.iter().map(|(address, error)| format!("{address}: {}", root(error))).collect();
            MeshError::Unreachable { peer: peer.to_owned(), reason: reasons.join("; ") }
        }
        (error, _) => MeshError::Unreachable { peer: peer.to_owned(), reason: root(error) },
    }
}

/// The innermost cause: the layers around it only say that something below failed.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A number in 0..1; without randomness from the system the middle does.
pub(super) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
