//! Small secrets, such as the seeds of signing keys, sealed so that they can stand in the replicated state.
//!
//! Logs, snapshots and backups then hold them in a form that only a member with the cluster's secret can read.
//! XChaCha20-Poly1305, whose nonce is long enough to be random; what the secret is for is authenticated with it, so a
//! sealed secret cannot be put in another's place.
//!
//! A sealed secret is a version byte, 24 bytes of nonce, the ciphertext, and 16 bytes of tag.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::types::ClusterSecret;
use crate::types::limits::SEALED_SECRET_BYTES_MAX;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Larger than what is kept this way.
    #[error("a secret of {0} bytes is too large to be sealed (at most {SEALED_SECRET_BYTES_MAX})")]
    TooLarge(usize),
    /// Not something that was sealed, or sealed by a later version.
    #[error("this is not a sealed secret of a version known here")]
    Malformed,
    /// Another cluster's secret, another purpose, or changed bytes.
    #[error("the sealed secret does not open with this cluster's secret")]
    DoesNotOpen,
}

/// Seals `secret` for `purpose`. The nonce must be random, new each time.
///
/// # Errors
///
/// [`SealError::TooLarge`].
pub fn seal(
    key: &ClusterSecret,
    purpose: &[u8],
    nonce: [u8; NONCE_BYTES],
    secret: &[u8],
) -> Result<Vec<u8>, SealError> {
    let too_large = SealError::TooLarge(secret.len());
    if secret.len() > SEALED_SECRET_BYTES_MAX {
        return Err(too_large);
    }
    let payload = Payload { msg: secret, aad: purpose };
    let ciphertext = cipher(key).encrypt(&XNonce::from(nonce), payload).map_err(|_| too_large)?;
    Ok([&[VERSION], &nonce[..], &ciphertext].concat())
}

/// Opens what [`seal`] sealed for the same purpose.
///
/// # Errors
///
/// [`SealError::Malformed`] and [`SealError::DoesNotOpen`].
pub fn open(key: &ClusterSecret, purpose: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (nonce, ciphertext) = match sealed {
        [VERSION, rest @ ..] if rest.len() <= NONCE_BYTES + SEALED_SECRET_BYTES_MAX + TAG_BYTES => {
            rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Malformed)?
        }
        _ => return Err(SealError::Malformed),
    };
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::Malformed)?;
    let payload = Payload { msg: ciphertext, aad: purpose };
    cipher(key).decrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::DoesNotOpen)
}

fn cipher(key: &ClusterSecret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::hex;
    use proptest::prelude::*;

    /// The test vector of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_cipher_is_xchacha20_poly1305() {
        let key = hex::decode("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f").expect("hex");
        let nonce = hex::decode("404142434445464748494a4b4c4d4e4f5051525354555657").expect("hex");
        let purpose: [u8; 12] = hex::decode("50515253c0c1c2c3c4c5c6c7").expect("hex");
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                     sunscreen would be it.";
        let sealed = seal(&ClusterSecret::from_bytes(key), &purpose, nonce, text).expect("small");
        assert_eq!(hex::encode(&sealed[25..41]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(hex::encode(&sealed[sealed.len() - 16..]), "c0875924c1c7987947deafd8780acf49");
    }

    #[test]
    fn only_the_same_secret_and_purpose_open_it() {
        let secret = ClusterSecret::from_bytes([1; 32]);
        let sealed = seal(&secret, b"token-key:ab", [2; 24], &[3; 32]).expect("small");
        assert_eq!(open(&secret, b"token-key:ab", &sealed), Ok(vec![3; 32]));
        assert_eq!(open(&secret, b"token-key:ac", &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(open(&ClusterSecret::from_bytes([9; 32]), b"token-key:ab", &sealed), Err(SealError::DoesNotOpen));
    }

    #[test]
    fn what_was_never_sealed_is_named_so() {
        let secret = ClusterSecret::from_bytes([1; 32]);
        for bad in [&[][..], &[1], &[0; 80], &[2; 80], &[1; 24]] {
            assert_eq!(open(&secret, b"", bad), Err(SealError::Malformed), "{bad:?}");
        }
        assert_eq!(open(&secret, b"", &[1; 25]), Err(SealError::DoesNotOpen));
        assert_eq!(open(&secret, b"", &[1; 10_000]), Err(SealError::Malformed));
        assert_eq!(seal(&secret, b"", [0; 24], &[0; 5000]), Err(SealError::TooLarge(5000)));
    }

    proptest! {
        #[test]
        fn a_changed_bit_is_noticed(at in 0usize..8 * (1 + 24 + 32 + 16), plain: [u8; 32]) {
            let secret = ClusterSecret::from_bytes([1; 32]);
            let mut sealed = seal(&secret, b"p", [5; 24], &plain).expect("small");
            prop_assert_eq!(open(&secret, b"p", &sealed), Ok(plain.to_vec()));
            sealed[at / 8] ^= 1 << (at % 8);
            prop_assert!(open(&secret, b"p", &sealed).is_err());
        }
    }
}
