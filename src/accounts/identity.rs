//! Whose credential is this? Asked with every request, so the answer is remembered for a moment.
//!
//! A credential that is found in this process's replica (or at the node that a gateway asks) counts as good; one that is
//! not found is looked for in the whole cluster before it is refused, since it may be newer than the replica. Only good
//! ones are remembered, for [`limits::CREDENTIAL_CACHE_MAX`], and on a node only until accounts change at all: a logout
//! is noticed by the next request there.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::namespaces::stored;
use super::rows::{Table, named, text};
use super::{AccountError, Accounts, unix_ms};
use crate::auth::grant::Who;
use crate::auth::token::{self, TokenError};
use crate::auth::{AccessClaims, Principal};
use crate::cluster::{ClusterError, Level};
use crate::types::{Value, WalletAddress, limits};

/// A credential that is good, and what it says.
#[derive(Clone, Debug)]
pub struct Identified {
    /// Whose it is.
    pub principal: Principal,
    /// For access tokens: what the token says.
    pub claims: Option<Arc<AccessClaims>>,
}

/// What was found lately.
#[derive(Default)]
pub(super) struct Identities {
    known: RwLock<HashMap<[u8; 32], Known>>,
}

struct Known {
    identified: Identified,
    found_at: Instant,
    /// The accounts' generation before they were asked.
    generation: u64,
    /// When the credential itself ends, in milliseconds since 1970.
    expires_unix_ms: i64,
}

impl Identities {
    fn get(&self, hash: &[u8; 32], generation: u64) -> Option<Identified> {
        let known = self.known.read().expect("nobody panics while holding it");
        let known = known.get(hash)?;
        let fresh = known.generation == generation
            && known.found_at.elapsed() < limits::CREDENTIAL_CACHE_MAX
            && unix_ms() < known.expires_unix_ms;
        fresh.then(|| known.identified.clone())
    }

    fn put(&self, hash: [u8; 32], known: Known) {
        let mut all = self.known.write().expect("nobody panics while holding it");
        if all.len() >= limits::CREDENTIALS_CACHED_MAX {
            all.retain(|_, known| known.found_at.elapsed() < limits::CREDENTIAL_CACHE_MAX);
        }
        if all.len() < limits::CREDENTIALS_CACHED_MAX {
            all.insert(hash, known);
        }
    }
}

impl Accounts {
    /// Who bears an API key; `None` when there is no such key.
    ///
    /// # Errors
    /// When the cluster cannot be asked about a key that is not known here.
    pub async fn identify_key(&self, key: &str, deadline: Instant) -> Result<Option<Identified>, AccountError> {
        let hash = *blake3::hash(key.as_bytes()).as_bytes();
        let generation = self.cluster().accounts_generation();
        if let Some(identified) = self.inner.identities.get(&hash, generation) {
            return Ok(Some(identified));
        }
        let by_hash = ("k.hash = :hash", ("hash", Value::Blob(hash.to_vec())));
        let Some((principal, expires_unix_ms)) = self.find_key(by_hash, deadline).await? else { return Ok(None) };
        let identified = Identified { principal, claims: None };
        let known = Known { identified: identified.clone(), found_at: Instant::now(), generation, expires_unix_ms };
        self.inner.identities.put(hash, known);
        Ok(Some(identified))
    }

    /// Who bears an access token; `None` when it is not good.
    ///
    /// # Errors
    /// When the cluster cannot be asked about a session that is not known here.
    pub async fn identify_token(&self, text: &str, deadline: Instant) -> Result<Option<Identified>, AccountError> {
        if text.len() > limits::TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        let generation = self.cluster().accounts_generation();
        if let Some(identified) = self.inner.identities.get(&hash, generation) {
            return Ok(Some(identified));
        }
        let Some(claims) = self.verify_token(text, deadline).await? else { return Ok(None) };
        let agrees = |(principal, _): &(Principal, i64)| match principal.who() {
            Who::Member { wallet, .. } => {
                wallet.subject() == claims.subject && principal.namespace() == Some(&claims.namespace)
            }
            _ => true,
        };
        let found = self.find_by_session(&claims.session, deadline).await?.filter(agrees);
        let Some((principal, until)) = found else { return Ok(None) };
        let expires_unix_ms = until.min(claims.expires_at.as_millisecond());
        let identified = Identified { principal, claims: Some(Arc::new(claims)) };
        let known = Known { identified: identified.clone(), found_at: Instant::now(), generation, expires_unix_ms };
        self.inner.identities.put(hash, known);
        Ok(Some(identified))
    }

    /// Who has a session that [`AccessClaims`] name, whether of a wallet or of a key; `None` when it has ended.
    ///
    /// # Errors
    /// When the cluster cannot be asked about a session that is not known here.
    pub async fn identify_session(
        &self,
        session: &str,
        expires_unix_ms: i64,
        deadline: Instant,
    ) -> Result<Option<Identified>, AccountError> {
        // Hashed otherwise than what clients present: no text of theirs may lead here.
        let hash = blake3::derive_key("debros cached session", format!("{session} {expires_unix_ms}").as_bytes());
        let generation = self.cluster().accounts_generation();
        if let Some(identified) = self.inner.identities.get(&hash, generation) {
            return Ok(Some(identified));
        }
        let Some((principal, until)) = self.find_by_session(session, deadline).await? else { return Ok(None) };
        let expires_unix_ms = until.min(expires_unix_ms);
        if expires_unix_ms <= unix_ms() {
            return Ok(None);
        }
        let identified = Identified { principal, claims: None };
        let known = Known { identified: identified.clone(), found_at: Instant::now(), generation, expires_unix_ms };
        self.inner.identities.put(hash, known);
        Ok(Some(identified))
    }

    async fn verify_token(&self, text: &str, deadline: Instant) -> Result<Option<AccessClaims>, AccountError> {
        let now = jiff::Timestamp::now();
        let keys = self.verifying_keys(deadline).await?;
        let verified = match token::verify(text, &keys, now) {
            Err(TokenError::Header) => token::verify(text, &self.newest_verifying_keys(deadline).await?, now),
            verified => verified,
        };
        match verified {
            Ok(claims) => Ok(Some(claims)),
            Err(reason) => {
                tracing::debug!(%reason, "access token refused");
                Ok(None)
            }
        }
    }

    /// A key and when it ends.
    async fn find_key(
        &self,
        (condition, value): (&str, (&str, Value)),
        deadline: Instant,
    ) -> Result<Option<(Principal, i64)>, AccountError> {
        let sql = format!(
            "SELECT k.id, k.hash, k.scopes, k.expires_unix_ms, n.name FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id \
             WHERE {condition}"
        );
        let rows = self.find(&sql, [value], deadline).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let expires_unix_ms = row.optional_integer("expires_unix_ms").unwrap_or(i64::MAX);
        if expires_unix_ms <= unix_ms() {
            return Ok(None);
        }
        let session = super::keys::session_of(row.text("id"), row.blob("hash"));
        let (scopes, namespace) = (stored(row.text("scopes"))?, stored(row.text("name"))?);
        let principal = Principal::key(row.text("id").to_owned(), scopes, namespace, Some(session));
        Ok(Some((principal, expires_unix_ms)))
    }

    /// Who a session belongs to, and when it ends by itself.
    async fn find_by_session(&self, id: &str, deadline: Instant) -> Result<Option<(Principal, i64)>, AccountError> {
        if id.starts_with(super::sessions::ID_PREFIX) {
            Ok(self.find_session(id, deadline).await?.map(|principal| (principal, i64::MAX)))
        } else {
            self.find_key((super::keys::OF_SESSION, ("session", text(id))), deadline).await
        }
    }

    /// A session that goes on, of somebody who still belongs to the namespace.
    async fn find_session(&self, id: &str, deadline: Instant) -> Result<Option<Principal>, AccountError> {
        let rows = self
            .find(
                "SELECT s.subject, m.role, n.name FROM sessions s JOIN namespaces n ON n.id = s.namespace_id \
                 JOIN members m ON m.namespace_id = s.namespace_id AND m.subject = s.subject \
                 WHERE s.id = :id AND s.revoked_unix_ms IS NULL",
                [("id", text(id))],
                deadline,
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let wallet = WalletAddress::from_subject(row.text("subject"))
            .map_err(|error| AccountError::Cluster(ClusterError::Storage(error.to_string())))?;
        let role = stored(row.text("role"))?;
        Ok(Some(Principal::member(wallet, role, stored(row.text("name"))?, id.to_owned())))
    }

    /// Looks here, and when there is nothing here, in the whole cluster. While that cannot be asked, what is here counts.
    pub(super) async fn find<const N: usize>(
        &self,
        sql: &str,
        values: [(&str, Value); N],
        deadline: Instant,
    ) -> Result<Table, AccountError> {
        let statement = named(sql, values);
        let here = self.query(statement.clone(), Level::None, deadline).await;
        match here {
            Ok(rows) if !rows.is_empty() => Ok(rows),
            _ => self.query(statement, Level::Linearizable, deadline).await,
        }
    }
}
