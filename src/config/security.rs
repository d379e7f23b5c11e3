//! `[security]`: how long secrets live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Problems};
use super::units;
use crate::types::limits::{ACCESS_TOKEN_TTL, CHALLENGE_TTL, REFRESH_TOKEN_TTL};

/// How long secrets live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityConfig {
    /// How long a wallet may take to sign its challenge: a person reads it, perhaps on a second device.
    #[serde(with = "units::duration")]
    pub challenge_ttl: Duration,
    /// How long an access token is good: at most 15 minutes. Short, because a gateway that is cut off from its cluster
    /// does not hear of logouts.
    #[serde(with = "units::duration")]
    pub access_token_ttl: Duration,
    /// How long a session may be refreshed. It can be ended by logging out, so it is long.
    #[serde(with = "units::duration")]
    pub refresh_token_ttl: Duration,
}

impl Default for SecurityConfig {
    fn default() -> SecurityConfig {
        SecurityConfig {
            challenge_ttl: CHALLENGE_TTL,
            access_token_ttl: ACCESS_TOKEN_TTL,
            refresh_token_ttl: REFRESH_TOKEN_TTL,
        }
    }
}

impl SecurityConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (path, ttl) in [
            ("security.challenge_ttl", self.challenge_ttl),
            ("security.access_token_ttl", self.access_token_ttl),
            ("security.refresh_token_ttl", self.refresh_token_ttl),
        ] {
            if ttl < Duration::from_secs(1) {
                let got = units::format_duration(ttl);
                problems.add(Problem::new(path, format!("must be >= 1s; got {got}")));
            }
        }
        // Every gateway refuses tokens that claim to live for longer, whatever this one is set to.
        if self.access_token_ttl > ACCESS_TOKEN_TTL {
            let max = units::format_duration(ACCESS_TOKEN_TTL);
            let got = units::format_duration(self.access_token_ttl);
            problems.add(Problem::new("security.access_token_ttl", format!("must be <= {max}; got {got}")));
        }
        if self.refresh_token_ttl < self.access_token_ttl {
            let access = units::format_duration(self.access_token_ttl);
            let got = units::format_duration(self.refresh_token_ttl);
            let message = format!("must be >= security.access_token_ttl ({access}); got {got}");
            problems.add(Problem::new("security.refresh_token_ttl", message));
        }
    }
}
