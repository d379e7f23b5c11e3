//! One namespace's flood, felt in another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::{TestNode, soon};

/// Calm and flood take turns, so that whatever else the machine does falls on both.
const ROUNDS: usize = 5;

/// How long each round is measured.
const MEASURED: Duration = Duration::from_millis(600);

/// Connections of the flood.
const FLOODING: usize = 32;

/// A query that takes as long as it is told to count; with -1, until its time limit.
fn counting(limit: i32) -> Value {
    let numbers = format!("SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {limit}");
    json!({ "sql": format!("WITH RECURSIVE n(i) AS ({numbers}) SELECT count(*) AS n FROM n") })
}

/// What the flood sends.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Reads,
    Writes,
}

/// Whether the flood runs, and how much of it got through.
#[derive(Debug, Default)]
struct Gate {
    open: AtomicBool,
    over: AtomicBool,
    busy: AtomicUsize,
    served: AtomicUsize,
}

impl Gate {
    fn flood(&self, node: &TestNode, key: &str, flood: Flood) {
        let write = "INSERT INTO t (x) VALUES (hex(zeroblob(500))), (hex(zeroblob(500)))";
        let (target, body) = match flood {
            Flood::Reads => ("/v1/db/query", counting(300_000)),
            Flood::Writes => ("/v1/db/exec", json!({ "sql": write })),
        };
        let mut caller = Caller::with_key(node, key);
        while !self.over.load(Ordering::SeqCst) {
            self.busy.fetch_add(1, Ordering::SeqCst);
            let status = self.open.load(Ordering::SeqCst).then(|| caller.ask("POST", target, &body).status);
            self.busy.fetch_sub(1, Ordering::SeqCst);
            match status {
                Some(200) => drop(self.served.fetch_add(1, Ordering::SeqCst)),
                // Over its limits, or told to be quiet.
                Some(429 | 503) | None => std::thread::sleep(Duration::from_millis(50)),
                Some(status) => panic!("{flood:?}: {status}"),
            }
        }
    }

    fn set(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
        let served = self.served.load(Ordering::SeqCst);
        soon("the flood begins or ends", || {
            let begun = self.served.load(Ordering::SeqCst) > served;
            let ended = self.busy.load(Ordering::SeqCst) == 0;
            (if open { begun } else { ended }).then_some(())
        });
    }
}

/// Ends the flood also when the test fails, which otherwise would wait for it.
struct Ends<'a>(&'a Gate);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// Times of a mix of small requests, `pause` apart.
fn measure(caller: &mut Caller, pause: Duration) -> Vec<Duration> {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < MEASURED {
        for (method, target, body) in [
            ("GET", "/v1/storage?key=k", Value::Null),
            ("POST", "/v1/db/query", json!({ "sql": "SELECT x FROM t WHERE id = 7" })),
            ("POST", "/v1/db/exec", json!({ "sql": "UPDATE t SET x = x + 1 WHERE id = 7" })),
        ] {
            std::thread::sleep(pause);
            let asked = Instant::now();
            let answer = caller.ask(method, target, &body);
            times.push(asked.elapsed());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    times
}

fn at<T: Copy>(times: &[T], share: f64) -> T {
    times[((times.len() - 1) as f64 * share) as usize]
}

/// How many times longer the median request takes during a flood: of some rounds, the median again.
fn slowdown(node: &TestNode, flood: Flood, pause: Duration) -> f64 {
    let [quiet, loud] = namespaces(node);
    let mut caller = Caller::with_key(node, &quiet);
    let gate = Gate::default();
    let (mut calm, mut flooded, mut slowdowns) = (Vec::new(), Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let _ends = Ends(&gate);
        for _ in 0..FLOODING {
            scope.spawn(|| gate.flood(node, &loud, flood));
        }
        for _ in 0..ROUNDS {
            let mut before = measure(&mut caller, pause);
            gate.set(true);
            let mut during = measure(&mut caller, pause);
            gate.set(false);
            before.sort_unstable();
            during.sort_unstable();
            slowdowns.push(at(&during, 0.5).as_secs_f64() / at(&before, 0.5).as_secs_f64());
            calm.extend(before);
            flooded.extend(during);
        }
    });
    calm.sort_unstable();
    flooded.sort_unstable();
    let shares = [0.5, 0.99, 1.0].map(|share| format!("{:?} → {:?}", at(&calm, share), at(&flooded, share)));
    let served = gate.served.load(Ordering::SeqCst);
    println!("{flood:?}: p50, p99, longest {shares:?}; medians {slowdowns:.2?} times; {served} requests of the flood");
    slowdowns.sort_unstable_by(f64::total_cmp);
    at(&slowdowns, 0.5)
}

/// Keys of two namespaces.
fn namespaces(node: &TestNode) -> [String; 2] {
    ["quiet", "loud"].map(|namespace| {
        node.cli_ok(&["namespace", "create", namespace]);
        let key = node.cli_ok(&["key", "create", "--namespace", namespace]);
        let mut caller = Caller::with_key(node, &key);
        caller.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
        caller.exec("INSERT INTO t (id, x) VALUES (7, 0)");
        caller.send("PUT", "/v1/storage?key=k", &[], b"x");
        key
    })
}

#[test]
fn a_flood_of_slow_reads_leaves_another_namespace_its_speed() {
    let slowdown = slowdown(&start(&[]), Flood::Reads, Duration::ZERO);
    // Without the lower priority of slow reads it is ten or twenty times; beside other tests, this is noisy.
    assert!(slowdown < 4.0, "{slowdown}");
}

#[test]
fn a_flood_of_writes_is_felt_no_more_than_the_rate_limit_allows() {
    let node = start(&[("GATEWAY__RATE_PER_NAMESPACE", "400")]);
    let slowdown = slowdown(&node, Flood::Writes, Duration::from_millis(4));
    assert!(slowdown < 3.5, "{slowdown}");
}

#[test]
fn a_slow_read_waits_neither_for_its_own_namespace_nor_for_another() {
    let node = start(&[("DATABASE__STATEMENT_TIMEOUT", "20s")]);
    let [quiet, loud] = namespaces(&node);
    let ended = AtomicUsize::new(0);
    let endless = |key: &str| {
        let answer = Caller::with_key(&node, key).ask("POST", "/v1/db/query", &counting(-1));
        ended.fetch_add(1, Ordering::SeqCst);
        assert_ne!(answer.status, 200, "{answer:?}");
    };
    let slow = |key: &str| {
        let rows = Caller::with_key(&node, key).ok("POST", "/v1/db/query", &counting(50_000))["rows"].take();
        assert_eq!((rows, ended.load(Ordering::SeqCst)), (json!([[50_000]]), 0), "no long one has ended");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| endless(&loud));
        scope.spawn(|| endless(&loud));
        (0..3).for_each(|_| slow(&loud));
        // More than there are turns for one namespace on a small machine.
        for _ in 0..8 {
            scope.spawn(|| endless(&loud));
        }
        (0..3).for_each(|_| slow(&quiet));
    });
}
