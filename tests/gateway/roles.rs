//! Who may do what: roles and scopes against the routes.

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::Wallet;

/// Roles from the least to the highest.
const ROLES: [&str; 4] = ["reader", "writer", "admin", "owner"];

/// A request that changes nothing for the others, the least role that may make it, and what an API key needs for it.
struct Row {
    method: &'static str,
    target: &'static str,
    body: Value,
    role: &'static str,
    /// Empty: any key will do; `never`: none may.
    scope: &'static str,
}

fn row(method: &'static str, target: &'static str, body: Value, role: &'static str, scope: &'static str) -> Row {
    Row { method, target, body, role, scope }
}

fn table() -> Vec<Row> {
    let sql = || json!({ "sql": "SELECT 1" });
    let none = || Value::Null;
    vec![
        row("GET", "/v1/auth/whoami", none(), "reader", ""),
        row("POST", "/v1/auth/ws-ticket", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/network/status", none(), "reader", ""),
        row("GET", "/v1/network/peers", none(), "reader", ""),
        row("POST", "/v1/db/query", sql(), "reader", "sql:read"),
        row("POST", "/v1/db/find", json!({ "table": "t" }), "reader", "sql:read"),
        row("POST", "/v1/db/find-one", json!({ "table": "t" }), "reader", "sql:read"),
        row("POST", "/v1/db/select", json!({ "table": "t" }), "reader", "sql:read"),
        row("GET", "/v1/db/schema", none(), "reader", "sql:read"),
        row("POST", "/v1/db/exec", sql(), "writer", "sql:write"),
        row("POST", "/v1/db/transaction", json!({ "statements": ["SELECT 1"] }), "writer", "sql:write"),
        row(
            "POST",
            "/v1/db/create-table",
            json!({ "schema": "CREATE TABLE IF NOT EXISTS t (x)" }),
            "writer",
            "sql:write",
        ),
        row("POST", "/v1/db/drop-table", json!({ "table": "absent" }), "writer", "sql:write"),
        row("GET", "/v1/storage?key=k", none(), "reader", "kv:read"),
        row("POST", "/v1/storage/get", json!({ "key": "k" }), "reader", "kv:read"),
        row("GET", "/v1/storage/exists?key=k", none(), "reader", "kv:read"),
        row("GET", "/v1/storage/list", none(), "reader", "kv:read"),
        row("POST", "/v1/storage/multi-get", json!({ "keys": ["k"] }), "reader", "kv:read"),
        row("GET", "/v1/storage/watch?after=x", none(), "reader", "kv:read"),
        row("PUT", "/v1/storage?key=k", none(), "writer", "kv:write"),
        row("POST", "/v1/storage/put", json!({ "key": "k", "value": "" }), "writer", "kv:write"),
        row("DELETE", "/v1/storage?key=absent", none(), "writer", "kv:write"),
        row("POST", "/v1/storage/delete", json!({ "key": "absent" }), "writer", "kv:write"),
        row("POST", "/v1/storage/batch", json!({ "ops": [{ "op": "delete", "key": "absent" }] }), "writer", "kv:write"),
        row("GET", "/v1/pubsub/ws?topic=t", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/pubsub/sse", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/pubsub/topics", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/pubsub/presence?topic=t", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/pubsub/durable", none(), "reader", "pubsub:subscribe"),
        row("GET", "/v1/pubsub/messages?topic=t", none(), "reader", "pubsub:subscribe"),
        row("PUT", "/v1/pubsub/durable?topic=d", json!({ "count": 1 }), "writer", "pubsub:publish"),
        row("DELETE", "/v1/pubsub/durable?topic=absent", none(), "writer", "pubsub:publish"),
        row("POST", "/v1/pubsub/publish", json!({ "topic": "t", "data": "x" }), "writer", "pubsub:publish"),
        row("GET", "/v1/apps", none(), "reader", "apps"),
        row("GET", "/v1/apps/absent", none(), "reader", "apps"),
        row("POST", "/v1/apps", json!({}), "writer", "apps"),
        row("PUT", "/v1/apps/absent", json!({ "name": "x" }), "writer", "apps"),
        row("DELETE", "/v1/apps/absent", none(), "writer", "apps"),
        row("GET", "/v1/namespaces/club/members", none(), "reader", "admin"),
        row(
            "PUT",
            "/v1/namespaces/club/members/0x00000000000000000000000000000000000000aa",
            json!({ "role": "reader" }),
            "admin",
            "admin",
        ),
        row(
            "DELETE",
            "/v1/namespaces/club/members/0x00000000000000000000000000000000000000bb",
            none(),
            "admin",
            "admin",
        ),
        row("GET", "/v1/keys", none(), "admin", "admin"),
        row("POST", "/v1/keys", json!({ "scopes": ["kv:read"] }), "admin", "admin"),
        row("POST", "/v1/keys/absent/rotate", none(), "admin", "admin"),
        row("DELETE", "/v1/keys/absent", none(), "admin", "admin"),
        row(
            "POST",
            "/v1/namespaces/club/transfer",
            json!({ "wallet": Wallet::ethereum("owner").address() }),
            "owner",
            "never",
        ),
        row("POST", "/v1/network/connect", json!({}), "operator", "never"),
        row("POST", "/v1/network/disconnect", json!({}), "operator", "never"),
        row("GET", "/metrics", none(), "operator", "never"),
    ]
}

#[test]
fn each_role_may_do_its_own_and_nothing_above() {
    let node = start(&[]);
    let wallets = ROLES.map(Wallet::ethereum);
    let mut owner = Caller::member(&node, &wallets[3], "club");
    owner.exec("CREATE TABLE t (x)");
    owner.ok("PUT", "/v1/storage?key=k", &Value::Null);
    for (role, wallet) in ROLES.iter().zip(&wallets).take(3) {
        owner.ok("PUT", &format!("/v1/namespaces/club/members/{}", wallet.address()), &json!({ "role": role }));
    }
    for (rank, (role, wallet)) in ROLES.iter().zip(&wallets).enumerate() {
        let mut caller = Caller::member(&node, wallet, "club");
        for Row { method, target, body, role: least, .. } in table() {
            let allowed = ROLES.iter().position(|known| *known == least).is_some_and(|least| rank >= least);
            let answer = caller.ask(method, target, &body);
            let refused = answer.status == 403 && answer.json()["code"] == "FORBIDDEN";
            // What is wrong with a request is only looked at when its sender may make it; a name in it may come first.
            let malformed = answer.status == 400 && !allowed;
            assert!(refused != allowed || malformed, "{role}: {method} {target}: {answer:?}");
            assert_ne!(answer.status, 401, "{role}: {method} {target}");
            assert!(answer.status < 500, "{role}: {method} {target}: {answer:?}");
        }
    }
}

#[test]
fn each_scope_opens_its_routes_and_no_others() {
    let node = start(&[]);
    let mut owner = Caller::member(&node, &Wallet::ethereum("owner"), "club");
    owner.exec("CREATE TABLE t (x)");
    for scope in
        ["sql:read", "sql:write", "kv:read", "kv:write", "apps", "admin", "pubsub:subscribe", "pubsub:publish", "*"]
    {
        let made = owner.ok("POST", "/v1/keys", &json!({ "scopes": [scope] }));
        assert_eq!(made["scopes"], json!([scope]));
        let mut caller = Caller::with_key(&node, made["api_key"].as_str().expect("a key"));
        for Row { method, target, body, scope: needed, .. } in table() {
            if method == "PUT" && target.contains("members") || target == "/v1/keys" && method == "POST" {
                // A key hands on no more than it may itself, which depends on more than one scope.
                continue;
            }
            let allowed = needed.is_empty() || needed == scope || scope == "*" && needed != "never";
            let answer = caller.ask(method, target, &body);
            let refused = answer.status == 403 && answer.json()["code"] == "FORBIDDEN";
            let malformed = answer.status == 400 && !allowed;
            assert!(refused != allowed || malformed, "{scope}: {method} {target}: {answer:?}");
        }
        caller.refused("DELETE", "/v1/namespaces/club", &Value::Null, 403, "FORBIDDEN");
        caller.refused("GET", "/v1/namespaces", &Value::Null, 403, "FORBIDDEN");
        caller.refused(
            "POST",
            "/v1/db/query?namespace=default",
            &json!({ "sql": "SELECT 1" }),
            403,
            "NAMESPACE_MISMATCH",
        );
    }
}
