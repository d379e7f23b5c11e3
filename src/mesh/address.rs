//! Addresses of peers: which texts we take, and who may be told about which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::peer_id;
use crate::types::NodeId;

/// Longest address text: a DNS name has at most 253 characters, a peer id 52.
const ADDRESS_BYTES_MAX: usize = 400;

/// A text that is no address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a peer address: {reason} (expected for example /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…)")]
pub struct AddressError {
    /// The text, cut to a readable length.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Where to dial, and who should answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerAddress {
    /// `/<ip or name>/tcp/<port>`, without a peer id.
    pub(super) address: Multiaddr,
    /// The peer that the text named.
    pub(super) peer: Option<NodeId>,
}

impl PeerAddress {
    /// Reads an address to dial, with or without `/p2p/<peer id>`.
    pub(super) fn parse(text: &str) -> Result<PeerAddress, AddressError> {
        let parsed = PeerAddress::split(text)?;
        if scope(&parsed.address).is_none() {
            return Err(refuse(text, "nobody can be dialled there"));
        }
        Ok(parsed)
    }

    fn split(text: &str) -> Result<PeerAddress, AddressError> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(refuse(text, "it is too long"));
        }
        let whole: Multiaddr = text.parse().map_err(|_| refuse(text, "it cannot be read as a multiaddr"))?;
        let mut address = Multiaddr::empty();
        let mut peer = None;
        for (position, part) in whole.iter().enumerate() {
            match (position, &part) {
                (0, Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
                | (1, Protocol::Tcp(_)) => address.push(part),
                (2, Protocol::P2p(id)) => {
                    peer = Some(peer_id::to_node_id(id).ok_or_else(|| refuse(text, "its peer id is not Ed25519"))?);
                }
                _ => return Err(refuse(text, "only /ip4, /ip6 or /dns followed by /tcp and /p2p is supported")),
            }
        }
        if address.iter().count() < 2 {
            return Err(refuse(text, "it names no TCP port"));
        }
        Ok(PeerAddress { address, peer })
    }
}

/// Reads an address to listen on: an IP address and a TCP port, 0 for any.
pub(super) fn parse_listen(text: &str) -> Result<Multiaddr, AddressError> {
    let parsed = PeerAddress::split(text)?;
    match parsed.address.iter().next() {
        Some(Protocol::Ip4(_) | Protocol::Ip6(_)) if parsed.peer.is_none() => Ok(parsed.address),
        _ => Err(refuse(text, "to listen it must be an IP address and a port, without a peer id")),
    }
}

/// The address without the peer id that may end it.
pub(super) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

fn refuse(text: &str, reason: &'static str) -> AddressError {
    AddressError { text: text.chars().take(100).collect(), reason }
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// The Internet, and every DNS name.
    Public,
}

impl Scope {
    /// Whether an address of this scope means anything to a peer that we talk to over an address of scope `remote`.
    ///
    /// Both ways: what we tell others, and what we believe from them. It keeps a peer on the Internet from learning our
    /// private network, and from making us knock on its doors.
    pub(super) fn concerns(self, remote: Scope) -> bool {
        self >= remote
    }
}

/// The scope of a dialable address; `None` when nobody can be dialled there.
pub(super) fn scope(address: &Multiaddr) -> Option<Scope> {
    let mut parts = address.iter();
    let scope = match parts.next()? {
        Protocol::Ip4(ip) => ip_scope(IpAddr::V4(ip))?,
        Protocol::Ip6(ip) => ip_scope(IpAddr::V6(ip))?,
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            if name == "localhost" || name.ends_with(".localhost") { Scope::Loopback } else { Scope::Public }
        }
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => Some(scope),
        _ => None,
    }
}

fn ip_scope(ip: IpAddr) -> Option<Scope> {
    match ip.to_canonical() {
        ip if ip.is_unspecified() || ip.is_multicast() => None,
        ip if ip.is_loopback() => Some(Scope::Loopback),
        IpAddr::V4(ip) if ip.is_broadcast() || ip.is_link_local() => None,
        // A link-local address means something only together with an interface, which a multiaddr does not carry.
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V4(ip) if ip.is_private() || is_shared(ip) => Some(Scope::Private),
        IpAddr::V6(ip) if is_unique_local(ip) => Some(Scope::Private),
        _ => Some(Scope::Public),
    }
}

/// 100.64.0.0/10, the addresses behind a carrier's NAT and of many VPNs.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

/// fc00::/7.
fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.octets()[0] & 0xfe == 0xfc
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWGqqR8bxgmYsYrGYMKnUWwZUCpioLmA3H37ggRDnAiFa7";

    #[test]
    fn an_address_splits_into_place_and_peer() {
        let parsed = PeerAddress::parse(&format!("/dns4/node.example/tcp/4001/p2p/{PEER}")).expect("valid");
        assert_eq!(parsed.address.to_string(), "/dns4/node.example/tcp/4001");
        assert_eq!(parsed.peer, Some(PEER.parse().expect("a node id")));
        assert_eq!(PeerAddress::parse("/ip4/10.0.0.1/tcp/1").expect("valid").peer, None);
    }

    #[test]
    fn malformed_addresses_are_refused_by_name() {
        let long = format!("/dns/{}/tcp/1", "a".repeat(500));
        for text in [
            "",
            "/",
            "10.0.0.1:4001",
            "/ip4/10.0.0.1",
            "/ip4/10.0.0.300/tcp/1",
            "/ip4/10.0.0.1/udp/4001/quic-v1",
            "/ip4/10.0.0.1/tcp/4001/ws",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/10.0.0.1/tcp/0",
            "/ip4/10.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "/ip4/10.0.0.1/tcp/1/p2p/12D3KooW",
            &long,
        ] {
            let error = PeerAddress::parse(text).expect_err(text);
            assert!(error.to_string().contains("expected for example"), "{error}");
        }
        assert!(parse_listen(&format!("/ip4/127.0.0.1/tcp/0/p2p/{PEER}")).is_err());
        assert!(parse_listen("/dns4/localhost/tcp/0").is_err());
        assert!(parse_listen("/ip4/0.0.0.0/tcp/0").is_ok());
    }

    #[test]
    fn scopes_keep_private_addresses_among_private_peers() {
        let of = |text: &str| scope(&text.parse().expect("a multiaddr"));
        assert_eq!(of("/ip4/127.0.0.1/tcp/1"), Some(Scope::Loopback));
        assert_eq!(of("/ip6/::1/tcp/1"), Some(Scope::Loopback));
        assert_eq!(of("/ip6/::ffff:127.0.0.1/tcp/1"), Some(Scope::Loopback));
        assert_eq!(of("/dns/localhost/tcp/1"), Some(Scope::Loopback));
        assert_eq!(of("/ip4/192.168.1.4/tcp/1"), Some(Scope::Private));
        assert_eq!(of("/ip4/100.64.0.9/tcp/1"), Some(Scope::Private));
        assert_eq!(of("/ip6/fd00::1/tcp/1"), Some(Scope::Private));
        assert_eq!(of("/ip4/203.0.113.7/tcp/1"), Some(Scope::Public));
        assert_eq!(of("/dns4/a.example/tcp/1"), Some(Scope::Public));
        assert_eq!(of("/ip6/fe80::1/tcp/1"), None);
        assert_eq!(of("/ip4/169.254.1.1/tcp/1"), None);
        assert!(Scope::Public.concerns(Scope::Private) && Scope::Private.concerns(Scope::Private));
        assert!(!Scope::Loopback.concerns(Scope::Private) && !Scope::Private.concerns(Scope::Public));
    }
}
