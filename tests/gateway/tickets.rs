//! Tickets that open one socket: once in the whole cluster, for half a minute, and for no longer than what made them.

use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::caller::{Caller, accounts_ready, start, unhurried};
use super::events::Events;
use crate::support::http::Answer;
use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, Wallet, within};

/// By then a socket is closed whose credential has ended.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// How long something may take on a loaded machine.
const WAIT: Duration = Duration::from_secs(60);

const SOCKET: &str = "/v1/pubsub/ws?topic=room";

type Socket = WebSocket<TcpStream>;

/// Opens a socket; the status of a refusal.
fn open(node: &TestNode, target: &str) -> Result<Socket, u16> {
    let address = node.gateway_address();
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(WAIT)).expect("a socket");
    let request = format!("ws://{address}{target}").into_client_request().expect("a request");
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(refusal))) => Err(refusal.status().as_u16()),
        Err(error) => panic!("{target}: {error}"),
    }
}

fn with(ticket: &str) -> String {
    format!("{SOCKET}&ticket={ticket}")
}

fn ticket(caller: &mut Caller) -> String {
    let made = caller.ok("POST", "/v1/auth/ws-ticket", &json!({}));
    assert_eq!(made["expires_in"], 30);
    made["ticket"].as_str().expect("a ticket").to_owned()
}

/// Whether what is sent comes back.
fn echoes(socket: &mut Socket) -> bool {
    socket.send(Message::text("hello")).expect("sent");
    loop {
        match socket.read().expect("a frame") {
            Message::Binary(bytes) => return bytes.as_ref() == b"hello",
            Message::Close(_) => return false,
            _ => {}
        }
    }
}

/// What is the same in every refusal: all but the request's id.
fn refusal(answer: &Answer) -> (u16, Value) {
    let mut said = answer.json();
    said["request_id"] = Value::Null;
    (answer.status, said)
}

/// Waits until a socket is closed, with the code for a credential that has ended.
fn ends(what: &str, mut socket: Socket, since: Instant) {
    let code = loop {
        let frame = socket.read().unwrap_or_else(|error| panic!("{what}: {error}"));
        if let Message::Close(close) = frame {
            break close.map(|close| u16::from(close.code));
        }
    };
    assert_eq!(code, Some(1008), "{what}");
    assert!(since.elapsed() < ENDED_WITHIN, "{what}: {:?}", since.elapsed());
}

fn cluster() -> TestCluster {
    let cluster = TestCluster::start_with(3, |launch| unhurried(launch).set("GATEWAY__QUERY_CREDENTIALS", "false"));
    accounts_ready(&cluster[0]);
    cluster
}

#[test]
fn a_ticket_opens_one_socket_on_any_node_within_half_a_minute() {
    let cluster = cluster();
    let gateway =
        TestNode::join(unhurried(Launch::new("gateway")), &cluster[0].invite("gateway"), &cluster.root, "gateway");
    accounts_ready(&gateway);
    let everywhere: Vec<&TestNode> = cluster.nodes.iter().chain([&gateway]).collect();
    let session = Caller::at(everywhere[0]).log_in(&Wallet::ethereum("owner"), "club");
    let mut callers: Vec<Caller> = everywhere.iter().map(|node| Caller::with_token(node, &session.access)).collect();
    let (old, made_at) = (ticket(&mut callers[0]), Instant::now());

    for (turn, caller) in callers.iter_mut().enumerate() {
        let other = everywhere[(turn + 1) % everywhere.len()];
        let ticket = ticket(caller);
        let mut socket = open(other, &with(&ticket)).expect("it is good on every node");
        assert!(echoes(&mut socket), "it may what its maker may");
        for node in &everywhere {
            assert_eq!(open(node, &with(&ticket)).err(), Some(401), "it is good once");
        }
    }
    let events = Events::open(
        everywhere[1].gateway_address(),
        &format!("/v1/pubsub/sse?topic=room&ticket={}", ticket(&mut callers[0])),
        &[],
    );
    assert_eq!(events.head().status, 200);

    for round in 0..40 {
        let target = with(&ticket(&mut callers[round % everywhere.len()]));
        let barrier = Barrier::new(everywhere.len());
        let ask = |node| {
            barrier.wait();
            open(node, &target)
        };
        let ask = &ask;
        let opened = std::thread::scope(|scope| {
            let asking: Vec<_> = everywhere.iter().map(|node| scope.spawn(move || ask(node))).collect();
            asking.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<_>>()
        });
        let refused: Vec<u16> = opened.iter().filter_map(|one| one.as_ref().err().copied()).collect();
        assert_eq!(refused, [401, 401, 401], "round {round}: of four at once one is let in");
    }

    // Elsewhere it is nothing, and stays good for its socket; so it does when it comes with something else.
    let kept = ticket(&mut callers[2]);
    let mut nobody = Caller::at(everywhere[2]);
    for target in [format!("/v1/auth/whoami?ticket={kept}"), format!("/v1/pubsub/topics?ticket={kept}")] {
        nobody.refused("GET", &target, &Value::Null, 401, "UNAUTHENTICATED");
    }
    let bearer = format!("Bearer {kept}");
    for header in [("X-API-Key", kept.as_str()), ("Authorization", bearer.as_str())] {
        assert_eq!(nobody.send("GET", SOCKET, &[header], b"").status, 401);
    }
    let conflict = "CREDENTIAL_CONFLICT";
    callers[2].refused("GET", &with(&kept), &Value::Null, 400, conflict);
    nobody.refused("POST", "/v1/auth/refresh", &json!({ "refresh_token": kept }), 401, "UNAUTHENTICATED");
    let mut socket = open(everywhere[2], &with(&kept)).expect("it was not used up");
    assert!(echoes(&mut socket));

    within(WAIT, "the first ticket is half a minute old", || {
        (made_at.elapsed() > Duration::from_secs(30)).then_some(())
    });
    let nothing = refusal(&nobody.ask("GET", SOCKET, &Value::Null));
    let never_made = format!("wt_{}", "A".repeat(43));
    for bad in [old.as_str(), &kept, &never_made, "", "wt_", "x", &kept[..45], &format!("{kept}A")] {
        assert_eq!(refusal(&nobody.ask("GET", &with(bad), &Value::Null)), nothing, "{bad}");
    }
}

#[test]
fn a_socket_opened_with_a_ticket_ends_within_five_seconds_of_what_made_it() {
    let cluster = cluster();
    let [owner, guest] = ["owner", "guest"].map(Wallet::ethereum);
    let mut as_owner = Caller::member(&cluster[0], &owner, "club");
    let guest_is = format!("/v1/namespaces/club/members/{}", guest.address());
    as_owner.ok("PUT", &guest_is, &json!({ "role": "reader" }));
    let mut made = || {
        let made = as_owner.ok("POST", "/v1/keys", &json!({ "scopes": ["pubsub:subscribe"] }));
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("api_key"), text("key_id"))
    };
    let [revoked, rotated, exchanged, unused] = std::array::from_fn(|_| made());
    let token = Caller::with_key(&cluster[0], &exchanged.0).ok("POST", "/v1/auth/token", &Value::Null);
    let session = Caller::at(&cluster[0]).log_in(&owner, "club");
    let let_go = Caller::at(&cluster[0]).log_in(&guest, "club");
    let other = Caller::at(&cluster[0]).log_in(&owner, "other");
    let by_token = |token: &str| Caller::with_token(&cluster[0], token);

    let socket = |mut maker: Caller| open(&cluster[1], &with(&ticket(&mut maker))).expect("a socket");
    let by_revoked = socket(Caller::with_key(&cluster[0], &revoked.0));
    let by_rotated = socket(Caller::with_key(&cluster[0], &rotated.0));
    let by_exchanged = socket(by_token(token["access_token"].as_str().expect("a token")));
    let by_session = socket(by_token(&session.access));
    let by_guest = socket(by_token(&let_go.access));
    let by_other = socket(by_token(&other.access));
    let mut by_guest_too = Events::open(
        cluster[2].gateway_address(),
        &format!("/v1/pubsub/sse?topic=room&ticket={}", ticket(&mut by_token(&let_go.access))),
        &[],
    );
    let waiting = ticket(&mut Caller::with_key(&cluster[0], &unused.0));

    // Another look at the credentials, or two, finds them good.
    let pause = Instant::now();
    within(WAIT, "some seconds pass", || (pause.elapsed() > ENDED_WITHIN).then_some(()));

    let mut as_owner = Caller::member(&cluster[2], &owner, "club");
    let mut end = |method: &str, target: &str, body: &Value| {
        as_owner.ok(method, target, body);
        Instant::now()
    };
    let since = end("DELETE", &format!("/v1/keys/{}", revoked.1), &Value::Null);
    ends("a key is revoked", by_revoked, since);
    let since = end("POST", &format!("/v1/keys/{}/rotate", rotated.1), &Value::Null);
    ends("a key has a new text", by_rotated, since);
    let since = end("DELETE", &format!("/v1/keys/{}", exchanged.1), &Value::Null);
    ends("the key of a token is revoked", by_exchanged, since);
    let since = end("POST", "/v1/auth/logout", &json!({ "refresh_token": session.refresh }));
    ends("a wallet logs out", by_session, since);
    let since = end("DELETE", &guest_is, &Value::Null);
    ends("a member is let go", by_guest, since);
    while by_guest_too.try_next().is_some() {}
    assert!(since.elapsed() < ENDED_WITHIN, "a stream of events too: {:?}", since.elapsed());
    Caller::with_token(&cluster[2], &other.access).ok("DELETE", "/v1/namespaces/other", &Value::Null);
    ends("a namespace is deleted", by_other, Instant::now());
    end("DELETE", &format!("/v1/keys/{}", unused.1), &Value::Null);
    Caller::at(&cluster[1]).refused("GET", &with(&waiting), &Value::Null, 401, "UNAUTHENTICATED");
    cluster.verify();
}

#[test]
fn only_who_may_subscribe_makes_a_ticket_and_it_opens_no_more_than_they_may() {
    let node =
        start(&[("GATEWAY__API_KEYS", "operator:*,reader.with.dots:shop"), ("GATEWAY__QUERY_CREDENTIALS", "false")]);
    node.cli_ok(&["namespace", "create", "shop"]);
    let key = |scope: &str| node.cli_ok(&["key", "create", "--namespace", "shop", "--scope", scope]);
    let (path, none) = ("/v1/auth/ws-ticket", Value::Null);
    Caller::at(&node).refused("POST", path, &none, 401, "UNAUTHENTICATED");
    Caller::with_key(&node, "wrong").refused("POST", path, &none, 401, "UNAUTHENTICATED");
    Caller::with_key(&node, &key("pubsub:publish")).refused("POST", path, &none, 403, "FORBIDDEN");
    let mut subscriber = Caller::with_key(&node, &key("pubsub:subscribe"));
    subscriber.refused("POST", &format!("{path}?namespace=default"), &none, 403, "NAMESPACE_MISMATCH");
    let made = subscriber.ask("POST", path, &none);
    assert_eq!((made.status, made.header("cache-control")), (200, Some("no-store")), "{made:?}");

    // Who may only subscribe is shown the door when something is published.
    let mut socket = open(&node, &with(&ticket(&mut subscriber))).expect("a socket");
    assert!(!echoes(&mut socket));
    let elsewhere = format!("{}&namespace=default", with(&ticket(&mut subscriber)));
    assert_eq!(open(&node, &elsewhere).err(), Some(403), "another namespace is not opened");

    // Keys from the configuration make tickets as well; the operator's open what they were made for.
    for key in ["operator", "reader.with.dots"] {
        let mut caller = Caller::with_key(&node, key);
        let made = |caller: &mut Caller| {
            let made = caller.ok("POST", &format!("{path}?namespace=shop"), &none);
            made["ticket"].as_str().expect("a ticket").to_owned()
        };
        assert!(echoes(&mut open(&node, &with(&made(&mut caller))).expect("a socket")), "{key}");
        let elsewhere = format!("{}&namespace=default", with(&made(&mut caller)));
        assert_eq!(open(&node, &elsewhere).err(), Some(403), "{key}");
    }
    let by_token = ticket(&mut Caller::with_token(&node, "reader.with.dots"));
    assert!(open(&node, &with(&by_token)).is_ok());

    let open_to_all = start(&[("GATEWAY__REQUIRE_AUTH", "false")]);
    Caller::at(&open_to_all).refused("POST", path, &none, 401, "UNAUTHENTICATED");
    assert!(open(&open_to_all, SOCKET).is_ok(), "it needs none");
    assert_eq!(open(&open_to_all, &with(&by_token)).err(), Some(401), "a wrong ticket is not taken for none");
}
