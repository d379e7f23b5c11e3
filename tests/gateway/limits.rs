//! What bounds a client: sizes, times, rates.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::raw::{connect, drip, exchange, get, read_to_end, start, status};
use crate::support::TestNode;

#[test]
fn heads_that_are_too_large_are_refused_with_the_right_status() {
    let node = TestNode::bootstrap();
    let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(status(&exchange(&node, &get("/v1/health", &many))), 431);
    let large = format!("X-Large: {}\r\n", "x".repeat(70 * 1024));
    assert_eq!(status(&exchange(&node, &get("/v1/health", &large))), 431);
    let long = format!("/v1/health?{}", "x".repeat(16 * 1024));
    assert_eq!(status(&exchange(&node, &get(&long, ""))), 414);
    assert_eq!(node.gateway().get("/v1/health").status, 200);
}

#[test]
fn a_body_is_bounded_before_it_is_read() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*")]);
    let post = |headers: &str, body: &str| {
        let head = format!(
            "POST /v1/network/disconnect HTTP/1.1\r\nHost: x\r\nX-API-Key: operator\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{headers}\r\n{body}"
        );
        exchange(&node, head.as_bytes())
    };
    let declared = post("Content-Length: 1000000000\r\nExpect: 100-continue\r\n", "");
    assert_eq!(status(&declared), 413, "refused without `100 Continue`: {declared}");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    assert_eq!(status(&post("Transfer-Encoding: chunked\r\n", &chunk.repeat(5))), 413);
    assert_eq!(status(&post("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}")), 415);
    assert_eq!(status(&post("Content-Length: -1\r\n", "{}")), 400);
    assert_eq!(status(&post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")), 400);
    for (body, code) in [
        (r#"{"peer_id":1}"#, "INVALID_BODY"),
        (r#"{"peer_id":"x","peer_id":"y"}"#, "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        (&"[".repeat(3000), "INVALID_JSON"),
    ] {
        let answer = post(&format!("Content-Length: {}\r\n", body.len()), body);
        assert!(status(&answer) == 400 && answer.contains(code), "{answer}");
    }
    let continued = post("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}");
    assert!(continued.starts_with("HTTP/1.1 100 Continue"), "{continued}");
}

#[test]
fn slow_clients_are_cut_off_and_others_are_served_meanwhile() {
    let node = start(&[("GATEWAY__API_KEYS", "operator:*")]);
    let (slow_head, slow_body) = std::thread::scope(|scope| {
        let head = scope.spawn(|| {
            let mut stream = connect(&node);
            stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("sent");
            drip(&mut stream, b"x", Duration::from_millis(500))
        });
        let body = scope.spawn(|| {
            let mut stream = connect(&node);
            let head = "POST /v1/network/disconnect HTTP/1.1\r\nHost: x\r\nX-API-Key: operator\r\nContent-Length: 4000\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("sent");
            drip(&mut stream, b" ", Duration::from_millis(500))
        });
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            assert_eq!(node.gateway().get("/v1/health").status, 200);
            std::thread::sleep(Duration::from_millis(50));
        }
        (head.join().expect("no panic"), body.join().expect("no panic"))
    });
    assert!((8..20).contains(&slow_head.0.as_secs()), "{slow_head:?}");
    assert!((25..45).contains(&slow_body.0.as_secs()), "{slow_body:?}");
    let (_, said) = &slow_body;
    assert_eq!(status(said), 408, "{said}");
    assert!(said.contains("\"code\":\"REQUEST_TIMEOUT\"") && said.contains("\"retryable\":true"), "{said}");
}

#[test]
fn an_idle_connection_outlives_the_time_for_headers_and_not_its_own() {
    let node = start(&[("GATEWAY__IDLE_TIMEOUT", "14s")]);
    let mut idle = connect(&node);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut part = [0; 4096];
        let count = stream.read(&mut part).expect("an answer");
        assert_eq!(status(&String::from_utf8_lossy(&part[..count])), 200);
    };
    ask(&mut idle);
    std::thread::sleep(Duration::from_secs(11));
    ask(&mut idle);
    let idle_since = Instant::now();
    assert_eq!(read_to_end(&mut idle), "", "it is closed");
    assert!(idle_since.elapsed() >= Duration::from_secs(13), "{:?}", idle_since.elapsed());
}

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let node = start(&[
        ("GATEWAY__API_KEYS", "one:shop,two:shop,three:other"),
        ("GATEWAY__RATE_PER_KEY", "2"),
        ("GATEWAY__RATE_PER_NAMESPACE", "3"),
    ]);
    let mut http = node.gateway();
    let mut ask = |key: &str| http.request("GET", "/v1/network/status", &[("X-API-Key", key)], "").expect("an answer");
    let first = ask("one");
    assert_eq!((first.status, first.header("ratelimit-limit")), (200, Some("4")));
    let refused = (0..20).map(|_| ask("one")).find(|answer| answer.status == 429).expect("a limit");
    assert_eq!(refused.json()["code"], "RATE_LIMITED");
    assert_eq!(refused.json()["retryable"], true);
    assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait >= 1)));
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    let statuses: Vec<u16> = (0..8).map(|_| ask("two").status).collect();
    assert!(statuses.contains(&429), "the namespace has a limit of its own: {statuses:?}");
    assert_eq!(ask("three").status, 200, "another namespace is not concerned");
}
