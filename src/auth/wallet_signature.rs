//! Whether the holder of a wallet signed a message.
//!
//! Ethereum: ECDSA over secp256k1 of the message wrapped as EIP-191 says (`personal_sign`), 65 bytes `r‖s‖v` in hex. The
//! key is recovered from the signature and its address compared. Of the two signatures that everybody can make from
//! one, only that with the low `s` is taken (EIP-2), and `v` is one of 0, 1, 27 and 28.
//!
//! Solana: Ed25519 of the message as it is, checked strictly (RFC 8032 and no key or commitment of small order), 64
//! bytes in base64, base58 or hex.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::VerifyingKey;
use secp256k1::Message;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use crate::types::limits::SIGNATURE_TEXT_BYTES_MAX;
use crate::types::wallet::ethereum;
use crate::types::{Chain, WalletAddress, hex};

/// A public key whose holder signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey(String);

/// A signature that proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The text is no signature for this chain; another encoding may be.
    #[error("the signature is malformed: expected {expected}")]
    Malformed {
        /// What it should look like.
        expected: &'static str,
    },
    /// A signature, but not of this message by this wallet.
    #[error("the signature does not match the wallet")]
    Mismatch,
}

const ETHEREUM_FORM: SignatureError =
    SignatureError::Malformed { expected: "65 bytes in hex, with or without 0x, for an ETH wallet" };
const SOLANA_FORM: SignatureError =
    SignatureError::Malformed { expected: "64 bytes in base64, base58 or hex, for a SOL wallet" };

/// Half of the order of secp256k1's group, rounded down: the highest `s` that is taken.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl ProvenKey {
    /// The key as its chain writes it: uncompressed as `0x04…` on Ethereum, base58 on Solana.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks that the holder of `wallet` signed `message`, and says with which key.
///
/// # Errors
///
/// [`SignatureError::Malformed`] when the text cannot be a signature, [`SignatureError::Mismatch`] when it is not this
/// wallet's. The effort is bounded, whatever the length of the text.
pub fn verify(wallet: &WalletAddress, message: &[u8], signature: &str) -> Result<ProvenKey, SignatureError> {
    match wallet.chain() {
        Chain::Ethereum => verify_ethereum(wallet, message, signature),
        Chain::Solana => verify_solana(wallet, message, signature),
    }
}

/// What an Ethereum wallet signs in place of `message` (EIP-191, version 0x45). The length is that in bytes.
pub(super) fn digest(message: &[u8]) -> [u8; 32] {
    let head = format!("\x19Ethereum Signed Message:\n{}", message.len());
    ethereum::keccak256(&[head.as_bytes(), message])
}

fn verify_ethereum(wallet: &WalletAddress, message: &[u8], text: &str) -> Result<ProvenKey, SignatureError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let signature = hex::decode::<65>(digits).ok_or(ETHEREUM_FORM)?;
    let (r_and_s, v) = (&signature[..64], signature[64]);
    let parity = match v {
        0 | 27 => RecoveryId::Zero,
        1 | 28 => RecoveryId::One,
        _ => return Err(SignatureError::Mismatch),
    };
    if r_and_s[32..] > HALF_ORDER[..] {
        return Err(SignatureError::Mismatch);
    }
    // Numbers that are zero or not below the group's order fail in one of these two.
    let key = RecoverableSignature::from_compact(r_and_s, parity)
        .and_then(|signature| signature.recover(Message::from_digest(digest(message))))
        .map_err(|_| SignatureError::Mismatch)?
        .serialize_uncompressed();
    let coordinates = key[1..].first_chunk().expect("65 bytes without the first are 64");
    if ethereum::wallet_of_key(coordinates) != *wallet {
        return Err(SignatureError::Mismatch);
    }
    Ok(ProvenKey(format!("0x{}", hex::encode(&key))))
}

fn verify_solana(wallet: &WalletAddress, message: &[u8], text: &str) -> Result<ProvenKey, SignatureError> {
    let readings = readings_of_64_bytes(text);
    if readings.is_empty() {
        return Err(SOLANA_FORM);
    }
    let key = VerifyingKey::try_from(wallet.as_bytes()).map_err(|_| SignatureError::Mismatch)?;
    let matches = |bytes: &[u8; 64]| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok();
    if !readings.iter().any(matches) {
        return Err(SignatureError::Mismatch);
    }
    Ok(ProvenKey(wallet.to_string()))
}

/// Everything that `text` can mean as 64 bytes. Some texts of 86 characters are base64 and base58 at once; since a
/// signature that matches is one in whatever encoding, all readings are good.
fn readings_of_64_bytes(text: &str) -> Vec<[u8; 64]> {
    if text.len() > SIGNATURE_TEXT_BYTES_MAX {
        return Vec::new();
    }
    let as_hex = || hex::decode(text.strip_prefix("0x").unwrap_or(text));
    let as_base58 = || {
        let mut bytes = [0; 64];
        (bs58::decode(text).onto(&mut bytes) == Ok(64)).then_some(bytes)
    };
    let as_base64 = |engine: GeneralPurpose| engine.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    [as_hex(), as_base64(BASE64), as_base64(BASE64_URL), as_base58()].into_iter().flatten().collect()
}
