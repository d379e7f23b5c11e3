//! Tokens as they are issued, and as attackers make them.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

use super::token::{AccessClaims, TokenError, TokenKey, TrustedKey, jwks, verify};
use crate::types::Namespace;
use crate::types::limits::ACCESS_TOKEN_TTL;
use crate::types::limits::TOKEN_BYTES_MAX;

const SEED: [u8; 32] = [7; 32];

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().expect("a time")
}

fn at(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn key() -> TokenKey {
    TokenKey::from_seed(SEED)
}

fn keys() -> Vec<TrustedKey> {
    vec![TokenKey::from_seed([8; 32]).trusted().clone(), key().trusted().clone()]
}

fn claims() -> AccessClaims {
    AccessClaims::new(
        "eip155:0xabc".into(),
        Namespace::default_namespace(),
        "s1".into(),
        [1; 16],
        now(),
        ACCESS_TOKEN_TTL,
    )
}

fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "EdDSA", "kid": key().trusted().id()})
}

fn body() -> Value {
    let iat = now().as_second();
    json!({
        "iss": "debros-gateway", "aud": "gateway", "sub": "eip155:0xabc", "namespace": "default", "sid": "s1",
        "jti": "AQEBAQEBAQEBAQEBAQEBAQ", "iat": iat, "nbf": iat, "exp": iat + 900,
    })
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    object[member] = value;
    object
}

fn without(mut object: Value, member: &str) -> Value {
    object.as_object_mut().expect("an object").remove(member);
    object
}

/// A token of these texts with a right signature of the trusted key.
fn signed(header: &str, body: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signature = SigningKey::from_bytes(&SEED).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn refused(header: &Value, body: &Value) -> TokenError {
    let token = signed(&header.to_string(), &body.to_string());
    verify(&token, &keys(), now()).expect_err(&format!("{header} {body:.200} was accepted"))
}

#[test]
fn a_token_says_what_was_signed() {
    let token = key().sign(&claims());
    assert_eq!(verify(&token, &keys(), now()), Ok(claims()));
    assert!(token.len() < 600, "{}", token.len());
    assert_eq!(verify(&signed(&header().to_string(), &body().to_string()), &keys(), now()), Ok(claims()));
}

#[test]
fn a_token_is_good_for_its_time_and_the_leeway() {
    let token = key().sign(&claims());
    for (seconds, expected) in [
        (-31, Err(TokenError::NotYetValid)),
        (-30, Ok(claims())),
        (0, Ok(claims())),
        (929, Ok(claims())),
        (930, Err(TokenError::Expired)),
        (1_000_000, Err(TokenError::Expired)),
    ] {
        assert_eq!(verify(&token, &keys(), at(seconds)), expected, "after {seconds} s");
    }
    let iat = now().as_second();
    assert_eq!(refused(&header(), &with(body(), "nbf", json!(iat + 60))), TokenError::NotYetValid);
    let later = with(with(body(), "iat", json!(iat + 60)), "exp", json!(iat + 960));
    assert_eq!(refused(&header(), &later), TokenError::NotYetValid);
}

#[test]
fn no_other_algorithm_is_known() {
    for alg in ["none", "None", "nOnE", "", "HS256", "HS512", "RS256", "PS256", "ES256", "ES384", "Ed25519", "eddsa"] {
        let header = with(header(), "alg", json!(alg));
        refused(&header, &body());
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(body().to_string()));
        assert!(verify(&format!("{message}."), &keys(), now()).is_err(), "{alg} without a signature");
    }
    refused(&with(header(), "alg", json!(null)), &body());
    refused(&with(header(), "alg", json!(["EdDSA"])), &body());
    refused(&without(header(), "alg"), &body());
}

#[test]
fn our_public_key_is_no_shared_secret() {
    let signing = key();
    let public = *signing.trusted().as_bytes();
    let jwk = serde_json::to_vec(&jwks(&keys())).expect("json");
    let secrets: [&[u8]; 4] = [&public, jwk.as_slice(), signing.trusted().id().as_bytes(), b""];
    for secret in secrets {
        let header = with(header(), "alg", json!("HS256"));
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(body().to_string()));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
        mac.update(message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        assert_eq!(verify(&token, &keys(), now()), Err(TokenError::Header));
    }
}

#[test]
fn only_the_header_of_a_trusted_key_is_read() {
    let long = "k".repeat(4096);
    let other = TokenKey::from_seed([8; 32]);
    for kid in ["../../etc/passwd", "' OR 1=1", "\0", "", &long, "0000000000000000"] {
        assert_eq!(refused(&with(header(), "kid", json!(kid)), &body()), TokenError::Header, "{kid:.30}");
    }
    assert_eq!(refused(&with(header(), "kid", json!(other.trusted().id())), &body()), TokenError::Signature);
    refused(&without(header(), "kid"), &body());
    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt", ""] {
        assert_eq!(refused(&with(header(), "typ", json!(typ)), &body()), TokenError::Header, "{typ}");
    }
    refused(&without(header(), "typ"), &body());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key().trusted().as_bytes())});
    for (member, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("nonce", json!("x")),
        ("x", json!(1)),
    ] {
        assert_eq!(refused(&with(header(), member, value), &body()), TokenError::Header, "{member}");
    }
}

#[test]
fn tokens_of_other_keys_are_refused() {
    let stranger = TokenKey::from_seed([9; 32]).sign(&claims());
    assert_eq!(verify(&stranger, &keys(), now()), Err(TokenError::Header));
    assert_eq!(verify(&key().sign(&claims()), &[], now()), Err(TokenError::Header));
    let rotated_out = &keys()[..1];
    assert_eq!(verify(&key().sign(&claims()), rotated_out, now()), Err(TokenError::Header));
}

#[test]
fn every_claim_is_demanded_in_its_form() {
    for member in ["iss", "aud", "sub", "namespace", "sid", "jti", "iat", "nbf", "exp"] {
        refused(&header(), &without(body(), member));
        refused(&header(), &with(body(), member, json!(null)));
        refused(&header(), &with(body(), member, json!({})));
        refused(&header(), &with(body(), member, json!(["gateway"])));
    }
    let iat = now().as_second();
    for exp in [
        json!((iat + 900).to_string()),
        json!(-1),
        json!(i64::MAX),
        json!(1u64 << 63),
        json!(u64::MAX),
        json!(1e300),
        json!(iat as f64 + 0.5),
        json!(iat),
        json!(iat - 1),
        json!(iat + 901),
        json!(0),
    ] {
        refused(&header(), &with(body(), "exp", exp));
    }
    for iat in [json!(i64::MIN), json!(-1), json!(0), json!(i64::MAX)] {
        refused(&header(), &with(body(), "iat", iat));
    }
    for (member, value) in [
        ("iss", "debros"),
        ("iss", ""),
        ("aud", "gateway2"),
        ("aud", "GATEWAY"),
        ("namespace", "../x"),
        ("namespace", ""),
        ("role", "owner"),
    ] {
        assert_eq!(refused(&header(), &with(body(), member, json!(value))), TokenError::Claims, "{member} {value}");
    }
}

#[test]
fn a_member_stands_once() {
    let (header, body) = (header().to_string(), body().to_string());
    let twice = |object: &str, member: &str| object.replacen('{', &format!("{{{member},"), 1);
    for (header, body) in [
        (twice(&header, r#""alg":"EdDSA""#), body.clone()),
        (twice(&header, r#""alg":"none""#), body.clone()),
        (twice(&header, r#""kid":"x""#), body.clone()),
        (twice(&header, r#""x":1,"x":2"#), body.clone()),
        (header.clone(), twice(&body, r#""sub":"somebody""#)),
        (header.clone(), twice(&body, r#""exp":1"#)),
        (header.clone(), twice(&body, r#""namespace":"default""#)),
    ] {
        assert!(verify(&signed(&header, &body), &keys(), now()).is_err(), "{header} {body}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let token = key().sign(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let padded = |part: &str| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).expect("base64url"));
    // The last digit of a signature carries two bits of nothing.
    let mut loose = token.clone();
    let last = loose.pop().expect("a digit");
    loose.push(char::from(last as u8 + 1));
    for bad in [
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.x"),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{}.{}", padded(parts[0]), parts[1], parts[2]),
        format!("{}.{}.{}==", parts[0], parts[1], parts[2]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace('.', ".\n"),
        loose,
        String::new(),
        "..".to_owned(),
        "rt_AAAA".to_owned(),
        token.to_uppercase(),
    ] {
        assert!(verify(&bad, &keys(), now()).is_err(), "{bad:?}");
    }
}

#[test]
fn deep_and_large_tokens_are_refused_at_once() {
    let deep = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let large = with(body(), "sub", json!("x".repeat(1 << 20))).to_string();
    let (header, body) = (header().to_string(), body().to_string());
    for levels in [100, 127, 128, 2000] {
        assert!(verify(&signed(&deep(levels), &body), &keys(), now()).is_err());
        assert!(verify(&signed(&header, &deep(levels)), &keys(), now()).is_err());
    }
    assert_eq!(verify(&signed(&deep(10_000), &body), &keys(), now()), Err(TokenError::TooLong));
    assert_eq!(verify(&signed(&header, &large), &keys(), now()), Err(TokenError::TooLong));
    assert_eq!(verify(&".".repeat(TOKEN_BYTES_MAX), &keys(), now()), Err(TokenError::Malformed));
}

#[test]
fn the_published_keys_are_public() {
    let published = serde_json::to_value(jwks(&[key().trusted().clone()])).expect("json");
    assert_eq!(
        published,
        json!({"keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": key().trusted().id(),
            "x": URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&SEED).verifying_key().to_bytes()),
        }]})
    );
    assert_eq!(serde_json::to_string(&jwks(&[])).expect("json"), r#"{"keys":[]}"#);
    let shown = format!("{:?} {published}", key());
    assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(SEED)) && !shown.contains("7, 7"), "{shown}");
}

#[test]
fn a_trusted_key_is_a_real_one() {
    assert_eq!(TrustedKey::from_bytes(key().trusted().as_bytes()).as_ref(), Some(key().trusted()));
    let mut small = [0; 32];
    small[0] = 1;
    assert_eq!(TrustedKey::from_bytes(&small), None);
    assert_eq!(TrustedKey::from_bytes(&[0; 32]), None);
    assert_eq!(key().trusted().id().len(), 16);
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,200}", dotted in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(verify(&text, &keys(), now()).is_err());
        prop_assert!(verify(&dotted, &keys(), now()).is_err());
    }

    #[test]
    fn a_changed_token_is_refused(at in 0usize..400, to in "[A-Za-z0-9_-]") {
        let token = key().sign(&claims());
        let at = at % token.len();
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assert!(changed == token || verify(&changed, &keys(), now()).is_err());
    }

    #[test]
    fn what_was_signed_is_read(subject in ".{0,80}", session in ".{0,40}", random: [u8; 16], seed: [u8; 32]) {
        let key = TokenKey::from_seed(seed);
        let claims = AccessClaims::new(subject, Namespace::default_namespace(), session, random, now(), ACCESS_TOKEN_TTL);
        prop_assert_eq!(verify(&key.sign(&claims), std::slice::from_ref(key.trusted()), now()), Ok(claims));
    }
}
