//! `[discovery]`: how a process finds its peers again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::PeerAddress;
use super::problem::{Problem, Problems};
use super::units;

/// How a process finds its peers again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Peers to dial first, beside those in the join token and those remembered. Only a help to find members: nobody
    /// becomes one without a token.
    pub bootstrap_peers: Vec<PeerAddress>,
    /// How often missing members are dialled again and addresses are exchanged. Upstream's number; a new address is
    /// then known everywhere in well under a minute.
    #[serde(with = "units::duration")]
    pub discovery_interval: Duration,
}

impl Default for DiscoveryConfig {
    fn default() -> DiscoveryConfig {
        DiscoveryConfig { bootstrap_peers: Vec::new(), discovery_interval: Duration::from_secs(15) }
    }
}

impl DiscoveryConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        check_peers("discovery.bootstrap_peers", &self.bootstrap_peers, problems);
        let interval = units::format_duration(self.discovery_interval);
        problems.positive("discovery.discovery_interval", !self.discovery_interval.is_zero(), interval);
    }
}

/// A peer to dial must say who it is: otherwise whoever answers there would be believed.
pub(super) fn check_peers(path: &str, peers: &[PeerAddress], problems: &mut Problems) {
    for (position, peer) in peers.iter().enumerate() {
        let path = format!("{path}[{position}]");
        if peer.node().is_none() {
            problems.add(
                Problem::new(&path, format!("missing /p2p/<peerID> component in `{peer}`"))
                    .hint("expected /ip{4,6}/.../tcp/<port>/p2p/<peerID>"),
            );
        }
        if peer.port() == 0 {
            problems.add(Problem::new(&path, format!("invalid TCP port 0 in `{peer}`")));
        }
    }
    problems.no_duplicates(path, "duplicate peer", peers);
}
