//! Many publishers and subscribers on three nodes, for as long as is asked: nothing is lost, nothing comes twice or out of
//! order, and memory stays what it was.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::caller::{Caller, accounts_ready, unhurried};
use super::pubsub::publish;
use super::socket::Socket;
use crate::support::{TestCluster, TestNode, soon};

const TOPICS: usize = 10;

/// Longest that the last messages may be on their way.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How much a node may grow while it does the same all the time; a debug build's allocator keeps some.
const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;

struct Plan {
    seconds: u64,
    publishers: usize,
    subscribers: usize,
}

fn plan() -> Plan {
    match std::env::var("DEBROS_TEST_SOAK_SECONDS") {
        Ok(seconds) => Plan { seconds: seconds.parse().expect("a number"), publishers: 100, subscribers: 1000 },
        Err(_) => Plan { seconds: 5, publishers: 20, subscribers: 100 },
    }
}

fn framed(node: &TestNode, key: &str, topic: usize) -> Socket {
    let mut socket = Socket::framed(node, key);
    socket.subscribe(&format!("soak.{topic}"));
    socket
}

/// Reads until a message says that it is the last; how many came, or what was wrong.
fn listen(mut socket: Socket, ready: &Barrier, delivered: &AtomicU64) -> Result<(), String> {
    ready.wait();
    let mut next = HashMap::<String, u64>::new();
    loop {
        let message = socket.json();
        if message["type"] != "message" {
            return Err(message.to_string());
        }
        if message["data_base64"] == "c3luYw==" {
            continue;
        }
        if message["data_base64"] == "ZW5k" {
            return Ok(());
        }
        let id = message["message_id"].as_str().unwrap_or_default();
        let seq = message["seq"].as_u64().unwrap_or_default();
        let due = next.entry(id[..16].to_owned()).or_insert(1);
        if seq != *due {
            return Err(format!("{due} was due: {message}"));
        }
        *due += 1;
        delivered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_lost_doubled_or_disordered_without_a_fault() {
    let Plan { seconds, publishers, subscribers } = plan();
    let cluster = TestCluster::start_with(3, |launch| {
        unhurried(launch).set("GATEWAY__RATE_PER_ADDRESS", "0").set("GATEWAY__CONNECTIONS_PER_ADDRESS_MAX", "4096")
    });
    accounts_ready(&cluster[0]);
    cluster[0].cli_ok(&["namespace", "create", "chat"]);
    let key = cluster[0].cli_ok(&["key", "create", "--namespace", "chat"]);
    for node in &cluster.nodes {
        soon("the key is known everywhere", || (Caller::with_key(node, &key).known() == 200).then_some(()));
    }
    let node = |place: usize| &cluster.nodes[place % cluster.nodes.len()];
    let listeners: Vec<Socket> = (0..subscribers).map(|n| framed(node(n / TOPICS), &key, n % TOPICS)).collect();
    // Everybody has to know first who listens where.
    for topic in 0..TOPICS {
        for node in &cluster.nodes {
            publish(&mut Caller::with_key(node, &key), &format!("soak.{topic}"), "sync", 2);
        }
    }
    let speakers: Vec<Socket> = (0..publishers).map(|n| Socket::framed(node(n), &key)).collect();
    let (ready, delivered, published) = (Barrier::new(subscribers + 1), AtomicU64::new(0), AtomicU64::new(0));
    let until = Duration::from_secs(seconds);
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let reading: Vec<_> = listeners
            .into_iter()
            .map(|socket| {
                let (ready, delivered) = (&ready, &delivered);
                let thread = std::thread::Builder::new().stack_size(512 * 1024);
                thread.spawn_scoped(scope, || listen(socket, ready, delivered)).expect("a thread")
            })
            .collect();
        ready.wait();
        let before: Vec<u64> = cluster.nodes.iter().map(TestNode::resident_bytes).collect();
        let started = Instant::now();
        let speaking: Vec<_> = speakers
            .into_iter()
            .enumerate()
            .map(|(n, mut socket)| {
                let published = &published;
                scope.spawn(move || {
                    let text = "x".repeat(200);
                    while started.elapsed() < until {
                        let message =
                            json!({ "type": "publish", "topic": format!("soak.{}", n % TOPICS), "data": text });
                        let answer = socket.ask(message);
                        assert_eq!(answer["type"], "published", "{answer}");
                        published.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(500));
                    }
                    socket
                })
            })
            .collect();
        let speakers: Vec<Socket> = speaking.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let expected = published.load(Ordering::Relaxed) * (subscribers / TOPICS) as u64;
        let waiting = Instant::now();
        while delivered.load(Ordering::Relaxed) < expected && waiting.elapsed() < ARRIVAL {
            std::thread::sleep(Duration::from_millis(20));
        }
        let arrived = delivered.load(Ordering::Relaxed);
        println!("{publishers} publishers, {subscribers} subscribers, {seconds} s: {arrived} of {expected} delivered");
        let after: Vec<u64> = cluster.nodes.iter().map(TestNode::resident_bytes).collect();
        println!("resident: {before:?} → {after:?}");
        let mut last = Caller::with_key(&cluster[0], &key);
        for topic in 0..TOPICS {
            let end: Value = json!({ "topic": format!("soak.{topic}"), "data": "end" });
            last.ok("POST", "/v1/pubsub/publish", &end);
        }
        drop(speakers);
        let outcomes = reading.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        assert_eq!(arrived, expected);
        for (before, after) in before.iter().zip(after) {
            assert!(after < before + GROWTH_BYTES_MAX, "{before} → {after} bytes");
        }
        outcomes
    });
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).take(5).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
