//! Watching keys while nodes die.

use serde_json::{Value, json};

use super::caller::{Caller, accounts_ready, start, unhurried};
use super::events::{Event, Events};
use crate::support::{TestCluster, TestNode, Wallet, soon};

fn open(node: &TestNode, target: &str, key: &str, last: Option<u64>) -> Events {
    let last = last.map(|last| last.to_string()).unwrap_or_default();
    Events::open(node.gateway_address(), target, &[("X-API-Key", key), ("Last-Event-ID", &last)])
}

#[test]
fn a_watcher_whose_node_is_killed_goes_on_at_another_and_misses_and_repeats_nothing() {
    const COUNT: usize = 300;
    let mut cluster = TestCluster::start_with(3, unhurried);
    accounts_ready(&cluster[0]);
    cluster[0].cli_ok(&["namespace", "create", "shop"]);
    let key = cluster[0].cli_ok(&["key", "create", "--namespace", "shop"]);
    let watched = cluster.follower();
    let mut doomed = cluster.nodes.remove(watched);
    let mut events = open(&doomed, "/v1/storage/watch?prefix=n%2F", &key, None);
    assert_eq!(events.head().status, 200);
    let ready = events.next().expect("it begins");
    assert_eq!(ready.name, "ready");
    std::thread::scope(|scope| {
        let mut writer = Caller::with_key(&cluster.nodes[0], &key);
        scope.spawn(move || {
            for number in 0..COUNT {
                let answer = writer.send(
                    "PUT",
                    &format!("/v1/storage?key=n%2F{number}"),
                    &[("Idempotency-Key", &number.to_string())],
                    b"x",
                );
                assert_eq!(answer.status, 201, "{answer:?}");
                let other = writer.send("PUT", "/v1/storage?key=other", &[], b"x");
                assert_eq!(other.status, 201, "{other:?}");
            }
        });
        let mut seen: Vec<Event> = Vec::new();
        while seen.len() < COUNT / 3 {
            seen.push(events.next().expect("it goes on"));
        }
        doomed.kill9();
        // What had arrived is read to its end.
        seen.extend(std::iter::from_fn(|| events.next()));
        let last = seen.last().map(Event::number);
        let mut events = open(&cluster.nodes[1], "/v1/storage/watch?prefix=n%2F", &key, last);
        assert_eq!(events.next().expect("it begins").name, "ready");
        while seen.len() < COUNT {
            seen.push(events.next().expect("it goes on"));
        }
        let keys: Vec<String> =
            seen.iter().map(|event| event.data["key"].as_str().expect("a key").to_owned()).collect();
        let expected: Vec<String> = (0..COUNT).map(|number| format!("n/{number}")).collect();
        assert_eq!(keys, expected);
        assert!(seen.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        assert!(seen.iter().all(|event| event.name == "put"));
    });
}

#[test]
fn a_watcher_is_told_of_puts_deletes_and_expiry_and_of_a_gap_when_it_was_away_too_long() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "shop"]);
    let key = node.cli_ok(&["key", "create", "--namespace", "shop"]);
    let mut caller = Caller::with_key(&node, &key);
    let mut events = open(&node, "/v1/storage/watch?prefix=a", &key, None);
    assert_eq!(events.next().expect("it begins").name, "ready");
    let put = caller.send("PUT", "/v1/storage?key=a1&ttl=4", &[], b"x");
    caller.ok("PUT", "/v1/storage?key=b", &Value::Null);
    caller.ok("PUT", "/v1/storage?key=a2", &Value::Null);
    caller.ok("DELETE", "/v1/storage?key=a2", &Value::Null);
    let told: Vec<Event> = (0..3).map(|_| events.next().expect("it goes on")).collect();
    let shown: Vec<(&str, &str)> =
        told.iter().map(|event| (event.name.as_str(), event.data["key"].as_str().expect("a key"))).collect();
    assert_eq!(shown, [("put", "a1"), ("put", "a2"), ("delete", "a2")]);
    assert_eq!(told[0].data["etag"].as_str(), put.header("etag"));
    let first = told[0].number();
    // Expired keys go with a later write.
    soon("it expires", || {
        caller.ok("PUT", "/v1/storage?key=b", &Value::Null);
        (caller.ask("GET", "/v1/storage?key=a1", &Value::Null).status == 404).then_some(())
    });
    caller.ok("PUT", "/v1/storage?key=b", &Value::Null);
    let event = events.next().expect("it goes on");
    assert_eq!((event.name.as_str(), event.data["key"].as_str()), ("expire", Some("a1")));

    let ops: Vec<Value> = (0..1000).map(|n| json!({ "op": "put", "key": format!("many/{n}"), "value": "" })).collect();
    for _ in 0..22 {
        caller.ok("POST", "/v1/storage/batch", &json!({ "ops": ops }));
    }
    let mut late = open(&node, "/v1/storage/watch?prefix=a", &key, Some(first));
    assert_eq!(late.next().expect("it begins").name, "ready");
    let gap = late.next().expect("a gap");
    assert_eq!((gap.name.as_str(), gap.data["resume_after"].as_u64()), ("gap", Some(gap.number())));
    caller.ok("PUT", "/v1/storage?key=a3", &Value::Null);
    let event = late.next().expect("it goes on behind the gap");
    assert_eq!((event.data["key"].as_str(), event.number() > gap.number()), (Some("a3"), true));
}

#[test]
fn a_watch_ends_with_its_credential() {
    let node = start(&[]);
    let session = Caller::at(&node).log_in(&Wallet::ethereum("owner"), "shop");
    let mut owner = Caller::with_token(&node, &session.access);
    let made = owner.ok("POST", "/v1/keys", &json!({ "scopes": ["kv:read"] }));
    let mut events = open(&node, "/v1/storage/watch", made["api_key"].as_str().expect("a key"), None);
    assert_eq!(events.next().expect("it begins").name, "ready");
    owner.ok("DELETE", &format!("/v1/keys/{}", made["key_id"].as_str().expect("an id")), &Value::Null);
    assert_eq!(events.next(), None, "the stream ends");
}
