//! API keys: made once, shown once, kept as hashes.

use std::time::Instant;

use super::namespaces::{expecting_one, stored};
use super::rows::{Row, named, text};
use super::{AccountError, Accounts, Actor, Transacted, audit, random};
use crate::auth::ApiKey;
use crate::cluster::Level;
use crate::types::{Namespace, Scopes, Statement, Value, hex, limits};

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// What its maker calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it stops working, in milliseconds since 1970; `None` = never.
    pub expires_unix_ms: Option<i64>,
}

/// A key that was just made: the only time that its text is there.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The text to present.
    pub key: ApiKey,
    /// What it is called in lists, and when it is to be ended.
    pub id: String,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// Its name in requests about it.
    pub id: String,
    /// What its maker calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Who made it.
    pub created_by: String,
    /// When, in milliseconds since 1970.
    pub created_unix_ms: i64,
    /// When it stops working; `None` = never.
    pub expires_unix_ms: Option<i64>,
}

/// Finds the key of a session that [`session_of`] made.
pub(super) const OF_SESSION: &str =
    "k.id = substr(:session, 1, 16) AND '.' || lower(hex(substr(k.hash, 1, 8))) = substr(:session, 17)";

/// The session that [`OF_SESSION`] finds a key by, from its name and the hash of its present text: what was made for one
/// text of a key ends with that text.
pub(super) fn session_of(id: &str, hash: &[u8]) -> String {
    format!("{id}.{}", hex::encode(&hash[..hash.len().min(8)]))
}

impl Accounts {
    /// Makes a key that opens a namespace.
    ///
    /// # Errors
    /// [`AccountError::NoSuchNamespace`], [`AccountError::TooMany`], or the cluster's.
    pub async fn create_key(
        &self,
        namespace: &Namespace,
        request: &KeyRequest,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<CreatedKey, AccountError> {
        let created = new_key(namespace)?;
        let KeyRequest { name, scopes, expires_unix_ms } = request;
        let of_namespace = [("namespace", text(namespace.as_str()))];
        let statements = vec![
            expecting_one(named("SELECT 1 FROM namespaces WHERE name = :namespace", of_namespace)),
            expecting_one(named(
                "INSERT INTO api_keys (id, hash, namespace_id, name, scopes, created_by, expires_unix_ms) \
                 SELECT :id, :hash, n.id, :name, :scopes, :actor, :expires FROM namespaces n WHERE n.name = :namespace \
                 AND (SELECT count(*) FROM api_keys k WHERE k.namespace_id = n.id) < :max",
                [
                    ("id", text(&created.id)),
                    ("hash", Value::Blob(created.key.hash().to_vec())),
                    ("name", text(name)),
                    ("scopes", text(scopes.to_string())),
                    ("actor", text(actor.name())),
                    ("expires", expires_unix_ms.map_or(Value::Null, Value::Integer)),
                    ("namespace", text(namespace.as_str())),
                    ("max", Value::Integer(limits::API_KEYS_PER_NAMESPACE_MAX)),
                ],
            )),
            audit(namespace, actor.name(), "key.create", &created.id),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(created),
            Transacted::Unmet(0, _) => Err(AccountError::NoSuchNamespace(namespace.clone())),
            Transacted::Unmet(..) => {
                Err(AccountError::TooMany { what: "API keys", max: limits::API_KEYS_PER_NAMESPACE_MAX })
            }
        }
    }

    /// The keys of a namespace, oldest first.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn list_keys(&self, namespace: &Namespace, deadline: Instant) -> Result<Vec<StoredKey>, AccountError> {
        let rows = self
            .query(
                named(
                    "SELECT k.id, k.name, k.scopes, k.created_by, k.created_unix_ms, k.expires_unix_ms FROM api_keys k \
                     JOIN namespaces n ON n.id = k.namespace_id WHERE n.name = :namespace \
                     ORDER BY k.created_unix_ms, k.id",
                    [("namespace", text(namespace.as_str()))],
                ),
                Level::Linearizable,
                deadline,
            )
            .await?;
        rows.iter().map(api_key).collect()
    }

    /// Ends a key of a namespace, and every key that was made with it.
    ///
    /// # Errors
    /// [`AccountError::NoSuchKey`], or the cluster's.
    pub async fn revoke_key(
        &self,
        namespace: &Namespace,
        id: &str,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let statements = vec![
            expecting_one(named(
                "DELETE FROM api_keys WHERE id = :id AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace)",
                [("id", text(id)), ("namespace", text(namespace.as_str()))],
            )),
            end_keys_made_by(namespace, &format!("key:{id}")),
            audit(namespace, actor.name(), "key.revoke", id),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(..) => Err(AccountError::NoSuchKey),
        }
    }

    /// Ends the key with this text, whatever namespace it opens: the operator found it somewhere.
    ///
    /// # Errors
    /// [`AccountError::NoSuchKey`], or the cluster's.
    pub async fn revoke_key_text(&self, key: &str, actor: &Actor, deadline: Instant) -> Result<(), AccountError> {
        let hash = Value::Blob(blake3::hash(key.as_bytes()).as_bytes().to_vec());
        let statements = vec![
            expecting_one(named(
                "INSERT INTO audit_events (namespace, actor, action, resource) SELECT n.name, :actor, 'key.revoke', k.id \
                 FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id WHERE k.hash = :hash",
                [("actor", text(actor.name())), ("hash", hash.clone())],
            )),
            named(
                "DELETE FROM api_keys WHERE id IN (WITH RECURSIVE made(id) AS ( \
                 SELECT id FROM api_keys WHERE hash = :hash \
                 UNION SELECT k.id FROM api_keys k JOIN made ON k.created_by = 'key:' || made.id) SELECT id FROM made)",
                [("hash", hash)],
            ),
        ];
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(..) => Err(AccountError::NoSuchKey),
        }
    }

    /// Gives a key a new text; the old one stops working in the same step. `own` is what the caller may do: who gets the
    /// new text can do what the key can.
    ///
    /// # Errors
    /// [`AccountError::NoSuchKey`], [`AccountError::BeyondOwnScopes`], or the cluster's.
    pub async fn rotate_key(
        &self,
        namespace: &Namespace,
        id: &str,
        own: Scopes,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<CreatedKey, AccountError> {
        // A key's scopes never change, so what is found here still holds when the text is replaced.
        let scopes = self.scopes_of_key(namespace, id, deadline).await?;
        if !own.covers(scopes) {
            return Err(AccountError::BeyondOwnScopes { scopes, own });
        }
        let CreatedKey { key, .. } = new_key(namespace)?;
        let statements = vec![
            expecting_one(named(
                "UPDATE api_keys SET hash = :hash WHERE id = :id \
                 AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace)",
                [("hash", Value::Blob(key.hash().to_vec())), ("id", text(id)), ("namespace", text(namespace.as_str()))],
            )),
            audit(namespace, actor.name(), "key.rotate", id),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(CreatedKey { key, id: id.to_owned() }),
            Transacted::Unmet(..) => Err(AccountError::NoSuchKey),
        }
    }

    async fn scopes_of_key(&self, namespace: &Namespace, id: &str, deadline: Instant) -> Result<Scopes, AccountError> {
        let statement = named(
            "SELECT k.scopes FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id \
             WHERE k.id = :id AND n.name = :namespace",
            [("id", text(id)), ("namespace", text(namespace.as_str()))],
        );
        let rows = self.query(statement, Level::Linearizable, deadline).await?;
        stored(rows.first().ok_or(AccountError::NoSuchKey)?.text("scopes"))
    }
}

/// Ends every key that somebody has made, and those made with them, and so on.
pub(super) fn end_keys_made_by(namespace: &Namespace, actor: &str) -> Statement {
    named(
        "DELETE FROM api_keys WHERE namespace_id = (SELECT id FROM namespaces WHERE name = :namespace) AND id IN (\
         WITH RECURSIVE made(id) AS ( \
         SELECT k.id FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id \
         WHERE n.name = :namespace AND k.created_by = :actor \
         UNION SELECT k.id FROM api_keys k JOIN made ON k.created_by = 'key:' || made.id) \
         SELECT id FROM made)",
        [("namespace", text(namespace.as_str())), ("actor", text(actor))],
    )
}

fn new_key(namespace: &Namespace) -> Result<CreatedKey, AccountError> {
    let key = ApiKey::from_random(random()?, namespace);
    let id = key.id();
    Ok(CreatedKey { key, id })
}

fn api_key(row: Row<'_>) -> Result<StoredKey, AccountError> {
    Ok(StoredKey {
        id: row.text("id").to_owned(),
        name: row.text("name").to_owned(),
        scopes: stored(row.text("scopes"))?,
        created_by: row.text("created_by").to_owned(),
        created_unix_ms: row.integer("created_unix_ms"),
        expires_unix_ms: row.optional_integer("expires_unix_ms"),
    })
}
