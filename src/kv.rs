//! Keys and values of a namespace, over the cluster.
//!
//! What is asked here is checked against the limits, sent through the log or read at a level, and told in one
//! vocabulary: what was done, or why it was not. Keys are whatever bytes of UTF-8 a caller likes; no key of one
//! namespace is in reach of another, because each namespace has a file of its own.

use std::time::Instant;

use crate::cluster::{AnyCluster, Applied, ClusterError, Found, KvAnswer, KvRead, ReadTerms, ServedBy};
use crate::types::command::{IdempotencyKey, Outcome, Replayed};
use crate::types::kv::{
    Condition, Expiry, KvChange, KvEffect, KvEntry, KvFound, KvOp, KvQuery, KvQuota, KvQuotaKind, KvValues, KvVerdict,
};
use crate::types::limits::{
    KV_CONTENT_TYPE_BYTES_MAX, KV_KEYS_PER_QUERY_MAX, KV_OPS_PER_REQUEST_MAX, KV_VALUE_BYTES_MAX,
};
use crate::types::{Command, Key, Kv, Namespace};

/// Why something about keys was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// A condition did not hold; nothing was changed.
    #[error("the condition on key `{key}` does not hold: {}", found_text(*.found))]
    ConditionFailed {
        /// Which change of the batch, counted from 0.
        op: usize,
        /// Whose condition.
        key: Key,
        /// The version that it has; `None`: it is not there.
        found: Option<u64>,
    },
    /// The namespace would hold too much; nothing was changed.
    #[error("the namespace may hold {max} {} and would hold {would_be}: delete something, or raise the quota", quota_text(*.what))]
    OverQuota {
        /// Too many of what.
        what: KvQuotaKind,
        /// The quota.
        max: u64,
        /// What it would have come to.
        would_be: u64,
    },
    /// The namespace's file would become too large; nothing was changed.
    #[error(
        "the namespace's database may have {bytes_max} bytes and would become larger: delete something, or raise the quota"
    )]
    DatabaseFull {
        /// What it may have.
        bytes_max: u64,
    },
    /// A value is larger than any may be.
    #[error("the value of key `{key}` has {bytes} bytes, at most {KV_VALUE_BYTES_MAX} are allowed")]
    ValueTooLarge {
        /// Under which key.
        key: Key,
        /// Its size.
        bytes: usize,
    },
    /// A content type is longer than any may be.
    #[error("the content type of key `{key}` has {bytes} bytes, at most {KV_CONTENT_TYPE_BYTES_MAX} are allowed")]
    ContentTypeTooLong {
        /// Under which key.
        key: Key,
        /// Its size.
        bytes: usize,
    },
    /// The request names more keys than one may.
    #[error("the request has {count} keys or changes, at most {max} are allowed: send several")]
    TooMany {
        /// How many it names.
        count: usize,
        /// How many it may.
        max: usize,
    },
    /// The values asked for are too large for one answer.
    #[error("the values have more than {bytes_max} bytes together: ask for fewer at once")]
    AnswerTooLarge {
        /// What an answer may have.
        bytes_max: u64,
    },
    /// The changes asked for are no longer kept.
    #[error("the changes asked for are no longer kept: list the keys and go on from {newest}")]
    ChangesGone {
        /// Where to go on.
        newest: u64,
    },
    /// The cluster could not do it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

fn found_text(found: Option<u64>) -> String {
    found.map_or_else(|| "it does not exist".to_owned(), |version| format!("it has version {version}"))
}

fn quota_text(kind: KvQuotaKind) -> &'static str {
    match kind {
        KvQuotaKind::Keys => "keys",
        KvQuotaKind::Bytes => "bytes of keys and values",
    }
}

/// A value to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Under which key.
    pub key: Key,
    /// The value.
    pub value: Vec<u8>,
    /// What it is, in the writer's words.
    pub content_type: Option<String>,
    /// What must hold before.
    pub condition: Condition,
    /// How long it stays.
    pub expiry: Expiry,
}

impl Put {
    /// A value that stays, stored whatever was there.
    pub fn new(key: Key, value: Vec<u8>) -> Put {
        Put { key, value, content_type: None, condition: Condition::Always, expiry: Expiry::Never }
    }
}

impl From<Put> for KvOp {
    fn from(put: Put) -> KvOp {
        let Put { key, value, content_type, condition, expiry } = put;
        KvOp::Put { key, value, content_type, condition, expiry }
    }
}

/// What holds for all changes of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteTerms {
    /// What the namespace's keys may take.
    pub quota: KvQuota,
    /// What the namespace's whole file may take.
    pub database_bytes_max: Option<u64>,
    /// Runs at most once per key.
    pub idempotency: Option<IdempotencyKey>,
}

/// Changes that were made.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// One for each change.
    pub effects: Vec<KvEffect>,
    /// Whether they were made by an earlier request with the same idempotency key.
    pub replayed: Replayed,
    /// The log index; a later read with this `min_index` sees them.
    pub index: u64,
    /// Who proposed them.
    pub served_by: ServedBy,
}

/// Some keys of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of their bytes.
    pub entries: Vec<KvEntry>,
    /// Where to go on, when there are more.
    pub more_after: Option<Key>,
}

/// Some changes of a namespace's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which they happened.
    pub changes: Vec<KvChange>,
    /// Where to go on.
    pub next_after: u64,
    /// The number of the newest change in the namespace.
    pub newest: u64,
}

/// Which keys to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Literal; empty for all keys.
    pub prefix: String,
    /// Only keys behind this one.
    pub after: Option<Key>,
    /// Most keys of the answer; at most [`KV_KEYS_PER_QUERY_MAX`] are given at once, whatever is asked.
    pub keys_max: usize,
    /// Whether values are wanted.
    pub values: KvValues,
}

/// The keys of one namespace.
#[derive(Clone, Debug)]
pub struct Store {
    cluster: AnyCluster,
    namespace: Namespace,
}

impl Store {
    /// A namespace's keys in this cluster.
    pub fn new(cluster: AnyCluster, namespace: Namespace) -> Store {
        Store { cluster, namespace }
    }

    /// Stores a value.
    ///
    /// # Errors
    /// [`KvError`]; only with [`KvError::Cluster`] may it have been stored nevertheless.
    pub async fn put(&self, put: Put, terms: WriteTerms, deadline: Instant) -> Result<Written, KvError> {
        self.batch(vec![put.into()], terms, deadline).await
    }

    /// Removes a key. One that is not there is [`KvEffect::WasAbsent`].
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn delete(
        &self,
        key: Key,
        condition: Condition,
        terms: WriteTerms,
        deadline: Instant,
    ) -> Result<Written, KvError> {
        self.batch(vec![KvOp::Delete { key, condition }], terms, deadline).await
    }

    /// Makes all changes or none.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn batch(&self, ops: Vec<KvOp>, terms: WriteTerms, deadline: Instant) -> Result<Written, KvError> {
        check(&ops)?;
        let keys: Vec<Key> = ops.iter().map(|op| op.key().clone()).collect();
        let WriteTerms { quota, database_bytes_max, idempotency } = terms;
        let kv = Kv { namespace: self.namespace.clone(), ops, quota, database_bytes_max, idempotency };
        let Applied { outcome, index, served_by, .. } = self.cluster.submit(Command::Kv(kv), deadline).await?;
        let Outcome::Kv(outcome) = outcome else {
            return Err(ClusterError::misfit("a change of keys", &outcome).into());
        };
        let effects = judge(outcome.verdict, &keys)?;
        Ok(Written { effects, replayed: outcome.replayed, index, served_by })
    }

    /// What is stored under a key.
    ///
    /// # Errors
    /// [`KvError::AnswerTooLarge`] or [`KvError::Cluster`].
    pub async fn get(&self, key: Key, terms: ReadTerms, deadline: Instant) -> Result<Found<Option<KvEntry>>, KvError> {
        let Found { value, index, served_by } = self.get_many(vec![key], KvValues::Included, terms, deadline).await?;
        Ok(Found { value: value.into_iter().next().flatten(), index, served_by })
    }

    /// What is known of a key beside its value; `None`: it is not there.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn exists(
        &self,
        key: Key,
        terms: ReadTerms,
        deadline: Instant,
    ) -> Result<Found<Option<KvEntry>>, KvError> {
        let Found { value, index, served_by } = self.get_many(vec![key], KvValues::Omitted, terms, deadline).await?;
        Ok(Found { value: value.into_iter().next().flatten(), index, served_by })
    }

    /// What is stored under several keys, position for position, all at one moment.
    ///
    /// # Errors
    /// As [`Store::get`], and [`KvError::TooMany`].
    pub async fn get_many(
        &self,
        keys: Vec<Key>,
        values: KvValues,
        terms: ReadTerms,
        deadline: Instant,
    ) -> Result<Found<Vec<Option<KvEntry>>>, KvError> {
        at_most(keys.len(), KV_KEYS_PER_QUERY_MAX)?;
        let KvAnswer { found, index, served_by } = self.ask(KvQuery::Get { keys, values }, terms, deadline).await?;
        match found {
            KvFound::Entries(value) => Ok(Found { value, index, served_by }),
            other => Err(misfit(other)),
        }
    }

    /// Keys in order, some at a time.
    ///
    /// # Errors
    /// [`KvError::Cluster`].
    pub async fn list(&self, listing: Listing, terms: ReadTerms, deadline: Instant) -> Result<Found<Page>, KvError> {
        let Listing { prefix, after, keys_max, values } = listing;
        let keys_max = keys_max.min(KV_KEYS_PER_QUERY_MAX) as u32;
        let query = KvQuery::List { prefix, after, keys_max, values };
        let KvAnswer { found, index, served_by } = self.ask(query, terms, deadline).await?;
        match found {
            KvFound::Page { entries, more_after } => {
                Ok(Found { value: Page { entries, more_after }, index, served_by })
            }
            other => Err(misfit(other)),
        }
    }

    /// What happened to keys behind the change numbered `after`. With `changes_max` 0 it only tells where one is.
    ///
    /// # Errors
    /// [`KvError::ChangesGone`] when not all of it is known any more, [`KvError::Cluster`].
    pub async fn changes(
        &self,
        prefix: String,
        after: u64,
        changes_max: usize,
        terms: ReadTerms,
        deadline: Instant,
    ) -> Result<Found<Changes>, KvError> {
        let changes_max = changes_max.min(KV_KEYS_PER_QUERY_MAX) as u32;
        let query = KvQuery::Changes { prefix, after, changes_max };
        let KvAnswer { found, index, served_by } = self.ask(query, terms, deadline).await?;
        match found {
            KvFound::Changes { changes, next_after, newest } => {
                Ok(Found { value: Changes { changes, next_after, newest }, index, served_by })
            }
            other => Err(misfit(other)),
        }
    }

    /// Waits until a change behind the one numbered `after` is there to be read; the number of the newest. Cancel safe.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] when none came in time, others as they are.
    pub async fn wait_change(&self, after: u64, deadline: Instant) -> Result<u64, KvError> {
        Ok(self.cluster.wait_kv_change(&self.namespace, after, deadline).await?)
    }

    async fn ask(&self, query: KvQuery, terms: ReadTerms, deadline: Instant) -> Result<KvAnswer, KvError> {
        let ReadTerms { level, freshness, min_index } = terms;
        let read = KvRead { namespace: self.namespace.clone(), query, level, freshness, min_index };
        Ok(self.cluster.read_kv(read, deadline).await?)
    }
}

fn check(ops: &[KvOp]) -> Result<(), KvError> {
    at_most(ops.len(), KV_OPS_PER_REQUEST_MAX)?;
    for op in ops {
        let KvOp::Put { key, value, content_type, .. } = op else { continue };
        if value.len() > KV_VALUE_BYTES_MAX {
            return Err(KvError::ValueTooLarge { key: key.clone(), bytes: value.len() });
        }
        let bytes = content_type.as_ref().map_or(0, String::len);
        if bytes > KV_CONTENT_TYPE_BYTES_MAX {
            return Err(KvError::ContentTypeTooLong { key: key.clone(), bytes });
        }
    }
    Ok(())
}

fn at_most(count: usize, max: usize) -> Result<(), KvError> {
    if count > max { Err(KvError::TooMany { count, max }) } else { Ok(()) }
}

fn judge(verdict: KvVerdict, keys: &[Key]) -> Result<Vec<KvEffect>, KvError> {
    match verdict {
        KvVerdict::Done(effects) => Ok(effects),
        KvVerdict::ConditionFailed { op, found } => {
            let op = op as usize;
            let key = keys.get(op).cloned().ok_or_else(|| ClusterError::misfit("a change of keys", &op))?;
            Err(KvError::ConditionFailed { op, key, found })
        }
        KvVerdict::OverQuota { what, max, would_be } => Err(KvError::OverQuota { what, max, would_be }),
        KvVerdict::DatabaseFull { bytes_max } => Err(KvError::DatabaseFull { bytes_max }),
        // Larger than this build's limit, and so refused before it was sent, unless another build applied it.
        refused @ KvVerdict::TooLarge { .. } => Err(ClusterError::misfit("a change of keys", &refused).into()),
    }
}

fn misfit(found: KvFound) -> KvError {
    match found {
        KvFound::TooLarge { bytes_max } => KvError::AnswerTooLarge { bytes_max },
        KvFound::ChangesGone { newest } => KvError::ChangesGone { newest },
        other => ClusterError::misfit("a question about keys", &other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().expect("a key")
    }

    #[test]
    fn what_no_replica_would_take_is_not_sent() {
        let put = |bytes| KvOp::from(Put::new(key("k"), vec![0; bytes]));
        assert_eq!(check(&[put(KV_VALUE_BYTES_MAX)]), Ok(()));
        let bytes = KV_VALUE_BYTES_MAX + 1;
        assert_eq!(check(&[put(0), put(bytes)]), Err(KvError::ValueTooLarge { key: key("k"), bytes }));
        let long = Put { content_type: Some("x".repeat(256)), ..Put::new(key("k"), Vec::new()) };
        assert_eq!(check(&[long.into()]), Err(KvError::ContentTypeTooLong { key: key("k"), bytes: 256 }));
        let many = vec![KvOp::Delete { key: key("k"), condition: Condition::Always }; KV_OPS_PER_REQUEST_MAX + 1];
        assert!(matches!(check(&many), Err(KvError::TooMany { .. })));
    }

    #[test]
    fn a_failed_condition_names_key_and_version() {
        let failed = judge(KvVerdict::ConditionFailed { op: 1, found: Some(7) }, &[key("a"), key("b")]);
        let error = failed.expect_err("failed");
        assert_eq!(error.to_string(), "the condition on key `b` does not hold: it has version 7");
        let failed = judge(KvVerdict::ConditionFailed { op: 0, found: None }, &[key("a")]);
        assert_eq!(
            failed.expect_err("failed").to_string(),
            "the condition on key `a` does not hold: it does not exist"
        );
    }
}
