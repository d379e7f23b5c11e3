//! Namespaces, members and keys.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::{Caller, start};
use crate::support::{TestNode, Wallet};

const MEMBERS: &str = "/v1/namespaces/chat/members";

fn key(key: &str) -> Credential {
    Some(("X-API-Key", key.to_owned()))
}

/// A login whose token is concealed.
fn member(book: &mut Book, node: &TestNode, wallet: &Wallet) -> Credential {
    let session = Caller::at(node).log_in(wallet, "chat");
    book.conceal(&session.access, "access_token");
    Some(("Authorization", format!("Bearer {}", session.access)))
}

#[test]
fn namespaces_and_members_answer_as_written() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*")]);
    let mut book = Book::open("namespaces", &node);
    let [owner, admin, reader] = ["owner", "admin", "reader"].map(Wallet::ethereum);
    let sol = Wallet::solana("guest");
    let of = |wallet: &Wallet| format!("{MEMBERS}/{}", wallet.address());
    let (of_owner, of_admin, of_reader) = (of(&owner), of(&admin), of(&reader));
    let as_owner = member(&mut book, &node, &owner);

    book.ask("Mine", Request::new("GET", "/v1/namespaces").by(&as_owner));
    book.ask("Invite an admin", Request::new("PUT", &of_admin).json(json!({ "role": "admin" })).by(&as_owner));
    book.ask("Invite a reader", Request::new("PUT", &of_reader).json(json!({ "role": "reader" })).by(&as_owner));
    let of_sol = of(&sol);
    let solana = json!({ "role": "writer", "chain_type": "SOL" });
    book.ask("Invite a Solana wallet", Request::new("PUT", &of_sol).json(solana).by(&as_owner));
    let (as_admin, as_reader) = (member(&mut book, &node, &admin), member(&mut book, &node, &reader));
    book.ask("Who belongs", Request::new("GET", MEMBERS).by(&as_reader));
    let invite = |target, role: &str, who| Request::new("PUT", target).json(json!({ "role": role })).by(who);
    book.ask("A reader invites nobody", invite(&of_reader, "writer", &as_reader));
    book.ask("An owner is not made by invitation", invite(&of_reader, "owner", &as_owner));
    book.ask("An admin makes no owner", invite(&of_reader, "owner", &as_admin));
    book.ask("An admin does not lower the owner", invite(&of_owner, "reader", &as_admin));
    book.ask("A role that is none", invite(&of_reader, "king", &as_owner));
    book.ask("A wallet that is none", invite("/v1/namespaces/chat/members/nobody", "reader", &as_owner));
    let removed = |target, who| Request::new("DELETE", target).by(who);
    book.ask("The owner cannot go", removed(&of_owner, &as_owner));
    book.ask("A reader removes nobody else", removed(&of_admin, &as_reader));
    book.ask("Anybody may go", removed(&of_reader, &as_reader));
    book.ask("Who is gone", removed(&of_reader, &as_owner));
    let on_solana = format!("{of_sol}?chain_type=SOL");
    book.ask("A Solana wallet", removed(&on_solana, &as_admin));
    book.ask("A namespace of somebody else", Request::new("GET", "/v1/namespaces/other/members").by(&as_owner));
    book.ask("A name that is none", Request::new("GET", "/v1/namespaces/No%20Name/members").by(&as_owner));

    keys(&mut book, &as_owner);
    let made = Caller::with_token(&node, token(&as_owner)).ok("POST", "/v1/keys", &json!({ "scopes": ["kv:read"] }));
    let weak = key(made["api_key"].as_str().expect("a key"));
    book.conceal(token(&weak), "a weak key");
    book.conceal(made["key_id"].as_str().expect("an id"), "key_id");
    refusals(&mut book, "namespaces", &Callers { full: as_owner.clone(), weak });

    let to_admin = || Request::new("POST", "/v1/namespaces/chat/transfer").json(json!({ "wallet": admin.address() }));
    book.ask("Only the owner", to_admin().by(&as_admin));
    book.ask("Transfer", to_admin().by(&as_owner));
    let drop = |target| Request::new("DELETE", target);
    book.ask("An owner before", drop("/v1/namespaces/chat").by(&as_owner));
    book.ask("Delete", drop("/v1/namespaces/chat").by(&as_admin));
    book.ask("The credential is gone with it", drop("/v1/namespaces/chat").by(&as_admin));
    book.ask("One that is not there", drop("/v1/namespaces/ghost").by(&key("operator")));
    book.ask("The first one stays", drop("/v1/namespaces/default").by(&key("operator")));
    book.ask("An API key has no list", Request::new("GET", "/v1/namespaces").by(&key("operator")));
    book.close();
}

/// The secret in a credential.
fn token(credential: &Credential) -> &str {
    credential.as_ref().map(|(_, value)| value.trim_start_matches("Bearer ")).expect("a credential")
}

fn keys(book: &mut Book, owner: &Credential) {
    let make = |body: Value| Request::new("POST", "/v1/keys").json(body);
    let wanted = json!({ "name": "server", "scopes": ["sql:read", "kv:read"], "expires_in": 86400 });
    let made = book.ask("Make one", make(wanted).by(owner)).json();
    book.ask("For everything", Request::new("POST", "/v1/keys").by(owner));
    let manager = book.ask("Scopes as text", make(json!({ "scopes": "admin,kv:read" })).by(owner)).json();
    let manager = key(manager["api_key"].as_str().expect("a key"));
    book.ask("More than the maker may", make(json!({ "scopes": "*" })).by(&manager));
    book.ask("A scope that is none", make(json!({ "scopes": ["everything"] })).by(owner));
    book.ask("No scope", make(json!({ "scopes": [] })).by(owner));
    book.ask("Over at once", make(json!({ "expires_in": 0 })).by(owner));
    book.ask("A name with a line break", make(json!({ "name": "a\nb" })).by(owner));
    book.ask("All of them", Request::new("GET", "/v1/keys").by(owner));
    let id = made["key_id"].as_str().expect("an id");
    let (rotate, end) = (format!("/v1/keys/{id}/rotate"), format!("/v1/keys/{id}"));
    book.ask("A new text", Request::new("POST", &rotate).by(owner));
    book.ask("One that is not there", Request::new("POST", "/v1/keys/absent/rotate").by(owner));
    book.ask("End it", Request::new("DELETE", &end).by(owner));
    book.ask("It has ended", Request::new("DELETE", &end).by(owner));
}
