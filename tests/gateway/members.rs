//! Whose a namespace is: taking one, inviting, leaving, handing over, and starting anew.

use serde_json::{Value, json};

use super::caller::{Caller, start, unhurried};
use crate::support::node::{Launch, root};
use crate::support::{TestNode, Wallet, soon};

fn of(namespace: &str, wallet: &Wallet) -> String {
    format!("/v1/namespaces/{namespace}/members/{}", wallet.address())
}

fn not_a_member(node: &TestNode, wallet: &Wallet, namespace: &str) {
    let answer = Caller::at(node).verify(wallet, namespace);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("NOT_MEMBER")), "{answer:?}");
}

#[test]
fn a_name_belongs_to_who_takes_it_and_to_whom_they_invite() {
    let node = start(&[]);
    let [owner, guest, heir] = ["owner", "guest", "heir"].map(Wallet::ethereum);
    let mut as_owner = Caller::member(&node, &owner, "club");
    not_a_member(&node, &guest, "club");
    as_owner.ok("PUT", &of("club", &guest), &json!({ "role": "reader" }));
    let mut as_guest = Caller::member(&node, &guest, "club");
    as_owner.exec("CREATE TABLE t (x)");
    as_guest.refused("POST", "/v1/db/exec", &json!({ "sql": "DELETE FROM t" }), 403, "FORBIDDEN");
    as_owner.ok("PUT", &of("club", &guest), &json!({ "role": "writer" }));
    soon("the new role counts for the old token", || {
        (as_guest.ask("POST", "/v1/db/exec", &json!({ "sql": "DELETE FROM t" })).status == 200).then_some(())
    });
    assert_eq!(as_guest.ok("GET", "/v1/auth/whoami", &Value::Null)["role"], "writer");
    let listed = as_guest.ok("GET", "/v1/namespaces", &Value::Null);
    assert_eq!(listed["namespaces"][0]["role"], "writer");
    as_owner.ok("DELETE", &of("club", &guest), &Value::Null);
    soon("a member who was let go is logged out", || (as_guest.known() == 401).then_some(()));
    not_a_member(&node, &guest, "club");

    as_owner.ok("PUT", &of("club", &guest), &json!({ "role": "admin" }));
    let session = Caller::at(&node).log_in(&guest, "club");
    let mut as_guest = Caller::with_token(&node, &session.access);
    as_guest.ok("DELETE", &of("club", &guest), &Value::Null);
    soon("who leaves is logged out", || (as_guest.known() == 401).then_some(()));
    let refresh = json!({ "refresh_token": session.refresh });
    Caller::at(&node).refused("POST", "/v1/auth/refresh", &refresh, 401, "UNAUTHENTICATED");

    as_owner.ok("POST", "/v1/namespaces/club/transfer", &json!({ "wallet": heir.address() }));
    let mut as_heir = Caller::member(&node, &heir, "club");
    assert_eq!(as_heir.ok("GET", "/v1/auth/whoami", &Value::Null)["role"], "owner");
    soon("the owner before is an admin", || {
        (as_owner.ok("GET", "/v1/auth/whoami", &Value::Null)["role"] == "admin").then_some(())
    });
    as_owner.refused("DELETE", "/v1/namespaces/club", &Value::Null, 403, "FORBIDDEN");
    as_owner.refused("PUT", &of("club", &heir), &json!({ "role": "reader" }), 409, "CONFLICT");
    as_heir.ok("DELETE", "/v1/namespaces/club", &Value::Null);
}

/// A gateway remembers for a moment who bears a credential. Whatever is remembered, who was let go hands on nothing.
#[test]
fn a_right_that_has_ended_changes_nothing_through_a_gateway_that_remembers_it() {
    let node = start(&[]);
    let gateway = TestNode::join(unhurried(Launch::new("gateway")), &node.invite("gateway"), &root(), "gateway");
    let [owner, guest, heir] = ["owner", "guest", "heir"].map(Wallet::ethereum);
    let mut as_owner = Caller::member(&node, &owner, "club");
    let (mut answered, mut remembered) = (Vec::new(), 0);
    for _ in 0..5 {
        as_owner.ok("PUT", &of("club", &guest), &json!({ "role": "admin" }));
        let session = Caller::at(&node).log_in(&guest, "club");
        let key = Caller::with_token(&node, &session.access).ok("POST", "/v1/keys", &json!({ "scopes": ["admin"] }));
        let text = key["api_key"].as_str().expect("a key");
        let mut by_token = Caller::with_token(&gateway, &session.access);
        let mut by_key = Caller::with_key(&gateway, text);
        for caller in [&mut by_token, &mut by_key] {
            soon("the gateway knows the credential", || (caller.known() == 200).then_some(()));
        }
        as_owner.ok("DELETE", &of("club", &guest), &Value::Null);
        for caller in [&mut by_token, &mut by_key] {
            remembered += usize::from(caller.known() == 200);
            answered.push(caller.ask("POST", "/v1/keys", &json!({ "scopes": ["sql:read"] })));
            answered.push(caller.ask("PUT", &of("club", &heir), &json!({ "role": "admin" })));
        }
    }
    assert!(remembered > 0, "the gateway forgot at once: nothing was tried");
    for answer in answered {
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    }
    assert_eq!(as_owner.ok("GET", "/v1/keys", &Value::Null), json!({ "keys": [] }));
    let members = as_owner.ok("GET", "/v1/namespaces/club/members", &Value::Null);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1), "{members}");
}

#[test]
fn a_wallet_owns_ten_namespaces_and_is_told_why_it_gets_no_more() {
    let node = start(&[]);
    let wallet = Wallet::solana("collector");
    for number in 1..=10 {
        Caller::at(&node).log_in(&wallet, &format!("space-{number}"));
    }
    let answer = Caller::at(&node).verify(&wallet, "space-11");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("TOO_MANY")), "{answer:?}");
    assert!(answer.json()["error"].as_str().is_some_and(|text| text.contains("10 namespaces")), "{answer:?}");
    let listed = node.cli_ok(&["namespace", "list"]);
    assert!(!listed.contains("space-11"), "nothing is left of what was refused: {listed}");
    Caller::member(&node, &wallet, "space-3").ok("DELETE", "/v1/namespaces/space-3", &Value::Null);
    Caller::at(&node).log_in(&wallet, "space-11");
}

#[test]
fn where_sign_up_is_closed_namespaces_come_from_the_operator() {
    let node = start(&[("GATEWAY__SIGN_UP", "false"), ("GATEWAY__BARE_NONCE", "false")]);
    let (owner, guest) = (Wallet::ethereum("owner"), Wallet::solana("guest"));
    not_a_member(&node, &owner, "free");
    node.cli_ok(&["namespace", "create", "shop", "--owner", &owner.address()]);
    assert_eq!(Caller::member(&node, &owner, "shop").ok("GET", "/v1/auth/whoami", &Value::Null)["role"], "owner");
    not_a_member(&node, &guest, "shop");
    node.cli_ok(&["namespace", "member", "shop", &guest.address(), "--role", "reader"]);
    Caller::at(&node).log_in(&guest, "shop");
    let listed = node.cli_ok(&["namespace", "list"]);
    assert!(!listed.contains("free"), "{listed}");
    // Nor is the nonce alone enough here.
    let mut caller = Caller::at(&node);
    let mut proof = caller.proof(&owner, "shop", "login");
    let good = proof["signature"].take();
    proof["signature"] = owner.sign(proof["nonce"].as_str().expect("a nonce")).into();
    caller.refused("POST", "/v1/auth/verify", &proof, 401, "UNAUTHENTICATED");
    proof["signature"] = good;
    caller.ok("POST", "/v1/auth/verify", &proof);
}

#[test]
fn the_nonce_alone_may_be_signed_and_the_first_namespace_is_the_operators() {
    let node = start(&[]);
    for wallet in [Wallet::ethereum("old-client"), Wallet::solana("old-client")] {
        let mut caller = Caller::at(&node);
        let namespace = format!("old-{}", wallet.chain().to_lowercase());
        let mut proof = caller.proof(&wallet, &namespace, "login");
        proof["signature"] = wallet.sign(proof["nonce"].as_str().expect("a nonce")).into();
        caller.ok("POST", "/v1/auth/verify", &proof);
        not_a_member(&node, &wallet, "default");
    }
    let key = node.cli_ok(&["key", "create", "--namespace", "default"]);
    Caller::with_key(&node, &key).rows("SELECT 1");
}

#[test]
fn a_namespace_that_is_made_again_has_nothing_of_the_one_before() {
    let node = start(&[]);
    let [before, after] = ["before", "after"].map(Wallet::ethereum);
    let session = Caller::at(&node).log_in(&before, "phoenix");
    let mut old = Caller::with_token(&node, &session.access);
    old.exec("CREATE TABLE secret (x)");
    old.ok("PUT", "/v1/storage?key=secret", &json!("x"));
    old.ok("POST", "/v1/apps", &json!({ "name": "old" }));
    let made = old.ok("POST", "/v1/keys", &json!({}));
    let mut key = Caller::with_key(&node, made["api_key"].as_str().expect("a key"));
    let exchanged = key.ok("POST", "/v1/auth/token", &Value::Null);
    let mut of_key = Caller::with_token(&node, exchanged["access_token"].as_str().expect("a token"));
    let unused = old.proof(&before, "phoenix", "login");
    old.ok("DELETE", "/v1/namespaces/phoenix", &Value::Null);
    for caller in [&mut old, &mut key, &mut of_key] {
        caller.refused("GET", "/v1/storage?key=secret", &Value::Null, 401, "UNAUTHENTICATED");
    }
    let mut new = Caller::member(&node, &after, "phoenix");
    assert_eq!(new.ok("GET", "/v1/db/schema", &Value::Null)["count"], 0);
    assert_eq!(new.ok("GET", "/v1/storage/list", &Value::Null)["keys"], json!([]));
    assert_eq!(new.ok("GET", "/v1/apps", &Value::Null)["count"], 0);
    assert_eq!(new.ok("GET", "/v1/keys", &Value::Null)["keys"], json!([]));
    assert_eq!(
        new.ok("GET", "/v1/namespaces/phoenix/members", &Value::Null)["members"].as_array().map(Vec::len),
        Some(1)
    );
    for caller in [&mut old, &mut key, &mut of_key] {
        caller.refused("GET", "/v1/auth/whoami", &Value::Null, 401, "UNAUTHENTICATED");
    }
    let refresh = json!({ "refresh_token": session.refresh });
    Caller::at(&node).refused("POST", "/v1/auth/refresh", &refresh, 401, "UNAUTHENTICATED");
    Caller::at(&node).refused("POST", "/v1/auth/verify", &unused, 401, "UNAUTHENTICATED");
    not_a_member(&node, &before, "phoenix");
}
