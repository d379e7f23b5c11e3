//! One namespace's flood, felt in another. How much of it is felt is measured by `debros bench isolation`; here is what
//! does not depend on the machine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::{TestNode, soon};

/// Clients of the flood.
const FLOODING: usize = 32;

/// A query that takes as long as it is told to count; with -1, until its time limit.
fn counting(limit: i32) -> Value {
    let numbers = format!("SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {limit}");
    json!({ "sql": format!("WITH RECURSIVE n(i) AS ({numbers}) SELECT count(*) AS n FROM n") })
}

/// Ends a flood also when the test fails, which otherwise would wait for it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keys of two namespaces.
fn namespaces(node: &TestNode) -> [String; 2] {
    ["quiet", "loud"].map(|namespace| {
        node.cli_ok(&["namespace", "create", namespace]);
        let key = node.cli_ok(&["key", "create", "--namespace", namespace]);
        Caller::with_key(node, &key).exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
        key
    })
}

#[test]
fn beside_one_write_after_the_other_a_flood_is_not_written_in_heaps() {
    let node = start(&[]);
    let [quiet, loud] = namespaces(&node);
    let (over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let written_now = || written.load(Ordering::SeqCst);
    let flood = || {
        let mut caller = Caller::with_key(&node, &loud);
        while !over.load(Ordering::SeqCst) {
            caller.exec("INSERT INTO t (x) VALUES (hex(zeroblob(500)))");
            written.fetch_add(1, Ordering::SeqCst);
        }
    };
    let between = std::thread::scope(|scope| {
        let _ends = Ends(&over);
        (0..FLOODING).for_each(|_| drop(scope.spawn(flood)));
        soon("the flood has begun", || (written_now() > FLOODING).then_some(()));
        let mut caller = Caller::with_key(&node, &quiet);
        let mut between: Vec<usize> = Vec::new();
        for _ in 0..200 {
            let before = written_now();
            caller.exec("INSERT INTO t (x) VALUES (1)");
            between.push(written_now() - before);
        }
        between
    });
    let (mut sorted, all) = (between.clone(), between.iter().sum::<usize>());
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2];
    // Without turns, all of the flood's clients are answered with each batch.
    assert!(median < FLOODING / 4, "{median} writes of the flood for one of the other: {between:?}");
    assert!(all > 0, "the flood is slowed, not stopped");
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
