//! Durable topics: what is stored is read later, from whatever node, without a hole and without a double.

use serde_json::{Value, json};

use super::caller::{Caller, accounts_ready, start, unhurried};
use super::events::{Event, Events};
use super::socket::Socket;
use crate::support::{TestCluster, TestNode, soon};

fn with_topic(node: &TestNode, retain: &Value) -> (String, Caller) {
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = node.cli_ok(&["key", "create", "--namespace", "chat"]);
    let mut caller = Caller::with_key(node, &key);
    caller.ok("PUT", "/v1/pubsub/durable?topic=orders.new", retain);
    (key, caller)
}

fn order(n: usize) -> Value {
    json!({ "topic": "orders.new", "data": n.to_string(), "ack": "durable" })
}

fn follow(node: &TestNode, target: &str, key: &str, last: &str) -> Events {
    let mut events = Events::open(node.gateway_address(), target, &[("X-API-Key", key), ("Last-Event-ID", last)]);
    assert_eq!(events.head().status, 200, "{:?}", events.head());
    assert_eq!(events.next().expect("it begins").name, "ready");
    events
}

fn numbers(messages: &[Value]) -> Vec<usize> {
    use base64::Engine as _;
    let decode = |message: &Value| {
        let text = message["data_base64"].as_str().expect("base64");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        String::from_utf8(bytes).expect("text").parse().expect("a number")
    };
    messages.iter().map(decode).collect()
}

#[test]
fn a_reader_whose_node_is_killed_goes_on_at_another_and_misses_and_repeats_nothing() {
    const COUNT: usize = 300;
    let mut cluster = TestCluster::start_with(3, unhurried);
    accounts_ready(&cluster[0]);
    let (key, _) = with_topic(&cluster[0], &json!({ "count": 1000 }));
    let followed = cluster.follower();
    let mut doomed = cluster.nodes.remove(followed);
    soon("the topic is known there", || {
        let topics = Caller::with_key(&doomed, &key).ok("GET", "/v1/pubsub/durable", &Value::Null);
        (topics["topics"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    let target = "/v1/pubsub/sse?topic=orders.*&after=0";
    let mut events = follow(&doomed, target, &key, "");
    let mut socket = Socket::framed(&doomed, &key);
    let begun = socket.ask(json!({ "type": "subscribe", "topic": "orders.new", "after": 0 }));
    assert_eq!(begun["type"], "subscribed", "{begun}");
    std::thread::scope(|scope| {
        let mut writer = Caller::with_key(&cluster.nodes[0], &key);
        scope.spawn(move || {
            for n in 0..COUNT {
                let header = [("Content-Type", "application/json"), ("Idempotency-Key", &n.to_string())];
                let sent = writer.send("POST", "/v1/pubsub/publish", &header, order(n).to_string().as_bytes());
                assert_eq!(sent.status, 200, "{sent:?}");
                // Other topics of the namespace do not disturb.
                writer.ok("POST", "/v1/pubsub/publish", &json!({ "topic": "other", "data": "x", "ack": "local" }));
            }
        });
        let mut by_events: Vec<Event> = Vec::new();
        let mut by_socket: Vec<Value> = Vec::new();
        while by_events.len() < COUNT / 3 {
            by_events.push(events.next().expect("it goes on"));
            by_socket.push(socket.message());
        }
        doomed.kill9();
        by_events.extend(std::iter::from_fn(|| events.next()));
        let last = by_events.last().expect("some came").id.clone();
        let mut events = follow(&cluster.nodes[1], target, &key, &last);
        while by_events.len() < COUNT {
            by_events.push(events.next().expect("it goes on"));
        }
        let data: Vec<Value> = by_events.iter().map(|event| event.data.clone()).collect();
        assert_eq!(numbers(&data), (0..COUNT).collect::<Vec<_>>());
        assert!(by_events.iter().all(|event| event.name == "message"));
        let mut socket = Socket::framed(&cluster.nodes[0], &key);
        let after = by_socket.last().expect("some came")["cursor"].clone();
        socket.send(json!({ "type": "subscribe", "topic": "orders.new", "after": after }).to_string());
        assert_eq!(socket.json()["type"], "subscribed");
        while by_socket.len() < COUNT {
            by_socket.push(socket.message());
        }
        assert_eq!(numbers(&by_socket), (0..COUNT).collect::<Vec<_>>());
    });
    let mut writer = Caller::with_key(&cluster.nodes[0], &key);
    let header = [("Content-Type", "application/json"), ("Idempotency-Key", "7")];
    let again = writer.send("POST", "/v1/pubsub/publish", &header, order(7).to_string().as_bytes());
    assert_eq!(again.status, 200, "{again:?}");
    let once_more = writer.send("POST", "/v1/pubsub/publish", &header, order(7).to_string().as_bytes());
    for member in ["message_id", "cursor"] {
        assert_eq!(again.json()[member], once_more.json()[member], "{member}");
    }
    let live = json!({ "topic": "other", "data": "x" }).to_string();
    let refused = writer.send("POST", "/v1/pubsub/publish", &header, live.as_bytes());
    assert_eq!(refused.status, 400, "it would not happen once: {refused:?}");
    let page = writer.ok("GET", "/v1/pubsub/messages?topic=orders.new&limit=1000", &Value::Null);
    assert_eq!(numbers(page["messages"].as_array().expect("messages")), (0..COUNT).collect::<Vec<_>>(), "once");
}

#[test]
fn a_topic_is_durable_at_once_for_who_made_it_so_at_a_node_that_does_not_lead() {
    let mut cluster = TestCluster::start_with(3, unhurried);
    accounts_ready(&cluster[0]);
    let (key, _) = with_topic(&cluster[0], &json!({ "count": 10 }));
    let follower = cluster.follower();
    let mut caller = Caller::with_key(&cluster[follower], &key);
    for n in 0..20 {
        let topic = format!("fresh.{n}");
        caller.ok("PUT", &format!("/v1/pubsub/durable?topic={topic}"), &json!({ "count": 10 }));
        let told = caller.ok("POST", "/v1/pubsub/publish", &json!({ "topic": topic, "data": "x" }));
        assert!(told["cursor"].is_u64(), "{n}: {told}");
        caller.ok("DELETE", &format!("/v1/pubsub/durable?topic={topic}"), &Value::Null);
        let told = caller.ok("POST", "/v1/pubsub/publish", &json!({ "topic": topic, "data": "x" }));
        assert!(told["cursor"].is_null(), "{n}: {told}");
    }
}

#[test]
fn a_reader_of_the_newest_that_is_cut_off_before_a_message_comes_back_to_where_it_began() {
    let node = start(&[]);
    let (key, mut caller) = with_topic(&node, &json!({ "count": 10 }));
    let target = "/v1/pubsub/sse?topic=orders.new&after=newest";
    let mut events = Events::open(node.gateway_address(), target, &[("X-API-Key", &key)]);
    let begun = events.next().expect("it begins");
    drop(events);
    caller.ok("POST", "/v1/pubsub/publish", &order(1));
    let mut events = follow(&node, target, &key, &begun.id);
    assert_eq!(numbers(&[events.next().expect("what came meanwhile").data]), [1]);
}

#[test]
fn who_was_away_too_long_is_told_and_gets_what_is_kept() {
    let node = start(&[]);
    let (key, mut caller) = with_topic(&node, &json!({ "count": 3 }));
    let sent: Vec<Value> = (0..10).map(|n| caller.ok("POST", "/v1/pubsub/publish", &order(n))).collect();
    let first = sent[0]["cursor"].clone();
    let gone = caller.ask("GET", &format!("/v1/pubsub/messages?topic=orders.new&after={first}"), &Value::Null);
    assert_eq!((gone.status, gone.json()["code"].as_str()), (410, Some("CURSOR_TOO_OLD")), "{gone:?}");
    let resume = gone.json()["details"]["resume_after"].as_u64().expect("where to go on");
    let page = caller.ok("GET", &format!("/v1/pubsub/messages?topic=orders.new&after={resume}"), &Value::Null);
    assert_eq!(numbers(page["messages"].as_array().expect("messages")), [7, 8, 9]);
    let mut events = follow(&node, "/v1/pubsub/sse?topic=orders.new", &key, &first.to_string());
    let gap = events.next().expect("it goes on");
    assert_eq!((gap.name.as_str(), &gap.data["reason"]), ("gap", &json!("retention")));
    let kept: Vec<Value> = (0..3).map(|_| events.next().expect("it goes on").data).collect();
    assert_eq!(numbers(&kept), [7, 8, 9]);
    let mut socket = Socket::framed(&node, &key);
    socket.send(json!({ "type": "subscribe", "topic": "orders.>", "after": first }).to_string());
    assert_eq!(socket.json()["type"], "subscribed");
    assert_eq!(socket.json()["reason"], "retention");
    let kept: Vec<Value> = (0..3).map(|_| socket.message()).collect();
    assert_eq!(numbers(&kept), [7, 8, 9]);
    let newest = socket.ask(json!({ "type": "subscribe", "topic": "orders.>", "after": "newest" }));
    assert_eq!(newest["type"], "subscribed");
    let mut live = Socket::plain(&node, "orders.new", &key);
    caller.ok("POST", "/v1/pubsub/publish", &json!({ "topic": "orders.new", "data": "10" }));
    assert_eq!(numbers(&[socket.message()]), [10], "stored, whatever was asked of the publication");
    assert_eq!(live.bytes(), b"10", "who listens to the live topic has it, too");
    live.send("11");
    assert_eq!(numbers(&[socket.message()]), [11]);
    assert_eq!(socket.ask(json!({ "type": "unsubscribe", "topic": "orders.>" }))["type"], "unsubscribed");
    caller.ok("POST", "/v1/pubsub/publish", &order(12));
    assert_eq!(socket.try_next(std::time::Duration::from_millis(300)), None);
}

#[test]
fn a_topic_that_is_not_durable_promises_nothing() {
    let node = start(&[]);
    let (key, mut caller) = with_topic(&node, &json!({ "age_seconds": 3600, "bytes": 1000 }));
    let message = json!({ "topic": "other", "data": "x", "ack": "durable" });
    caller.refused("POST", "/v1/pubsub/publish", &message, 409, "CONFLICT");
    let mut socket = Socket::framed(&node, &key);
    let refused = socket.ask(json!({ "type": "subscribe", "topic": "other", "after": 0 }));
    assert_eq!(refused["code"], "CONFLICT");
    let refused = socket.ask(json!({ "type": "subscribe", "topic": "orders.new", "after": "soon" }));
    assert_eq!(refused["code"], "INVALID_PARAMETER");
    let removed = caller.ok("DELETE", "/v1/pubsub/durable?topic=orders.new", &Value::Null);
    assert_eq!(removed["existed"], true);
    caller.refused("POST", "/v1/pubsub/publish", &order(1), 409, "CONFLICT");
    node.cli_ok(&["namespace", "create", "shop"]);
    let other = node.cli_ok(&["key", "create", "--namespace", "shop"]);
    caller.ok("PUT", "/v1/pubsub/durable?topic=orders.new", &json!({ "count": 10 }));
    caller.ok("POST", "/v1/pubsub/publish", &order(1));
    let mut stranger = Caller::with_key(&node, &other);
    let topics = stranger.ok("GET", "/v1/pubsub/durable", &Value::Null);
    assert_eq!(topics, json!({ "topics": [] }));
    let page = stranger.ok("GET", "/v1/pubsub/messages?topic=%3E", &Value::Null);
    assert_eq!(page["messages"], json!([]));
    for (method, target) in [("GET", "/v1/pubsub/messages?topic=x"), ("DELETE", "/v1/pubsub/durable?topic=orders.new")]
    {
        let target = format!("{target}&namespace=chat");
        stranger.refused(method, &target, &Value::Null, 403, "NAMESPACE_MISMATCH");
    }
}
