//! Leadership is handed over, not lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::Client;
use crate::support::{TestCluster, soon};

#[test]
fn a_leader_that_lost_its_followers_does_not_call_its_data_fresh() {
    let mut cluster = TestCluster::start(3);
    let leader = cluster.leader();
    cluster[leader].sql().execute("CREATE TABLE t (n INTEGER)");
    let ask = |cluster: &TestCluster, parameters: &str| {
        cluster[leader].sql().query("SELECT count(*) FROM t", &format!("level=none&{parameters}"))
    };
    soon("a leader is fresh", || ask(&cluster, "freshness=1ms").ok());
    for follower in (0..3).filter(|node| *node != leader) {
        cluster[follower].kill9();
    }
    let stale = soon("it notices that nobody answers", || ask(&cluster, "freshness=1s").err());
    assert!(stale.contains("stale read"), "{stale}");
    assert!(ask(&cluster, "freshness=1h").is_ok(), "an hour has not passed");
    assert!(ask(&cluster, "timeout=5s").is_ok(), "nobody asked for fresh data");
}

#[test]
fn a_leader_that_is_stopped_hands_over_before_it_goes() {
    let mut cluster = TestCluster::start(3);
    cluster[0].sql().execute("CREATE TABLE t (writer INTEGER, n INTEGER)");
    let leader = cluster.leader();
    let term = cluster[leader].raft().term;
    let mut writers: Vec<Client> = (0..3).filter(|node| *node != leader).map(|node| cluster[node].sql()).collect();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let longest = std::thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let (stop, acknowledged) = (&stop, &acknowledged);
                scope.spawn(move || {
                    let mut longest = Duration::ZERO;
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        let insert = json!([["INSERT INTO t VALUES (?, ?)", number, n]]);
                        client.write(&insert, &[]).unwrap_or_else(|error| panic!("write {n} failed: {error:?}"));
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        longest = longest.max(asked.elapsed());
                        n += 1;
                    }
                    (n, longest)
                })
            })
            .collect();
        let progress = |more: u64| {
            let before = acknowledged.load(Ordering::Relaxed);
            soon("writes are acknowledged", || (acknowledged.load(Ordering::Relaxed) > before + more).then_some(()));
        };
        progress(50);
        assert_eq!(cluster[leader].terminate().code(), Some(0));
        progress(50);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no write failed").1).max()
    });
    println!("longest write across the handover: {longest:?}");
    let next = cluster.leader();
    assert_ne!(next, leader);
    assert!(cluster[next].raft().term > term);
    let rows = cluster[next].sql().number("SELECT count(*) FROM t");
    assert_eq!(rows as u64, acknowledged.load(Ordering::Relaxed), "every write once");
    cluster[leader].start();
    cluster.verify();
}

#[test]
fn an_operator_chooses_who_leads() {
    let mut cluster = TestCluster::start(3);
    for to in [1, 2, 0] {
        cluster.leader();
        let id = cluster[to].id().to_string();
        cluster[0].cli_ok(&["cluster", "transfer-leader", &id]);
        soon("the chosen one leads", || (cluster.leader() == to).then_some(()));
        cluster[(to + 1) % 3].sql().execute(&format!("CREATE TABLE t{to} (x)"));
    }
    let before = cluster.leader();
    cluster[0].cli_ok(&["cluster", "transfer-leader"]);
    assert_ne!(cluster.leader(), before, "without a name, somebody else leads");
}

#[test]
fn leadership_goes_to_nobody_who_has_no_vote() {
    let mut cluster = TestCluster::start(3);
    let leader = cluster.leader();
    let stranger = "12D3KooWGqqR8bxgmYsYrGYMKnUWwZUCpioLmA3H37ggRDnAiFa7";
    assert_eq!(cluster[0].cli(&["cluster", "transfer-leader", stranger]).code, 4);
    assert_eq!(cluster.leader(), leader);
}
