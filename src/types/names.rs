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
            Err(InvalidNamespace(text.chars().take(100).collect()))
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

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Namespace, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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
}
