//! Thousands of sockets on one node, and one among them whose reader has stopped.

use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::caller::start;
use super::connections::MANY_FILES;
use super::socket::Socket;

const SOCKETS: usize = 5_000;
/// What they may cost a node in memory, all of it.
const MEMORY_BYTES_MAX: u64 = 500 * 1000 * 1000;

/// Of those that are looked at: all would take a loaded machine too long.
const READ: usize = 50;

#[test]
fn five_thousand_sockets_take_less_than_500_mb_and_a_stalled_one_changes_nothing_for_the_rest() {
    let _alone = MANY_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum is allowed");
    let node = start(&[
        ("GATEWAY__CONNECTIONS_PER_ADDRESS_MAX", "16384"),
        ("GATEWAY__RATE_PER_ADDRESS", "0"),
        ("GATEWAY__RATE_PER_KEY", "0"),
    ]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = node.cli_ok(&["key", "create", "--namespace", "chat"]);
    let mut sockets: Vec<Socket> = (0..SOCKETS).map(|_| Socket::plain(&node, "quiet", &key)).collect();
    let mut speaker = Socket::plain(&node, "quiet", &key);
    speaker.send("hello");
    for socket in &mut sockets {
        assert_eq!(socket.bytes(), b"hello");
    }
    let used = node.resident_bytes();
    println!("{SOCKETS} sockets: {} MB resident", used / 1_000_000);
    assert!(used < MEMORY_BYTES_MAX, "{used} bytes");

    // It subscribes to the busy topic, and never reads.
    let _stalled = Socket::plain(&node, "busy", &key);
    let mut listeners: Vec<Socket> = (0..READ).map(|_| Socket::plain(&node, "busy", &key)).collect();
    let mut loud = Socket::plain(&node, "busy", &key);
    let large = vec![7; 64 * 1024];
    for round in 0..200 {
        if round % 20 == 0 {
            // Pings are answered when a client reads.
            for socket in sockets.iter_mut().step_by(SOCKETS / READ) {
                assert_eq!(socket.try_next(Duration::from_millis(1)), None, "nothing of another topic");
            }
        }
        loud.send(large.clone());
        assert_eq!(loud.bytes().len(), large.len());
        for listener in &mut listeners {
            assert_eq!(listener.bytes().len(), large.len(), "round {round}");
        }
    }
    let used = node.resident_bytes();
    assert!(used < MEMORY_BYTES_MAX, "{used} bytes");
    speaker.send("again");
    for socket in sockets.iter_mut().step_by(SOCKETS / READ) {
        assert_eq!(socket.bytes(), b"again");
        assert_eq!(socket.try_next(Duration::from_millis(1)), None, "nothing of another topic");
    }
}
