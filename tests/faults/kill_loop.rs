//! Nodes are killed at random under load, one, two or all of them, again and again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Client, NotWritten};
use crate::support::{Random, TestCluster, within};

const CLIENTS: usize = 8;
const KILLS_DEFAULT: usize = 10;

/// A client that is refused waits this long before it tries the next node, as any client should.
const BACKOFF: Duration = Duration::from_millis(10);

/// A client does not wait longer for an answer: without a majority a leader has none.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What one client knows of its writes.
#[derive(Debug, Default)]
struct Known {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    not_executed: Vec<u64>,
    /// Each was repeated under its key until it was acknowledged.
    increments: BTreeMap<u64, Increment>,
}

/// How an increment came to be acknowledged.
#[derive(Debug)]
#[allow(dead_code, reason = "shown when it is lost")]
struct Increment {
    /// The node asked and what it said, one after the other.
    attempts: Vec<(usize, String)>,
    index: u64,
    replayed: bool,
}

struct Shared {
    addresses: Vec<String>,
    stop: AtomicBool,
    attempts: AtomicU64,
    acknowledged: AtomicU64,
    seed: u64,
}

#[test]
fn no_acknowledged_write_is_lost_or_doubled_however_nodes_are_killed() {
    let kills = std::env::var("DEBROS_TEST_KILLS").ok().map_or(KILLS_DEFAULT, |n| n.parse().expect("a number"));
    let seed = Random::seed("DEBROS_TEST_SEED");
    println!("seed {seed}");
    let mut cluster = TestCluster::start(3);
    let mut sql = cluster[0].sql();
    sql.execute("CREATE TABLE writes (client INTEGER, n INTEGER)");
    sql.execute("CREATE TABLE increments (client INTEGER, n INTEGER)");
    sql.execute("CREATE TABLE counters (client INTEGER PRIMARY KEY, value INTEGER)");
    for client in 0..CLIENTS {
        sql.execute(&format!("INSERT INTO counters VALUES ({client}, 0)"));
    }
    let shared = Shared {
        addresses: cluster.nodes.iter().map(|node| node.sql_address().to_owned()).collect(),
        stop: AtomicBool::new(false),
        attempts: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        seed,
    };
    let begun = Instant::now();
    let known = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let shared = &shared;
                scope.spawn(move || client(number, shared))
            })
            .collect();
        let stop = StopAtEnd(&shared.stop);
        let mut random = Random::new(seed);
        for round in 0..kills {
            kill_some(&mut cluster, &mut random, &shared, round);
        }
        drop(stop);
        clients.into_iter().map(|client| client.join().expect("no client failed")).collect::<Vec<_>>()
    });
    let total: usize = known.iter().map(|known| known.acknowledged.len()).sum();
    let increments: usize = known.iter().map(|known| known.increments.len()).sum();
    println!(
        "{kills} rounds in {:?}: {total} inserts and {increments} increments acknowledged, seed {seed}",
        begun.elapsed()
    );
    assert_kept(&mut cluster, &known, seed);
    assert_alike(&cluster, seed);
    cluster.verify();
}

/// Waits for progress, kills, waits for trouble, starts again.
fn kill_some(cluster: &mut TestCluster, random: &mut Random, shared: &Shared, round: usize) {
    let seed = shared.seed;
    let wait = |what: &str, counter: &AtomicU64, more: u64| {
        let before = counter.load(Ordering::Relaxed);
        within(Duration::from_secs(90), &format!("{what} in round {round}, seed {seed}"), || {
            (counter.load(Ordering::Relaxed) >= before + more).then_some(())
        });
    };
    let begun = Instant::now();
    wait("a write is acknowledged", &shared.acknowledged, 1);
    let first = begun.elapsed();
    wait("writes are acknowledged", &shared.acknowledged, 20 + random.below(200) as u64);
    let count = match random.below(10) {
        0 => 3,
        1 | 2 => 2,
        _ => 1,
    };
    let victims = random.choose(count, 3);
    println!("round {round}: first write after {first:?}, more within {:?}; killing {victims:?}", begun.elapsed());
    for victim in &victims {
        assert!(cluster[*victim].is_running(), "node {victim} ended by itself, round {round}, seed {seed}");
        cluster[*victim].kill9();
    }
    wait("writes are tried", &shared.attempts, random.below(60) as u64);
    for victim in &victims {
        cluster[*victim].spawn();
    }
    for victim in &victims {
        cluster[*victim].wait_ready();
    }
}

/// Writes unique rows and repeatable increments through any node until told to stop.
fn client(number: usize, shared: &Shared) -> Known {
    let mut random = Random::new(shared.seed ^ (number as u64 + 1).wrapping_mul(0x51_7c_c1_b7));
    let connect = |address: &String| Client::new(address).timeout(ANSWER_MAX);
    let mut nodes: Vec<Client> = shared.addresses.iter().map(connect).collect();
    let mut known = Known::default();
    let mut n = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        n += 1;
        if n % 4 == 0 {
            known.increments.insert(n, increment(number, n, &mut nodes, &mut random, shared));
            continue;
        }
        let node = random.below(nodes.len());
        shared.attempts.fetch_add(1, Ordering::Relaxed);
        match nodes[node].write(&json!([["INSERT INTO writes VALUES (?, ?)", number, n]]), &[]) {
            Ok(written) => {
                assert_eq!(written.results[0]["rows_affected"], 1, "acknowledged, but: {written:?}");
                known.acknowledged.push(n);
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                if n % 8 == 1 {
                    assert_visible(number, n, &mut nodes, &mut random, shared);
                }
            }
            Err(NotWritten::Refused(reason)) => panic!("an insert was refused: {reason}, seed {}", shared.seed),
            Err(NotWritten::Unknown(_)) => known.unknown.push(n),
            Err(NotWritten::NotExecuted(_)) => {
                known.not_executed.push(n);
                std::thread::sleep(BACKOFF);
            }
        }
    }
    known
}

/// Repeats an increment under its key, on any node, until one acknowledges it.
fn increment(number: usize, n: u64, nodes: &mut [Client], random: &mut Random, shared: &Shared) -> Increment {
    let key = format!("client-{number}-increment-{n}");
    let statements = json!([
        ["UPDATE counters SET value = value + 1 WHERE client = ?", number],
        ["INSERT INTO increments VALUES (?, ?)", number, n],
    ]);
    let mut attempts = Vec::new();
    let written = within(Duration::from_secs(120), &format!("{key} is acknowledged, seed {}", shared.seed), || {
        let node = random.below(nodes.len());
        shared.attempts.fetch_add(1, Ordering::Relaxed);
        let written = nodes[node].write(&statements, &[("Idempotency-Key", &key)]);
        attempts.push((node, format!("{written:?}")));
        if let Err(NotWritten::Refused(reason)) = &written {
            panic!("an increment was refused: {reason}, seed {}", shared.seed);
        }
        written.ok()
    });
    assert_eq!(written.results[0]["rows_affected"], 1, "acknowledged, but: {written:?} after {attempts:?}");
    shared.acknowledged.fetch_add(1, Ordering::Relaxed);
    Increment { attempts, index: written.index, replayed: written.replayed }
}

/// A linearizable read on any node, if it is answered at all, sees an acknowledged write.
fn assert_visible(number: usize, n: u64, nodes: &mut [Client], random: &mut Random, shared: &Shared) {
    let level = ["weak", "linearizable", "strong"][random.below(3)];
    let sql = format!("SELECT count(*) FROM writes WHERE client = {number} AND n = {n}");
    let node = random.below(nodes.len());
    if let Ok(rows) = nodes[node].query(&sql, &format!("level={level}")) {
        // A weak read trusts the leader's own belief that it leads.
        let seen = rows == [json!([1])] || level == "weak";
        assert!(seen, "a {level} read on node {node} does not see insert {n} of client {number}, seed {}", shared.seed);
    }
}

fn assert_kept(cluster: &mut TestCluster, known: &[Known], seed: u64) {
    cluster.leader();
    let all = |table: &str| {
        let mut counts = BTreeMap::<(u64, u64), u64>::new();
        for row in cluster[0].sql().query(&format!("SELECT client, n FROM {table}"), "level=strong").expect("a read") {
            let number = |value: &Value| value.as_u64().expect("a number");
            *counts.entry((number(&row[0]), number(&row[1]))).or_default() += 1;
        }
        counts
    };
    let (counts, increments) = (all("writes"), all("increments"));
    for (client, known) in known.iter().enumerate() {
        let count = |n: &u64| counts.get(&(client as u64, *n)).copied().unwrap_or(0);
        let having = |all: &[u64], wrong: &dyn Fn(u64) -> bool| -> Vec<u64> {
            all.iter().copied().filter(|n| wrong(count(n))).collect()
        };
        let none = Vec::<u64>::new();
        assert_eq!(having(&known.acknowledged, &|count| count == 0), none, "lost, client {client}, seed {seed}");
        assert_eq!(having(&known.acknowledged, &|count| count > 1), none, "doubled, client {client}, seed {seed}");
        assert_eq!(having(&known.unknown, &|count| count > 1), none, "doubled, client {client}, seed {seed}");
        assert_eq!(
            having(&known.not_executed, &|count| count > 0),
            none,
            "executed although the answer was that they were not, client {client}, seed {seed}"
        );
        for (n, increment) in &known.increments {
            let count = increments.get(&(client as u64, *n)).copied().unwrap_or(0);
            assert_eq!(count, 1, "increment {n} of client {client}: {increment:?}, seed {seed}");
        }
        let value = cluster[0].sql().number(&format!("SELECT value FROM counters WHERE client = {client}"));
        assert_eq!(value as usize, known.increments.len(), "increments of client {client}, seed {seed}");
    }
}

/// Every node has the same rows; a difference is shown row by row, which hashes cannot do.
fn assert_alike(cluster: &TestCluster, seed: u64) {
    let index = cluster[0].sql().execute("INSERT INTO writes VALUES (-1, -1)");
    let mut rows: Vec<Vec<String>> = Vec::new();
    for node in &cluster.nodes {
        let mut all = Vec::new();
        for table in ["writes", "increments", "counters"] {
            let sql = format!("SELECT '{table}', rowid, * FROM {table}");
            let found = node.sql().query(&sql, &format!("level=none&min_index={index}")).expect("a read");
            all.extend(found.iter().map(Value::to_string));
        }
        rows.push(all);
    }
    for (node, own) in rows.iter().enumerate() {
        let first: std::collections::BTreeSet<&String> = rows[0].iter().collect();
        let own: std::collections::BTreeSet<&String> = own.iter().collect();
        let (missing, extra): (Vec<_>, Vec<_>) = (first.difference(&own).collect(), own.difference(&first).collect());
        assert!(
            missing.is_empty() && extra.is_empty(),
            "node {node} lacks {missing:?} of node 0 and has {extra:?} instead, seed {seed}"
        );
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
