//! The configuration: one struct that is the sum of its sections, each with its defaults and their reasons.
//!
//! Four layers, the later one wins: defaults, one file (TOML or YAML), environment, flags. [`Config::load`] puts them
//! together, keeps where each value came from, and tells everything that is wrong at once. It looks at nothing but its
//! [`LoadRequest`], so tests need no process environment.
//!
//! A key that nobody knows is an error with a suggestion: a misspelt limit must not silently be the default. A key of
//! the earlier system that lost its meaning is accepted with one warning, so that its files still load.
//!
//! Loading checks values, not the machine: [`problems_of_paths`] looks at the directories, before a daemon starts.

mod address;
mod database;
mod discovery;
mod environment;
mod file;
mod gateway;
mod keys;
mod load;
#[cfg(test)]
mod load_tests;
mod logging;
mod merge;
mod node;
mod origin;
mod paths;
mod problem;
mod security;
mod show;
mod units;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use address::{HostPort, InvalidHostPort, InvalidPeerAddress, PeerAddress};
pub use database::{Anonymous, DatabaseConfig, QueuedWrites};
pub use discovery::DiscoveryConfig;
pub use gateway::{ConfiguredKey, GatewayConfig, InvalidConfiguredKey, KeyOpens, SocketFormat};
pub use load::{Account, ConfigError, Flag, LoadRequest, Loaded, account_of_this_process};
pub use logging::LoggingConfig;
pub use node::NodeConfig;
pub use origin::Origin;
pub use paths::{default_data_dir, problems_of_paths};
pub use problem::Problem;
pub use security::SecurityConfig;
pub use show::{Origins, to_toml};
pub use units::{InvalidDuration, InvalidSize, format_duration, format_size, parse_duration, parse_size};

use crate::types::Role;

/// The file that ships with debros: every key, its unit and its reason, with the values of [`Config::default`].
pub const SHIPPED: &str = include_str!("../debros.toml");

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process itself and its peer port.
    pub node: NodeConfig,
    /// The SQL listener, the Raft group, and limits of statements.
    pub database: DatabaseConfig,
    /// How peers are found again.
    pub discovery: DiscoveryConfig,
    /// The HTTP and WebSocket face.
    pub gateway: GatewayConfig,
    /// How long secrets live.
    pub security: SecurityConfig,
    /// What the process tells about itself.
    pub logging: LoggingConfig,
}

impl Config {
    /// Everything wrong with the values, each at its path. Empty means valid.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = problem::Problems::default();
        self.node.check(&mut problems);
        self.database.check(&mut problems);
        self.discovery.check(&mut problems);
        self.gateway.check(&mut problems);
        self.security.check(&mut problems);
        self.logging.check(&mut problems);
        if self.database.sql_addr == self.gateway.listen_addr && self.gateway.listen_addr.port() != 0 {
            let message = format!("must differ from database.sql_addr ({})", self.database.sql_addr);
            problems.add(Problem::new("gateway.listen_addr", message));
        }
        problems.0
    }

    /// The data directory; absolute once loaded.
    pub fn data_dir(&self) -> &Path {
        self.node.data_dir.as_deref().unwrap_or(Path::new("."))
    }

    /// The file with the node's key.
    pub fn key_file(&self) -> PathBuf {
        self.node.key_file.clone().unwrap_or_else(|| self.data_dir().join("identity.key"))
    }

    /// The peers that a daemon of this role dials first.
    pub fn bootstrap_peers(&self, role: Role) -> &[PeerAddress] {
        match role {
            Role::Gateway if !self.gateway.bootstrap_peers.is_empty() => &self.gateway.bootstrap_peers,
            _ => &self.discovery.bootstrap_peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Keys;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn the_shipped_file_equals_the_defaults() {
        let shipped: Config = toml::from_str(SHIPPED).expect("debros.toml is a configuration");
        assert_eq!(shipped, Config::default());
    }

    #[test]
    fn the_shipped_file_has_every_key_and_says_something_about_each() {
        let mut section = String::new();
        let mut documented = Vec::new();
        let mut previous = "";
        for line in SHIPPED.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                assert!(previous.starts_with("# "), "{section}.{key} has no comment above it");
                documented.push(format!("{section}.{key}"));
            }
            previous = line;
        }
        documented.sort();
        assert_eq!(documented, Keys::new().names().collect::<Vec<_>>());
    }

    #[test]
    fn validation_names_every_problem_at_once() {
        let mut config = Config::default();
        config.node.listen_addresses.clear();
        config.node.advertise_addresses = vec!["/ip4/0.0.0.0/tcp/4001".parse().expect("valid")];
        config.node.max_connections = 0;
        config.database.voters_max = 0;
        config.database.election_timeout_min = std::time::Duration::from_millis(150);
        config.database.election_timeout_max = std::time::Duration::from_millis(150);
        config.database.snapshot_log_bytes = 4096;
        config.discovery.bootstrap_peers = vec!["/ip4/10.0.0.1/tcp/4001".parse().expect("valid"); 2];
        config.discovery.discovery_interval = std::time::Duration::ZERO;
        config.gateway.listen_addr = config.database.sql_addr.clone();
        config.gateway.allowed_origins = vec!["example.org".to_owned()];
        config.gateway.login_callbacks = vec!["https://app.example.org/auth?next=/".parse().expect("valid")];
        config.security.refresh_token_ttl = std::time::Duration::from_secs(60);
        config.logging.level = "loud".to_owned();
        let problems: Vec<String> = config.validate().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "node.listen_addresses: must not be empty; for example /ip4/0.0.0.0/tcp/4001",
                "node.advertise_addresses[0]: cannot be dialled; got /ip4/0.0.0.0/tcp/4001; \
                 name the host and port that other peers reach",
                "node.max_connections: must be > 0; got 0",
                "database.voters_max: must be > 0; got 0",
                "database.election_timeout_min: must be >= twice database.heartbeat_interval (200ms); got 150ms; \
                 three times the heartbeat lets two heartbeats be lost",
                "database.election_timeout_max: must be > database.election_timeout_min (150ms); got 150ms; \
                 twice the minimum is a good choice",
                "database.snapshot_log_bytes: must be >= 1MiB; got 4KiB",
                "discovery.bootstrap_peers[0]: missing /p2p/<peerID> component in `/ip4/10.0.0.1/tcp/4001`; \
                 expected /ip{4,6}/.../tcp/<port>/p2p/<peerID>",
                "discovery.bootstrap_peers[1]: missing /p2p/<peerID> component in `/ip4/10.0.0.1/tcp/4001`; \
                 expected /ip{4,6}/.../tcp/<port>/p2p/<peerID>",
                "discovery.bootstrap_peers[1]: duplicate peer /ip4/10.0.0.1/tcp/4001",
                "discovery.discovery_interval: must be > 0; got 0s",
                "gateway.allowed_origins[0]: invalid origin `example.org`; \
                 expected `*` or scheme and host, for example https://app.example.org",
                "gateway.login_callbacks[0]: `https://app.example.org/auth?next=/` has a query; \
                 leave it out; a callback may have any query",
                "security.refresh_token_ttl: must be >= security.access_token_ttl (15m); got 1m",
                "logging.level: invalid value \"loud\"; \
                 allowed values: debug, info, warn, error, trace, off, and module=level separated by commas",
                "gateway.listen_addr: must differ from database.sql_addr (127.0.0.1:5001)",
            ]
        );
    }

    #[test]
    fn a_gateway_dials_its_own_peers_before_the_common_ones() {
        let peer = |port: u16| vec![format!("/ip4/10.0.0.1/tcp/{port}").parse::<PeerAddress>().expect("valid")];
        let mut config = Config::default();
        config.discovery.bootstrap_peers = peer(1);
        assert_eq!(config.bootstrap_peers(Role::Gateway), peer(1));
        config.gateway.bootstrap_peers = peer(2);
        assert_eq!(config.bootstrap_peers(Role::Gateway), peer(2));
        assert_eq!(config.bootstrap_peers(Role::Node), peer(1));
    }
}
