//! Addresses as they stand in the configuration: checked for their shape, not yet resolved.
//!
//! The mesh turns a [`PeerAddress`] into its own type; only TCP is spoken there, so only TCP is accepted here.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::NodeId;

/// A multiaddr `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT` with an optional `/p2p/PEER-ID`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// `ip4`, `ip6`, `dns`, `dns4` or `dns6`.
    protocol: &'static str,
    host: String,
    port: u16,
    node: Option<NodeId>,
}

/// A text that is no peer address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPeerAddress {
    /// Not of the expected shape.
    #[error("invalid multiaddr: `{0}`; expected /ip{{4,6}}/.../tcp/<port>[/p2p/<peerID>] or /dns/<name>/tcp/<port>")]
    Shape(String),
    /// Another transport than TCP.
    #[error("missing /tcp/<port> component in `{0}`; expected /ip{{4,6}}/.../tcp/<port>, peers speak TCP only")]
    NoTcp(String),
    /// The port is no port.
    #[error("invalid TCP port {port} in `{address}`; expected a number between 0 and 65535")]
    Port {
        /// The whole text.
        address: String,
        /// What stands for the port.
        port: String,
    },
    /// The peer id is none.
    #[error("invalid peer id in `{0}`; expected base58 text that begins with 12D3Koo")]
    Peer(String),
}

impl PeerAddress {
    /// The TCP port; 0 lets the system choose when listening.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host: an IP address or a DNS name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The peer that is expected there.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// Whether it stands for every local address rather than for one.
    pub fn is_unspecified(&self) -> bool {
        self.host == "0.0.0.0" || self.host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl FromStr for PeerAddress {
    type Err = InvalidPeerAddress;

    fn from_str(text: &str) -> Result<PeerAddress, InvalidPeerAddress> {
        let shape = || InvalidPeerAddress::Shape(text.to_owned());
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(shape)?.split('/').collect();
        let [protocol, host, transport @ ..] = parts.as_slice() else { return Err(shape()) };
        let (protocol, host_ok) = match *protocol {
            "ip4" => ("ip4", host.parse::<Ipv4Addr>().is_ok()),
            "ip6" => ("ip6", host.parse::<Ipv6Addr>().is_ok()),
            "dns" => ("dns", is_dns_name(host)),
            "dns4" => ("dns4", is_dns_name(host)),
            "dns6" => ("dns6", is_dns_name(host)),
            _ => return Err(shape()),
        };
        if !host_ok {
            return Err(shape());
        }
        let ["tcp", port, peer @ ..] = transport else { return Err(InvalidPeerAddress::NoTcp(text.to_owned())) };
        let bad_port = || InvalidPeerAddress::Port { address: text.to_owned(), port: (*port).to_owned() };
        let port = port.parse().map_err(|_| bad_port())?;
        let node = match peer {
            [] => None,
            ["p2p" | "ipfs", id] => Some(id.parse().map_err(|_| InvalidPeerAddress::Peer(text.to_owned()))?),
            _ => return Err(shape()),
        };
        Ok(PeerAddress { protocol, host: (*host).to_owned(), port, node })
    }
}

fn is_dns_name(text: &str) -> bool {
    let label_ok =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= 253 && text.trim_end_matches('.').split('.').all(label_ok)
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}/tcp/{}", self.protocol, self.host, self.port)?;
        self.node.map_or(Ok(()), |node| write!(f, "/p2p/{node}"))
    }
}

/// A TCP address `HOST:PORT`; `:PORT` means every local address, as in Go.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text that is no `HOST:PORT`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidHostPort {
    /// No colon, or more than one outside brackets.
    #[error("`{0}` is no address; expected format host:port")]
    Shape(String),
    /// The port is no port.
    #[error("port must be a number between 0 and 65535; got \"{0}\"")]
    Port(String),
}

impl HostPort {
    /// An address from its parts; the host is an IP address (without brackets) or a name.
    pub fn new(host: impl Into<String>, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    /// The host, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the system choose.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;

    fn from_str(text: &str) -> Result<HostPort, InvalidHostPort> {
        let shape = || InvalidHostPort::Shape(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let port = port.parse().map_err(|_| InvalidHostPort::Port(port.to_owned()))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) if ip.parse::<Ipv6Addr>().is_ok() => ip,
            None if host.is_empty() => "0.0.0.0",
            None if is_dns_name(host) => host,
            _ => return Err(shape()),
        };
        Ok(HostPort::new(host, port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PeerAddress, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostPort, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWGqqR8bxgmYsYrGYMKnUWwZUCpioLmA3H37ggRDnAiFa7";

    #[test]
    fn peer_addresses_survive_printing() {
        for text in [
            "/ip4/0.0.0.0/tcp/4001".to_owned(),
            "/ip6/::1/tcp/0".to_owned(),
            "/dns/node-1.example.org/tcp/4001".to_owned(),
            format!("/dns4/debros-0.debros/tcp/4001/p2p/{PEER}"),
        ] {
            assert_eq!(text.parse::<PeerAddress>().expect("valid").to_string(), text);
        }
    }

    #[test]
    fn a_bad_peer_address_says_what_is_bad() {
        let message = |text: &str| text.parse::<PeerAddress>().expect_err(text).to_string();
        assert!(message("10.0.0.1:4001").starts_with("invalid multiaddr: `10.0.0.1:4001`; expected /ip{4,6}/"));
        assert!(message("/ip4/300.0.0.1/tcp/4001").starts_with("invalid multiaddr"));
        assert!(message("/ip4/1.2.3.4/udp/4001/quic-v1").starts_with("missing /tcp/<port> component"));
        assert!(message("/ip4/1.2.3.4/tcp/70000").starts_with("invalid TCP port 70000"));
        assert!(message("/ip4/1.2.3.4/tcp/1/p2p/Qm").starts_with("invalid peer id"));
        assert!(message("/ip4/1.2.3.4/tcp/1/ws").starts_with("invalid multiaddr"));
        assert!(message("/dns//tcp/1").starts_with("invalid multiaddr"));
    }

    #[test]
    fn host_and_port_survive_printing() {
        for text in ["127.0.0.1:5001", "localhost:0", "[::1]:6001"] {
            assert_eq!(text.parse::<HostPort>().expect("valid").to_string(), text);
        }
        assert_eq!(":6001".parse::<HostPort>().expect("valid").to_string(), "0.0.0.0:6001");
        for text in ["", "127.0.0.1", "host:x", "a b:1", "::1:5001", "host:70000"] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?} was accepted");
        }
    }
}
