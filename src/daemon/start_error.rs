//! Why a daemon did not start.

use super::cluster_key::ClusterKeyError;
use super::directory::DirectoryError;
use crate::accounts::UpkeepError;
use crate::auth::challenge_fields::InvalidField;
use crate::cluster::{ClusterError, InvalidToken, JoinError};
use crate::mesh::{IdentityError, MeshError};
use crate::raft::{ProposeError, RaftStartError};

/// Why a daemon did not start. The text names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    ClusterKey(#[from] ClusterKeyError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error(transparent)]
    Raft(#[from] RaftStartError),
    #[error("cannot start the cluster: {0}")]
    Initialize(#[from] ProposeError),
    #[error("cannot prepare the cluster: {0}")]
    Prepare(#[from] ClusterError),
    #[error("cannot set up the accounts: {0}")]
    Accounts(#[from] UpkeepError),
    #[error(transparent)]
    Token(#[from] InvalidToken),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("gateway.public_url, gateway.domain or gateway.solana_cluster: {0}")]
    Party(#[from] InvalidField),
    #[error(
        "{} belongs to no cluster yet: start a new one with `debros bootstrap`, or join one with --join TOKEN \
         (made on a member by `debros cluster invite`)",
        .0.display()
    )]
    NoToken(std::path::PathBuf),
    #[error("cannot listen on {address} ({flag}): {source}; stop the process that holds it, or choose another")]
    Listen { address: String, flag: &'static str, source: std::io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
}
