//! Logging in, staying logged in, logging out.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::{Caller, start};
use crate::support::Wallet;

fn bearer(token: &Value) -> Credential {
    Some(("Authorization", format!("Bearer {}", token.as_str().expect("a token"))))
}

/// Asks for a challenge and signs it; the proof that goes with it.
fn proof(book: &mut Book, title: &str, wallet: &Wallet, namespace: &str, purpose: &str) -> Value {
    let (address, chain_type) = (wallet.address(), wallet.chain());
    let body = json!({ "wallet": address, "chain_type": chain_type, "namespace": namespace, "purpose": purpose });
    let challenge = book.ask(title, Request::new("POST", "/v1/auth/challenge").json(body)).json();
    let signature = wallet.sign(challenge["message"].as_str().expect("a text"));
    book.conceal(&signature, "signature");
    json!({ "wallet": address, "chain_type": chain_type, "namespace": namespace, "nonce": challenge["nonce"],
        "signature": signature })
}

#[test]
fn logging_in_and_out_answers_as_written() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*")]);
    let mut book = Book::open("auth", &node);
    let (alice, sol) = (Wallet::ethereum("alice"), Wallet::solana("sol"));
    let post = |path: &'static str, body: Value| Request::new("POST", path).json(body);
    let key = |key: &str| Some(("X-API-Key", key.to_owned()));

    challenges(&mut book, &alice);
    let signed = proof(&mut book, "For an Ethereum wallet", &alice, "chat", "login");
    refused_proofs(&mut book, &signed);
    let session = book.ask("Log in, and take a free name", post("/v1/auth/verify", signed.clone())).json();
    book.ask("A nonce works once", post("/v1/auth/verify", signed));
    let solana = proof(&mut book, "For a Solana wallet", &sol, "sunny", "login");
    book.ask("Log in with Solana", post("/v1/auth/verify", solana));
    let stranger = proof(&mut book, "For somebody else's name", &sol, "chat", "login");
    book.ask("A taken name", post("/v1/auth/verify", stranger));
    let token = bearer(&session["access_token"]);

    let whoami = || Request::new("GET", "/v1/auth/whoami");
    book.ask("With an access token", whoami().by(&token));
    book.ask("As the operator", whoami().by(&key("operator")));
    book.ask("With nothing", whoami());
    let other = Caller::member(&node, &sol, "sunny").ok("POST", "/v1/keys", &json!({}));
    let other = key(other["api_key"].as_str().expect("a key"));
    book.conceal(&other.as_ref().expect("a key").1, "a key of another namespace");
    let both = whoami().by(&token).header("X-API-Key", &other.as_ref().expect("a key").1);
    book.ask("With two credentials of two namespaces", both);
    book.ask("The keys that sign", Request::new("GET", "/v1/auth/jwks"));
    book.ask("Where others look for them", Request::new("GET", "/.well-known/jwks.json"));
    login_page(&mut book);

    let signed = proof(&mut book, "For an app", &alice, "chat", "register");
    let named = with(&signed, "name", "My app".into());
    book.ask("Register an app", post("/v1/auth/register", named));
    book.ask("Its nonce works once", post("/v1/auth/register", signed));

    let signed = proof(&mut book, "For a key", &alice, "chat", "api_key_generation");
    let wanted = with(&with(&signed, "scopes", json!(["sql:read"])), "expires_in", 3600.into());
    book.ask("A key for a signature", post("/v1/auth/api-key", wanted));
    let made = post("/v1/auth/api-key", json!({ "name": "server" })).by(&token);
    let made = book.ask("A key for an access token", made).json();
    let stored = key(made["api_key"].as_str().expect("a key"));
    let bad = json!({ "scopes": ["sql:everything"] });
    book.ask("A scope that is none", post("/v1/auth/api-key", bad).by(&token));
    book.ask("An end that has passed", post("/v1/auth/api-key", json!({ "expires_in": 0 })).by(&token));
    book.ask("For another namespace", post("/v1/auth/api-key", json!({ "namespace": "sunny" })).by(&token));
    book.ask("A key makes no key here", post("/v1/auth/api-key", json!({})).by(&stored));
    book.ask("Half of a proof", post("/v1/auth/api-key", json!({ "wallet": alice.address() })));

    book.ask("With an API key", whoami().by(&stored));
    let exchanged = book.ask("A token for a key", Request::new("POST", "/v1/auth/token").by(&stored)).json();
    book.ask("With a token of a key", whoami().by(&bearer(&exchanged["access_token"])));
    book.ask("A token for a token", Request::new("POST", "/v1/auth/token").by(&token));

    book.ask("A ticket for a socket", post("/v1/auth/ws-ticket", json!({})).by(&token));
    book.ask("With an API key", Request::new("POST", "/v1/auth/ws-ticket").by(&stored));
    let scoped = post("/v1/auth/api-key", json!({ "scopes": ["kv:read"] })).by(&token);
    let weak = key(book.silently(&scoped).json()["api_key"].as_str().expect("a key"));
    book.conceal(&weak.as_ref().expect("a key").1, "a weak key");
    book.ask("With a key that may not subscribe", Request::new("POST", "/v1/auth/ws-ticket").by(&weak));

    let first = session["refresh_token"].clone();
    let refreshed = post("/v1/auth/refresh", json!({ "refresh_token": first, "namespace": "chat" }));
    let second = book.ask("Refresh", refreshed).json();
    let newest = second["refresh_token"].clone();
    let elsewhere = json!({ "refresh_token": newest, "namespace": "sunny" });
    book.ask("Of another namespace", post("/v1/auth/refresh", elsewhere));
    book.ask("An old one comes back", post("/v1/auth/refresh", json!({ "refresh_token": first })));
    book.ask("And the session has ended", post("/v1/auth/refresh", json!({ "refresh_token": newest })));
    book.ask("What is no such token", post("/v1/auth/refresh", json!({ "refresh_token": "x" })));
    book.ask("With a token of the session", whoami().by(&token));

    let session = Caller::at(&node).log_in(&alice, "chat");
    for (text, name) in [(&session.access, "access_token"), (&session.refresh, "refresh_token")] {
        book.conceal(text, name);
    }
    let token = Some(("Authorization", format!("Bearer {}", session.access)));
    book.ask("By a refresh token", post("/v1/auth/logout", json!({ "refresh_token": session.refresh })));
    book.ask("Once more", post("/v1/auth/logout", json!({ "refresh_token": session.refresh })));
    book.ask("Nothing to end", post("/v1/auth/logout", json!({})));
    book.ask("All, without a token", post("/v1/auth/logout", json!({ "all": true })));
    book.ask("After the logout", whoami().by(&token));
    let session = Caller::at(&node).log_in(&alice, "chat");
    book.conceal(&session.access, "access_token");
    let token = Some(("Authorization", format!("Bearer {}", session.access)));
    book.ask("All of the wallet's sessions", post("/v1/auth/logout", json!({ "all": true })).by(&token));

    refusals(&mut book, "auth", &Callers { full: None, weak });
    book.close();
}

fn with(body: &Value, member: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[member] = value;
    body
}

fn challenges(book: &mut Book, alice: &Wallet) {
    let post = |body: Value| Request::new("POST", "/v1/auth/challenge").json(body);
    let address = alice.address();
    for (title, body) in [
        ("No wallet", json!({ "wallet": "" })),
        ("A wallet that is none", json!({ "wallet": "0x12" })),
        ("A mistyped wallet", json!({ "wallet": "0xF39fd6e51aad88f6f4ce6ab8827279cfffb92266" })),
        ("A wallet of another chain", json!({ "wallet": address, "chain_type": "SOL" })),
        ("A chain that is none", json!({ "wallet": address, "chain_type": "BTC" })),
        ("A name that is none", json!({ "wallet": address, "namespace": "No Name" })),
        ("A purpose that is none", json!({ "wallet": address, "purpose": "fun" })),
    ] {
        book.ask(title, post(body));
    }
}

fn refused_proofs(book: &mut Book, signed: &Value) {
    let post = |body: Value| Request::new("POST", "/v1/auth/verify").json(body);
    let foreign = Wallet::ethereum("mallory");
    let signature = foreign.sign("something else");
    book.conceal(&signature, "another signature");
    for (title, body) in [
        ("No nonce", with(signed, "nonce", "".into())),
        ("No signature", with(signed, "signature", "".into())),
        ("A signature that is none", with(signed, "signature", "0x12".into())),
        ("A signature of something else", with(signed, "signature", signature.into())),
        ("A nonce that never was", with(signed, "nonce", "A".repeat(43).into())),
        ("For another namespace", with(signed, "namespace", "other".into())),
        ("As another wallet", with(signed, "wallet", foreign.address().into())),
    ] {
        book.ask(title, post(body));
    }
}

fn login_page(book: &mut Book) {
    for (title, target) in [
        ("The page", "/v1/auth/login?callback=http%3A%2F%2F127.0.0.1%3A7777%2Fcallback&state=s1&namespace=chat"),
        ("A callback elsewhere", "/v1/auth/login?callback=https%3A%2F%2Fevil.example%2F"),
        ("No callback", "/v1/auth/login"),
        ("The script", "/v1/auth/login.js"),
        ("The style", "/v1/auth/login.css"),
    ] {
        book.ask(title, Request::new("GET", target));
    }
}
