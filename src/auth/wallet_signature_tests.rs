//! Signatures as wallets make them, and as attackers change them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};

use super::wallet_signature::{SignatureError, digest, verify};
use crate::types::wallet::ethereum::keccak256;
use crate::types::{Chain, WalletAddress, hex};

/// A development key that everybody knows.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const SIGNATURE: &str = "81cbc4f08f2bb0c307d8debe6db24d82cf9a11d6a5d21918762ba7476bfc18970a30f9f6c856959b366342bbf9ac8c3af7ce07cf93e39a6c3b8f38ea76c69d3f1b";
const PUBLIC_KEY: &str = "8318535b54105d4a7aae60c08fc45f9687181b4fdfc625bd1a753fa7397fed753547f11ca8696646f2f3acb08e31016afac23e630c5d11f59f61fef57b0d2aa5";
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

const SOLANA_ADDRESS: &str = "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB";
const SOLANA_SIGNATURE: &str =
    "flIK/gPAKfBbAPLDZpDgn0g98IJHlZMzILYinVvO8BIPIJ2PcsUfK6NBnIeYq+7wo2YS+DpYGwytWBj2HTbiDQ==";

fn ethereum() -> WalletAddress {
    WalletAddress::parse(Chain::Ethereum, ADDRESS).expect("valid")
}

fn solana() -> WalletAddress {
    WalletAddress::parse(Chain::Solana, SOLANA_ADDRESS).expect("valid")
}

fn check(signature: &str) -> Result<String, SignatureError> {
    verify(&ethereum(), NONCE.as_bytes(), signature).map(|key| key.as_str().to_owned())
}

fn with_v(v: u8) -> String {
    format!("{}{v:02x}", &SIGNATURE[..128])
}

/// The signature of a digest by the development key, in hex.
fn sign(digest: [u8; 32]) -> String {
    let key = SecretKey::from_secret_bytes(hex::decode(KEY).expect("hex")).expect("a key");
    let (parity, bytes) =
        RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest), &key).serialize_compact();
    format!("{}{:02x}", hex::encode(&bytes), parity.to_u8() + 27)
}

/// The group's order less a big-endian number.
fn order_less(number: &[u8]) -> [u8; 32] {
    let mut difference: [u8; 32] = hex::decode(ORDER).expect("hex");
    let mut borrow = 0;
    for (byte, subtract) in difference.iter_mut().zip(number).rev() {
        let (less, first) = byte.overflowing_sub(*subtract);
        let (less, second) = less.overflowing_sub(borrow);
        (*byte, borrow) = (less, u8::from(first || second));
    }
    difference
}

#[test]
fn the_digest_and_the_signature_are_those_of_other_implementations() {
    let digest = digest(NONCE.as_bytes());
    assert_eq!(hex::encode(&digest), "549d02e7422104d70ba6b948c9fd18a80ae931f24920bf97769d5a903d781be2");
    assert_eq!(sign(digest), SIGNATURE);
    assert_eq!(check(SIGNATURE), Ok(format!("0x04{PUBLIC_KEY}")));
    let proven = verify(&solana(), NONCE.as_bytes(), SOLANA_SIGNATURE).expect("a real signature");
    assert_eq!(proven.as_str(), SOLANA_ADDRESS);
}

#[test]
fn a_prefix_and_the_case_of_hex_do_not_matter() {
    for text in [format!("0x{SIGNATURE}"), SIGNATURE.to_uppercase()] {
        assert!(check(&text).is_ok(), "{text}");
    }
}

#[test]
fn four_values_of_v_are_good_and_all_others_are_not() {
    for v in 0..=255 {
        let expected = match v {
            0 | 27 => Ok(format!("0x04{PUBLIC_KEY}")),
            _ => Err(SignatureError::Mismatch),
        };
        assert_eq!(check(&with_v(v)), expected, "v = {v}");
    }
    // The other parity, where it is the right one.
    let other = (0..64u8).map(|n| vec![n]).find(|text| sign(digest(text)).ends_with("1c")).expect("half of all");
    let signature = sign(digest(&other));
    for v in ["01", "1c"] {
        assert!(verify(&ethereum(), &other, &format!("{}{v}", &signature[..128])).is_ok(), "v = {v}");
    }
}

#[test]
fn a_malleated_signature_is_refused() {
    let bytes = hex::decode::<65>(SIGNATURE).expect("hex");
    let high = hex::encode(&order_less(&bytes[32..64]));
    for v in ["1b", "1c", "00", "01"] {
        assert_eq!(check(&format!("{}{high}{v}", &SIGNATURE[..64])), Err(SignatureError::Mismatch), "v = {v}");
    }
}

#[test]
fn numbers_outside_the_group_are_refused() {
    let above = hex::encode(&{
        let mut order: [u8; 32] = hex::decode(ORDER).expect("hex");
        order[31] += 1;
        order
    });
    for bad in [&"0".repeat(64), ORDER, &above, &"f".repeat(64)] {
        for v in ["1b", "1c"] {
            assert_eq!(check(&format!("{bad}{}{v}", &SIGNATURE[64..128])), Err(SignatureError::Mismatch), "r = {bad}");
            assert_eq!(check(&format!("{}{bad}{v}", &SIGNATURE[..64])), Err(SignatureError::Mismatch), "s = {bad}");
        }
    }
}

#[test]
fn what_is_not_65_bytes_of_hex_is_malformed() {
    let long = "0".repeat(10_000_000);
    let bad = [
        "",
        "0x",
        &SIGNATURE[..128],
        &SIGNATURE[..129],
        &format!("{SIGNATURE}00"),
        &format!(" {SIGNATURE}"),
        &format!("{SIGNATURE}\n"),
        &format!("{} {}", &SIGNATURE[..64], &SIGNATURE[65..]),
        &SIGNATURE.replace('f', "g"),
        &format!("+{}", &SIGNATURE[1..]),
        &STANDARD.encode(hex::decode::<65>(SIGNATURE).expect("hex")),
        &long,
    ];
    for text in bad {
        let answer = check(text);
        assert!(matches!(answer, Err(SignatureError::Malformed { .. })), "{text:.200}: {answer:?}");
    }
}

#[test]
fn only_the_message_itself_is_proven() {
    let nonce = NONCE.as_bytes();
    // Signed without EIP-191's wrapping, as `eth_sign` and typed data are.
    assert_eq!(check(&sign(keccak256(&[nonce]))), Err(SignatureError::Mismatch));
    assert_eq!(check(&sign(keccak256(&[b"\x19\x01", &[0; 32], &keccak256(&[nonce])]))), Err(SignatureError::Mismatch));
    for other in ["", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", &format!("{NONCE}\n")] {
        assert_eq!(verify(&ethereum(), other.as_bytes(), SIGNATURE), Err(SignatureError::Mismatch));
        assert_eq!(verify(&solana(), other.as_bytes(), SOLANA_SIGNATURE), Err(SignatureError::Mismatch));
    }
    let other = WalletAddress::parse(Chain::Ethereum, "0x52908400098527886E0F7030069857D2E4169EE7").expect("valid");
    assert_eq!(verify(&other, nonce, SIGNATURE), Err(SignatureError::Mismatch));
}

#[test]
fn the_length_in_an_ethereum_message_is_that_in_bytes() {
    let text = "zwölf Boxkämpfer";
    assert!(verify(&ethereum(), text.as_bytes(), &sign(digest(text.as_bytes()))).is_ok());
    let head = format!("\x19Ethereum Signed Message:\n{}", text.chars().count());
    let counted_in_characters = sign(keccak256(&[head.as_bytes(), text.as_bytes()]));
    assert_eq!(verify(&ethereum(), text.as_bytes(), &counted_in_characters), Err(SignatureError::Mismatch));
}

#[test]
fn every_encoding_of_a_solana_signature_is_read() {
    let bytes = STANDARD.decode(SOLANA_SIGNATURE).expect("base64");
    let base58 = bs58::encode(&bytes).into_string();
    let encodings = [
        STANDARD.encode(&bytes),
        STANDARD_NO_PAD.encode(&bytes),
        URL_SAFE.encode(&bytes),
        URL_SAFE_NO_PAD.encode(&bytes),
        hex::encode(&bytes),
        format!("0x{}", hex::encode(&bytes)),
        base58.clone(),
    ];
    for text in encodings {
        assert!(verify(&solana(), NONCE.as_bytes(), &text).is_ok(), "{text}");
    }
    let long = "1".repeat(10_000_000);
    for text in ["", "=", &base58[..80], &format!("{base58}1"), &SOLANA_SIGNATURE[4..], SIGNATURE, &long] {
        let answer = verify(&solana(), NONCE.as_bytes(), text);
        assert!(matches!(answer, Err(SignatureError::Malformed { .. })), "{text:.200}: {answer:?}");
    }
}

#[test]
fn an_ed25519_signature_has_one_form() {
    let nonce = NONCE.as_bytes();
    let good: [u8; 64] = STANDARD.decode(SOLANA_SIGNATURE).expect("base64").try_into().expect("64 bytes");
    // The same s, plus the order of the group: equal to it in the equation, refused by RFC 8032.
    let order: [u8; 32] = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    let mut carried = good;
    let mut carry = 0;
    for (byte, add) in carried[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    let mut small_commitment = good;
    small_commitment[..32].fill(0);
    small_commitment[0] = 1;
    let other_key = SigningKey::from_bytes(&[8; 32]).sign(nonce).to_bytes();
    for bad in [carried, small_commitment, other_key, [0; 64], [0xff; 64]] {
        assert_eq!(verify(&solana(), nonce, &STANDARD.encode(bad)), Err(SignatureError::Mismatch), "{bad:?}");
    }
}

#[test]
fn a_proof_on_one_chain_is_none_on_the_other() {
    let nonce = NONCE.as_bytes();
    assert!(verify(&solana(), nonce, SIGNATURE).is_err());
    assert!(verify(&ethereum(), nonce, SOLANA_SIGNATURE).is_err());
}

proptest! {
    #[test]
    fn any_text_is_answered_and_proves_nothing(text in ".{0,200}") {
        prop_assert!(verify(&ethereum(), b"m", &text).is_err());
        prop_assert!(verify(&solana(), b"m", &text).is_err());
    }

    #[test]
    fn a_flipped_bit_proves_nothing(at in 0usize..512) {
        let mut bytes = STANDARD.decode(SOLANA_SIGNATURE).expect("base64");
        bytes[at / 8] ^= 1 << (at % 8);
        prop_assert!(verify(&solana(), NONCE.as_bytes(), &STANDARD.encode(bytes)).is_err());
        let mut bytes = hex::decode::<65>(SIGNATURE).expect("hex");
        bytes[at / 8] ^= 1 << (at % 8);
        prop_assert!(check(&hex::encode(&bytes)).is_err());
    }

    #[test]
    fn what_was_signed_is_proven(message in ".{0,100}", seed: [u8; 32]) {
        prop_assert!(verify(&ethereum(), message.as_bytes(), &sign(digest(message.as_bytes()))).is_ok());
        let key = SigningKey::from_bytes(&seed);
        let address = bs58::encode(key.verifying_key().to_bytes()).into_string();
        let wallet = WalletAddress::parse(Chain::Solana, &address).expect("a real key");
        let signature = key.sign(message.as_bytes()).to_bytes();
        prop_assert!(verify(&wallet, message.as_bytes(), &bs58::encode(signature).into_string()).is_ok());
    }
}
