//! The life of an API key.

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::{Wallet, soon};

#[test]
fn a_key_is_shown_once_and_ends_when_it_is_rotated_revoked_or_over() {
    let node = start(&[]);
    let mut owner = Caller::member(&node, &Wallet::ethereum("owner"), "club");
    let mut made = |body: Value| {
        let made = owner.ok("POST", "/v1/keys", &body);
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("api_key"), text("key_id"))
    };
    let (first, id) = made(json!({ "name": "server" }));
    let (short, _) = made(json!({ "expires_in": 2 }));
    assert!(first.starts_with("ak_") && first.ends_with(":club"), "{first}");
    let mut by_first = Caller::with_key(&node, &first);
    let mut by_short = Caller::with_key(&node, &short);
    assert_eq!((by_first.known(), by_short.known()), (200, 200));
    let listed = owner.ask("GET", "/v1/keys", &Value::Null);
    assert!(listed.body.contains(&id) && !listed.body.contains(&first[..20]), "{listed:?}");

    let rotated = owner.ok("POST", &format!("/v1/keys/{id}/rotate"), &Value::Null);
    assert_eq!(rotated["key_id"], id);
    let second = rotated["api_key"].as_str().expect("a key").to_owned();
    assert_ne!(second, first);
    let mut by_second = Caller::with_key(&node, &second);
    assert_eq!((by_first.known(), by_second.known()), (401, 200));

    owner.ok("DELETE", &format!("/v1/keys/{id}"), &Value::Null);
    assert_eq!(by_second.known(), 401);
    soon("the short key is over", || (by_short.known() == 401).then_some(()));

    // The same through the operator's command, by its text on standard input or as an argument.
    let made = node.cli_ok(&["key", "create", "--namespace", "club", "--scope", "kv:read", "--label", "cli"]);
    let mut by_made = Caller::with_key(&node, &made);
    by_made.ok("GET", "/v1/storage/list", &Value::Null);
    by_made.refused("POST", "/v1/db/query", &json!({ "sql": "SELECT 1" }), 403, "FORBIDDEN");
    let listed = node.cli_ok(&["key", "list", "--namespace", "club"]);
    assert!(listed.contains("cli") && listed.contains("kv:read") && !listed.contains(&made), "{listed}");
    node.cli_ok(&["key", "revoke", &made]);
    assert_eq!(by_made.known(), 401);
    assert_ne!(node.cli(&["key", "revoke", &made]).code, 0, "there is no such key any more");
    assert_ne!(node.cli(&["key", "create", "--namespace", "nowhere"]).code, 0);
}

#[test]
fn a_refresh_token_works_once_and_one_that_comes_back_ends_the_session() {
    let node = start(&[]);
    let mut caller = Caller::at(&node);
    let wallet = Wallet::ethereum("owner");
    let other = caller.log_in(&wallet, "club");
    let first = caller.log_in(&wallet, "club");
    let mut newest = first.clone();
    for _ in 0..5 {
        newest = super::caller::Session::of(&caller.ok(
            "POST",
            "/v1/auth/refresh",
            &json!({ "refresh_token": newest.refresh }),
        ));
        assert_eq!(Caller::with_token(&node, &newest.access).known(), 200);
    }
    caller.refused("POST", "/v1/auth/refresh", &json!({ "refresh_token": first.refresh }), 401, "UNAUTHENTICATED");
    caller.refused("POST", "/v1/auth/refresh", &json!({ "refresh_token": newest.refresh }), 401, "UNAUTHENTICATED");
    for token in [&first.access, &newest.access] {
        assert_eq!(Caller::with_token(&node, token).known(), 401, "its access tokens end with it");
    }
    assert_eq!(Caller::with_token(&node, &other.access).known(), 200, "another session goes on");
    let all = Caller::with_token(&node, &other.access).ok("POST", "/v1/auth/logout", &json!({ "all": true }));
    assert_eq!(all["revoked"], "all");
    caller.refused("POST", "/v1/auth/refresh", &json!({ "refresh_token": other.refresh }), 401, "UNAUTHENTICATED");
}
