//! What a wallet signs to log in.
//!
//! The text follows EIP-4361 ("Sign-In with Ethereum"), so wallets recognise it, show whom it is for, and warn when the
//! page that asks is another one. Solana wallets know the same text with the chain's name in the first line.
//!
//! It is only ever built, never parsed: whoever verifies builds it again from the fields that were stored with the nonce
//! and compares signatures over bytes. A client cannot add to it or leave something out. Every field is of an alphabet
//! without line breaks, so no field can imitate another.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::types::limits::{DOMAIN_BYTES_MAX, PURPOSE_BYTES_MAX, URI_BYTES_MAX};
use crate::types::{Chain, Namespace, WalletAddress};

/// One invitation to sign, with everything that the signature will cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// For whom the signature is.
    pub party: RelyingParty,
    /// Who is to sign.
    pub wallet: WalletAddress,
    /// Where the signer will act.
    pub namespace: Namespace,
    /// What the signature will be used for.
    pub purpose: Purpose,
    /// What makes it good for one time.
    pub nonce: Nonce,
    /// When it was made. Whole seconds appear in the text.
    pub issued_at: Timestamp,
    /// Until when it can be answered. Whole seconds appear in the text.
    pub expires_at: Timestamp,
}

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

impl Challenge {
    /// The text to sign.
    pub fn message(&self) -> String {
        let RelyingParty { domain, uri, ethereum_chain_id, solana_cluster } = &self.party;
        let chain_id = match self.wallet.chain() {
            Chain::Ethereum => ethereum_chain_id.to_string(),
            Chain::Solana => solana_cluster.as_str().to_owned(),
        };
        format!(
            "{domain} wants you to sign in with your {chain} account:\n\
             {address}\n\
             \n\
             Sign in to namespace {namespace} for {purpose}.\n\
             \n\
             URI: {uri}\n\
             Version: 1\n\
             Chain ID: {chain_id}\n\
             Nonce: {nonce}\n\
             Issued At: {issued_at}\n\
             Expiration Time: {expires_at}",
            chain = self.wallet.chain().title(),
            address = self.wallet.in_message(),
            namespace = self.namespace,
            purpose = self.purpose,
            nonce = self.nonce,
            issued_at = seconds(self.issued_at),
            expires_at = seconds(self.expires_at),
        )
    }
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
            return Err(InvalidField::Domain(shown(domain)));
        }
        if !is_absolute_uri(uri) {
            return Err(InvalidField::Uri(shown(uri)));
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
            .ok_or_else(|| InvalidField::SolanaCluster(shown(text)))
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

    /// What is stored in its place: whoever reads the database cannot answer an open challenge's question with it.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl FromStr for Nonce {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Nonce, InvalidField> {
        let valid = text.len() == Nonce::CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid { Ok(Nonce(text.to_owned())) } else { Err(InvalidField::Nonce(shown(text))) }
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
        if valid { Ok(Purpose(text.to_owned())) } else { Err(InvalidField::Purpose(shown(text))) }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3339 in UTC without fractions, whatever the precision with which the time was stored.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A scheme and something behind it, of RFC 3986's characters.
fn is_absolute_uri(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let scheme = |scheme: &str| scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    text.len() <= URI_BYTES_MAX
        && text.bytes().all(allowed)
        && text.split_once(':').is_some_and(|(before, after)| scheme(before) && !after.is_empty())
}

/// As much of a refused text as an error message bears.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn challenge(chain: Chain, wallet: &str) -> Challenge {
        let party = RelyingParty::new("gateway.example:6001", "https://gateway.example:6001", 1, SolanaCluster::Devnet);
        let mut bytes = [0; 32];
        (0..).zip(bytes.iter_mut()).for_each(|(at, byte)| *byte = at);
        Challenge {
            party: party.expect("valid"),
            wallet: WalletAddress::parse(chain, wallet).expect("valid"),
            namespace: "my-app".parse().expect("valid"),
            purpose: "api_key_generation".parse().expect("valid"),
            nonce: Nonce::from_random(bytes),
            issued_at: "2026-01-02T03:04:05.678Z".parse().expect("a time"),
            expires_at: "2026-01-02T03:09:05.678Z".parse().expect("a time"),
        }
    }

    #[test]
    fn an_ethereum_wallet_signs_the_text_of_eip_4361() {
        let text = challenge(Chain::Ethereum, "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266").message();
        assert_eq!(
            text,
            "gateway.example:6001 wants you to sign in with your Ethereum account:\n\
             0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\
             \n\
             Sign in to namespace my-app for api_key_generation.\n\
             \n\
             URI: https://gateway.example:6001\n\
             Version: 1\n\
             Chain ID: 1\n\
             Nonce: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n\
             Issued At: 2026-01-02T03:04:05Z\n\
             Expiration Time: 2026-01-02T03:09:05Z"
        );
    }

    #[test]
    fn a_solana_wallet_signs_the_same_text_for_its_chain() {
        let text = challenge(Chain::Solana, "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB").message();
        assert!(text.starts_with(
            "gateway.example:6001 wants you to sign in with your Solana account:\n\
             GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB\n\n"
        ));
        assert!(text.contains("\nChain ID: devnet\n"));
    }

    #[test]
    fn every_field_is_in_the_text() {
        let first = challenge(Chain::Ethereum, "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        let party = |domain, uri, chain| RelyingParty::new(domain, uri, chain, SolanaCluster::Mainnet).expect("valid");
        let later = "2026-01-02T03:09:06Z".parse().expect("a time");
        let other = WalletAddress::parse(Chain::Ethereum, "0x52908400098527886E0F7030069857D2E4169EE7").expect("valid");
        let uri = "https://gateway.example:6001";
        let changed = [
            Challenge { party: party("gateway.example", uri, 1), ..first.clone() },
            Challenge { party: party("gateway.example:6001", "https://evil.example", 1), ..first.clone() },
            Challenge { party: party("gateway.example:6001", uri, 5), ..first.clone() },
            Challenge { wallet: other, ..first.clone() },
            Challenge { namespace: Namespace::default_namespace(), ..first.clone() },
            Challenge { purpose: Purpose::default(), ..first.clone() },
            Challenge { nonce: Nonce::from_random([1; 32]), ..first.clone() },
            Challenge { issued_at: later, ..first.clone() },
            Challenge { expires_at: later, ..first.clone() },
        ];
        for challenge in changed {
            assert_ne!(challenge.message(), first.message(), "{challenge:?}");
        }
    }

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

        #[test]
        fn the_text_has_eleven_lines_whatever_was_accepted(domain in ".{1,20}", uri in ".{1,20}", purpose in ".{1,20}") {
            let mut challenge = challenge(Chain::Ethereum, "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
            if let Ok(party) = RelyingParty::new(&domain, &format!("x:{uri}"), 1, SolanaCluster::Mainnet) {
                challenge.party = party;
            }
            if let Ok(purpose) = purpose.parse() {
                challenge.purpose = purpose;
            }
            prop_assert_eq!(challenge.message().lines().count(), 11);
            prop_assert!(challenge.message().chars().all(|c| c == '\n' || (' '..='~').contains(&c)));
        }
    }
}
