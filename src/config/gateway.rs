//! `[gateway]`: the HTTP and WebSocket face.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::address::{HostPort, PeerAddress};
use super::discovery::check_peers;
use super::problem::{Problem, Problems};
use super::units;
use crate::types::callback_url::CallbackUrl;
use crate::types::{IpRange, Namespace};

/// The HTTP and WebSocket face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens; `addr` is accepted as another name. Loopback, because it speaks plain HTTP: put a TLS proxy
    /// in front of it. 6001 is upstream's port. Port 0 lets the system choose.
    pub listen_addr: HostPort,
    /// The namespace of requests that name none.
    pub namespace: Namespace,
    /// Whether data routes need a credential. Off only for development: everybody who reaches the port is then the
    /// owner of `namespace`. So it must listen on loopback then.
    pub require_auth: bool,
    /// Keys that open a namespace without being stored in the cluster, as `KEY:NAMESPACE`; `KEY:*` is the operator's. A
    /// key may also be made by `debros key create`, which can end it too.
    pub api_keys: Vec<ConfiguredKey>,
    /// Peers that a gateway dials first. Empty means `discovery.bootstrap_peers`.
    pub bootstrap_peers: Vec<PeerAddress>,
    /// Origins whose pages may call it, for CORS and WebSockets. None by default; `debros dev` lets every one in. `*` is
    /// every origin: credentials are never taken from cookies, so a foreign page has none that it was not given.
    pub allowed_origins: Vec<String>,
    /// Addresses that the login page may hand a new API key to, as `https://app.example.org/auth`: there, and below that
    /// path. `http` on the browser's own machine needs no entry.
    pub login_callbacks: Vec<CallbackUrl>,
    /// Addresses of proxies whose `X-Forwarded-For` is believed. Rate limits and the access log see through them.
    pub trusted_proxies: Vec<IpRange>,
    /// Connections held at once: 10 000 idle ones and room for busy ones. An idle one costs about 12 KB.
    pub connections_max: usize,
    /// Connections held at once for one client address; this machine and trusted proxies are exempt.
    pub connections_per_address_max: usize,
    /// How long a connection may idle between requests: longer than the pools of common clients keep one.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
    /// Requests per second of one client address, with twice as many at once; 0 is without limit. This machine is
    /// exempt. A page with all its scripts does not come near it.
    pub rate_per_address: u32,
    /// Requests per second of one API key or session. High, so that it bounds damage and not work.
    pub rate_per_key: u32,
    /// Requests per second of one namespace.
    pub rate_per_namespace: u32,
    /// Whether a wallet that logs in to a free namespace name becomes its owner. Off: namespaces come from
    /// `debros namespace create` only.
    pub sign_up: bool,
    /// Whether a wallet may sign the bare nonce, as clients of the earlier system do. The full text names who asks and
    /// what for, so that a wallet can warn its owner.
    pub bare_nonce: bool,
    /// Host and port that wallets show as who asks for a signature; empty means those of `public_url`.
    pub domain: String,
    /// Where users find this gateway.
    pub public_url: String,
    /// The chain that Ethereum wallets sign for.
    pub chain_id: u64,
    /// The network that Solana wallets sign for: mainnet, testnet, devnet or localnet.
    pub solana_cluster: String,
    /// Most keys of a namespace; 0 is without limit.
    pub kv_keys_max: u64,
    /// Most bytes of a namespace's keys and values; 0 is without limit.
    #[serde(with = "units::size")]
    pub kv_bytes_max: u64,
    /// Largest database of a namespace, keys and values included; 0 is without limit.
    #[serde(with = "units::size")]
    pub database_bytes_max: u64,
    /// Attempts to log in, per minute, of one client address, this machine included. A person needs three requests.
    pub logins_per_minute: u32,
    /// How messages come on a WebSocket without a subprotocol: `raw` is what was published, `envelope` is JSON with
    /// data, time and topic.
    pub socket_format: SocketFormat,
    /// Frames per second that one WebSocket may send, with twice as many at once; one that sends more is closed. 0 is
    /// without limit.
    pub socket_rate: u32,
    /// Whether `?api_key=` and `?token=` count where a socket or a stream of events is opened. Proxies and histories keep
    /// URLs, so turn it off when no client needs it.
    pub query_credentials: bool,
}

/// How messages come on a WebSocket without a subprotocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketFormat {
    /// What was published.
    #[default]
    Raw,
    /// JSON with data, time and topic.
    Envelope,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            listen_addr: HostPort::new("127.0.0.1", 6001),
            namespace: Namespace::default_namespace(),
            require_auth: true,
            api_keys: Vec::new(),
            bootstrap_peers: Vec::new(),
            allowed_origins: Vec::new(),
            login_callbacks: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 16_384,
            connections_per_address_max: 256,
            idle_timeout: Duration::from_secs(300),
            rate_per_address: 1_000,
            rate_per_key: 20_000,
            rate_per_namespace: 50_000,
            sign_up: true,
            bare_nonce: true,
            domain: String::new(),
            public_url: "http://localhost:6001".to_owned(),
            chain_id: 1,
            solana_cluster: "mainnet".to_owned(),
            kv_keys_max: 1_000_000,
            kv_bytes_max: 1024 * 1024 * 1024,
            database_bytes_max: 10 * 1024 * 1024 * 1024,
            logins_per_minute: 60,
            socket_format: SocketFormat::Raw,
            socket_rate: 5_000,
            query_credentials: true,
        }
    }
}

impl GatewayConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (position, key) in self.api_keys.iter().enumerate() {
            if self.api_keys[..position].iter().any(|earlier| earlier.key == key.key) {
                problems.add(Problem::new(format!("gateway.api_keys[{position}]"), "duplicate key"));
            }
        }
        let host = self.listen_addr.host().trim_start_matches('[').trim_end_matches(']');
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !self.require_auth && !local {
            let message = format!("must not be false while gateway.listen_addr is {}", self.listen_addr);
            let hint = "without credentials, everybody who reaches that address could read and change everything";
            problems.add(Problem::new("gateway.require_auth", message).hint(hint));
        }
        problems.positive("gateway.connections_max", self.connections_max > 0, self.connections_max);
        let per_address = self.connections_per_address_max;
        problems.positive("gateway.connections_per_address_max", per_address > 0, per_address);
        let idle = units::format_duration(self.idle_timeout);
        problems.positive("gateway.idle_timeout", !self.idle_timeout.is_zero(), idle);
        if !matches!(self.solana_cluster.as_str(), "mainnet" | "testnet" | "devnet" | "localnet") {
            let message = format!("invalid network `{}`", self.solana_cluster);
            problems.add(
                Problem::new("gateway.solana_cluster", message).hint("expected mainnet, testnet, devnet or localnet"),
            );
        }
        check_peers("gateway.bootstrap_peers", &self.bootstrap_peers, problems);
        for (position, origin) in self.allowed_origins.iter().enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']));
            if origin != "*" && !is_origin {
                problems.add(
                    Problem::new(format!("gateway.allowed_origins[{position}]"), format!("invalid origin `{origin}`"))
                        .hint("expected `*` or scheme and host, for example https://app.example.org"),
                );
            }
        }
        for (position, callback) in self.login_callbacks.iter().enumerate() {
            if callback.has_query() {
                problems.add(
                    Problem::new(format!("gateway.login_callbacks[{position}]"), format!("`{callback}` has a query"))
                        .hint("leave it out; a callback may have any query"),
                );
            }
        }
    }
}

/// An API key from the configuration, and what it opens. It prints without its secret, whoever prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfiguredKey {
    key: String,
    opens: KeyOpens,
}

/// What a configured key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOpens {
    /// `gateway.namespace`.
    Default,
    /// This namespace.
    Namespace(Namespace),
    /// Everything: whoever has it operates the cluster.
    Cluster,
}

/// A text that is no `KEY:NAMESPACE`. It does not repeat the text, which may be a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidConfiguredKey {
    /// No key in it.
    #[error("key must not be empty; expected KEY:NAMESPACE")]
    Empty,
    /// The namespace is none.
    #[error("what follows the last colon is not a namespace name; expected KEY:NAMESPACE")]
    Namespace,
}

impl ConfiguredKey {
    /// What a client presents.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it opens.
    pub fn opens(&self) -> &KeyOpens {
        &self.opens
    }
}

/// Keys that a gateway issued end in `:NAMESPACE` themselves (`ak_…:NAMESPACE`), so such a text is a key with its
/// namespace; everything else is split at its last colon.
impl FromStr for ConfiguredKey {
    type Err = InvalidConfiguredKey;

    fn from_str(text: &str) -> Result<ConfiguredKey, InvalidConfiguredKey> {
        let text = text.trim();
        let (key, namespace) = match text.rsplit_once(':') {
            None => (text, None),
            Some((head, namespace)) if text.starts_with("ak_") && !head.contains(':') => (text, Some(namespace)),
            Some((key, namespace)) => (key, Some(namespace)),
        };
        if key.is_empty() {
            return Err(InvalidConfiguredKey::Empty);
        }
        let opens = match namespace {
            None => KeyOpens::Default,
            Some("*") => KeyOpens::Cluster,
            Some(name) => KeyOpens::Namespace(name.parse().map_err(|_| InvalidConfiguredKey::Namespace)?),
        };
        Ok(ConfiguredKey { key: key.to_owned(), opens })
    }
}

impl fmt::Display for ConfiguredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.opens {
            KeyOpens::Default => f.write_str("<redacted>"),
            KeyOpens::Namespace(namespace) => write!(f, "<redacted>:{namespace}"),
            KeyOpens::Cluster => f.write_str("<redacted>:*"),
        }
    }
}

impl fmt::Debug for ConfiguredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ConfiguredKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConfiguredKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConfiguredKey, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_key_is_split_where_its_namespace_begins() {
        let in_namespace = |name: &str| KeyOpens::Namespace(name.parse().expect("a name"));
        for (text, key, opens) in [
            ("secret", "secret", KeyOpens::Default),
            ("secret:chat", "secret", in_namespace("chat")),
            ("a:b:chat", "a:b", in_namespace("chat")),
            ("ak_abc:chat", "ak_abc:chat", in_namespace("chat")),
            ("ak_abc:chat:other", "ak_abc:chat", in_namespace("other")),
            ("secret:*", "secret", KeyOpens::Cluster),
        ] {
            let parsed: ConfiguredKey = text.parse().expect(text);
            assert_eq!((parsed.key(), parsed.opens()), (key, &opens));
            assert!(!format!("{parsed:?} {parsed}").contains("secret"));
        }
        assert_eq!(":chat".parse::<ConfiguredKey>(), Err(InvalidConfiguredKey::Empty));
        assert!("secret:Not A Name".parse::<ConfiguredKey>().is_err());
    }
}
