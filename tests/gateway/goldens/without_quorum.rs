//! What a node says that is left alone, and one whose accounts are not in order.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};
use crate::gateway::caller::{Caller, accounts_ready, start, unhurried};
use crate::support::{TestCluster, soon};

fn key(key: &str) -> Credential {
    Some(("X-API-Key", key.to_owned()))
}

#[test]
fn a_node_that_is_left_alone_answers_as_written() {
    let mut cluster =
        TestCluster::start_with(3, |launch| unhurried(launch).set("GATEWAY__API_KEYS", "operator:*,tenant:chat"));
    accounts_ready(&cluster[0]);
    cluster[0].cli_ok(&["namespace", "create", "chat"]);
    let left = cluster.follower();
    let mut caller = Caller::with_key(&cluster[left], "tenant");
    caller.exec("CREATE TABLE t (x)");
    caller.ok("PUT", "/v1/storage?key=a", &Value::Null);
    let others: Vec<usize> = (0..3).filter(|node| *node != left).collect();
    let address = cluster[others[0]].addresses().peer[0].clone();
    let mut book = Book::open("alone", &cluster[left]);
    book.conceal(&address, "address of another node");
    book.conceal(address.split("/p2p/").next().expect("an address"), "where another node was");
    let connect = || Request::new("POST", "/v1/network/connect").json(json!({ "multiaddr": address }));
    book.ask("A peer", connect().by(&key("operator")));
    for other in others {
        book.conceal(&cluster[other].id().to_string(), "another node");
        cluster[other].kill9();
    }
    let node = &cluster[left];
    soon("it misses the others", || (node.gateway().get("/v1/health").status == 503).then_some(()));
    let tenant = key("tenant");
    let query = |target: &'static str| {
        Request::new("POST", target).json(json!({ "sql": "SELECT count(*) FROM t" })).by(&tenant)
    };
    let never = query("/v1/db/query?level=none&min_index=99999999");
    std::thread::scope(|scope| {
        // It is waited for as long as any request may take.
        let late = scope.spawn(|| {
            let mut waiting = Caller::with_key(node, "tenant");
            waiting.send(never.method, never.target, &never.headers, never.body.as_bytes())
        });
        book.ask("What is here", query("/v1/db/query?level=none"));
        book.ask("What everybody agreed on", query("/v1/db/query"));
        book.ask("Fresh enough", query("/v1/db/query?level=none&freshness=10ms"));
        book.ask("A key", Request::new("GET", "/v1/storage?key=a").by(&tenant));
        book.ask("A write", Request::new("POST", "/v1/db/exec").json(json!({ "sql": "DELETE FROM t" })).by(&tenant));
        book.ask("An unknown key", Request::new("GET", "/v1/auth/whoami").by(&key("ak_unknown:chat")));
        book.ask("A peer that is down", connect().by(&key("operator")));
        book.note("What is not here yet", &never, &late.join().expect("no panic"));
    });
    for path in ["/v1/health", "/readyz"] {
        book.ask("Ask", Request::new("GET", path));
    }
    book.close();
}

#[test]
fn a_node_whose_accounts_are_not_in_order_answers_as_written() {
    let mut node = start(&[]);
    assert_eq!(node.terminate().code(), Some(0));
    let database = rusqlite::Connection::open(node.data().join("db/_accounts.sqlite")).expect("the accounts' database");
    // No key is made anew as long as the schema is not the one that is expected.
    let edit = "UPDATE schema_migrations SET checksum = 'edited'; DELETE FROM signing_keys;";
    database.execute_batch(edit).expect("edited");
    drop(database);
    node.start();
    let mut book = Book::open("unready", &node);
    book.ask("The keys that sign", Request::new("GET", "/v1/auth/jwks"));
    book.close();
}
