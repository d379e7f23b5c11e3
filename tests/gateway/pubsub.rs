//! Messages between sockets, streams and requests, on one process and on three.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::caller::{Caller, accounts_ready, start, unhurried};
use super::events::Events;
use super::socket::Socket;
use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, Wallet, soon};

/// No message takes so long to where it does not belong.
const NEVER: Duration = Duration::from_millis(300);

fn key(node: &TestNode, namespace: &str) -> String {
    let scopes: &[&str] = &["key", "create", "--namespace", namespace];
    node.cli_ok(scopes)
}

fn with_namespace(node: &TestNode, namespace: &str) -> String {
    node.cli_ok(&["namespace", "create", namespace]);
    key(node, namespace)
}

/// Publishes over HTTP until it goes to so many other processes: they have to know first who listens where.
pub(crate) fn publish(caller: &mut Caller, topic: &str, data: &str, peers: u64) -> Value {
    soon("the others are known to listen", || {
        let told = caller.ok("POST", "/v1/pubsub/publish", &json!({ "topic": topic, "data": data }));
        (told["peers"].as_u64() >= Some(peers)).then_some(told)
    })
}

/// Reads until this text comes.
fn wait_for(socket: &mut Socket, text: &str) {
    while socket.bytes() != text.as_bytes() {}
}

struct Three {
    cluster: TestCluster,
    key: String,
}

fn three() -> Three {
    let cluster = TestCluster::start_with(3, unhurried);
    accounts_ready(&cluster[0]);
    let key = with_namespace(&cluster[0], "chat");
    for node in &cluster.nodes {
        soon("the key is known everywhere", || (Caller::with_key(node, &key).known() == 200).then_some(()));
    }
    Three { cluster, key }
}

#[test]
fn messages_go_between_sockets_streams_and_requests_of_three_processes() {
    let Three { cluster, key } = three();
    let mut plain = Socket::plain(&cluster[0], "room", &key);
    let mut framed = Socket::framed(&cluster[1], &key);
    framed.subscribe("room");
    let mut events = Events::open(cluster[2].gateway_address(), "/v1/pubsub/sse?topic=room", &[("X-API-Key", &key)]);
    assert_eq!(events.next().expect("it begins").name, "ready");
    let mut callers: Vec<Caller> = cluster.nodes.iter().map(|node| Caller::with_key(node, &key)).collect();
    for (place, caller) in callers.iter_mut().enumerate() {
        let text = format!("from {place}");
        let told = publish(caller, "room", &text, 2);
        assert_eq!(told["subscribers"], 1);
        wait_for(&mut plain, &text);
        let message = loop {
            let message = framed.message();
            if message["message_id"] == told["message_id"] {
                break message;
            }
        };
        assert_eq!(message["data_base64"], BASE64.encode(&text));
        assert_eq!((&message["topic"], &message["seq"]), (&json!("room"), &told["seq"]));
        assert!(message["publisher"].as_str().expect("who").starts_with("key:"), "{message}");
        loop {
            let event = events.next().expect("it goes on");
            assert_eq!(event.name, "message");
            assert_eq!(event.data["message_id"], event.id);
            if event.data["message_id"] == told["message_id"] {
                break;
            }
        }
    }
    // The sender hears itself, in binary, whatever it sent.
    plain.send("text");
    plain.send(vec![0, 0xff]);
    assert_eq!(plain.next(), Message::binary(b"text".as_slice()));
    assert_eq!(plain.next(), Message::binary(vec![0, 0xff]));
    assert_eq!(framed.message()["data_base64"], BASE64.encode("text"));
    assert_eq!(framed.message()["data_base64"], BASE64.encode([0, 0xff]));
    let published = framed.ask(json!({ "type": "publish", "topic": "room", "data_base64": "AP8=" }));
    assert_eq!((&published["type"], &published["peers"]), (&json!("published"), &json!(2)), "{published}");
    assert_eq!(plain.bytes(), [0, 0xff]);
    for node in &cluster.nodes {
        soon("topics of the whole cluster are known everywhere", || {
            let topics = Caller::with_key(node, &key).ok("GET", "/v1/pubsub/topics", &Value::Null);
            (topics == json!({ "topics": ["room"] })).then_some(())
        });
    }
    drop((plain, framed, events));
    soon("nobody listens any more", || {
        let topics = callers[0].ok("GET", "/v1/pubsub/topics", &Value::Null);
        (topics == json!({ "topics": [] })).then_some(())
    });
}

#[test]
fn messages_of_one_publisher_come_in_order_from_another_process() {
    const ROUNDS: usize = 20;
    const AT_ONCE: usize = 100;
    let Three { cluster, key } = three();
    let mut listener = Socket::framed(&cluster[1], &key);
    listener.subscribe("numbers.*");
    publish(&mut Caller::with_key(&cluster[0], &key), "numbers.first", "x", 1);
    let mut sender = Socket::framed(&cluster[0], &key);
    let mut seen = vec![Vec::new(); 3];
    for round in 1..=ROUNDS {
        // No more at once than wait for a slow listener.
        for n in 0..AT_ONCE {
            let topic = format!("numbers.{}", n % 3);
            sender.send(json!({ "type": "publish", "topic": topic, "data": "x", "ack": "none" }).to_string());
        }
        while seen.iter().map(Vec::len).sum::<usize>() < round * AT_ONCE {
            let message = listener.message();
            let topic = message["topic"].as_str().expect("a topic");
            if let Ok(place) = topic.trim_start_matches("numbers.").parse::<usize>() {
                seen[place].push(message["seq"].as_u64().expect("its place"));
            }
        }
    }
    for seqs in seen {
        let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, expected, "in order, none missing, none twice");
    }
}

#[test]
fn a_message_stays_in_its_namespace_and_in_its_topic() {
    let node = start(&[]);
    let (chat, shop) = (with_namespace(&node, "chat"), with_namespace(&node, "shop"));
    let mut own = Socket::plain(&node, "room", &chat);
    let mut others: Vec<Socket> =
        ["room", "ns::chat::room", "chat.room"].into_iter().map(|topic| Socket::plain(&node, topic, &shop)).collect();
    let mut everything = Socket::framed(&node, &shop);
    everything.subscribe(">");
    others.push(Socket::plain(&node, "room2", &chat));
    own.send("secret");
    assert_eq!(own.bytes(), b"secret");
    for socket in others.iter_mut().chain([&mut everything]) {
        assert_eq!(socket.try_next(NEVER), None);
    }
    let mut caller = Caller::with_key(&node, &shop);
    let topics = caller.ok("GET", "/v1/pubsub/topics", &Value::Null);
    assert_eq!(topics, json!({ "topics": ["chat.room", "ns::chat::room", "room"] }), "only its own");
    let elsewhere = "/v1/pubsub/ws?topic=room&namespace=chat";
    assert_eq!(Socket::open(node.gateway_address(), elsewhere, &[("X-API-Key", &shop)]).err(), Some(403));
    for target in ["/v1/pubsub/topics", "/v1/pubsub/presence?topic=room"] {
        let target = format!("{target}{}namespace=chat", if target.contains('?') { '&' } else { '?' });
        caller.refused("GET", &target, &Value::Null, 403, "NAMESPACE_MISMATCH");
    }
}

#[test]
fn a_framed_socket_says_itself_what_it_wants() {
    let node = start(&[]);
    let key = with_namespace(&node, "chat");
    let mut socket = Socket::framed(&node, &key);
    socket.subscribe("a.*");
    socket.subscribe("a.b");
    let publish = |topic: &str| json!({ "type": "publish", "topic": topic, "data": "x", "ack": "local" });
    let mut other = Socket::framed(&node, &key);
    assert_eq!(other.ask(publish("a.b"))["subscribers"], 1, "once, however often it fits");
    assert_eq!(socket.message()["topic"], "a.b");
    assert_eq!(socket.ask(json!({ "type": "unsubscribe", "topic": "a.*" }))["type"], "unsubscribed");
    assert_eq!(other.ask(publish("a.c"))["subscribers"], 0);
    let code = |answer: Value| answer["code"].as_str().map(str::to_owned);
    assert_eq!(
        code(socket.ask(json!({ "type": "unsubscribe", "topic": "a.*" }))).as_deref(),
        Some("INVALID_PARAMETER")
    );
    assert_eq!(code(socket.ask(publish("a.*"))).as_deref(), Some("INVALID_PARAMETER"));
    assert_eq!(
        code(socket.ask(json!({ "type": "subscribe", "topic": "a.>.b" }))).as_deref(),
        Some("INVALID_PARAMETER")
    );
    assert_eq!(code(socket.ask(json!({ "type": "publish", "topic": "a" }))).as_deref(), Some("INVALID_BODY"));
    for wrong in ["{}", "x", "[]", r#"{"type":"shout"}"#] {
        socket.send(wrong);
        assert_eq!(code(socket.json()).as_deref(), Some("INVALID_BODY"), "{wrong}");
    }
    assert_eq!(socket.ask(json!({ "type": "ping" }))["type"], "pong", "it goes on");
    for n in 0..63 {
        socket.subscribe(&n.to_string());
    }
    assert_eq!(code(socket.ask(json!({ "type": "subscribe", "topic": "more" }))).as_deref(), Some("TOO_MANY"));
    socket.send(vec![1]);
    assert_eq!(socket.end(), Some(CloseCode::Unsupported));
}

#[test]
fn an_envelope_has_data_time_and_topic() {
    let node = start(&[("GATEWAY__SOCKET_FORMAT", "envelope")]);
    let key = with_namespace(&node, "chat");
    let mut socket = Socket::plain(&node, "room", &key);
    socket.send(vec![0xff]);
    let envelope = socket.json();
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    assert!((now - envelope["timestamp"].as_i64().expect("a time")).abs() < 60_000, "{envelope}");
    assert_eq!((&envelope["data"], &envelope["topic"]), (&json!("/w=="), &json!("room")));
    assert_eq!(envelope.as_object().expect("an object").len(), 3);
    let raw = "/v1/pubsub/ws?topic=room&format=raw";
    let mut raw = Socket::open(node.gateway_address(), raw, &[("X-API-Key", &key)]).expect("a socket");
    socket.send("x");
    assert_eq!(raw.next(), Message::binary(b"x".as_slice()));
}

#[test]
fn a_socket_opens_by_a_credential_wherever_it_stands_and_for_nobody_else() {
    let node = start(&[("GATEWAY__ALLOWED_ORIGINS", "https://app.example.org")]);
    let key = with_namespace(&node, "chat");
    let subscriber = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", "kv:read"]);
    let target = "/v1/pubsub/ws?topic=t";
    let open = |target: &str, headers: &[(&str, &str)]| {
        Socket::open(node.gateway_address(), target, headers).map(|socket| socket.protocol)
    };
    assert_eq!(open(target, &[]), Err(401));
    assert_eq!(open(target, &[("X-API-Key", "ak_wrong:chat")]), Err(401));
    assert_eq!(open(target, &[("X-API-Key", &subscriber)]), Err(403));
    assert_eq!(open(target, &[("Authorization", &format!("Bearer {key}"))]), Ok(None));
    assert_eq!(open(&format!("{target}&api_key={key}"), &[]), Ok(None));
    assert_eq!(open(&format!("{target}&token={key}"), &[]), Ok(None));
    let protocols = format!("debros.v1, debros.bearer.{}", BASE64_URL.encode(&key));
    assert_eq!(open("/v1/pubsub/ws", &[("Sec-WebSocket-Protocol", &protocols)]), Ok(Some("debros.v1".to_owned())));
    let wrong = format!("debros.v1, debros.bearer.{}", BASE64_URL.encode("ak_wrong:chat"));
    assert_eq!(open("/v1/pubsub/ws", &[("Sec-WebSocket-Protocol", &wrong)]), Err(401));
    for (origin, expected) in [
        ("https://app.example.org", Ok(None)),
        ("https://app.example.org:8443", Err(403)),
        ("https://app.example.org.evil.test", Err(403)),
        ("http://app.example.org", Err(403)),
        ("null", Err(403)),
    ] {
        assert_eq!(open(target, &[("X-API-Key", &key), ("Origin", origin)]), expected, "{origin}");
    }
    let said = node.log_text();
    assert!(!said.contains(&key) && !said.contains(&BASE64_URL.encode(&key)), "no credential is in the log");

    let strict = start(&[("GATEWAY__QUERY_CREDENTIALS", "false")]);
    let key = with_namespace(&strict, "chat");
    let open = |target: &str, headers: &[(&str, &str)]| Socket::open(strict.gateway_address(), target, headers).err();
    assert_eq!(open(&format!("{target}&api_key={key}"), &[]), Some(400));
    assert_eq!(open(target, &[("X-API-Key", &key)]), None);
}

#[test]
fn a_reader_may_listen_and_not_speak() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", "pubsub:subscribe"]);
    let mut framed = Socket::framed(&node, &key);
    let refused = framed.ask(json!({ "type": "publish", "topic": "t", "data": "x" }));
    assert_eq!(refused["code"], "FORBIDDEN");
    let mut plain = Socket::plain(&node, "t", &key);
    plain.send("x");
    assert_eq!(plain.end(), Some(CloseCode::Policy));
}

#[test]
fn a_member_who_becomes_a_reader_speaks_no_more_on_an_open_socket() {
    let node = start(&[]);
    let (owner, member) = (Wallet::ethereum("owner"), Wallet::ethereum("member"));
    let mut owner = Caller::member(&node, &owner, "club");
    let place = format!("/v1/namespaces/club/members/{}", member.address());
    owner.ok("PUT", &place, &json!({ "role": "writer" }));
    let session = Caller::at(&node).log_in(&member, "club");
    let bearer = format!("Bearer {}", session.access);
    let headers = [("Authorization", bearer.as_str()), ("Sec-WebSocket-Protocol", "debros.v1")];
    let mut socket = Socket::open(node.gateway_address(), "/v1/pubsub/ws?topic=t", &headers).expect("a socket");
    let message = || json!({ "type": "publish", "topic": "t", "data": "x" });
    assert_eq!(socket.ask(message())["type"], "published");
    owner.ok("PUT", &place, &json!({ "role": "reader" }));
    let demoted = Instant::now();
    soon("it may no longer publish", || (socket.ask(message())["code"] == "FORBIDDEN").then_some(()));
    assert!(demoted.elapsed() < Duration::from_secs(5), "{:?}", demoted.elapsed());
    socket.subscribe("other");
}

#[test]
fn a_socket_ends_with_its_credential_its_namespace_and_its_node() {
    const WITHIN: Duration = Duration::from_secs(5);
    let mut node = start(&[]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let doomed = key(&node, "chat");
    let kept = key(&node, "chat");
    let (mut one, mut other) = (Socket::plain(&node, "t", &doomed), Socket::plain(&node, "t", &kept));
    let mut events = Events::open(node.gateway_address(), "/v1/pubsub/sse?topic=t", &[("X-API-Key", &doomed)]);
    assert_eq!(events.next().expect("it begins").name, "ready");
    let revoked = Instant::now();
    node.cli_ok(&["key", "revoke", &doomed]);
    assert_eq!(one.end(), Some(CloseCode::Policy));
    assert!(events.next().is_none(), "the stream ends, too");
    assert!(revoked.elapsed() < WITHIN, "{:?}", revoked.elapsed());
    other.send("still here");
    assert_eq!(other.bytes(), b"still here");
    let deleted = Instant::now();
    node.cli_ok(&["namespace", "drop", "chat", "--yes"]);
    assert_eq!(other.end(), Some(CloseCode::Policy));
    assert!(deleted.elapsed() < WITHIN, "{:?}", deleted.elapsed());
    let last = with_namespace(&node, "last");
    let mut socket = Socket::plain(&node, "t", &last);
    let stopped = Instant::now();
    assert_eq!(node.terminate().code(), Some(0));
    assert_eq!(socket.end(), Some(CloseCode::Away));
    assert!(stopped.elapsed() < WITHIN, "{:?}", stopped.elapsed());
}

#[test]
fn members_come_and_go_all_over_the_cluster() {
    let Three { mut cluster, key } = three();
    let member = |node: &TestNode, id: &str| {
        let target = format!("/v1/pubsub/ws?topic=room&presence=true&member_id={id}&member_meta=%7B%22age%22%3A7%7D");
        Socket::open(node.gateway_address(), &target, &[("X-API-Key", &key)]).expect("a socket")
    };
    let ids = |node: &TestNode| -> Vec<String> {
        let told = Caller::with_key(node, &key).ok("GET", "/v1/pubsub/presence?topic=room", &Value::Null);
        let members = told["members"].as_array().expect("members").clone();
        assert_eq!(told["count"], members.len());
        assert!(members.iter().all(|member| member["meta"] == json!({ "age": 7 })), "{told}");
        members.iter().map(|member| member["member_id"].as_str().expect("an id").to_owned()).collect()
    };
    let mut listener = Socket::plain(&cluster[0], "room", &key);
    for node in &cluster.nodes[1..] {
        publish(&mut Caller::with_key(node, &key), "room", "null", 1);
    }
    let (ann, bob, _cid) = (member(&cluster[0], "ann"), member(&cluster[1], "bob"), member(&cluster[2], "cid"));
    let news = |listener: &mut Socket| {
        let told: Value = loop {
            let told = serde_json::from_slice(&listener.bytes()).expect("JSON");
            if told != Value::Null {
                break told;
            }
        };
        (told["type"].as_str().expect("a type").to_owned(), told["member_id"].as_str().expect("who").to_owned())
    };
    let mut joined: Vec<(String, String)> = (0..3).map(|_| news(&mut listener)).collect();
    joined.sort();
    assert_eq!(joined, ["ann", "bob", "cid"].map(|id| ("presence.join".to_owned(), id.to_owned())));
    for node in &cluster.nodes {
        soon("all are known", || (ids(node) == ["ann", "bob", "cid"]).then_some(()));
    }
    drop(ann);
    let gone = Instant::now();
    for node in &cluster.nodes {
        soon("one has gone", || (ids(node) == ["bob", "cid"]).then_some(()));
    }
    assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", gone.elapsed());
    drop(bob);
    let killed = Instant::now();
    cluster[2].kill9();
    for node in &cluster.nodes[..2] {
        soon("a dead node's members are gone", || ids(node).is_empty().then_some(()));
    }
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    let told = loop {
        let told = news(&mut listener);
        if told.1 == "cid" && told.0 == "presence.leave" {
            break told;
        }
    };
    assert_eq!(told.0, "presence.leave", "listeners are told for it");
}

#[test]
fn publishing_goes_on_without_a_leader() {
    let Three { mut cluster, key } = three();
    let (mut listener, mut speaker) =
        (Socket::plain(&cluster[0], "room", &key), Socket::plain(&cluster[0], "room", &key));
    for doomed in [1, 2] {
        cluster[doomed].kill9();
    }
    soon("the node is alone", || (cluster[0].gateway().get("/readyz").status == 503).then_some(()));
    speaker.send("anybody there?");
    assert_eq!(listener.bytes(), b"anybody there?");
    let told = Caller::with_key(&cluster[0], &key).ok(
        "POST",
        "/v1/pubsub/publish",
        &json!({ "topic": "room", "data": "over HTTP" }),
    );
    assert_eq!(told["subscribers"], 2);
    assert_eq!(listener.bytes(), b"over HTTP");
}

#[test]
fn gateways_hear_each_other_through_nodes_that_come_and_go() {
    let Three { mut cluster, key } = three();
    let gateway = |name: &str| {
        let launch = unhurried(Launch::new("gateway"));
        let gateway = TestNode::join(launch, &cluster[0].invite("gateway"), &cluster.root, name);
        soon("the key is known", || (Caller::with_key(&gateway, &key).known() == 200).then_some(()));
        gateway
    };
    let (one, other) = (gateway("one"), gateway("other"));
    let mut listener = Socket::plain(&one, "room", &key);
    let mut caller = Caller::with_key(&other, &key);
    // By then each node knows the listener's gateway, and the publisher's knows each node: any of them may go.
    publish(&mut caller, "room", "hello", 3);
    wait_for(&mut listener, "hello");
    cluster[1].kill9();
    for n in 0..20 {
        caller.ok("POST", "/v1/pubsub/publish", &json!({ "topic": "room", "data": format!("again {n}") }));
    }
    wait_for(&mut listener, "again 19");
}
