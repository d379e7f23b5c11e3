//! Requests byte by byte, for what no client library would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::TestNode;
use crate::support::node::{Launch, root};

/// How long an answer may take on a loaded machine.
const WAIT: Duration = Duration::from_secs(60);

/// A node alone, with these settings, and with the limits that any node has.
pub(crate) fn start(settings: &[(&str, &str)]) -> TestNode {
    let launch = settings.iter().fold(Launch::new("bootstrap"), |launch, (key, value)| launch.set(key, value));
    let mut node = TestNode::new(launch, &root(), "node");
    node.start();
    node
}

/// A new connection to the gateway.
pub(crate) fn connect(node: &TestNode) -> TcpStream {
    let stream = TcpStream::connect(node.gateway_address()).expect("it listens");
    stream.set_read_timeout(Some(WAIT)).expect("a socket");
    stream
}

/// Sends bytes and reads until the other side closes.
pub(crate) fn exchange(node: &TestNode, request: &[u8]) -> String {
    let mut stream = connect(node);
    // The answer may come, and the connection end, before everything was taken.
    let _ = stream.write_all(request);
    read_to_end(&mut stream)
}

/// Everything that comes until the other side closes, by whatever means.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}; so far: {}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer; 0 for none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A GET that asks for the connection to be closed.
pub(crate) fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

/// Sends one byte after the other, slowly; how long that was put up with, and the answer to it.
pub(crate) fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> (Duration, String) {
    let started = Instant::now();
    stream.set_read_timeout(Some(pause)).expect("a socket");
    let mut part = [0; 64];
    let mut answer = String::new();
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        match stream.read(&mut part) {
            Ok(count) => {
                answer.push_str(&String::from_utf8_lossy(&part[..count]));
                break;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(started.elapsed() < WAIT, "it is never cut off");
    }
    let elapsed = started.elapsed();
    if !answer.is_empty() {
        stream.set_read_timeout(Some(WAIT)).expect("a socket");
        answer.push_str(&read_to_end(stream));
    }
    (elapsed, answer)
}
