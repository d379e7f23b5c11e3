//! Secrets that are exchanged for something once: refresh tokens (`rt_…`) and tickets that open a WebSocket (`wt_…`).
//!
//! Both are 32 random bytes behind a prefix that keeps one from being taken for the other, and are stored as hashes.
//! That one is used only once, and that a second use of a refresh token ends its whole family, is for the store to see
//! to.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const REFRESH: &str = "rt_";
const TICKET: &str = "wt_";

/// What gets its bearer a new access token and a new refresh token.
#[derive(Clone)]
pub struct RefreshToken(String);

/// What opens one WebSocket within half a minute; for browsers, which can send no header with it.
#[derive(Clone)]
pub struct WsTicket(String);

/// A text that is no such secret. It is not shown: it may be one with a typing error.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not what it should be (expected {0} and 43 characters of base64url)")]
pub struct InvalidSecret(&'static str);

impl RefreshToken {
    /// A new one, from 32 random bytes.
    pub fn from_random(random: [u8; 32]) -> RefreshToken {
        RefreshToken(written(REFRESH, random))
    }

    /// The token, for its bearer.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl WsTicket {
    /// A new one, from 32 random bytes.
    pub fn from_random(random: [u8; 32]) -> WsTicket {
        WsTicket(written(TICKET, random))
    }

    /// The ticket, for its bearer.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored in its place.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl FromStr for RefreshToken {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<RefreshToken, InvalidSecret> {
        read(REFRESH, text).map(RefreshToken)
    }
}

impl FromStr for WsTicket {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<WsTicket, InvalidSecret> {
        read(TICKET, text).map(WsTicket)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({REFRESH}…)")
    }
}

impl fmt::Debug for WsTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WsTicket({TICKET}…)")
    }
}

fn written(prefix: &str, random: [u8; 32]) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))
}

fn read(prefix: &'static str, text: &str) -> Result<String, InvalidSecret> {
    // Measured before it is decoded: what comes from outside may be of any length.
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == 43);
    let decodes = digits.is_some_and(|digits| URL_SAFE_NO_PAD.decode(digits).is_ok());
    if decodes { Ok(text.to_owned()) } else { Err(InvalidSecret(prefix)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_kind_reads_only_its_own(random: [u8; 32]) {
            let (refresh, ticket) = (RefreshToken::from_random(random), WsTicket::from_random(random));
            prop_assert_eq!(refresh.reveal().parse::<RefreshToken>().map(|token| token.hash()), Ok(refresh.hash()));
            prop_assert_eq!(ticket.reveal().parse::<WsTicket>().map(|ticket| ticket.hash()), Ok(ticket.hash()));
            prop_assert!(refresh.reveal().parse::<WsTicket>().is_err());
            prop_assert!(ticket.reveal().parse::<RefreshToken>().is_err());
            prop_assert_ne!(refresh.hash(), ticket.hash());
            let shown = format!("{refresh:?}{ticket:?}");
            prop_assert!(!shown.contains(&refresh.reveal()[3..]));
        }
    }

    #[test]
    fn other_texts_are_refused_without_showing_them() {
        let good = RefreshToken::from_random([7; 32]).reveal().to_owned();
        let long = format!("rt_{}", "A".repeat(10_000_000));
        for bad in ["", "rt_", &good[..45], &format!("{good}A"), &format!("{good}="), &good.replace("rt", "RT"), &long]
        {
            let error = bad.parse::<RefreshToken>().expect_err(bad).to_string();
            assert!(!error.contains("Bwc"), "{error}");
        }
    }
}
