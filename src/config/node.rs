//! `[node]`: the process itself and its peer port.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::PeerAddress;
use super::problem::{Problem, Problems};
use super::units;

/// The process and its peer port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Everything that the daemon keeps. Empty means `$XDG_DATA_HOME/debros`, and `/var/lib/debros` for root; after
    /// loading it is never empty. See [`super::Config::data_dir`].
    #[serde(with = "units::unset")]
    pub data_dir: Option<PathBuf>,
    /// The node's Ed25519 key in libp2p's protobuf form. Empty means `identity.key` in the data directory: whoever
    /// moves the directory then moves the identity with it. See [`super::Config::key_file`].
    #[serde(with = "units::unset")]
    pub key_file: Option<PathBuf>,
    /// Where peers connect. 4001 is libp2p's usual port; every interface, because peers are other machines and each
    /// connection proves its identity before anything else is said. Port 0 lets the system choose.
    pub listen_addresses: Vec<PeerAddress>,
    /// What peers are told to dial. Empty means the addresses the process listens on; needed behind NAT or in a
    /// container, where those cannot be reached from outside.
    pub advertise_addresses: Vec<PeerAddress>,
    /// The operator's Solana wallet, shown in the status; nothing is decided by it.
    pub solana_wallet: String,
    /// Most peer connections at once. A peer needs one, so this bounds cluster and gateways together with room for
    /// reconnects; each costs some tens of kilobytes.
    pub max_connections: u32,
    /// Longest a stop may take before what still runs is cut off: longer than handing over leadership and ending
    /// in-flight requests need, shorter than the 90 s after which systemd kills.
    #[serde(with = "units::duration")]
    pub shutdown_grace: Duration,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            data_dir: None,
            key_file: None,
            listen_addresses: vec!["/ip4/0.0.0.0/tcp/4001".parse().expect("the default address is well formed")],
            advertise_addresses: Vec::new(),
            solana_wallet: String::new(),
            max_connections: 256,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl NodeConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.listen_addresses.is_empty() {
            problems.add(
                Problem::new("node.listen_addresses", "must not be empty").hint("for example /ip4/0.0.0.0/tcp/4001"),
            );
        }
        for (position, address) in self.listen_addresses.iter().enumerate() {
            if address.node().is_some() {
                let path = format!("node.listen_addresses[{position}]");
                problems.add(
                    Problem::new(path, format!("must not name a peer; got {address}")).hint("leave out /p2p/<peerID>"),
                );
            }
        }
        problems.no_duplicates("node.listen_addresses", "duplicate listen address", &self.listen_addresses);
        for (position, address) in self.advertise_addresses.iter().enumerate() {
            if address.is_unspecified() || address.port() == 0 {
                let path = format!("node.advertise_addresses[{position}]");
                problems.add(
                    Problem::new(path, format!("cannot be dialled; got {address}"))
                        .hint("name the host and port that other peers reach"),
                );
            }
        }
        problems.no_duplicates("node.advertise_addresses", "duplicate address", &self.advertise_addresses);
        problems.positive("node.max_connections", self.max_connections > 0, self.max_connections);
        let grace = units::format_duration(self.shutdown_grace);
        problems.positive("node.shutdown_grace", !self.shutdown_grace.is_zero(), grace);
    }
}
