//! Solana's addresses: Ed25519 public keys in base58.

use ed25519_dalek::VerifyingKey;

use super::InvalidWallet;
use crate::types::excerpt;

/// The least and the most digits that 32 bytes take in base58.
const DIGITS: std::ops::RangeInclusive<usize> = 32..=44;

pub(super) fn parse(text: &str) -> Result<[u8; 32], InvalidWallet> {
    let mut key = [0; 32];
    // Decoding takes time quadratic in the length.
    let decoded = DIGITS.contains(&text.len()) && bs58::decode(text).onto(&mut key) == Ok(32);
    if !decoded {
        return Err(InvalidWallet::NotSolana(excerpt(text)));
    }
    if !has_a_holder(&key) {
        return Err(InvalidWallet::NoHolder(excerpt(text)));
    }
    Ok(key)
}

/// Whether a secret key can belong to this public key: it is the one encoding of a point of the prime-order group.
///
/// Program addresses are off the curve. For points of small order signatures can be made without a key, and for other
/// points outside the group verifiers disagree about what is valid.
fn has_a_holder(key: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key_read| {
        let point = key_read.to_edwards();
        point.compress().as_bytes() == key && !point.is_small_order() && point.is_torsion_free()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::hex;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    /// Of order 8.
    const TORSION: &str = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";

    fn refused(key: [u8; 32]) {
        let text = bs58::encode(key).into_string();
        assert_eq!(parse(&text), Err(InvalidWallet::NoHolder(text.clone())));
    }

    #[test]
    fn points_that_have_no_holder_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        let mut one_again = minus_one;
        one_again[0] = 0xee;
        let mut off_the_curve = [0; 32];
        off_the_curve[0] = 2;
        for key in [[0; 32], one, minus_one, one_again, off_the_curve, hex::decode(TORSION).expect("hex")] {
            refused(key);
        }
    }

    #[test]
    fn a_key_with_a_torsion_component_is_refused() {
        let torsion = VerifyingKey::from_bytes(&hex::decode(TORSION).expect("hex")).expect("a point").to_edwards();
        let good = SigningKey::from_bytes(&[7; 32]).verifying_key().to_edwards();
        refused((good + torsion).compress().to_bytes());
    }

    proptest! {
        #[test]
        fn every_real_key_is_an_address(seed: [u8; 32]) {
            let key = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
            prop_assert_eq!(parse(&bs58::encode(key).into_string()), Ok(key));
        }
    }
}
