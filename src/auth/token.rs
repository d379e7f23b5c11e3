//! Access tokens: signed statements of who the bearer is, good for minutes, which any gateway can check by itself.
//!
//! They are JWTs (RFC 7519) of one narrow kind, as RFC 8725 recommends: EdDSA over Ed25519 (RFC 8037), explicit type
//! `at+jwt` (RFC 9068), one issuer, one audience, every claim present. The header must be exactly the one that is
//! written for one of the trusted keys; with that, other algorithms, keys that a token brings along, and unknown
//! critical extensions are all the same refusal.
//!
//! A token cannot be taken back. Its claim `sid` names the session or key behind it, and whoever verifies asks whether
//! that still exists.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{SigningKey, VerifyingKey};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::eddsa;
use crate::types::limits::{ACCESS_TOKEN_TTL, TOKEN_BYTES_MAX, TOKEN_LEEWAY};
use crate::types::{Namespace, hex};

/// Who issues the tokens.
pub const ISSUER: &str = "debros-gateway";

/// For whom they are.
pub const AUDIENCE: &str = "gateway";

const TYPE: &str = "at+jwt";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// Who the bearer is: a wallet's subject, or the name of an API key.
    pub subject: String,
    /// The one namespace in which it is good.
    pub namespace: Namespace,
    /// The session or API key that it hangs on (`sid`).
    pub session: String,
    /// The token's own id (`jti`).
    pub id: String,
    /// From when it is good, in whole seconds.
    pub issued_at: Timestamp,
    /// Until when it is good, in whole seconds.
    pub expires_at: Timestamp,
}

/// A key that signs tokens.
pub struct TokenKey {
    seed: [u8; 32],
    trusted: TrustedKey,
}

/// The public half of a [`TokenKey`]: with it tokens are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    id: String,
    public: [u8; 32],
}

/// The trusted keys as others read them (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwks {
    keys: Vec<Jwk>,
}

/// A public key of Ed25519 (RFC 8037). There is no field for a private one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

/// Why a token is not accepted. Callers are told none of it; the log is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than any token of ours.
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts of base64url, or not JSON inside.
    #[error("the token is malformed")]
    Malformed,
    /// Another header than that of a token signed by a trusted key.
    #[error("the token's header is not that of a key trusted here")]
    Header,
    /// Signed by somebody else, or changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing, of a wrong type, or not ours.
    #[error("the token's claims are not those of an access token")]
    Claims,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// The claims as they travel. All must be there, and no others.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: String,
    aud: String,
    sub: String,
    namespace: Namespace,
    sid: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl AccessClaims {
    /// Claims that are good from `now` for `life`, of which whole seconds count; a token that lives for longer than
    /// [`ACCESS_TOKEN_TTL`] is not accepted. `random` becomes the token's id.
    pub fn new(
        subject: String,
        namespace: Namespace,
        session: String,
        random: [u8; 16],
        now: Timestamp,
        life: Duration,
    ) -> AccessClaims {
        let issued_at = whole_seconds(now);
        let expires_at = issued_at.saturating_add(Duration::from_secs(life.as_secs())).unwrap_or(Timestamp::MAX);
        AccessClaims { subject, namespace, session, id: URL_SAFE_NO_PAD.encode(random), issued_at, expires_at }
    }
}

impl TokenKey {
    /// The key of 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> TokenKey {
        let public = SigningKey::from_bytes(&seed).verifying_key();
        TokenKey { seed, trusted: TrustedKey::of(&public) }
    }

    /// Its public half.
    pub fn trusted(&self) -> &TrustedKey {
        &self.trusted
    }

    /// The token that says `claims`.
    pub fn sign(&self, claims: &AccessClaims) -> String {
        eddsa::install();
        let wire = Wire {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims.subject.clone(),
            namespace: claims.namespace.clone(),
            sid: claims.session.clone(),
            jti: claims.id.clone(),
            iat: claims.issued_at.as_second(),
            nbf: claims.issued_at.as_second(),
            exp: claims.expires_at.as_second(),
        };
        jsonwebtoken::encode(&self.trusted.header(), &wire, &EncodingKey::from_ed_der(&self.seed))
            .expect("texts and numbers can be written as JSON and 32 bytes are a seed")
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.trusted.id)
    }
}

impl TrustedKey {
    /// The key with these bytes; `None` when they are no Ed25519 key that one could trust.
    pub fn from_bytes(public: &[u8; 32]) -> Option<TrustedKey> {
        let key = VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak())?;
        Some(TrustedKey::of(&key))
    }

    fn of(public: &VerifyingKey) -> TrustedKey {
        let hash = blake3::hash(public.as_bytes());
        TrustedKey { id: hex::encode(&hash.as_bytes()[..8]), public: public.to_bytes() }
    }

    /// The key's id (`kid`): 16 hex digits of its hash, so two keys cannot come to share one by mistake.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.public
    }

    fn header(&self) -> Header {
        Header { typ: Some(TYPE.to_owned()), kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) }
    }
}

/// What a token says, if one of `keys` signed it and `now` is within its time, give or take [`TOKEN_LEEWAY`].
///
/// # Errors
///
/// [`TokenError`], of which the bearer should not be told more than that the token is no good.
pub fn verify(token: &str, keys: &[TrustedKey], now: Timestamp) -> Result<AccessClaims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    if token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
    let key = keys.iter().find(|key| key.header() == header).ok_or(TokenError::Header)?;
    let claims = verified_claims(token, key)?;
    check_time(&claims, now)?;
    let time = |seconds| Timestamp::from_second(seconds).map_err(|_| TokenError::Claims);
    Ok(AccessClaims {
        subject: claims.sub,
        namespace: claims.namespace,
        session: claims.sid,
        id: claims.jti,
        issued_at: time(claims.iat)?,
        expires_at: time(claims.exp)?,
    })
}

fn verified_claims(token: &str, key: &TrustedKey) -> Result<Wire, TokenError> {
    use jsonwebtoken::errors::ErrorKind;
    eddsa::install();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    // The library would ask the system's clock; `check_time` goes by the caller's.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let decoded = jsonwebtoken::decode::<Wire>(token, &DecodingKey::from_ed_der(&key.public), &validation);
    decoded.map(|token| token.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::Base64(_) | ErrorKind::InvalidToken => TokenError::Malformed,
        _ => TokenError::Claims,
    })
}

fn check_time(claims: &Wire, now: Timestamp) -> Result<(), TokenError> {
    let (now, leeway) = (now.as_second(), seconds(TOKEN_LEEWAY));
    let life = claims.exp.checked_sub(claims.iat).ok_or(TokenError::Claims)?;
    if claims.iat < 0 || life <= 0 || life > seconds(ACCESS_TOKEN_TTL) {
        return Err(TokenError::Claims);
    }
    if now >= claims.exp.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    if now < claims.nbf.max(claims.iat).saturating_sub(leeway) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

/// The document at which others find the keys.
pub fn jwks(keys: &[TrustedKey]) -> Jwks {
    let jwk = |key: &TrustedKey| Jwk {
        kty: "OKP",
        crv: "Ed25519",
        usage: "sig",
        alg: "EdDSA",
        kid: key.id.clone(),
        x: URL_SAFE_NO_PAD.encode(key.public),
    };
    Jwks { keys: keys.iter().map(jwk).collect() }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a time stays in range without its fraction")
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
