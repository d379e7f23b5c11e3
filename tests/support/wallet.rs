//! Wallets with real keys that sign as wallets do.

use base64::Engine as _;
use ed25519_dalek::Signer as _;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SecretKey};
use tiny_keccak::{Hasher as _, Keccak};

/// A wallet; the same seed is the same wallet in every run.
#[derive(Clone, Debug)]
pub(crate) enum Wallet {
    Ethereum(SecretKey),
    Solana(Box<ed25519_dalek::SigningKey>),
}

impl Wallet {
    pub(crate) fn ethereum(seed: &str) -> Wallet {
        let secret = keccak(&[b"ethereum ", seed.as_bytes()]);
        Wallet::Ethereum(SecretKey::from_secret_bytes(secret).expect("all but a few numbers are keys"))
    }

    pub(crate) fn solana(seed: &str) -> Wallet {
        let secret = keccak(&[b"solana ", seed.as_bytes()]);
        Wallet::Solana(Box::new(ed25519_dalek::SigningKey::from_bytes(&secret)))
    }

    /// `ETH` or `SOL`.
    pub(crate) fn chain(&self) -> &'static str {
        match self {
            Wallet::Ethereum(_) => "ETH",
            Wallet::Solana(_) => "SOL",
        }
    }

    /// Its address in small letters, as the gateway shows it.
    pub(crate) fn address(&self) -> String {
        match self {
            Wallet::Ethereum(secret) => {
                let public = PublicKey::from_secret_key(secret).serialize_uncompressed();
                format!("0x{}", hex(&keccak(&[&public[1..]])[12..]))
            }
            Wallet::Solana(key) => bs58::encode(key.verifying_key().as_bytes()).into_string(),
        }
    }

    /// A signature of a text as the chain's wallets show it: EIP-191 in hex, or Ed25519 in base64.
    pub(crate) fn sign(&self, text: &str) -> String {
        match self {
            Wallet::Ethereum(secret) => {
                let head = format!("\x19Ethereum Signed Message:\n{}", text.len());
                let digest = Message::from_digest(keccak(&[head.as_bytes(), text.as_bytes()]));
                let signature = RecoverableSignature::sign_ecdsa_recoverable(digest, secret);
                let (parity, bytes) = signature.serialize_compact();
                format!("0x{}{:02x}", hex(&bytes), parity.to_u8() + 27)
            }
            Wallet::Solana(key) => {
                base64::engine::general_purpose::STANDARD.encode(key.sign(text.as_bytes()).to_bytes())
            }
        }
    }
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak::v256();
    parts.iter().for_each(|part| hasher.update(part));
    let mut hash = [0; 32];
    hasher.finalize(&mut hash);
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
