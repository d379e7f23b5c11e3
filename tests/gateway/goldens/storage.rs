//! Keys and values.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;
use crate::gateway::events::Events;

#[test]
fn keys_and_values_answer_as_written() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = |scope: &str| {
        let key = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", scope]);
        Some(("X-API-Key", key))
    };
    let (full, weak) = (key("*"), key("sql:read"));
    let mut book = Book::open("storage", &node);
    book.conceal(&full.as_ref().expect("a key").1, "key");
    book.conceal(&weak.as_ref().expect("a key").1, "a weak key");
    let etag = puts(&mut book, &full);
    gets(&mut book, &full, &etag);
    several(&mut book, &full);
    watches(&mut book, &full);
    deletes(&mut book, &full);
    refusals(&mut book, "storage", &Callers { full, weak });
    book.close();
}

/// The version of the value under `greeting`.
fn puts(book: &mut Book, full: &Credential) -> String {
    let long = format!("/v1/storage?key={}", "k".repeat(1025));
    book.conceal(&"k".repeat(1025), "1025 bytes");
    let raw = |target, value: &str| Request::new("PUT", target).text(value).by(full);
    let stored = book.ask("Bytes", raw("/v1/storage?key=greeting", "hello").header("Content-Type", "text/plain"));
    let etag = stored.header("etag").expect("an ETag").to_owned();
    book.ask("By the old path", raw("/storage?key=old", "x"));
    book.ask("Another way", raw("/v1/storage/put?key=b%2Fc", "x"));
    let put = |body: Value| Request::new("POST", "/v1/storage/put").json(body).by(full);
    let all = json!({ "key": "json", "value_base64": "aGVsbG8=", "content_type": "text/plain", "ttl": 3600 });
    book.ask("As JSON", put(all));
    book.ask("A value that is no base64", put(json!({ "key": "json", "value": "hello!" })));
    book.ask("No value", put(json!({ "key": "json" })));
    book.ask("No key", put(json!({ "key": "", "value": "" })));
    book.ask("Over at once", raw("/v1/storage?key=greeting&ttl=0", "x"));
    book.ask("A time that is none", raw("/v1/storage?key=greeting&ttl=soon", "x"));
    book.ask("A key that is too long", raw(&long, "x"));
    book.ask("A value that is too large", raw("/v1/storage?key=large", &"x".repeat(1024 * 1024 + 1)));
    book.ask("Only if it is not there", raw("/v1/storage?key=greeting", "x").header("If-None-Match", "*"));
    book.ask("Only if it has this version", raw("/v1/storage?key=greeting", "x").header("If-Match", "\"1\""));
    book.ask("A condition that is none", raw("/v1/storage?key=greeting", "x").header("If-Match", "W/\"a\""));
    book.ask("Only if it is there", raw("/v1/storage?key=absent", "x").header("If-Match", "*"));
    let once = || raw("/v1/storage?key=once", "x").header("Idempotency-Key", "put-1");
    book.ask("Once", once());
    book.ask("Once more", once());
    book.ask("Another under the same key", raw("/v1/storage?key=once", "y").header("Idempotency-Key", "put-1"));
    etag
}

fn gets(book: &mut Book, full: &Credential, etag: &str) {
    for target in ["/v1/storage?key=greeting", "/storage?key=greeting", "/v1/storage/get?key=greeting"] {
        book.ask("The bytes", Request::new("GET", target).by(full));
    }
    let unchanged = Request::new("GET", "/v1/storage?key=greeting").header("If-None-Match", etag).by(full);
    book.ask("It has not changed", unchanged);
    book.ask("Only the head", Request::new("HEAD", "/v1/storage?key=greeting").by(full));
    book.ask("None", Request::new("GET", "/v1/storage?key=absent").by(full));
    book.ask("No key", Request::new("GET", "/v1/storage").by(full));
    book.ask("Two keys", Request::new("GET", "/v1/storage?key=a&key=b").by(full));
    book.ask("No text", Request::new("GET", "/v1/storage?key=%ff").by(full));
    let named = |path: &'static str, key: &str| Request::new("POST", path).json(json!({ "key": key })).by(full);
    book.ask("By JSON", named("/v1/storage/get", "greeting"));
    book.ask("None", named("/v1/storage/get", "absent"));
    book.ask("It is", Request::new("GET", "/v1/storage/exists?key=greeting").by(full));
    book.ask("It is not", Request::new("GET", "/v1/storage/exists?key=absent").by(full));
    book.ask("By JSON", named("/v1/storage/exists", "greeting"));
}

fn several(book: &mut Book, full: &Credential) {
    let list = |target: &'static str| Request::new("GET", target).by(full);
    book.ask("All", list("/v1/storage/list"));
    book.ask("A page", list("/v1/storage/list?limit=2"));
    book.ask("Those that begin so, with all that is known", list("/v1/storage/list?prefix=g&details=true&values=true"));
    book.ask("A limit that is none", list("/v1/storage/list?limit=many"));
    book.ask("A cursor that is none", list("/v1/storage/list?cursor=abc"));
    let many = |body: Value| Request::new("POST", "/v1/storage/multi-get").json(body).by(full);
    book.ask("Several", many(json!({ "keys": ["greeting", "absent"] })));
    book.ask("An empty key", many(json!({ "keys": [""] })));
    book.ask("Too many", many(json!({ "keys": vec!["k"; 1001] })));
    let batch = |ops: Value| Request::new("POST", "/v1/storage/batch").json(json!({ "ops": ops })).by(full);
    book.ask(
        "Several changes",
        batch(json!([
            { "op": "put", "key": "new", "value_base64": "eA==", "if_none_match": "*" },
            { "op": "put", "key": "new", "value_base64": "eQ==" },
            { "op": "delete", "key": "new" },
            { "op": "delete", "key": "absent" },
        ])),
    );
    book.ask(
        "All or none",
        batch(json!([
            { "op": "put", "key": "never", "value_base64": "eA==" },
            { "op": "put", "key": "greeting", "value_base64": "eA==", "if_none_match": "*" },
        ])),
    );
    book.ask("A change that is none", batch(json!([{ "op": "move", "key": "a" }])));
    book.ask("No value", batch(json!([{ "op": "delete", "key": "a" }, { "op": "put", "key": "a" }])));
    book.ask("None", batch(json!([])));
}

fn watches(book: &mut Book, full: &Credential) {
    let watch = |target: &'static str| Request::new("GET", target).by(full);
    let (name, key) = full.as_ref().expect("a key");
    let now = Events::open(book.address(), "/v1/storage/watch", &[(name, key)]).next().expect("it begins").id;
    book.conceal(&now, "change");
    book.silently(&Request::new("PUT", "/v1/storage?key=greeting").text("again").by(full));
    let resumed = format!("/v1/storage/watch?prefix=greet&after={now}");
    book.stream("From a change on", Request::new("GET", &resumed).by(full), "event: put");
    let resumed = Request::new("GET", "/v1/storage/watch").header("Last-Event-ID", &now);
    book.stream("By the header", resumed.by(full), "event: put");
    book.stream("From now on", watch("/v1/storage/watch"), "event: ready");
    book.stream("What is not kept", watch("/v1/storage/watch?after=0"), "event: gap");
    book.ask("A place that is none", watch("/v1/storage/watch?after=x"));
}

fn deletes(book: &mut Book, full: &Credential) {
    for (method, target) in [
        ("DELETE", "/v1/storage?key=greeting"),
        ("DELETE", "/v1/storage?key=greeting"),
        ("DELETE", "/storage?key=old"),
        ("DELETE", "/v1/storage/delete?key=json"),
        ("POST", "/v1/storage/delete?key=once"),
    ] {
        book.ask("Remove", Request::new(method, target).by(full));
    }
    book.ask("By JSON", Request::new("POST", "/v1/storage/delete").json(json!({ "key": "b/c" })).by(full));
    book.ask("No key", Request::new("DELETE", "/v1/storage").by(full));
    book.ask(
        "Only this version",
        Request::new("DELETE", "/v1/storage?key=absent").header("If-Match", "\"1\"").by(full),
    );
}
