//! What an API key is for: scopes, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::excerpt;

/// What an API key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `sql:read`
    SqlRead,
    /// `sql:write`
    SqlWrite,
    /// `kv:read`
    KvRead,
    /// `kv:write`
    KvWrite,
    /// `pubsub:subscribe`
    PubsubSubscribe,
    /// `pubsub:publish`
    PubsubPublish,
    /// `apps`: read and change the list of apps.
    Apps,
    /// `admin`: what the role admin manages.
    Admin,
}

/// A set of scopes, written as a comma list. `*` stands for all of them, also those that a later version adds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scopes(u16);

/// A text that is no list of scopes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidScopes {
    /// A scope that does not exist.
    #[error(
        "`{0}` is not a scope (expected sql:read, sql:write, kv:read, kv:write, pubsub:subscribe, pubsub:publish, apps, \
         admin or *)"
    )]
    Unknown(String),
    /// No scope at all: such a key could do nothing.
    #[error("the list of scopes is empty; `*` stands for all")]
    Empty,
}

impl Scope {
    /// Every scope, in the order in which they are written.
    pub const ALL: [Scope; 8] = [
        Scope::SqlRead,
        Scope::SqlWrite,
        Scope::KvRead,
        Scope::KvWrite,
        Scope::PubsubSubscribe,
        Scope::PubsubPublish,
        Scope::Apps,
        Scope::Admin,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::SqlRead => "sql:read",
            Scope::SqlWrite => "sql:write",
            Scope::KvRead => "kv:read",
            Scope::KvWrite => "kv:write",
            Scope::PubsubSubscribe => "pubsub:subscribe",
            Scope::PubsubPublish => "pubsub:publish",
            Scope::Apps => "apps",
            Scope::Admin => "admin",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scopes {
    const EVERYTHING: u16 = 1 << 15;

    /// No scope: what a caller without credentials has where credentials are demanded.
    pub const NONE: Scopes = Scopes(0);

    /// `*`.
    pub const ALL: Scopes = Scopes(Scopes::EVERYTHING);

    /// All scopes that exist now but `admin`: what a program needs that is not to hand out keys.
    pub const DATA: Scopes = Scopes(Scope::Admin.bit() - 1);

    /// Exactly these.
    pub fn of(scopes: &[Scope]) -> Scopes {
        Scopes(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Whether `scope` is among them.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scopes::EVERYTHING) != 0
    }

    /// Whether every scope of `other` is among these: a key must not make a key that may more.
    pub fn covers(self, other: Scopes) -> bool {
        self.0 & Scopes::EVERYTHING != 0 || other.0 & !self.0 == 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & Scopes::EVERYTHING != 0 {
            return f.write_str("*");
        }
        let names: Vec<&str> =
            Scope::ALL.into_iter().filter(|scope| self.contains(*scope)).map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl FromStr for Scopes {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Scopes, InvalidScopes> {
        if text.trim().is_empty() {
            return Err(InvalidScopes::Empty);
        }
        let scopes = text.split(',').map(str::trim).try_fold(Scopes::NONE, |scopes, name| {
            let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == name).map(Scope::bit);
            let bits = if name == "*" { Some(Scopes::EVERYTHING) } else { known };
            bits.map(|bits| Scopes(scopes.0 | bits)).ok_or_else(|| InvalidScopes::Unknown(excerpt(name)))
        })?;
        // What is named beside `*` adds nothing; one set has one value.
        Ok(if scopes.0 & Scopes::EVERYTHING != 0 { Scopes::ALL } else { scopes })
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scopes, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scopes_are_a_comma_list() {
        let scopes: Scopes = "kv:write, sql:read,kv:write".parse().expect("a list");
        assert_eq!(scopes.to_string(), "sql:read,kv:write");
        assert!(scopes.contains(Scope::KvWrite) && !scopes.contains(Scope::SqlWrite));
        assert_eq!("admin,*".parse(), Ok(Scopes::ALL));
        assert_eq!("".parse::<Scopes>(), Err(InvalidScopes::Empty));
        for bad in ["sql", "sql:*", "SQL:READ", "sql:read,", "sql:read;kv:read"] {
            assert!(matches!(bad.parse::<Scopes>(), Err(InvalidScopes::Unknown(_))), "{bad} was accepted");
        }
    }

    #[test]
    fn everything_but_the_keys_is_data() {
        for scope in Scope::ALL {
            assert!(Scopes::ALL.contains(scope) && !Scopes::NONE.contains(scope));
            assert_eq!(Scopes::DATA.contains(scope), scope != Scope::Admin);
        }
        assert!(Scopes::ALL.covers(Scopes::DATA) && !Scopes::DATA.covers(Scopes::ALL));
        assert!(!Scopes::of(&Scope::ALL).covers(Scopes::ALL), "a later scope is in `*` only");
    }

    proptest! {
        #[test]
        fn scopes_are_read_as_they_were_written(picked in proptest::sample::subsequence(Scope::ALL.to_vec(), 1..8)) {
            let scopes = Scopes::of(&picked);
            prop_assert_eq!(scopes.to_string().parse(), Ok(scopes));
            prop_assert_eq!(Scope::ALL.into_iter().filter(|scope| scopes.contains(*scope)).collect::<Vec<_>>(), picked);
        }
    }
}
