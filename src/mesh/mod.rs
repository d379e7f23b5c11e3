//! The mesh: encrypted, mutually authenticated streams between nodes, and the only place that names libp2p.
//!
//! One TCP port carries everything that peers say to each other (Noise for encryption and identity, Yamux for streams).
//! Whoever is above this module opens a [`MeshStream`] to a [`NodeId`](crate::types::NodeId) for a [`Protocol`], or takes
//! the next one that a peer opened from [`Inbound`]; addresses, dialling and reconnecting are the mesh's business.
//!
//! What it promises:
//!
//! * **Closed membership.** [`Mesh::set_members`] says who may open which protocol. A stranger can identify itself, ping,
//!   ask for peers and open [`Protocol::Join`]; nothing else is offered to it when a protocol is negotiated, so it gets an
//!   error and we never read a byte. The check is made for each stream, so a removal takes effect at once.
//! * **It heals by itself.** Members are dialled at once and then with a back-off of at most some seconds, under every
//!   address that the log, the configuration, the peer itself or other peers name.
//! * **Members get in.** Strangers are limited in connections, streams and memory; members are exempt.
//! * **Everything is bounded**, and what does not fit is dropped and counted ([`Counters`]), never queued without end.
//!
//! Beside streams there is gossip, to everybody who listens, at most once ([`Mesh::gossip`]).
//!
//! What it leaves out: framing, deadlines of what is read from a stream, retries of requests. Those belong to the caller.
//!
//! Inside, one task owns the Swarm ([`event_loop`]); [`reconnect`] and [`address_book`] decide over values and do no I/O.

mod address;
mod address_book;
mod behaviour;
mod bind;
mod counters;
mod dialling;
mod error;
mod event_loop;
mod exchange_rounds;
mod gossip;
mod gossip_gate;
mod gossip_rounds;
mod handle;
mod identity;
mod peer_exchange;
mod peer_id;
mod peers;
mod protocol;
mod reconnect;
mod roster;
mod stream;
mod stream_handler;
mod streams;

pub use address::AddressError;
pub use counters::Counters;
pub use error::MeshError;
pub use gossip::{GossipFrame, GossipInbox, GossipSources, Gossiped, Shards};
pub use handle::{Inbound, Mesh, MeshConfig, PeerExchange};
pub use identity::{Identity, IdentityError};
pub use peers::{ConnectedPeer, ConnectionChange, Direction};
pub use protocol::{Protocol, Standing};
pub use stream::{InboundStream, MeshStream};

#[cfg(test)]
mod tests;
