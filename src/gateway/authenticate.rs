//! From what a request presents to who sends it.
//!
//! Keys are looked up by their hash, so how long that takes says nothing about how much of a guess was right. Every
//! failure is the same 401, whatever the reason.

use std::collections::HashMap;

use super::Backend;
use super::credential::Presented;
use super::error::{ApiError, Code};
use crate::types::Namespace;

/// Whether requests without a credential are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// They are refused.
    #[default]
    Refused,
    /// They own the gateway's namespace: for development.
    Owner,
}

/// Who is let in without the cluster being asked.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Keys from the configuration, and what each opens.
    pub keys: Vec<(String, Namespace)>,
    /// The namespace of requests without a credential, where those are let in.
    pub namespace: Namespace,
    /// Whether they are.
    pub anonymous: Anonymous,
}

impl Default for Keyring {
    fn default() -> Keyring {
        Keyring { keys: Vec::new(), namespace: Namespace::default_namespace(), anonymous: Anonymous::Refused }
    }
}

/// A caller that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Whose data it works on.
    pub(super) namespace: Namespace,
    /// How the log calls its kind.
    pub(super) kind: &'static str,
}

impl Caller {
    /// Whether it may change the cluster itself: the default namespace belongs to the operator.
    pub(super) fn is_operator(&self) -> bool {
        self.namespace == Namespace::default_namespace()
    }
}

/// Turns credentials into callers.
#[derive(Debug)]
pub(super) struct Authenticator {
    configured: HashMap<blake3::Hash, Namespace>,
    namespace: Namespace,
    anonymous: Anonymous,
}

impl Authenticator {
    pub(super) fn new(keyring: Keyring) -> Authenticator {
        let hashed = |(key, namespace): (String, Namespace)| (blake3::hash(key.as_bytes()), namespace);
        Authenticator {
            configured: keyring.keys.into_iter().map(hashed).collect(),
            namespace: keyring.namespace,
            anonymous: keyring.anonymous,
        }
    }

    /// Who presents these credentials.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]. A wrong credential is never taken for none.
    pub(super) fn caller(&self, backend: &Backend, presented: &Presented<'_>) -> Result<Caller, ApiError> {
        if presented.is_empty() && self.anonymous == Anonymous::Owner {
            return Ok(Caller { namespace: self.namespace.clone(), kind: "anonymous" });
        }
        let key = presented.key.or(presented.token).filter(|_| !presented.unusable);
        let key = key.ok_or(Code::Unauthenticated)?;
        let stored = || match backend {
            Backend::Node(cluster) => cluster.namespace_of_key(key),
            Backend::Remote(_) => None,
        };
        let namespace = self.configured.get(&blake3::hash(key.as_bytes())).cloned().or_else(stored);
        let namespace = namespace.ok_or(Code::Unauthenticated)?;
        Ok(Caller { namespace, kind: "api_key" })
    }
}
