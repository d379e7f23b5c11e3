//! What a wallet signs to log in.
//!
//! The text follows EIP-4361 ("Sign-In with Ethereum"), so wallets recognise it, show whom it is for, and warn when the
//! page that asks is another one. Solana wallets know the same text with the chain's name in the first line.
//!
//! It is only ever built, never parsed: whoever verifies builds it again from the fields that were stored with the nonce
//! and compares signatures over bytes. A client cannot add to it or leave something out. Every field is of an alphabet
//! without line breaks, so no field can imitate another.

use jiff::Timestamp;

use super::challenge_fields::{Nonce, Purpose, RelyingParty};
use super::wallet_signature::{self, ProvenKey, SignatureError};
use crate::types::{Namespace, WalletAddress};

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

/// Whether a signature of the nonce alone answers a challenge, as older clients make it. It does not say for whom it was
/// made, so it can be had by asking under another name; who serves no such clients refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNonce {
    /// The message or the nonce.
    Accepted,
    /// Only the message.
    Refused,
}

impl Challenge {
    /// The text to sign.
    pub fn message(&self) -> String {
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
            domain = self.party.domain(),
            uri = self.party.uri(),
            chain_id = self.party.chain_id(self.wallet.chain()),
            chain = self.wallet.chain().title(),
            address = self.wallet.in_message(),
            namespace = self.namespace,
            purpose = self.purpose,
            nonce = self.nonce,
            issued_at = seconds(self.issued_at),
            expires_at = seconds(self.expires_at),
        )
    }

    /// Checks that the wallet signed this challenge, and says with which key. Whether the challenge is still open, and was
    /// not answered before, is for its keeper to decide in the same step in which it is closed.
    ///
    /// # Errors
    ///
    /// Those of [`wallet_signature::verify`].
    pub fn answered_by(&self, signature: &str, bare: BareNonce) -> Result<ProvenKey, SignatureError> {
        let answer = wallet_signature::verify(&self.wallet, self.message().as_bytes(), signature);
        match (answer, bare) {
            (Err(SignatureError::Mismatch), BareNonce::Accepted) => {
                wallet_signature::verify(&self.wallet, self.nonce.as_str().as_bytes(), signature)
            }
            (answer, _) => answer,
        }
    }
}

/// RFC 3339 in UTC without fractions, whatever the precision with which the time was stored.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::challenge_fields::SolanaCluster;
    use crate::types::Chain;
    use ed25519_dalek::{Signer, SigningKey};
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
    fn the_bare_nonce_answers_only_where_it_is_accepted() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let challenge = challenge(Chain::Solana, "GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB");
        let sign = |text: &str| bs58::encode(key.sign(text.as_bytes()).to_bytes()).into_string();
        let (message, nonce) = (sign(&challenge.message()), sign(challenge.nonce.as_str()));
        for bare in [BareNonce::Accepted, BareNonce::Refused] {
            assert!(challenge.answered_by(&message, bare).is_ok());
            assert_eq!(challenge.answered_by(&nonce, bare).is_ok(), bare == BareNonce::Accepted);
            for other in ["", "login", &challenge.message()[1..], &format!("{}\n", challenge.message())] {
                assert_eq!(challenge.answered_by(&sign(other), bare), Err(SignatureError::Mismatch), "{other}");
            }
            assert!(matches!(challenge.answered_by("", bare), Err(SignatureError::Malformed { .. })));
        }
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

    proptest! {
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
