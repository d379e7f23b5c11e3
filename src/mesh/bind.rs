//! From a configuration to a running mesh.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, Transport, dns, noise, swarm, tcp, yamux};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::address::{AddressError, PeerAddress, parse_listen};
use super::behaviour::{Behaviour, ListenAddresses};
use super::counters::Counting;
use super::dialling::BootstrapPeer;
use super::error::MeshError;
use super::event_loop::{EventLoop, Inboxes};
use super::gossip;
use super::handle::{Inbound, Mesh, MeshConfig, Shared};
use super::identity::Identity;
use super::peers::Peers;
use super::roster::Roster;
use super::streams::Gate;
use crate::tasks::Tasks;
use crate::types::limits::{
    MESH_COMMANDS_MAX, MESH_HANDSHAKE_TIMEOUT, MESH_IDLE_STRANGER_TIMEOUT, MESH_INBOUND_STREAMS_MAX, PEER_EXCHANGES_MAX,
};

/// How long the system may take to name the interfaces behind `0.0.0.0`.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn bind(config: MeshConfig, tasks: &Tasks) -> Result<(Mesh, Inbound), MeshError> {
    let listen = config.listen.iter().map(|text| parse_listen(text)).collect::<Result<Vec<_>, _>>()?;
    let advertise = config.advertise.iter().map(|text| PeerAddress::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let advertise: Vec<_> = advertise.into_iter().map(|parsed| parsed.address).collect();
    let bootstrap = config.bootstrap_peers.iter().map(|text| PeerAddress::parse(text));
    let bootstrap: Vec<BootstrapPeer> = bootstrap.map(|p| p.map(Into::into)).collect::<Result<_, AddressError>>()?;

    let (roster_writer, roster) = watch::channel(Arc::new(Roster::default()));
    let (inbound_sender, inbound) = mpsc::channel(MESH_INBOUND_STREAMS_MAX);
    let (exchange_sender, exchanges) = mpsc::channel(PEER_EXCHANGES_MAX);
    let (command_sender, commands) = mpsc::channel(MESH_COMMANDS_MAX);
    let (gossip_handle, gossip_state, gossip_inbox) = gossip::channels(config.gossip_sources);
    let counting = Arc::new(Counting::default());
    let gate = Arc::new(Gate {
        roster: roster.clone(),
        inbound: inbound_sender,
        exchanges: exchange_sender,
        counting: Arc::clone(&counting),
    });
    let told = if advertise.is_empty() { ListenAddresses::Told } else { ListenAddresses::Hidden };
    let behaviour = Behaviour::new(&config.identity, gate, config.connections_max, config.agent_version, told);

    let abandon = CancellationToken::new();
    let executor = executor(tasks.clone(), abandon.clone());
    let swarm_config = swarm::Config::with_executor(executor).with_idle_connection_timeout(MESH_IDLE_STRANGER_TIMEOUT);
    let node_id = config.identity.node_id();
    let own_peer_id = config.identity.keypair().public().to_peer_id();
    let mut swarm = Swarm::new(transport(&config.identity)?, behaviour, own_peer_id, swarm_config);
    for address in &advertise {
        swarm.add_external_address(address.clone());
    }
    let (listeners, listening) = listen_on(&mut swarm, &listen).await?;
    let listening = Arc::new(RwLock::new(listening));

    let peers = Arc::new(Peers::new());
    let shared = Shared {
        node_id,
        commands: command_sender,
        roster: roster_writer,
        peers: Arc::clone(&peers),
        listening: Arc::clone(&listening),
        advertise,
        counting: Arc::clone(&counting),
        gossip: gossip_handle,
    };
    let inboxes = Inboxes { commands, roster, exchanges };
    let event_loop = EventLoop::new(
        swarm,
        inboxes,
        (gossip_state, counting),
        peers,
        (listeners, listening),
        bootstrap,
        tasks.clone(),
    );
    tasks.spawn(event_loop.run(config.peer_exchange, tasks.cancelled(), abandon));
    Ok((Mesh { shared: Arc::new(shared) }, Inbound { streams: inbound, gossip: Some(gossip_inbox) }))
}

/// Connections run on tasks of `tasks`, but end when the event loop has given them time to close, not before.
fn executor(
    tasks: Tasks,
    abandon: CancellationToken,
) -> impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + 'static {
    move |future| {
        let abandon = abandon.clone();
        tasks.spawn(async move { abandon.run_until_cancelled(future).await });
    }
}

/// TCP, then Noise, then Yamux.
fn transport(identity: &Identity) -> Result<Boxed<(PeerId, StreamMuxerBox)>, MeshError> {
    let noise = noise::Config::new(identity.keypair()).map_err(|error| MeshError::Encryption(error.to_string()))?;
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let resolving = dns::tokio::Transport::system(tcp()).unwrap_or_else(|error| {
        tracing::warn!(%error, "no name server is configured: peers are reached by IP address only");
        dns::tokio::Transport::custom(tcp(), dns::ResolverConfig::default(), dns::ResolverOpts::default())
    });
    Ok(resolving
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        // Windows start at 256 KiB and grow with what the reader takes and the round trip allows, up to 1 GiB over all
        // streams of a connection: yamux tunes itself, its defaults reach the speed of the link.
        .multiplex(yamux::Config::default())
        .timeout(MESH_HANDSHAKE_TIMEOUT)
        .boxed())
}

/// Listens, and says on what.
async fn listen_on(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<(Vec<ListenerId>, Vec<Multiaddr>), MeshError> {
    for address in addresses {
        check_free(address).map_err(|error| listen_error(address, error))?;
    }
    let mut unnamed = HashMap::new();
    for address in addresses {
        let listener = swarm.listen_on(address.clone()).map_err(|error| match error {
            TransportError::Other(error) => listen_error(address, error),
            TransportError::MultiaddrNotSupported(_) => listen_error(address, io::ErrorKind::Unsupported.into()),
        })?;
        unnamed.insert(listener, address);
    }
    let mut listening = Vec::new();
    let mut named = HashSet::new();
    let all_named = tokio::time::timeout(LISTEN_TIMEOUT, async {
        // `0.0.0.0` names several addresses, in quick succession: after the first one take what is there already.
        loop {
            let event = if named.len() < unnamed.len() {
                swarm.select_next_some().await
            } else if let Some(event) = swarm.select_next_some().now_or_never() {
                event
            } else {
                return Ok(());
            };
            match event {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    named.insert(listener_id);
                    listening.push(address);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                | SwarmEvent::ListenerError { listener_id, error }
                    if let Some(address) = unnamed.get(&listener_id) =>
                {
                    return Err(listen_error(address, error));
                }
                // Nobody knows of us yet; whoever comes this early dials again.
                _ => {}
            }
        }
    });
    match all_named.await {
        Ok(outcome) => outcome.map(|()| (unnamed.into_keys().collect(), listening)),
        Err(_) => {
            let missing = unnamed.iter().find(|(listener, _)| !named.contains(*listener));
            let address = missing.map_or(String::new(), |(_, address)| address.to_string());
            Err(MeshError::Listen { address, source: io::ErrorKind::TimedOut.into() })
        }
    }
}

/// libp2p shares ports between sockets (`SO_REUSEPORT`), so a second node of the same user would get half of the first
/// one's connections instead of an error. A plain bind tells.
fn check_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Part::Ip4(ip)) => IpAddr::V4(ip),
        Some(Part::Ip6(ip)) => IpAddr::V6(ip),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Part::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn listen_error(address: &Multiaddr, source: io::Error) -> MeshError {
    let address = address.to_string();
    match source.kind() {
        io::ErrorKind::AddrInUse => MeshError::AddressInUse { address },
        _ => MeshError::Listen { address, source },
    }
}
