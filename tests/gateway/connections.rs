//! Thousands of clients that hold their connections and say nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::raw::{connect, status};
use crate::support::TestNode;
use crate::support::node::{Launch, root};

/// Held by a test that opens thousands of files: a process may not have enough for two of them.
pub(crate) static MANY_FILES: Mutex<()> = Mutex::new(());

const CONNECTIONS: usize = 10_000;
/// What they may cost a node in memory, all of it.
const MEMORY_BYTES_MAX: u64 = 400 * 1000 * 1000;

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut part = [0; 4096];
    let count = stream.read(&mut part).expect("an answer");
    assert_eq!(status(&String::from_utf8_lossy(&part[..count])), 200);
}

#[test]
fn ten_thousand_idle_connections_take_less_than_400_mb_and_nobodys_turn() {
    let _alone = MANY_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum is allowed");
    let launch = Launch::new("bootstrap")
        .set("GATEWAY__CONNECTIONS_PER_ADDRESS_MAX", "16384")
        .set("GATEWAY__RATE_PER_ADDRESS", "1000000");
    let mut node = TestNode::new(launch, &root(), "node");
    node.start();
    let mut held: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&node)).collect();
    held.iter_mut().for_each(ask);
    let used = node.resident_bytes();
    println!("{CONNECTIONS} idle connections: {} MB resident", used / 1_000_000);
    assert!(used < MEMORY_BYTES_MAX, "{used} bytes");
    assert_eq!(node.gateway().get("/v1/health").status, 200);
    // None of them was given up to make room.
    held.iter_mut().rev().step_by(100).for_each(ask);
}
