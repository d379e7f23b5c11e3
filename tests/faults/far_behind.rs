//! A follower that was away for longer than the log reaches back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::{TestCluster, soon};

/// Stops a follower, writes `mebibytes`, and cuts the others' logs so that it needs a snapshot. Its position.
fn leave_behind(cluster: &mut TestCluster, mebibytes: usize) -> usize {
    cluster[0].sql().execute("CREATE TABLE big (n INTEGER, bytes BLOB)");
    let away = cluster.follower();
    cluster[away].kill9();
    let leader = cluster.leader();
    let mut sql = cluster[leader].sql();
    for n in 0..mebibytes {
        sql.execute(&format!("INSERT INTO big VALUES ({n}, randomblob(1048576))"));
    }
    // Each node cuts its own log, and either may lead later.
    for node in cluster.running() {
        let answer = cluster[node].sql().post("/snapshot?trailing_logs=0", "");
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    }
    away
}

fn first_index_of_log(cluster: &TestCluster, node: usize) -> i64 {
    let log = rusqlite::Connection::open(cluster[node].data().join("raft/log.sqlite")).expect("opens");
    log.query_row("SELECT coalesce(min(position), 0) FROM log", [], |row| row.get(0)).expect("a log")
}

#[test]
fn a_follower_far_behind_gets_a_snapshot_while_writes_go_on() {
    let mut cluster = TestCluster::start(3);
    let away = leave_behind(&mut cluster, 16);
    let leader = cluster.leader();
    let mut writer = cluster[leader].sql();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let row = json!(["INSERT INTO big VALUES (-1, NULL)"]);
                writer.write(&row, &[]).unwrap_or_else(|error| panic!("a write failed meanwhile: {error:?}"));
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _ends = StopAtEnd(&stop);
        cluster[away].start();
        let before = written.load(Ordering::Relaxed);
        soon("the snapshot has arrived", || cluster[away].log_text().contains("snapshot received").then_some(()));
        soon("writes go on", || (written.load(Ordering::Relaxed) > before + 20).then_some(()));
    });
    cluster.verify();
    assert_eq!(cluster[away].sql().number("SELECT count(*) FROM big WHERE n >= 0"), 16);
    assert_eq!(cluster[away].terminate().code(), Some(0));
    assert!(first_index_of_log(&cluster, away) > 16, "its log begins behind the snapshot");
    cluster[away].start();
    cluster.verify();
}

#[test]
fn a_broken_transfer_is_taken_up_again() {
    let mut cluster = TestCluster::start(3);
    let away = leave_behind(&mut cluster, 64);
    let incoming = cluster[away].data().join("snapshots/incoming");
    let arrived = || -> u64 {
        let files = std::fs::read_dir(&incoming).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    };
    let mut broken = 0;
    for part in [1, 16, 32] {
        cluster[away].spawn();
        soon("part of the snapshot has arrived, or all of it", || {
            let whole = cluster[away].log_text().contains("snapshot received");
            (arrived() > part * 1024 * 1024 || whole).then_some(())
        });
        cluster[away].kill9();
        broken += usize::from(incoming.exists());
    }
    println!("the receiver was killed in the middle of {broken} transfers");
    cluster[away].start();
    cluster.verify();
    assert_eq!(cluster[away].sql().number("SELECT count(*) FROM big"), 64);
    assert!(!incoming.exists(), "nothing is left of the transfer");
}

#[test]
fn a_transfer_goes_on_from_another_leader() {
    let mut cluster = TestCluster::start(3);
    let away = leave_behind(&mut cluster, 48);
    let leader = cluster.leader();
    cluster[away].spawn();
    let incoming = cluster[away].data().join("snapshots/incoming/default.sqlite");
    soon("part of the snapshot has arrived, or all of it", || {
        let whole = cluster[away].log_text().contains("snapshot received");
        (whole || std::fs::metadata(&incoming).is_ok_and(|file| file.len() > 1024 * 1024)).then_some(())
    });
    cluster[leader].kill9();
    cluster[away].wait_ready();
    soon("the snapshot has arrived", || cluster[away].log_text().contains("snapshot received").then_some(()));
    cluster[leader].start();
    cluster.verify();
    assert_eq!(cluster[away].sql().number("SELECT count(*) FROM big"), 48);
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
