//! The parts of a challenge that come from outside: whom it is for, what for, and what makes it good for one time.
//!
//! Each can stand in a message of EIP-4361 as it is: no line breaks, no control characters, and no letters that look like
//! others.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::types::limits::{DOMAIN_BYTES_MAX, PURPOSE_BYTES_MAX, URI_BYTES_MAX};
use crate::types::{Chain, excerpt};

/// The service that asks for signatures, as its configuration names it. A request's `Host` header has no say in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    domain: String,
    uri: String,
    ethereum_chain_id: u64,
    solana_cluster: SolanaCluster,
}

/// Which of Solana's networks a signature is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SolanaCluster {
    /// The real one.
    #[default]
    Mainnet,
    /// For those who run validators.
    Testnet,
    /// For those who write programs.
    Devnet,
    /// On this machine.
    Localnet,
}

/// A number used once: 43 letters and digits with 254 bits of chance in them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nonce(String);

/// What a signature is for, as the client calls it: 1 to 64 of `a`–`z`, `A`–`Z`, `0`–`9`, `-`, `_`, `.`, `:` and `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Purpose(String);

/// A field that cannot stand in a challenge.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidField {
    /// Not a host name with an optional port.
    #[error(
        "`{0}` is not a domain to sign in to (expected a host name or address, with a port if it is not the usual one)"
    )]
    Domain(String),
    /// Not an absolute URI.
    #[error("`{0}` is not a URI to sign in to (expected an absolute one, like https://gateway.example)")]
    Uri(String),
    /// Not a purpose.
    #[error("`{0}` is not a purpose (use 1 to {PURPOSE_BYTES_MAX} letters, digits, `-`, `_`, `.`, `:` and `/`)")]
    Purpose(String),
    /// Not one of ours.
    #[error("`{0}` is not a nonce (expected the 43 letters and digits of a challenge)")]
    Nonce(String),
    /// No network of Solana.
    #[error("`{0}` is not a Solana cluster (expected mainnet, testnet, devnet or localnet)")]
    SolanaCluster(String),
}

impl RelyingParty {
    /// A service at `domain` (RFC 3986's authority, without user information), found at `uri`.
    ///
    /// # Errors
    ///
    /// [`InvalidField`] when one of them could not stand in a message.
    pub fn new(
        domain: &str,
        uri: &str,
        ethereum_chain_id: u64,
        solana_cluster: SolanaCluster,
    ) -> Result<RelyingParty, InvalidField> {
        let host = |b: u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b);
        if domain.is_empty() || domain.len() > DOMAIN_BYTES_MAX || !domain.bytes().all(host) {
            return Err(InvalidField::Domain(excerpt(domain)));
        }
        if !is_absolute_uri(uri) {
            return Err(InvalidField::Uri(excerpt(uri)));
        }
        Ok(RelyingParty { domain: domain.to_owned(), uri: uri.to_owned(), ethereum_chain_id, solana_cluster })
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Which of the chain's networks it is on, as messages name it.
    pub fn chain_id(&self, chain: Chain) -> String {
        match chain {
            Chain::Ethereum => self.ethereum_chain_id.to_string(),
            Chain::Solana => self.solana_cluster.as_str().to_owned(),
        }
    }
}

impl SolanaCluster {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            SolanaCluster::Mainnet => "mainnet",
            SolanaCluster::Testnet => "testnet",
            SolanaCluster::Devnet => "devnet",
            SolanaCluster::Localnet => "localnet",
        }
    }
}

impl FromStr for SolanaCluster {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<SolanaCluster, InvalidField> {
        [SolanaCluster::Mainnet, SolanaCluster::Testnet, SolanaCluster::Devnet, SolanaCluster::Localnet]
            .into_iter()
            .find(|cluster| cluster.as_str() == text)
            .ok_or_else(|| InvalidField::SolanaCluster(excerpt(text)))
    }
}

impl Nonce {
    const CHARS: usize = 43;

    /// The nonce of 32 random bytes: base64url without padding.
    ///
    /// EIP-4361 allows letters and digits only. So bytes whose text has a `-` or `_` are hashed until it has none; of
    /// four texts about one is good.
    pub fn from_random(random: [u8; 32]) -> Nonce {
        let mut bytes = random;
        loop {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if text.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Nonce(text);
            }
            bytes = *blake3::hash(&bytes).as_bytes();
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored in its place, so that a copy of the database has no open challenge in it.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl FromStr for Nonce {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Nonce, InvalidField> {
        let valid = text.len() == Nonce::CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid { Ok(Nonce(text.to_owned())) } else { Err(InvalidField::Nonce(excerpt(text))) }
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

impl Purpose {
    /// What the client called it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client that names no purpose wants.
impl Default for Purpose {
    fn default() -> Purpose {
        Purpose("login".to_owned())
    }
}

impl FromStr for Purpose {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Purpose, InvalidField> {
        // No spaces: a purpose must not read as a sentence of the message.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
        let valid = !text.is_empty() && text.len() <= PURPOSE_BYTES_MAX && text.bytes().all(allowed);
        if valid { Ok(Purpose(text.to_owned())) } else { Err(InvalidField::Purpose(excerpt(text))) }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scheme and something behind it, of RFC 3986's characters.
fn is_absolute_uri(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let scheme = |scheme: &str| scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    text.len() <= URI_BYTES_MAX
        && text.bytes().all(allowed)
        && text.split_once(':').is_some_and(|(before, after)| scheme(before) && !after.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Namespace, WalletAddress};
    use proptest::prelude::*;

    #[test]
    fn no_field_takes_a_line_break_or_a_control_byte() {
        let new = |domain: &str, uri: &str| RelyingParty::new(domain, uri, 1, SolanaCluster::Mainnet);
        for bad in ["a\nb", "a\rb", "a\0b", "a\u{2028}b", "a\u{202e}b", "a\tb", "a b", "é", "", "a\u{7f}"] {
            assert!(bad.parse::<Purpose>().is_err(), "purpose {bad:?}");
            assert!(bad.parse::<Namespace>().is_err(), "namespace {bad:?}");
            assert!(bad.parse::<Nonce>().is_err(), "nonce {bad:?}");
            assert!(WalletAddress::parse(Chain::Solana, bad).is_err(), "wallet {bad:?}");
            assert!(new(bad, "https://a").is_err(), "domain {bad:?}");
            assert!(new("a", &format!("https://{bad}\n")).is_err(), "uri {bad:?}");
        }
        assert!(new("user@a", "https://a").is_err() && new("a", "gateway.example/x").is_err());
        assert!("a".repeat(65).parse::<Purpose>().is_err());
    }

    proptest! {
        #[test]
        fn a_nonce_has_letters_and_digits_only(random: [u8; 32]) {
            let nonce = Nonce::from_random(random);
            prop_assert_eq!(nonce.as_str().parse(), Ok(nonce.clone()));
            prop_assert_eq!(URL_SAFE_NO_PAD.decode(nonce.as_str()).map(|bytes| bytes.len()), Ok(32));
            let shown = format!("{nonce:?}");
            prop_assert!(!shown.contains(nonce.as_str()));
        }
    }
}
