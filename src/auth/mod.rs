//! Who is calling, and what they may do.
//!
//! Everything here is a pure decision over values: no I/O, no clock, no randomness of its own. Time and random bytes
//! are arguments, and what must be remembered (that a nonce was used, which keys exist) is remembered by the caller.
//!
//! A person proves to hold a wallet by signing a [`challenge`], which [`wallet_signature`] checks, and gets a short
//! access [`token`] and a long [`refresh_token`]. A program has an [`api_key`]. Whatever came with a request becomes a
//! [`grant::Principal`]; only that makes a [`grant::Grant`], and whatever acts in a namespace asks for one.
//!
//! Two rules hold throughout. Texts that were issued here are compared with what would be issued, not parsed, wherever
//! that is possible. And secrets are kept as hashes, or sealed ([`seal`]), and do not show in logs.

pub mod challenge;
pub mod challenge_fields;
pub mod wallet_signature;
pub mod token;
mod eddsa;
pub mod api_key;
pub mod refresh_token;
pub mod seal;
pub mod grant;

#[cfg(test)]
mod token_tests;
#[cfg(test)]
mod wallet_signature_tests;

pub use api_key::ApiKey;
pub use challenge::{BareNonce, Challenge};
pub use challenge_fields::{Nonce, Purpose, RelyingParty, SolanaCluster};
pub use grant::{Denied, Grant, Principal};
pub use refresh_token::{RefreshToken, WsTicket};
pub use token::{AccessClaims, TokenKey, TrustedKey};
