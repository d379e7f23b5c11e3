//! Names that come from outside. A value of one of these types is valid; there is no other way to make one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::NAMESPACE_BYTES_MAX;

/// A tenant's name: 1 to 63 of `a`–`z`, `0`–`9`, `-` and `_`, beginning with a letter or digit.
///
/// It names the tenant's database file, so nothing that a path could misread is in the alphabet. `.` is left out
/// because gossip topics join namespace and topic with one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// Outside of the alphabet on purpose: no valid name is equal to it.
const ACCOUNTS: &str = "_accounts";

/// A text that is no namespace name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a namespace name: use 1 to {NAMESPACE_BYTES_MAX} of a-z, 0-9, `-` and `_`, beginning with a letter or digit"
)]
pub struct InvalidNamespace(pub String);

impl Namespace {
    /// The namespace that exists from the start and belongs to the operator.
    pub fn default_namespace() -> Namespace {
        Namespace(Arc::from("default"))
    }

    /// The namespace that holds accounts. It belongs to debros itself: nobody can name it from outside.
    pub fn accounts() -> Namespace {
        Namespace(Arc::from(ACCOUNTS))
    }

    /// Whether it belongs to debros itself.
    pub fn is_reserved(&self) -> bool {
        *self.0 == *ACCOUNTS
    }

    /// A name that debros itself has written down: a valid one, or the reserved one.
    ///
    /// # Errors
    /// [`InvalidNamespace`] for any other text.
    pub fn from_stored(text: &str) -> Result<Namespace, InvalidNamespace> {
        if text == ACCOUNTS { Ok(Namespace::accounts()) } else { text.parse() }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Namespace, InvalidNamespace> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if first_ok && text.len() <= NAMESPACE_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Namespace(Arc::from(text)))
        } else {
            // Shown to whoever sent it, perhaps on a terminal: without what would turn or erase the line.
            Err(InvalidNamespace(text.chars().take(100).flat_map(char::escape_debug).collect()))
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Formats for humans (JSON, TOML) carry what people say, who cannot name the reserved namespace. The compact format of
/// the log and of peers carries what debros has written.
impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Namespace, D::Error> {
        let from_outside = deserializer.is_human_readable();
        let text = String::deserialize(deserializer)?;
        let name = if from_outside { text.parse() } else { Namespace::from_stored(&text) };
        name.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_can_only_be_made_valid() {
        for good in ["default", "a", "0x1f", "my-app_2", &"a".repeat(63)] {
            assert_eq!(good.parse::<Namespace>().expect("valid").as_str(), good);
        }
        for bad in ["", "_system", "-a", "A", "a.b", "a/b", "../x", "a b", "é", "a\0", &"a".repeat(64)] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_reserved_namespace_travels_in_the_log_and_cannot_be_named_from_outside() {
        let accounts = Namespace::accounts();
        assert!(accounts.is_reserved() && !Namespace::default_namespace().is_reserved());
        assert!("_accounts".parse::<Namespace>().is_err());
        assert!(serde_json::from_str::<Namespace>("\"_accounts\"").is_err());
        let logged = |name: &str| postcard::from_bytes::<Namespace>(&postcard::to_stdvec(name).expect("encodes"));
        assert_eq!(logged("_accounts").expect("decodes"), accounts);
        assert_eq!(logged("acme").expect("decodes").as_str(), "acme");
        assert!(logged("_system").is_err() && logged("_accounts2").is_err());
    }
}
