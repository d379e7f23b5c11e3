//! Health, metrics, and the contract itself.

use super::book::{Book, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;
use crate::support::soon;

#[test]
fn health_and_the_contract_answer_as_written() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*,tenant:chat")]);
    soon("it is ready", || (node.gateway().get("/readyz").status == 200).then_some(()));
    let mut book = Book::open("health", &node);
    let key = |key: &str| Some(("X-API-Key", key.to_owned()));
    for path in ["/v1/health", "/health", "/v1/status", "/status", "/v1/version", "/livez", "/readyz"] {
        book.ask("Ask", Request::new("GET", path));
    }
    book.ask("Only the head", Request::new("HEAD", "/v1/health"));
    book.ask("Every check", Request::new("GET", "/readyz?verbose"));
    for path in ["/openapi.json", "/docs", "/docs/page.js", "/docs/page.css"] {
        book.ask("Ask", Request::new("GET", path));
    }
    let metrics = book_metrics(&mut book, key("operator"));
    assert!(metrics.contains("debros_http_request_seconds"), "{metrics}");
    book.ask("There is nothing else", Request::new("GET", "/v1/nothing"));
    book.ask("As a problem document", Request::new("GET", "/v1/nothing").header("Accept", "application/problem+json"));
    let callers = Callers { full: key("operator"), weak: key("tenant") };
    for tag in ["health", "documentation"] {
        refusals(&mut book, tag, &callers);
    }
    book.close();
}

fn book_metrics(book: &mut Book, operator: super::book::Credential) -> String {
    book.ask("An operator looks", Request::new("GET", "/metrics").by(&operator)).body
}
