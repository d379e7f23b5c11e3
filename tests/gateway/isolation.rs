//! One namespace's flood, felt in another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::TestNode;

/// How long each of the two measurements takes.
const MEASURED: Duration = Duration::from_secs(3);

/// Connections of the flood.
const FLOODING: usize = 32;

/// No answer takes so long, even on a machine that runs other tests beside this one.
const LONGEST: Duration = Duration::from_secs(5);

/// Times of a mix of small requests, one after the other.
fn measure(caller: &mut Caller) -> Vec<Duration> {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < MEASURED {
        for (method, target, body) in [
            ("GET", "/v1/storage?key=k", Value::Null),
            ("POST", "/v1/db/query", json!({ "sql": "SELECT x FROM t WHERE id = 7" })),
            ("POST", "/v1/db/exec", json!({ "sql": "UPDATE t SET x = x + 1 WHERE id = 7" })),
        ] {
            let asked = Instant::now();
            let answer = caller.ask(method, target, &body);
            times.push(asked.elapsed());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    times.sort_unstable();
    times
}

fn at(times: &[Duration], share: f64) -> Duration {
    times[((times.len() - 1) as f64 * share) as usize]
}

fn flood(node: &TestNode, key: &str, over: &AtomicBool, done: &AtomicUsize, thread: usize) {
    let mut caller = Caller::with_key(node, key);
    let heavy = json!({ "sql": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300000) SELECT sum(x) FROM n" });
    let write = json!({ "sql": "INSERT INTO t (x) SELECT hex(zeroblob(500)) FROM (SELECT 1 UNION ALL SELECT 2)" });
    while !over.load(Ordering::Relaxed) {
        let (target, body) = if thread.is_multiple_of(2) { ("/v1/db/query", &heavy) } else { ("/v1/db/exec", &write) };
        let answer = caller.ask("POST", target, body);
        assert!(matches!(answer.status, 200 | 429 | 503), "{answer:?}");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_flood_of_one_namespace_leaves_another_served() {
    let node = start(&[]);
    let [quiet, loud] = ["quiet", "loud"].map(|namespace| {
        node.cli_ok(&["namespace", "create", namespace]);
        node.cli_ok(&["key", "create", "--namespace", namespace])
    });
    for key in [&quiet, &loud] {
        let mut caller = Caller::with_key(&node, key);
        caller.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
        caller.exec("INSERT INTO t (id, x) VALUES (7, 0)");
        caller.send("PUT", "/v1/storage?key=k", &[], b"x");
    }
    let mut caller = Caller::with_key(&node, &quiet);
    let before = measure(&mut caller);
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let during = std::thread::scope(|scope| {
        for thread in 0..FLOODING {
            let (node, loud, over, done) = (&node, &loud, &over, &done);
            scope.spawn(move || flood(node, loud, over, done, thread));
        }
        crate::support::soon("the flood runs", || (done.load(Ordering::Relaxed) > FLOODING).then_some(()));
        let during = measure(&mut caller);
        over.store(true, Ordering::Relaxed);
        during
    });
    println!(
        "p50 {:?} → {:?}, p99 {:?} → {:?} ({:.1} times), longest {:?} → {:?}; {} requests of the flood",
        at(&before, 0.5),
        at(&during, 0.5),
        at(&before, 0.99),
        at(&during, 0.99),
        at(&during, 0.99).as_secs_f64() / at(&before, 0.99).as_secs_f64(),
        at(&before, 1.0),
        at(&during, 1.0),
        done.load(Ordering::Relaxed),
    );
    assert!(at(&during, 1.0) < LONGEST, "{:?}", at(&during, 1.0));
}
