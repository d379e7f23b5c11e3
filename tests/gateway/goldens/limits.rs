//! What somebody is told who wants more than there is.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use super::book::{Book, Credential, Request};
use crate::gateway::caller::{Caller, start};
use crate::support::soon;

fn key(key: &str) -> Credential {
    Some(("X-API-Key", key.to_owned()))
}

#[test]
fn limits_answer_as_written() {
    let node = start(&[
        ("GATEWAY__API_KEYS", "tenant:chat,other:shop,busy:busy"),
        ("GATEWAY__KV_KEYS_MAX", "2"),
        ("GATEWAY__DATABASE_BYTES_MAX", "256KiB"),
        ("GATEWAY__LOGINS_PER_MINUTE", "2"),
    ]);
    for namespace in ["chat", "shop", "busy"] {
        node.cli_ok(&["namespace", "create", namespace]);
    }
    let mut book = Book::open("limits", &node);
    let tenant = key("tenant");
    let put = |target: &'static str| Request::new("PUT", target).text("x").by(&tenant);
    for target in ["/v1/storage?key=a", "/v1/storage?key=b", "/v1/storage?key=c"] {
        book.ask("Two keys are allowed", put(target));
    }
    let mut other = Caller::with_key(&node, "other");
    other.exec("CREATE TABLE t (x)");
    let grow = json!({ "sql": "INSERT INTO t VALUES (zeroblob(300000))" });
    book.ask("256 KiB are allowed", Request::new("POST", "/v1/db/exec").json(grow).by(&key("other")));
    full_of_bodies(&mut book);
    let mut busy = Caller::with_key(&node, "busy");
    for _ in 0..200 {
        busy.ok("POST", "/v1/keys", &json!({}));
    }
    book.ask("200 API keys are allowed", Request::new("POST", "/v1/keys").by(&key("busy")));
    let challenge = || {
        let body = json!({ "wallet": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" });
        Request::new("POST", "/v1/auth/challenge").json(body)
    };
    while book.silently(&challenge()).status == 200 {}
    book.ask("Two logins are allowed in a minute", challenge());
    book.close();
}

/// Holds the room for bodies with heads alone, and shows what the next one is told.
fn full_of_bodies(book: &mut Book) {
    let exec = || Request::new("POST", "/v1/db/exec").by(&key("other"));
    let head = book.head_of(&exec(), 8 * 1024 * 1024);
    let address = book.address().to_owned();
    let open = || {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(&head).expect("sent");
        stream
    };
    let mut held: Vec<TcpStream> = Vec::new();
    let large = || exec().json(json!({ "sql": format!("SELECT '{}'", "x".repeat(20 * 1024)) }));
    // The node takes the heads in its own time; what is asked meanwhile may take the room of one of them.
    soon("there is no room", || {
        held.push(open());
        (book.silently(&large()).status == 503).then_some(())
    });
    book.ask("No room for another large body", large());
    drop(held);
    soon("there is room again", || (book.silently(&large()).status != 503).then_some(()));
    book.announce("A body that is too large", exec(), 8 * 1024 * 1024 + 1);
}
