//! The network's routes, and what is refused before any route is found.

use serde_json::json;

use super::book::{Book, Credential, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;

#[test]
fn the_network_answers_as_written() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*,tenant:chat,other:shop")]);
    let mut book = Book::open("network", &node);
    let key = |key: &str| -> Credential { Some(("X-API-Key", key.to_owned())) };
    for path in ["/v1/network/status", "/v1/network/peers"] {
        book.ask("As a tenant", Request::new("GET", path).by(&key("tenant")));
    }
    let id = node.id().to_string();
    let own = node.addresses().peer[0].split("/p2p/").next().expect("an address").to_owned();
    book.conceal(&own, "own address");
    let connect = |address: &str| {
        let body = json!({ "multiaddr": address.replace("ID", &id) });
        Request::new("POST", "/v1/network/connect").json(body).by(&key("operator"))
    };
    book.ask("Itself", connect(node.addresses().peer[0].as_str()));
    book.ask("This machine", connect("/ip4/127.0.0.1/tcp/22/p2p/ID"));
    book.ask("Nobody in particular", connect("/ip4/203.0.113.7/tcp/4001"));
    book.ask("No address", connect("example.org:4001"));
    let disconnect = |peer: &str| {
        Request::new("POST", "/v1/network/disconnect").json(json!({ "peer_id": peer })).by(&key("operator"))
    };
    book.ask("Itself", disconnect(&id));
    book.ask("Nobody", disconnect("nobody"));
    book.ask(
        "As a tenant",
        Request::new("POST", "/v1/network/disconnect").json(json!({ "peer_id": id })).by(&key("tenant")),
    );
    let long = format!("/v1/network/status?{}", "x".repeat(8 * 1024));
    book.conceal(&"x".repeat(8 * 1024), "8 KiB");
    book.ask("A URI that is too long", Request::new("GET", &long).by(&key("tenant")));
    let header = "x".repeat(66 * 1024);
    book.ask("Headers that are too large", Request::new("GET", "/v1/network/status").header("X-Large", &header));
    refusals(&mut book, "network", &Callers { full: key("operator"), weak: key("tenant") });
    book.close();
}
