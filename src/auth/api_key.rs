//! API keys: `ak_<random>:<namespace>`, the credential of programs.
//!
//! A key is known by the BLAKE3 hash of its whole text. It is found by looking that hash up, which takes the same time
//! wherever a wrong key differs from a right one. A slow hash would protect nothing: nobody guesses 144 random bits.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::types::limits::NAMESPACE_BYTES_MAX;
use crate::types::{Namespace, hex};

const PREFIX: &str = "ak_";
const RANDOM_CHARS: std::ops::RangeInclusive<usize> = 24..=128;

/// An API key's text. It does not show in `Debug`, and has no `Display`.
#[derive(Clone)]
pub struct ApiKey {
    text: String,
    namespace: Namespace,
}

/// A text that is no API key. It is not shown: it may be a key with a typing error.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not an API key (expected ak_<random>:<namespace>)")]
pub struct InvalidApiKey;

impl ApiKey {
    /// A new key that opens `namespace`. It is short enough that `namespace:key` fits into the 57 bytes after which some
    /// clients of Basic authentication (RFC 7617) begin a new line, as MIME does with base64.
    pub fn from_random(random: [u8; 18], namespace: &Namespace) -> ApiKey {
        let text = format!("{PREFIX}{}:{namespace}", URL_SAFE_NO_PAD.encode(random));
        ApiKey { text, namespace: namespace.clone() }
    }

    /// The namespace that the key names. Whether it opens it is for the stored hash to say.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key, to be shown to its owner once.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored in its place.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.text.as_bytes()).as_bytes()
    }

    /// A name for it that can be shown: 16 hex digits of its hash.
    pub fn id(&self) -> String {
        id_of_hash(&self.hash())
    }
}

/// The name of the key with this stored hash.
pub fn id_of_hash(hash: &[u8; 32]) -> String {
    hex::encode(&hash[..8])
}

impl FromStr for ApiKey {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<ApiKey, InvalidApiKey> {
        if text.len() > PREFIX.len() + RANDOM_CHARS.end() + 1 + NAMESPACE_BYTES_MAX {
            return Err(InvalidApiKey);
        }
        let (random, namespace) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')).ok_or(InvalidApiKey)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !RANDOM_CHARS.contains(&random.len()) || !random.bytes().all(allowed) {
            return Err(InvalidApiKey);
        }
        let namespace = namespace.parse().map_err(|_| InvalidApiKey)?;
        Ok(ApiKey { text: text.to_owned(), namespace })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({PREFIX}…:{})", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_of_the_older_forms_are_read() {
        for text in ["ak_AAECAwQFBgcICQoLDA0ODxAR:default", "ak_8YyGkPqVtVd7xQhZsN1rB2mLw3uJfK5aC:my-app_2"] {
            let key: ApiKey = text.parse().expect(text);
            assert_eq!(key.hash(), *blake3::hash(text.as_bytes()).as_bytes());
            assert_eq!(key.reveal(), text);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let long = format!("ak_{}:default", "a".repeat(10_000));
        for bad in [
            "",
            "ak_:default",
            "ak_AAECAwQFBgcICQoLDA0ODxA:default",
            "AK_AAECAwQFBgcICQoLDA0ODxAR:default",
            "ak_AAECAwQFBgcICQoLDA0ODxAR",
            "ak_AAECAwQFBgcICQoLDA0ODxAR:",
            "ak_AAECAwQFBgcICQoLDA0ODxAR:Default",
            "ak_AAECAwQFBgcICQoLDA0ODxAR:a:b",
            "ak_AAECAwQFBgcICQoLDA0ODxAR:../a",
            "ak_AAECAwQFBgcICQoLDA0ODx+R:default",
            " ak_AAECAwQFBgcICQoLDA0ODxAR:default",
            "ak_AAECAwQFBgcICQoLDA0ODxAR:default\n",
            &long,
        ] {
            let error = bad.parse::<ApiKey>().expect_err(bad).to_string();
            assert!(!error.contains("AAEC"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_new_key_is_read_and_does_not_show(random: [u8; 18]) {
            let key = ApiKey::from_random(random, &Namespace::default_namespace());
            let read: ApiKey = key.reveal().parse().expect("a key");
            prop_assert_eq!(read.hash(), key.hash());
            prop_assert_eq!(read.namespace().as_str(), "default");
            let shown = format!("{key:?}");
            prop_assert!(!shown.contains(&key.reveal()[3..27]));
            prop_assert_eq!(key.id(), id_of_hash(&key.hash()));
            let swapped: String = key.reveal().chars().map(|c| if c == 'A' { 'B' } else { c }).collect();
            prop_assert!(swapped == key.reveal() || blake3::hash(swapped.as_bytes()).as_bytes() != &key.hash());
        }
    }
}
