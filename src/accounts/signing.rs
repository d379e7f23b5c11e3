//! The keys that sign access tokens: the newest signs, the newest two verify, every process knows both.
//!
//! They are made by whichever node leads and stored sealed with the cluster's secret, so a token is good at every
//! gateway, before and after restarts. [`limits::SIGNING_KEY_LIFE`] is far longer than any token's life, so the one
//! before the newest only has tokens of its own when it was just replaced.

use std::sync::{Arc, RwLock};
use std::time::Instant;

use super::rows::{Row, named, text};
use super::{AccountError, Accounts, Actor, Transacted, audit, random, unix_ms};
use crate::auth::{TokenKey, TrustedKey, seal};
use crate::cluster::Level;
use crate::types::{Namespace, Value, limits};

/// What a sealed seed is bound to, so that it opens as nothing else.
const SEAL_PURPOSE: &[u8] = b"debros signing key";

/// The keys as this process last saw them.
#[derive(Default)]
pub(super) struct Ring {
    known: RwLock<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    signing: Arc<TokenKey>,
    verifying: Arc<[TrustedKey]>,
    read_at: Instant,
}

impl Ring {
    fn get(&self) -> Option<Known> {
        self.known.read().expect("nobody panics while holding the keys").clone()
    }

    fn set(&self, known: Known) {
        *self.known.write().expect("nobody panics while holding the keys") = Some(known);
    }
}

impl Accounts {
    /// The key that signs now.
    pub(super) async fn signing_key(&self, deadline: Instant) -> Result<Arc<TokenKey>, AccountError> {
        Ok(self.ring(Freshness::Seconds, deadline).await?.signing)
    }

    /// The keys that tokens may be signed with.
    ///
    /// # Errors
    /// [`AccountError::NotReady`], or the cluster's.
    pub async fn verifying_keys(&self, deadline: Instant) -> Result<Arc<[TrustedKey]>, AccountError> {
        Ok(self.ring(Freshness::Seconds, deadline).await?.verifying)
    }

    /// As [`Accounts::verifying_keys`], for a token whose key is not among them: a newer one may have been made.
    pub(super) async fn newest_verifying_keys(&self, deadline: Instant) -> Result<Arc<[TrustedKey]>, AccountError> {
        Ok(self.ring(Freshness::Now, deadline).await?.verifying)
    }

    async fn ring(&self, freshness: Freshness, deadline: Instant) -> Result<Known, AccountError> {
        let known = self.inner.ring.get();
        if let Some(known) = known.filter(|known| known.read_at.elapsed() < freshness.age_max()) {
            return Ok(known);
        }
        let level = match freshness {
            Freshness::Seconds => Level::None,
            Freshness::Now => Level::Linearizable,
        };
        let known = match self.read_ring(level, deadline).await {
            // A replica that is behind, or a cluster in its first second.
            Ok(None) | Err(_) if level == Level::None => self.read_ring(Level::Linearizable, deadline).await?,
            known => known?,
        };
        let known = known.ok_or_else(|| AccountError::NotReady("there is no signing key yet".to_owned()))?;
        self.inner.ring.set(known.clone());
        Ok(known)
    }

    async fn read_ring(&self, level: Level, deadline: Instant) -> Result<Option<Known>, AccountError> {
        let statement = named(
            "SELECT kid, sealed_seed FROM signing_keys ORDER BY created_unix_ms DESC, kid LIMIT :live",
            [("live", Value::Integer(limits::SIGNING_KEYS_LIVE))],
        );
        let rows = self.query(statement, level, deadline).await?;
        let keys = rows.iter().map(|row| self.open(row)).collect::<Result<Vec<_>, _>>()?;
        let Some(newest) = keys.first() else { return Ok(None) };
        Ok(Some(Known {
            signing: Arc::clone(newest),
            verifying: keys.iter().map(|key| key.trusted().clone()).collect(),
            read_at: Instant::now(),
        }))
    }

    fn open(&self, row: Row<'_>) -> Result<Arc<TokenKey>, AccountError> {
        let kid = row.text("kid");
        let seed = seal::open(&self.inner.secret, SEAL_PURPOSE, row.blob("sealed_seed")).ok();
        let seed: Option<[u8; 32]> = seed.and_then(|seed| seed.as_slice().try_into().ok());
        let key = seed.map(TokenKey::from_seed).filter(|key| key.trusted().id() == kid);
        key.map(Arc::new).ok_or_else(|| {
            AccountError::NotReady(format!(
                "signing key `{kid}` does not open with this process's cluster secret; restore cluster.key from \
                 another node of the cluster"
            ))
        })
    }

    /// Makes a key when there is none that is young enough.
    pub(super) async fn renew_signing_keys(&self, deadline: Instant) -> Result<(), AccountError> {
        let oldest = unix_ms() - i64::try_from(limits::SIGNING_KEY_LIFE.as_millis()).unwrap_or(i64::MAX);
        self.add_signing_key(oldest, &Actor::cluster(), deadline).await
    }

    /// Makes a new key now; the one before goes on verifying.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn rotate_signing_key(&self, actor: &Actor, deadline: Instant) -> Result<(), AccountError> {
        self.add_signing_key(i64::MAX, actor, deadline).await
    }

    /// Adds a key unless one was made after `unless_after`.
    async fn add_signing_key(&self, unless_after: i64, actor: &Actor, deadline: Instant) -> Result<(), AccountError> {
        let young = named(
            "SELECT 1 FROM signing_keys WHERE created_unix_ms > :after LIMIT 1",
            [("after", Value::Integer(unless_after))],
        );
        if !self.query(young, Level::Linearizable, deadline).await?.is_empty() {
            return Ok(());
        }
        let seed: [u8; 32] = random()?;
        let key = TokenKey::from_seed(seed);
        let sealed = seal::seal(&self.inner.secret, SEAL_PURPOSE, random()?, &seed)
            .map_err(|error| AccountError::NotReady(error.to_string()))?;
        let statements = vec![
            named(
                "INSERT INTO signing_keys (kid, public_key, sealed_seed) SELECT :kid, :public_key, :sealed \
                 WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE created_unix_ms > :after)",
                [
                    ("kid", text(key.trusted().id())),
                    ("public_key", Value::Blob(key.trusted().as_bytes().to_vec())),
                    ("sealed", Value::Blob(sealed)),
                    ("after", Value::Integer(unless_after)),
                ],
            ),
            named(
                "DELETE FROM signing_keys WHERE kid NOT IN \
                 (SELECT kid FROM signing_keys ORDER BY created_unix_ms DESC, kid LIMIT :live)",
                [("live", Value::Integer(limits::SIGNING_KEYS_LIVE))],
            ),
            audit(&Namespace::default_namespace(), actor.name(), "signing_key.rotate", key.trusted().id()),
        ];
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(_, error) => Err(AccountError::of_statement(&error)),
        }
    }
}

/// How old the keys in memory may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// As what is remembered of credentials.
    Seconds,
    /// A token names a key that is not there. Somebody may be making such tokens up, so not for each of them.
    Now,
}

impl Freshness {
    fn age_max(self) -> std::time::Duration {
        match self {
            Freshness::Seconds => limits::CREDENTIAL_CACHE_MAX,
            Freshness::Now => limits::SIGNING_KEYS_REREAD_MIN,
        }
    }
}
