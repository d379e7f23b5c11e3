//! Messages.

use serde_json::{Value, json};

use super::book::{Book, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;

#[test]
fn pubsub_answers_as_written() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = |scope: &str| {
        let key = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", scope]);
        Some(("X-API-Key", key))
    };
    let (full, weak) = (key("*"), key("kv:read"));
    let mut book = Book::open("pubsub", &node);
    book.conceal(&full.as_ref().expect("a key").1, "key");
    book.conceal(&weak.as_ref().expect("a key").1, "a weak key");
    let publish = |body: Value| Request::new("POST", "/v1/pubsub/publish").json(body).by(&full);
    book.ask("Bytes", publish(json!({ "topic": "news", "data_base64": "aGVsbG8=" })));
    book.ask("A text, for this node only", publish(json!({ "topic": "news", "data": "hello", "ack": "local" })));
    book.ask("Nothing in it", publish(json!({ "topic": "news" })));
    book.ask("Both forms", publish(json!({ "topic": "news", "data": "a", "data_base64": "YQ==" })));
    book.ask("No base64", publish(json!({ "topic": "news", "data_base64": "?" })));
    book.ask("To a pattern", publish(json!({ "topic": "news.*", "data": "x" })));
    book.ask("To no topic", publish(json!({ "topic": "", "data": "x" })));
    book.ask("Too large", publish(json!({ "topic": "news", "data": "x".repeat(1024 * 1024 + 1) })));
    book.ask("Nobody listens", Request::new("GET", "/v1/pubsub/topics").by(&full));
    let get = |target: &'static str| Request::new("GET", target).by(&full);
    book.ask("Nobody is there", get("/v1/pubsub/presence?topic=news"));
    book.ask("Without a topic", get("/v1/pubsub/presence"));
    book.ask("Of a pattern", get("/v1/pubsub/presence?topic=news.*"));
    book.stream("From now on", get("/v1/pubsub/sse?topic=news&topic=sports.*"), "event: ready");
    let resumed = get("/v1/pubsub/sse?topic=news").header("Last-Event-ID", "0123456789abcdef0000000000000001");
    book.stream("After something that is not kept", resumed, "event: gap");
    book.ask("Without a topic", get("/v1/pubsub/sse"));
    book.ask("No pattern", get("/v1/pubsub/sse?topic=a.%3E.b"));
    let many: String = (0..65).map(|n| format!("&topic={n}")).collect();
    let many = format!("/v1/pubsub/sse?{}", &many[1..]);
    book.ask("Too many topics", Request::new("GET", &many).by(&full));
    book.ask("A socket for nobody", get("/v1/pubsub/ws?topic=news"));
    let upgrade = |target: &'static str| {
        get(target).header("Connection", "Upgrade").header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13")
    };
    let old = get("/v1/pubsub/ws?topic=news").header("Connection", "Upgrade").header("Upgrade", "websocket");
    book.ask("An old socket", old.header("Sec-WebSocket-Version", "8"));
    book.ask("A socket without a key", upgrade("/v1/pubsub/ws?topic=news"));
    let socket = |target| upgrade(target).header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    book.ask("A socket without a topic", socket("/v1/pubsub/ws"));
    book.ask("A socket on a pattern", socket("/v1/pubsub/ws?topic=news.*"));
    book.ask("In no format", socket("/v1/pubsub/ws?topic=news&format=xml"));
    book.ask("From a foreign page", socket("/v1/pubsub/ws?topic=news").header("Origin", "https://evil.example"));
    book.ask("A member without a name", socket("/v1/pubsub/ws?topic=news&presence=true"));
    book.ask(
        "A member of whom no JSON is said",
        socket("/v1/pubsub/ws?topic=news&presence=true&member_id=a&member_meta=%7B"),
    );
    book.open_socket("A socket", socket("/v1/pubsub/ws?topic=news"));
    let twice = "/v1/pubsub/ws?topic=news&token=a.b.c";
    book.ask("Two credentials", socket(twice));
    let retain = |target: &'static str, body: Value| Request::new("PUT", target).json(body).by(&full);
    book.ask(
        "Make a topic durable",
        retain("/v1/pubsub/durable?topic=orders", json!({ "count": 2, "age_seconds": 60 })),
    );
    book.ask("Keep nothing", retain("/v1/pubsub/durable?topic=orders", json!({})));
    book.ask("Keep too much", retain("/v1/pubsub/durable?topic=orders", json!({ "count": 1_000_000_000 })));
    book.ask("Without a topic", retain("/v1/pubsub/durable", json!({ "count": 1 })));
    let order = |n: u32| publish(json!({ "topic": "orders", "data": n.to_string(), "ack": "durable" }));
    let first = book.ask("Stored", order(1)).json();
    book.silently(&order(2));
    book.silently(&order(3));
    book.ask("To a topic that is not durable", publish(json!({ "topic": "news", "data": "x", "ack": "durable" })));
    book.ask("All of them", get("/v1/pubsub/durable"));
    book.ask("What is kept", get("/v1/pubsub/messages?topic=orders"));
    book.ask("One message", get("/v1/pubsub/messages?topic=%3E&limit=1"));
    let cursor = first["cursor"].as_u64().expect("a cursor");
    let gone = format!("/v1/pubsub/messages?topic=orders&after={}", cursor - 1);
    book.ask("Behind what is no longer kept", Request::new("GET", &gone).by(&full));
    book.ask("Behind nothing", get("/v1/pubsub/messages?topic=orders&after=x"));
    book.ask("Without a topic", get("/v1/pubsub/messages"));
    book.stream("Stored messages", get("/v1/pubsub/sse?topic=orders&after=0"), "Mw==");
    book.ask("A topic that is not durable", get("/v1/pubsub/sse?topic=news&after=0"));
    book.ask("Two topics from a cursor", get("/v1/pubsub/sse?topic=orders&topic=news&after=0"));
    book.ask("Store it no longer", Request::new("DELETE", "/v1/pubsub/durable?topic=orders").by(&full));
    book.ask("It is no longer", Request::new("DELETE", "/v1/pubsub/durable?topic=orders").by(&full));
    refusals(&mut book, "pubsub", &Callers { full, weak });
    book.close();
}
