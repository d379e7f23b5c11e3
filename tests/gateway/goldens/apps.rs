//! Registered applications.

use serde_json::{Value, json};

use super::book::{Book, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;

#[test]
fn apps_answer_as_written() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = |scope: &str| {
        let key = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", scope]);
        Some(("X-API-Key", key))
    };
    let (full, weak) = (key("*"), key("kv:read"));
    let mut book = Book::open("apps", &node);
    book.conceal(&full.as_ref().expect("a key").1, "key");
    book.conceal(&weak.as_ref().expect("a key").1, "a weak key");
    let make = |body: Value| Request::new("POST", "/v1/apps").json(body).by(&full);
    let made = book.ask("Register", make(json!({ "name": "Chat", "public_key": "ssh-ed25519 AAAA" }))).json();
    book.ask("Without a name", Request::new("POST", "/v1/apps").by(&full));
    book.ask("A name that is too long", make(json!({ "name": "x".repeat(201) })));
    book.ask("A key that is too long", make(json!({ "public_key": "x".repeat(4097) })));
    book.ask("All", Request::new("GET", "/v1/apps").by(&full));
    let one = format!("/v1/apps/{}", made["app_id"].as_str().expect("an id"));
    book.ask("One", Request::new("GET", &one).by(&full));
    book.ask("Change its name", Request::new("PUT", &one).json(json!({ "name": "Chat 2" })).by(&full));
    book.ask("Change nothing", Request::new("PUT", &one).json(json!({})).by(&full));
    book.ask("It is changed", Request::new("GET", &one).by(&full));
    book.ask("Remove", Request::new("DELETE", &one).by(&full));
    for method in ["GET", "DELETE"] {
        book.ask("One that is not there", Request::new(method, &one).by(&full));
    }
    book.ask("One that is not there", Request::new("PUT", &one).json(json!({ "name": "x" })).by(&full));
    refusals(&mut book, "apps", &Callers { full, weak });
    book.close();
}
