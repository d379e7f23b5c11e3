//! What every member and every admitted gateway of a cluster knows, and nobody else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A cluster's secret: 32 random bytes made once, by `debros bootstrap`, and handed on to whoever is let in. What lies
/// in the replicated state but must not be read from a stolen copy of it is sealed with keys derived from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSecret([u8; ClusterSecret::BYTES]);

impl ClusterSecret {
    /// Its length.
    pub const BYTES: usize = 32;

    /// The secret with these bytes.
    pub const fn from_bytes(bytes: [u8; ClusterSecret::BYTES]) -> ClusterSecret {
        ClusterSecret(bytes)
    }

    /// Its bytes: to derive keys from, never to show.
    pub const fn as_bytes(&self) -> &[u8; ClusterSecret::BYTES] {
        &self.0
    }
}

/// Never shows the secret.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = ClusterSecret::from_bytes([77; ClusterSecret::BYTES]);
        let shown = format!("{secret:?} {:#?}", Some(&secret));
        assert!(!shown.contains("77") && !shown.contains("4d"), "{shown}");
    }
}
