//! The leader is killed under load.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::NotWritten;
use crate::support::{TestCluster, soon};

const WRITERS: usize = 64;
const ROUNDS_DEFAULT: usize = 3;

/// What the writers of all rounds have seen.
#[derive(Default)]
struct Ledger {
    /// Acknowledged keys, and when.
    acknowledged: Mutex<Vec<(u64, Instant)>>,
    next_key: AtomicU64,
    acknowledgements: AtomicU64,
    refused_falsely: Mutex<Vec<u64>>,
}

#[test]
fn no_acknowledged_write_is_lost_when_the_leader_is_killed_under_load() {
    let rounds = std::env::var("DEBROS_TEST_FAILOVERS").ok().map_or(ROUNDS_DEFAULT, |n| n.parse().expect("a number"));
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (key INTEGER)");
    let ledger = Ledger::default();
    let mut gaps: Vec<Duration> = (0..rounds).map(|_| failover(&mut cluster, &ledger)).collect();
    gaps.sort();
    println!("time without an acknowledged write, {rounds} failovers: median {:?}, all {gaps:?}", gaps[rounds / 2]);
    cluster.verify();
    let mut counts = std::collections::HashMap::<u64, u64>::new();
    for row in cluster[0].sql().query("SELECT key FROM t", "level=strong").expect("a read") {
        *counts.entry(row[0].as_u64().expect("a key")).or_default() += 1;
    }
    let acknowledged = ledger.acknowledged.into_inner().expect("no writer panicked");
    let lost: Vec<u64> = acknowledged.iter().map(|(key, _)| *key).filter(|key| !counts.contains_key(key)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
    let twice: Vec<&u64> = counts.iter().filter(|(_, count)| **count > 1).map(|(key, _)| key).collect();
    assert!(twice.is_empty(), "applied twice: {twice:?}");
    let refused = ledger.refused_falsely.into_inner().expect("no writer panicked");
    let executed: Vec<&u64> = refused.iter().filter(|key| counts.contains_key(key)).collect();
    assert!(executed.is_empty(), "said to be not executed, but were: {executed:?}");
}

/// Kills the leader under load; the longest time without an acknowledged write around that moment.
fn failover(cluster: &mut TestCluster, ledger: &Ledger) -> Duration {
    let leader = cluster.leader();
    let followers: Vec<String> =
        (0..3).filter(|node| *node != leader).map(|node| cluster[node].sql_address().to_owned()).collect();
    let stop = AtomicBool::new(false);
    let killed = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let address = &followers[writer % followers.len()];
            let stop = &stop;
            scope.spawn(move || write_until(stop, address, ledger));
        }
        let progress = || {
            let before = ledger.acknowledgements.load(Ordering::Relaxed);
            soon("writes are acknowledged", || {
                (ledger.acknowledgements.load(Ordering::Relaxed) > before + 500).then_some(())
            });
        };
        // The writers end also when an assertion fails, and only then does the scope.
        let _ends = StopAtEnd(&stop);
        progress();
        let killed = Instant::now();
        cluster[leader].kill9();
        progress();
        killed
    });
    cluster[leader].start();
    cluster.leader();
    let mut times: Vec<Instant> =
        ledger.acknowledged.lock().expect("no writer panicked").iter().map(|(_, when)| *when).collect();
    times.sort();
    // Answers that were on their way when the leader died may still arrive.
    let around = times.windows(2).filter(|pair| pair[1] > killed);
    around.map(|pair| pair[1] - pair[0].max(killed)).max().expect("writes were acknowledged after the kill")
}

fn write_until(stop: &AtomicBool, address: &str, ledger: &Ledger) {
    let mut client = crate::support::http::Client::new(address);
    while !stop.load(Ordering::Relaxed) {
        let key = ledger.next_key.fetch_add(1, Ordering::Relaxed);
        match client.write(&json!([["INSERT INTO t VALUES (?)", key]]), &[]) {
            Ok(_) => {
                ledger.acknowledged.lock().expect("no writer panicked").push((key, Instant::now()));
                ledger.acknowledgements.fetch_add(1, Ordering::Relaxed);
            }
            Err(NotWritten::Unknown(_)) => {}
            Err(NotWritten::NotExecuted(_)) => ledger.refused_falsely.lock().expect("no writer panicked").push(key),
            Err(NotWritten::Refused(reason)) => panic!("an insert was refused: {reason}"),
        }
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
