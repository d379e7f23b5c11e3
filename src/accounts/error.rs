//! Why an operation on accounts was not done. Nothing has changed then, unless the cluster's error says otherwise.

use crate::auth::wallet_signature::SignatureError;
use crate::cluster::ClusterError;
use crate::types::statement::StatementError;
use crate::types::{Namespace, Scopes};

/// Why an operation on accounts was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The nonce is unknown, was used, has expired, or belongs to another wallet, namespace or purpose.
    #[error("the nonce is unknown, used, expired, or was issued for something else")]
    InvalidNonce,
    /// The signature is malformed or not the wallet's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// What the wallet was to sign cannot be put into a text.
    #[error("{0}")]
    Challenge(String),
    /// The wallet does not belong to the namespace, and the name is not to be had.
    #[error("the wallet is not a member of namespace `{0}`")]
    NotMember(Namespace),
    /// The refresh token is unknown, expired or revoked, or was used before, which ended its session.
    #[error("the refresh token is unknown, expired, revoked or was used before")]
    InvalidRefreshToken,
    /// The ticket is unknown, has expired, or was used before.
    #[error("the ticket is unknown, used or expired")]
    InvalidTicket,
    /// The namespace is not there.
    #[error("namespace `{0}` does not exist")]
    NoSuchNamespace(Namespace),
    /// The name is taken.
    #[error("namespace `{0}` exists already")]
    NamespaceExists(Namespace),
    /// The namespace cannot be dropped.
    #[error("namespace `default` cannot be dropped")]
    DefaultNamespace,
    /// The member is not there.
    #[error("`{0}` is not a member of this namespace")]
    NoSuchMember(String),
    /// The owner can only be changed by a transfer.
    #[error("the owner of a namespace can only be changed by a transfer")]
    IsOwner,
    /// The key is not there.
    #[error("the API key does not exist")]
    NoSuchKey,
    /// Who asks may do less than the key: its new text would let them do more than they may.
    #[error("the key may do {scopes}, which is more than the {own} of whoever asks for its new text")]
    BeyondOwnScopes {
        /// What the key may do.
        scopes: Scopes,
        /// What the caller may do.
        own: Scopes,
    },
    /// The right of whoever asks has ended since it was looked at: nothing was done.
    #[error("the credential has ended or allows less than it did; sign in again or use another key")]
    RightEnded,
    /// The application is not there.
    #[error("app not found")]
    NoSuchApp,
    /// There are as many as there may be.
    #[error("there are already {max} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        max: i64,
    },
    /// The cluster's accounts are not set up yet, or no signing key can be opened.
    #[error("accounts are not ready yet: {0}")]
    NotReady(String),
    /// The cluster could not do it.
    #[error(transparent)]
    Cluster(ClusterError),
}

impl AccountError {
    /// A cluster that does not have the accounts' database yet will have it soon.
    pub(super) fn of(error: ClusterError) -> AccountError {
        match error {
            ClusterError::NoSuchNamespace(name) if name == Namespace::accounts() => {
                AccountError::NotReady("the cluster is starting".to_owned())
            }
            ClusterError::Refused(crate::types::command::Refusal::NoSuchNamespace(name))
                if name == Namespace::accounts() =>
            {
                AccountError::NotReady("the cluster is starting".to_owned())
            }
            ClusterError::Storage(message) if message.starts_with("no such table") => AccountError::NotReady(message),
            other => AccountError::Cluster(other),
        }
    }

    /// A statement of our own failed for another reason than its expectation.
    pub(super) fn of_statement(error: &StatementError) -> AccountError {
        AccountError::of(ClusterError::Storage(error.message.clone()))
    }
}
