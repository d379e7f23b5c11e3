//! Wallets: accounts of people, named by an address on a chain.
//!
//! A [`WalletAddress`] is an address that somebody can prove to hold: what has no possible holder (Ethereum's zero
//! address, points of Ed25519 that every key, or no key, signs for) is not one. Each wallet has exactly one value and
//! one text, however it was spelled when it came in, so comparing two is comparing bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::excerpt;

pub mod ethereum;
mod solana;

/// A chain whose wallets can sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    /// Ethereum and chains with its addresses; `ETH` on the wire.
    Ethereum,
    /// Solana; `SOL` on the wire.
    Solana,
}

/// A text that names no chain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a chain whose wallets can sign in (expected ETH or SOL)")]
pub struct InvalidChain(String);

/// An address on a chain, valid by construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalletAddress(Address);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Address {
    Ethereum([u8; 20]),
    Solana([u8; 32]),
}

/// A text that is no wallet's address. The text is shown cut to a bearable length.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidWallet {
    /// Not 20 bytes of hex.
    #[error("`{0}` is not an Ethereum address (expected 40 hex digits, with or without 0x)")]
    NotEthereum(String),
    /// Not 32 bytes of base58.
    #[error("`{0}` is not a Solana address (expected 32 bytes in base58)")]
    NotSolana(String),
    /// Capital and small letters are mixed otherwise than EIP-55 wants: most likely a mistyped address.
    #[error("`{0}` has a wrong EIP-55 checksum; check the address, or write it in small letters")]
    Checksum(String),
    /// A well-formed address to which no honest key belongs. Nobody can prove to hold it.
    #[error("`{0}` cannot be held by anybody")]
    NoHolder(String),
    /// Not the form that [`WalletAddress::subject`] writes.
    #[error("`{0}` does not name a wallet (expected `eip155:0x…` or `solana:…`)")]
    NotASubject(String),
}

impl Chain {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Chain::Ethereum => "ETH",
            Chain::Solana => "SOL",
        }
    }

    /// What people call it, as messages to sign do.
    pub fn title(self) -> &'static str {
        match self {
            Chain::Ethereum => "Ethereum",
            Chain::Solana => "Solana",
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Chain {
    type Err = InvalidChain;

    fn from_str(text: &str) -> Result<Chain, InvalidChain> {
        match text {
            "ETH" => Ok(Chain::Ethereum),
            "SOL" => Ok(Chain::Solana),
            other => Err(InvalidChain(excerpt(other))),
        }
    }
}

impl WalletAddress {
    /// Reads an address as people write it.
    ///
    /// Ethereum: 40 hex digits, `0x` optional, in one case; mixed cases must be the EIP-55 checksum. Solana: base58.
    ///
    /// # Errors
    ///
    /// See [`InvalidWallet`]. The effort is bounded, whatever the length of the text.
    pub fn parse(chain: Chain, text: &str) -> Result<WalletAddress, InvalidWallet> {
        match chain {
            Chain::Ethereum => ethereum::parse(text).map(Address::Ethereum),
            Chain::Solana => solana::parse(text).map(Address::Solana),
        }
        .map(WalletAddress)
    }

    /// Reads what [`WalletAddress::subject`] wrote.
    ///
    /// # Errors
    ///
    /// [`InvalidWallet::NotASubject`] for any other text, other spellings of the same wallet included.
    pub fn from_subject(text: &str) -> Result<WalletAddress, InvalidWallet> {
        let read = match text.split_once(':') {
            Some(("eip155", address)) => WalletAddress::parse(Chain::Ethereum, address),
            Some(("solana", address)) => WalletAddress::parse(Chain::Solana, address),
            _ => return Err(InvalidWallet::NotASubject(excerpt(text))),
        };
        read.ok().filter(|wallet| wallet.subject() == text).ok_or_else(|| InvalidWallet::NotASubject(excerpt(text)))
    }

    /// The wallet's one name across chains, in the manner of CAIP-10: `eip155:0x…` or `solana:…`. The key under which
    /// things are stored.
    ///
    /// Chains with Ethereum's addresses share one name, because they share the keys.
    pub fn subject(&self) -> String {
        match self.0 {
            Address::Ethereum(_) => format!("eip155:{self}"),
            Address::Solana(_) => format!("solana:{self}"),
        }
    }

    /// The address as messages to sign show it: on Ethereum with the EIP-55 checksum, which EIP-4361 demands.
    pub fn in_message(&self) -> String {
        match &self.0 {
            Address::Ethereum(bytes) => ethereum::checksummed(bytes),
            Address::Solana(_) => self.to_string(),
        }
    }

    /// The chain.
    pub fn chain(&self) -> Chain {
        match self.0 {
            Address::Ethereum(_) => Chain::Ethereum,
            Address::Solana(_) => Chain::Solana,
        }
    }

    /// The address's bytes: 20 on Ethereum; on Solana 32, which are the public key.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Address::Ethereum(bytes) => bytes,
            Address::Solana(bytes) => bytes,
        }
    }
}

/// The canonical text, without the chain: `0x` and small hex digits, or base58.
impl fmt::Display for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Ethereum(bytes) => write!(f, "0x{}", super::hex::encode(bytes)),
            Address::Solana(bytes) => f.write_str(&bs58::encode(bytes).into_string()),
        }
    }
}

impl fmt::Debug for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject())
    }
}

impl Serialize for WalletAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.subject())
    }
}

impl<'de> Deserialize<'de> for WalletAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WalletAddress, D::Error> {
        WalletAddress::from_subject(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEV: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    #[test]
    fn every_spelling_of_an_ethereum_address_is_the_same_wallet() {
        let lower = DEV.to_lowercase();
        for spelling in [DEV, &DEV[2..], &lower, &lower[2..], &DEV.to_uppercase(), &DEV[2..].to_uppercase()] {
            let wallet = WalletAddress::parse(Chain::Ethereum, spelling).expect(spelling);
            assert_eq!(wallet.to_string(), lower);
            assert_eq!(wallet.in_message(), DEV);
            assert_eq!(wallet.subject(), format!("eip155:{lower}"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_shown_cut() {
        let long = "0x".to_owned() + &"f".repeat(10_000_000);
        let controls = format!("{DEV}\n");
        for bad in ["", "0x", &DEV[..41], "0xg39Fd6e51aad88F6F4ce6aB8827279cffFb92266", &controls, &long, " 0x00"] {
            let error = WalletAddress::parse(Chain::Ethereum, bad).expect_err(bad).to_string();
            assert!(error.len() < 300 && !error.contains('\n'), "{error}");
        }
        let solana = "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB";
        let zeroes = format!("1{solana}");
        let short = bs58::encode([7; 31]).into_string();
        let long = "z".repeat(10_000);
        for bad in ["", "1", &short, &zeroes, &long, &solana.replace('G', "0"), &solana.replace('G', "l"), "é"] {
            let error = WalletAddress::parse(Chain::Solana, bad).expect_err(bad);
            assert!(matches!(error, InvalidWallet::NotSolana(_)), "{error}");
        }
    }

    #[test]
    fn the_same_text_is_not_the_same_identity_on_two_chains() {
        assert!(WalletAddress::parse(Chain::Solana, DEV).is_err());
        let solana = WalletAddress::parse(Chain::Solana, "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB").expect("one");
        assert!(WalletAddress::parse(Chain::Ethereum, &solana.to_string()).is_err());
        assert!(solana.subject().starts_with("solana:"));
    }

    #[test]
    fn a_subject_is_read_only_as_it_was_written() {
        for bad in [DEV.to_owned(), format!("eip155:{DEV}"), format!("eip155:{}", &DEV[2..]), "solana:".into()] {
            assert!(WalletAddress::from_subject(&bad).is_err(), "{bad} was read");
        }
    }

    #[test]
    fn chains_have_the_names_of_the_wire() {
        for chain in [Chain::Ethereum, Chain::Solana] {
            assert_eq!(chain.to_string().parse(), Ok(chain));
        }
        assert!("eth".parse::<Chain>().is_err() && "".parse::<Chain>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(bytes: [u8; 20]) {
            let text = super::super::hex::encode(&bytes);
            let wallet = WalletAddress::parse(Chain::Ethereum, &text).expect("not zero");
            prop_assert_eq!(WalletAddress::parse(Chain::Ethereum, &wallet.in_message()), Ok(wallet));
            prop_assert_eq!(WalletAddress::from_subject(&wallet.subject()), Ok(wallet));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = WalletAddress::parse(Chain::Ethereum, &text);
            let _ = WalletAddress::parse(Chain::Solana, &text);
            let _ = WalletAddress::from_subject(&text);
        }
    }
}
