//! What a daemon plays in the cluster.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The part of a daemon, chosen by subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Starts a cluster in an empty directory; after that a node like the others.
    Bootstrap,
    /// Joins a cluster and stores the data.
    Node,
    /// Joins a cluster and serves HTTP; stores no data.
    Gateway,
}

impl Role {
    /// The subcommand's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Bootstrap => "bootstrap",
            Role::Node => "node",
            Role::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an invited process may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteRole {
    /// A node: it receives every byte of every namespace.
    #[default]
    Node,
    /// A gateway: it may ask, it stores nothing.
    Gateway,
}

impl fmt::Display for InviteRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InviteRole::Node => "node",
            InviteRole::Gateway => "gateway",
        })
    }
}

/// A text that is neither `node` nor `gateway`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a role that can be invited: use `node` or `gateway`")]
pub struct InvalidInviteRole(pub String);

impl FromStr for InviteRole {
    type Err = InvalidInviteRole;

    fn from_str(text: &str) -> Result<InviteRole, InvalidInviteRole> {
        match text {
            "node" => Ok(InviteRole::Node),
            "gateway" => Ok(InviteRole::Gateway),
            _ => Err(InvalidInviteRole(text.to_owned())),
        }
    }
}
