//! The key-value store as values: keys, what can be done with them, and what that gave.
//!
//! Every key belongs to exactly one namespace, because it is stored in that namespace's file. Keys are compared byte by
//! byte: nothing is folded, trimmed or escaped. A key's version is the log index of the write that it stems from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::command::{IdempotencyKey, Replayed};
use super::limits::{KV_CONTENT_TYPE_BYTES_MAX, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use super::names::Namespace;

/// A key: 1 to 1024 bytes of UTF-8, any characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A text that is no key.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key has 1 to {KV_KEY_BYTES_MAX} bytes, this one has {bytes}")]
pub struct InvalidKey {
    /// How long it is.
    pub bytes: usize,
}

impl Key {
    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that no key of another namespace has: `ns::<namespace>::<key>`. A namespace contains no `:`.
    pub fn qualified(&self, namespace: &Namespace) -> String {
        format!("ns::{namespace}::{self}")
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Key, InvalidKey> {
        match text.len() {
            1..=KV_KEY_BYTES_MAX => Ok(Key(Arc::from(text))),
            bytes => Err(InvalidKey { bytes }),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Changes of keys, all of them or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kv {
    /// Whose keys.
    pub namespace: Namespace,
    /// What to do, in order; each sees what those before it did.
    pub ops: Vec<KvOp>,
    /// What the namespace may store.
    pub quota: KvQuota,
    /// Largest size that the namespace's file may grow to, SQL tables included; `None` = any.
    pub database_bytes_max: Option<u64>,
    /// Runs at most once per key.
    pub idempotency: Option<IdempotencyKey>,
}

impl Kv {
    /// Changes without bounds beyond those of the system.
    pub fn new(namespace: Namespace, ops: Vec<KvOp>) -> Kv {
        Kv { namespace, ops, quota: KvQuota::default(), database_bytes_max: None, idempotency: None }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KvOp {
    /// Store a value.
    Put {
        /// Under which key.
        key: Key,
        /// At most [`KV_VALUE_BYTES_MAX`] bytes.
        #[serde(with = "super::command::serde_bytes_vec")]
        value: Vec<u8>,
        /// What the writer says it is; at most [`KV_CONTENT_TYPE_BYTES_MAX`] bytes.
        content_type: Option<String>,
        /// What must hold before.
        condition: Condition,
        /// How long it stays.
        expiry: Expiry,
    },
    /// Remove a key. Removing one that is not there is no failure.
    Delete {
        /// Which.
        key: Key,
        /// What must hold before.
        condition: Condition,
    },
}

impl KvOp {
    /// The key that it is about.
    pub fn key(&self) -> &Key {
        match self {
            KvOp::Put { key, .. } | KvOp::Delete { key, .. } => key,
        }
    }

    /// What must hold before.
    pub fn condition(&self) -> Condition {
        match self {
            KvOp::Put { condition, .. } | KvOp::Delete { condition, .. } => *condition,
        }
    }

    /// Bytes of key, value and content type: what counts for quotas.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            KvOp::Put { key, value, content_type, .. } => {
                key.as_str().len() + value.len() + content_type.as_ref().map_or(0, String::len)
            }
            KvOp::Delete { key, .. } => key.as_str().len(),
        };
        bytes as u64
    }

    /// Whether value and content type have an allowed size.
    pub fn fits(&self) -> bool {
        match self {
            KvOp::Put { value, content_type, .. } => {
                value.len() <= KV_VALUE_BYTES_MAX
                    && content_type.as_ref().is_none_or(|text| text.len() <= KV_CONTENT_TYPE_BYTES_MAX)
            }
            KvOp::Delete { .. } => true,
        }
    }
}

/// What must hold of a key before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// It is not there.
    IfAbsent,
    /// It is there.
    IfPresent,
    /// It is there with this version.
    IfVersion(u64),
}

impl Condition {
    /// Whether a key with this version (`None`: it is not there) may be changed.
    pub fn holds(self, found: Option<u64>) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfAbsent => found.is_none(),
            Condition::IfPresent => found.is_some(),
            Condition::IfVersion(version) => found == Some(version),
        }
    }
}

/// When a key goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Expiry {
    /// It stays.
    #[default]
    Never,
    /// So many milliseconds after the write, by the log's clock.
    AfterMs(u64),
    /// At this time, in milliseconds since 1970.
    AtUnixMs(i64),
}

impl Expiry {
    /// The time at which a key written at `unix_ms` goes.
    pub fn at(self, unix_ms: i64) -> Option<i64> {
        match self {
            Expiry::Never => None,
            Expiry::AfterMs(after) => Some(unix_ms.saturating_add_unsigned(after)),
            Expiry::AtUnixMs(at) => Some(at),
        }
    }
}

/// What a namespace's keys may take. Only what grows is measured: a namespace beyond its quota can still shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KvQuota {
    /// Most keys; `None` = any number.
    pub keys_max: Option<u64>,
    /// Most bytes of keys, values and content types together; `None` = any number.
    pub bytes_max: Option<u64>,
}

/// What a [`Kv`] gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KvOutcome {
    /// What happened.
    pub verdict: KvVerdict,
    /// Whether it is that of an earlier request with the same idempotency key.
    pub replayed: Replayed,
}

/// What happened to the changes of one [`Kv`]. All but [`KvVerdict::Done`] mean that nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvVerdict {
    /// All were made; one effect for each.
    Done(Vec<KvEffect>),
    /// A condition did not hold.
    ConditionFailed {
        /// Whose, counted from 0.
        op: u32,
        /// The version that the key has; `None`: it is not there.
        found: Option<u64>,
    },
    /// The namespace would hold too much.
    OverQuota {
        /// Too many of what.
        what: KvQuotaKind,
        /// The quota.
        max: u64,
        /// What it would have come to.
        would_be: u64,
    },
    /// The namespace's file would become too large.
    DatabaseFull {
        /// What it may have.
        bytes_max: u64,
    },
    /// A value or content type is larger than any may be.
    TooLarge {
        /// Of which change, counted from 0.
        op: u32,
    },
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvQuotaKind {
    /// Keys.
    Keys,
    /// Bytes of keys, values and content types.
    Bytes,
}

/// What one change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvEffect {
    /// A key that was not there is there.
    Created {
        /// Its version.
        version: u64,
    },
    /// A key has a new value.
    Replaced {
        /// Its version.
        version: u64,
    },
    /// A key is gone.
    Deleted,
    /// There was nothing to delete.
    WasAbsent,
}

/// A question about keys. What has expired by the answering node's clock is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvQuery {
    /// These keys, position for position. → [`KvFound::Entries`]
    Get {
        /// Which.
        keys: Vec<Key>,
        /// Whether values are wanted, or only what is known of them.
        values: KvValues,
    },
    /// Keys that begin so, in the order of their bytes. → [`KvFound::Page`]
    List {
        /// Literal; empty for all keys.
        prefix: String,
        /// Only keys behind this one.
        after: Option<Key>,
        /// Most keys of the answer.
        keys_max: u32,
        /// Whether values are wanted.
        values: KvValues,
    },
    /// Changes of keys that begin so, in the order in which they happened. → [`KvFound::Changes`] or
    /// [`KvFound::ChangesGone`]
    Changes {
        /// Literal; empty for all keys.
        prefix: String,
        /// Only changes behind this one. The newest one's number is in every answer, also to `changes_max: 0`.
        after: u64,
        /// Most changes of the answer.
        changes_max: u32,
    },
}

/// Whether an answer carries values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvValues {
    /// Everything but the values.
    Omitted,
    /// Everything.
    Included,
}

/// The answer to a [`KvQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvFound {
    /// What is stored under the keys asked for; `None` where nothing is.
    Entries(Vec<Option<KvEntry>>),
    /// Keys in order.
    Page {
        /// What was found.
        entries: Vec<KvEntry>,
        /// The last one's key, when there are more behind it.
        more_after: Option<Key>,
    },
    /// What happened.
    Changes {
        /// In order.
        changes: Vec<KvChange>,
        /// Where to go on: nothing asked for happened up to here but what `changes` tells.
        next_after: u64,
        /// The number of the newest change in the namespace.
        newest: u64,
    },
    /// Changes behind the one asked for are no longer kept: list the keys, and go on from `newest`.
    ChangesGone {
        /// The number of the newest change in the namespace.
        newest: u64,
    },
    /// The values asked for are larger than an answer may be: ask for fewer at once.
    TooLarge {
        /// What an answer may have.
        bytes_max: u64,
    },
}

/// A key with what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// The key.
    pub key: Key,
    /// Log index of the write that it stems from.
    pub version: u64,
    /// Its value, where it was asked for.
    #[serde(with = "optional_bytes")]
    pub value: Option<Vec<u8>>,
    /// Size of the value.
    pub value_bytes: u64,
    /// What the writer said it is.
    pub content_type: Option<String>,
    /// When the key came to be, in milliseconds since 1970.
    pub created_unix_ms: i64,
    /// When its value was written.
    pub updated_unix_ms: i64,
    /// When it goes by itself.
    pub expires_unix_ms: Option<i64>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvChange {
    /// Its number: greater than those of all changes before it, also of an earlier namespace of that name.
    pub seq: u64,
    /// Which key.
    pub key: Key,
    /// What happened.
    pub kind: KvChangeKind,
    /// Log index of the entry that did it.
    pub version: u64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvChangeKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
    /// It went by itself. Told when it is cleared away, which may be later than its time.
    Expire,
}

/// Optional byte vectors as one block each.
mod optional_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Block(#[serde(with = "crate::types::command::serde_bytes_vec")] Vec<u8>);

    struct Borrowed<'a>(&'a [u8]);

    impl Serialize for Borrowed<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(Borrowed).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Block>::deserialize(deserializer)?.map(|block| block.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_can_only_be_made_valid() {
        for good in ["a", "a\0b", "ns::other::x", "::x", "../%2e", "\u{202e}é", &"k".repeat(KV_KEY_BYTES_MAX)] {
            assert_eq!(good.parse::<Key>().expect("valid").as_str(), good);
        }
        assert_eq!("".parse::<Key>(), Err(InvalidKey { bytes: 0 }));
        assert_eq!("é".repeat(513).parse::<Key>(), Err(InvalidKey { bytes: 1026 }));
        assert!(serde_json::from_str::<Key>("\"\"").is_err());
    }

    #[test]
    fn qualified_names_of_different_keys_differ() {
        let key = |text: &str| text.parse::<Key>().expect("a key");
        let namespace = |text: &str| text.parse::<Namespace>().expect("a namespace");
        assert_eq!(key("b::c").qualified(&namespace("a")), "ns::a::b::c");
        assert_ne!(key("b::c").qualified(&namespace("a")), key("c").qualified(&namespace("ab")));
    }

    #[test]
    fn an_entry_survives_the_wire_with_and_without_its_value() {
        for value in [None, Some(vec![0, 255])] {
            let entry = KvEntry {
                key: "k".parse().expect("a key"),
                version: 7,
                value,
                value_bytes: 2,
                content_type: Some("text/plain".to_owned()),
                created_unix_ms: 1,
                updated_unix_ms: 2,
                expires_unix_ms: None,
            };
            let bytes = postcard::to_stdvec(&entry).expect("encodes");
            assert_eq!(postcard::from_bytes::<KvEntry>(&bytes).expect("decodes"), entry);
        }
    }
}
