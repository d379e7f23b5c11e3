//! From what a request presents to who sends it.
//!
//! Keys are looked up by their hash, so how long that takes says nothing about how much of a guess was right. Every
//! failure is the same 401, whatever the reason.

use std::collections::HashMap;
use std::time::Instant;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::account_error::refused;
use super::cors::AllowedOrigins;
use super::credential::Presented;
use super::error::{ApiError, Code};
use crate::accounts::{Accounts, Identified, Lasting, TicketMaker};
use crate::auth::api_key::id_of_hash;
use crate::auth::{Denied, Principal};
use crate::http::head::is_local_name;
use crate::types::limits::TOKEN_LEEWAY;
use crate::types::{Namespace, Scopes};

/// Whether requests without a credential are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// They are refused.
    #[default]
    Refused,
    /// They may do everything that an API key may, in the gateway's namespace: for development.
    LetIn,
}

/// What a key from the configuration opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// One namespace.
    Namespace(Namespace),
    /// Everything: whoever has it operates the cluster.
    Cluster,
}

/// Who is let in without the cluster being asked.
#[derive(Clone)]
pub struct Keyring {
    /// Keys from the configuration.
    pub keys: Vec<(String, Opens)>,
    /// The namespace of requests that name none: those without a credential, and the operator's.
    pub namespace: Namespace,
    /// Whether those without are let in.
    pub anonymous: Anonymous,
}

/// Without the keys.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Default for Keyring {
    fn default() -> Keyring {
        Keyring { keys: Vec::new(), namespace: Namespace::default_namespace(), anonymous: Anonymous::Refused }
    }
}

/// Turns credentials into principals.
#[derive(Debug)]
pub(super) struct Authenticator {
    configured: HashMap<[u8; 32], Opens>,
    namespace: Namespace,
    anonymous: Anonymous,
}

impl Authenticator {
    pub(super) fn new(keyring: Keyring) -> Authenticator {
        let hashed = |(key, opens): (String, Opens)| (*blake3::hash(key.as_bytes()).as_bytes(), opens);
        Authenticator {
            configured: keyring.keys.into_iter().map(hashed).collect(),
            namespace: keyring.namespace,
            anonymous: keyring.anonymous,
        }
    }

    /// The namespace of requests that name none.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Who presents these credentials. A token counts before a key; a key counts when the token is stale.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: a wrong credential is never taken for none. [`Code::CredentialConflict`] when token and
    /// key are both good, but for different namespaces. Others when the cluster had to be asked and could not be.
    pub(super) async fn identify(
        &self,
        accounts: &Accounts,
        presented: &Presented<'_>,
        headers: &HeaderMap,
        origins: &AllowedOrigins,
        deadline: Instant,
    ) -> Result<Identified, ApiError> {
        if presented.is_empty() {
            let open = self.anonymous == Anonymous::LetIn && is_no_foreign_page(headers, origins);
            let anonymous = open.then(|| Principal::anonymous(self.namespace.clone(), Scopes::ALL));
            return anonymous.map(without_claims).ok_or_else(|| Code::Unauthenticated.into());
        }
        if presented.unusable {
            return Err(Code::Unauthenticated.into());
        }
        let by_token = match presented.token {
            Some(token) => self.token(accounts, token, deadline).await?,
            None => None,
        };
        let by_key = match presented.key {
            Some(key) => self.key(accounts, key, deadline).await?,
            None => None,
        };
        match (by_token, by_key) {
            (Some(one), Some(other)) if one.principal.namespace() != other.principal.namespace() => {
                Err(Code::CredentialConflict.into())
            }
            (Some(identified), _) | (None, Some(identified)) => Ok(identified),
            (None, None) => Err(Code::Unauthenticated.into()),
        }
    }

    /// What a ticket for `namespace` would stand for that this caller makes; `None` for nobody in particular.
    pub(super) fn ticket_maker(
        &self,
        accounts: &Accounts,
        presented: &Presented<'_>,
        identified: &Identified,
        namespace: &Namespace,
    ) -> Option<TicketMaker> {
        let credential = match &identified.claims {
            Some(claims) => Lasting::Session {
                id: claims.session.clone(),
                // As long as the token itself would do.
                expires_unix_ms: (claims.expires_at + TOKEN_LEEWAY).as_millisecond(),
            },
            None => {
                let configured = presented.token.filter(|text| self.configured(text).is_some());
                let hash = *blake3::hash(configured.or(presented.key)?.as_bytes()).as_bytes();
                if self.configured.contains_key(&hash) {
                    Lasting::Configured(accounts.fingerprint(&hash))
                } else {
                    Lasting::key(identified.principal.credential()?)
                }
            }
        };
        Some(TicketMaker { namespace: namespace.clone(), credential })
    }

    /// Who comes with a ticket that was taken, or still stays: whoever its maker's credential stands for now.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when that credential has ended, or others when the cluster could not be asked.
    pub(super) async fn identify_maker(
        &self,
        accounts: &Accounts,
        maker: &TicketMaker,
        deadline: Instant,
    ) -> Result<Identified, ApiError> {
        let principal = match &maker.credential {
            Lasting::Session { id, expires_unix_ms } => {
                let identified = accounts.identify_session(id, *expires_unix_ms, deadline).await.map_err(refused)?;
                identified.map(|identified| identified.principal)
            }
            Lasting::Configured(fingerprint) => {
                let known = |(hash, _): &(&[u8; 32], &Opens)| accounts.fingerprint(hash) == *fingerprint;
                self.configured.iter().find(known).map(|(hash, opens)| opened(hash, opens))
            }
        };
        let confined = principal.and_then(|principal| principal.confined_to(&maker.namespace));
        confined.map(without_claims).ok_or_else(|| Code::Unauthenticated.into())
    }

    /// What has the form of a token may still be a configured key with two dots in it.
    async fn token(&self, accounts: &Accounts, text: &str, deadline: Instant) -> Result<Option<Identified>, ApiError> {
        match self.configured(text) {
            Some(principal) => Ok(Some(without_claims(principal))),
            None => accounts.identify_token(text, deadline).await.map_err(refused),
        }
    }

    async fn key(&self, accounts: &Accounts, text: &str, deadline: Instant) -> Result<Option<Identified>, ApiError> {
        match self.configured(text) {
            Some(principal) => Ok(Some(without_claims(principal))),
            None => accounts.identify_key(text, deadline).await.map_err(refused),
        }
    }

    fn configured(&self, text: &str) -> Option<Principal> {
        if self.configured.is_empty() {
            return None;
        }
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        Some(opened(&hash, self.configured.get(&hash)?))
    }
}

/// Who has the configured key with this hash.
fn opened(hash: &[u8; 32], opens: &Opens) -> Principal {
    match opens {
        Opens::Cluster => Principal::operator(),
        Opens::Namespace(namespace) => Principal::key(id_of_hash(hash), Scopes::ALL, namespace.clone(), None),
    }
}

fn without_claims(principal: Principal) -> Identified {
    Identified { principal, claims: None }
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request without a credential is none that a browser sends for a page from elsewhere: any page that a
/// developer looks at could otherwise use the gateway on the developer's machine, be it by a name that it had pointed
/// there.
fn is_no_foreign_page(headers: &HeaderMap, origins: &AllowedOrigins) -> bool {
    let (origin, site) = (headers.get(ORIGIN), headers.get(&FETCH_SITE));
    if origin.is_none() && site.is_none() || origin.is_some_and(|origin| origins.allows(origin)) {
        return true;
    }
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let Some(host) = headers.get(HOST).map(text).filter(|host| is_local_name(host)) else { return false };
    let own_page = origin.map(text).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, page)| page == host));
    let own_site = site.map(text).is_none_or(|site| site == "same-origin" || site == "none");
    own_page && own_site
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        match denied {
            Denied::Unauthenticated => Code::Unauthenticated.into(),
            // The name of the caller's own namespace is no secret to it.
            Denied::OtherNamespace { .. } => ApiError::new(Code::NamespaceMismatch, denied.to_string()),
            denied => ApiError::new(Code::Forbidden, denied.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn without_a_credential_a_foreign_page_is_not_let_in() {
        let allowed = AllowedOrigins::Only(vec!["https://app.example.org".to_owned()]);
        let ask = |pairs: &[(&str, &str)]| is_no_foreign_page(&headers(pairs), &allowed);
        let local = ("host", "127.0.0.1:6001");
        assert!(ask(&[("host", "gateway.internal")]), "a program");
        assert!(ask(&[local, ("origin", "http://127.0.0.1:6001"), ("sec-fetch-site", "same-origin")]), "our own page");
        assert!(ask(&[local, ("sec-fetch-site", "none")]), "typed by its user");
        assert!(ask(&[local, ("origin", "https://app.example.org"), ("sec-fetch-site", "cross-site")]), "listed");
        for foreign in [
            vec![local, ("origin", "https://evil.test")],
            vec![local, ("origin", "null")],
            vec![local, ("sec-fetch-site", "cross-site")],
            vec![local, ("sec-fetch-site", "same-site")],
            vec![("host", "evil.test:6001"), ("sec-fetch-site", "same-origin")],
            vec![("host", "evil.test:6001"), ("origin", "http://evil.test:6001")],
        ] {
            assert!(!ask(&foreign), "{foreign:?}");
        }
    }
}
