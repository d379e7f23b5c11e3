//! Ethereum's addresses: the last 20 bytes of the Keccak-256 hash of a public key, in hex, with EIP-55's checksum.

use tiny_keccak::{Hasher, Keccak};

use super::{Address, InvalidWallet, WalletAddress};
use crate::types::{excerpt, hex};

/// Keccak-256 (the hash that Ethereum uses; not SHA3-256) of `parts`, one after the other.
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak::v256();
    parts.iter().for_each(|part| hasher.update(part));
    let mut hash = [0; 32];
    hasher.finalize(&mut hash);
    hash
}

/// The wallet of a secp256k1 public key, given as its coordinates x and y (without the leading `04`).
pub fn wallet_of_key(coordinates: &[u8; 64]) -> WalletAddress {
    let mut address = [0; 20];
    address.copy_from_slice(&keccak256(&[coordinates])[12..]);
    WalletAddress(Address::Ethereum(address))
}

pub(super) fn parse(text: &str) -> Result<[u8; 20], InvalidWallet> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let address = hex::decode::<20>(digits).ok_or_else(|| InvalidWallet::NotEthereum(excerpt(text)))?;
    let mixed = digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    if mixed && checksummed(&address)[2..] != *digits {
        return Err(InvalidWallet::Checksum(excerpt(text)));
    }
    if address == [0; 20] {
        return Err(InvalidWallet::NoHolder(excerpt(text)));
    }
    Ok(address)
}

/// The address with EIP-55's checksum: a letter is capital where the hash of the digits has a high nibble.
pub(super) fn checksummed(address: &[u8; 20]) -> String {
    let digits = hex::encode(address);
    let hash = keccak256(&[digits.as_bytes()]);
    let nibble = |at: usize| if at.is_multiple_of(2) { hash[at / 2] >> 4 } else { hash[at / 2] & 0x0f };
    let cased = digits.char_indices().map(|(at, c)| if nibble(at) >= 8 { c.to_ascii_uppercase() } else { c });
    "0x".chars().chain(cased).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55.
    const CHECKSUMMED: &[&str] = &[
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn the_checksum_is_that_of_eip_55() {
        for text in CHECKSUMMED {
            assert_eq!(checksummed(&parse(text).expect("right")), *text);
        }
    }

    #[test]
    fn a_wrong_mixed_case_is_refused() {
        for text in &CHECKSUMMED[2..] {
            let at = text.bytes().skip(2).position(|b| b.is_ascii_uppercase()).expect("a capital letter") + 2;
            let wrong = format!("{}{}{}", &text[..at], text[at..=at].to_lowercase(), &text[at + 1..]);
            assert_eq!(parse(&wrong), Err(InvalidWallet::Checksum(wrong.clone())));
        }
    }

    #[test]
    fn nobody_is_the_zero_address() {
        assert!(matches!(parse(&"0".repeat(40)), Err(InvalidWallet::NoHolder(_))));
    }
}
