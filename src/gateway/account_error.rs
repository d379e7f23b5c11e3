//! What the accounts refuse, as HTTP. What could help somebody to guess is the same 401.

use super::error::{ApiError, Code, Effect};
use crate::accounts::AccountError;
use crate::auth::wallet_signature::SignatureError;

/// The answer to a refusal of the accounts.
pub(super) fn refused(error: AccountError) -> ApiError {
    let message = error.to_string();
    match error {
        AccountError::InvalidNonce
        | AccountError::InvalidRefreshToken
        | AccountError::InvalidTicket
        | AccountError::Signature(SignatureError::Mismatch) => {
            tracing::debug!(reason = message, "credential refused");
            Code::Unauthenticated.into()
        }
        AccountError::Signature(SignatureError::Malformed { .. }) | AccountError::Challenge(_) => {
            ApiError::new(Code::InvalidBody, message)
        }
        AccountError::NotMember(_) => ApiError::new(Code::NotMember, message),
        AccountError::NoSuchNamespace(_) => ApiError::new(Code::NoSuchNamespace, message),
        AccountError::NamespaceExists(_) | AccountError::DefaultNamespace | AccountError::IsOwner => {
            ApiError::new(Code::Conflict, message)
        }
        AccountError::NoSuchMember(_) => ApiError::new(Code::NoSuchMember, message),
        AccountError::NoSuchKey => ApiError::new(Code::NoSuchApiKey, message),
        AccountError::BeyondOwnScopes { .. } | AccountError::RightEnded => ApiError::new(Code::Forbidden, message),
        AccountError::NoSuchApp => ApiError::new(Code::NoSuchApp, message),
        AccountError::TooMany { .. } => ApiError::new(Code::TooMany, message),
        AccountError::NotReady(_) => {
            tracing::warn!(reason = message, "accounts are not ready");
            ApiError::new(Code::NotReady, "accounts are not ready yet")
        }
        AccountError::Cluster(error) => ApiError::cluster(error, Effect::Writes),
    }
}
