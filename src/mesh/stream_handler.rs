//! One connection's side of opening and accepting streams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::Stream;
use libp2p::core::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use tokio::sync::Semaphore;

use super::error::MeshError;
use super::protocol::{Standing, Wire};
use super::stream::MeshStream;
use super::streams::{Gate, OpenRequest};
use crate::types::NodeId;
use crate::types::limits::{MESH_OPENS_PER_PEER_MAX, MESH_STREAMS_PER_STRANGER_MAX};

/// Protocols to agree on one of; the agreed one comes with the stream.
#[derive(Debug)]
pub(super) struct Offer(Vec<Wire>);

impl AsRef<str> for Wire {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl UpgradeInfo for Offer {
    type Info = Wire;
    type InfoIter = std::vec::IntoIter<Wire>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, Wire);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, wire: Wire) -> Self::Future {
        ready(Ok((stream, wire)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, Wire);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, wire: Wire) -> Self::Future {
        ready(Ok((stream, wire)))
    }
}

/// Negotiates streams on one connection. Each waiting caller's request travels with its negotiation, so that a slow one
/// holds up nobody else.
pub(super) struct StreamHandler {
    peer: NodeId,
    gate: Arc<Gate>,
    waiting: VecDeque<OpenRequest>,
    negotiating: usize,
    /// How many more streams the peer may open while it is a stranger.
    strangers_share: Arc<Semaphore>,
}

impl StreamHandler {
    pub(super) fn new(peer: NodeId, gate: Arc<Gate>) -> StreamHandler {
        StreamHandler {
            peer,
            gate,
            waiting: VecDeque::new(),
            negotiating: 0,
            strangers_share: Arc::new(Semaphore::new(MESH_STREAMS_PER_STRANGER_MAX)),
        }
    }

    fn failure(&self, wire: Wire, error: StreamUpgradeError<Infallible>) -> MeshError {
        let peer = self.peer;
        match error {
            StreamUpgradeError::NegotiationFailed => MeshError::Refused { peer, protocol: wire.name() },
            StreamUpgradeError::Timeout => {
                MeshError::Lost { peer, reason: format!("no answer to opening {}", wire.name()) }
            }
            StreamUpgradeError::Io(error) => MeshError::Lost { peer, reason: error.to_string() },
            StreamUpgradeError::Apply(never) => match never {},
        }
    }
}

impl ConnectionHandler for StreamHandler {
    type FromBehaviour = OpenRequest;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenRequest;

    /// Asked for each inbound stream: what is not offered here is refused before a byte of it is read.
    fn listen_protocol(&self) -> SubstreamProtocol<Offer, ()> {
        let standing = self.gate.standing(self.peer);
        let offered = Wire::ALL.into_iter().filter(|wire| wire.admits(standing)).collect();
        SubstreamProtocol::new(Offer(offered), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.gate.standing(self.peer) != Standing::Stranger
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, OpenRequest, Infallible>> {
        // No waker: libp2p polls a handler after each event for it.
        while let Some(request) = self.waiting.pop_front() {
            let left = request.deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO || request.reply.is_closed() {
                continue;
            }
            self.negotiating += 1;
            let protocol = SubstreamProtocol::new(Offer(vec![request.wire]), request).with_timeout(left);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, request: OpenRequest) {
        if self.waiting.len() + self.negotiating < MESH_OPENS_PER_PEER_MAX {
            self.waiting.push_back(request);
        } else {
            let _ = request.reply.send(Err(MeshError::Busy(self.peer)));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Offer, Offer, (), OpenRequest>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, wire), .. }) => {
                self.gate.admit(self.peer, wire, stream, &self.strangers_share);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, _), info }) => {
                self.negotiating = self.negotiating.saturating_sub(1);
                // A caller that has gone away drops the stream with its end of the channel.
                let _ = info.reply.send(Ok(MeshStream::new(stream, None)));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.negotiating = self.negotiating.saturating_sub(1);
                let _ = info.reply.send(Err(self.failure(info.wire, error)));
            }
            _ => {}
        }
    }
}
