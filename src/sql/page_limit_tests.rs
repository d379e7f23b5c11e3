//! A namespace that may not grow, and a disk that cannot.

use super::clock_vfs::tests::DISK_IS_FULL;
use super::error::SqlError;
use super::testing::*;
use crate::types::Namespace;
use crate::types::command::{Execute, Outcome};
use crate::types::kv::{Condition, Expiry, Kv, KvOp, KvVerdict};
use crate::types::statement::{StatementErrorKind, StatementResult};

const BYTES_MAX: u64 = 40 * 4096;

fn limited(statements: &[&str]) -> Execute {
    Execute { database_bytes_max: Some(BYTES_MAX), ..execute(statements) }
}

fn put(key: &str, bytes: usize) -> Kv {
    let op = KvOp::Put {
        key: key.parse().expect("a key"),
        value: vec![7; bytes],
        content_type: None,
        condition: Condition::Always,
        expiry: Expiry::Never,
    };
    Kv { database_bytes_max: Some(BYTES_MAX), ..Kv::new(Namespace::default_namespace(), vec![op]) }
}

fn pages(fixture: &Fixture) -> u64 {
    fixture.rows("PRAGMA page_count")[0].parse().expect("a number")
}

#[test]
fn a_statement_that_makes_the_file_too_large_fails_alone() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(zeroblob(1000))"]);
    let big = "INSERT INTO t VALUES(zeroblob(200000))";
    let got = fixture.run_entry(limited(&["INSERT INTO t VALUES(1)", big, "INSERT INTO t VALUES(2)"]));
    assert_failed(&got[1], StatementErrorKind::TooLarge, "may have 163840 bytes");
    assert!(matches!((&got[0], &got[2]), (StatementResult::Written(_), StatementResult::Written(_))), "{got:?}");
    let got =
        fixture.run_entry(Execute { database_bytes_max: Some(BYTES_MAX), ..transaction(&["DELETE FROM t", big]) });
    assert_failed(&got[1], StatementErrorKind::TooLarge, "delete something");
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["3"]);
    assert!(pages(&fixture) <= 40);
    // Entries without the limit are not held to it, and those with it can still change what is there.
    assert!(matches!(fixture.run(&[big])[0], StatementResult::Written(_)));
    assert!(pages(&fixture) > 40);
    assert!(matches!(fixture.run_entry(limited(&["UPDATE t SET a = 3 WHERE a = 1"]))[0], StatementResult::Written(_)));
    let got = fixture.run_entry(limited(&["INSERT INTO t VALUES(zeroblob(9000))"]));
    assert_failed(&got[0], StatementErrorKind::TooLarge, "bytes");
    assert!(matches!(fixture.run_entry(limited(&["DELETE FROM t"]))[0], StatementResult::Written(_)));
    assert!(matches!(fixture.run_entry(limited(&[big]))[0], StatementResult::Written(_)));
}

#[test]
fn keys_are_held_to_the_same_size() {
    let mut fixture = Fixture::new();
    assert!(matches!(fixture.change_keys(&put("a", 50_000)).verdict, KvVerdict::Done(_)));
    let full = KvVerdict::DatabaseFull { bytes_max: BYTES_MAX };
    assert_eq!(fixture.change_keys(&put("b", 200_000)).verdict, full);
    let got = fixture.run_entry(limited(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(zeroblob(90000))"]));
    assert_failed(&got[1], StatementErrorKind::TooLarge, "bytes");
    assert!(matches!(fixture.change_keys(&put("a", 40_000)).verdict, KvVerdict::Done(_)));
    assert_eq!(fixture.database.kv_totals().bytes, 40_001);
}

#[test]
fn full_text_gathered_before_does_not_stop_the_node() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE VIRTUAL TABLE f USING fts5(body)"]);
    for round in 0..200 {
        let text = format!("INSERT INTO f(body) VALUES('word{round} {}')", "lorem ipsum ".repeat(300));
        fixture.apply(&[
            Execute { database_bytes_max: Some(BYTES_MAX), ..transaction(&[&text, &text]) },
            limited(&[&text]),
        ]);
    }
    assert_eq!(fixture.rows("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_full_disk_stops_the_node_whether_there_is_a_limit_or_not() {
    for bytes_max in [None, Some(1024 * 1024 * 1024)] {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)"]);
        super::admission::trusted(|| fixture.database.connection.pragma_update(None, "cache_size", 2)).expect("sets");
        // Ten thousand pages do not fit into a cache of two: the statement itself has to write.
        let big = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) \
            INSERT INTO t SELECT zeroblob(4000) FROM n";
        let big = Execute { database_bytes_max: bytes_max, ..execute(&[big]) };
        let entry =
            |index, execute| super::BatchEntry { index, stamp: stamp(index), change: super::Change::Execute(execute) };
        DISK_IS_FULL.set(true);
        let got = fixture.database.apply(&[entry(2, &big)]);
        DISK_IS_FULL.set(false);
        assert!(matches!(got, Err(SqlError::Storage { .. })), "{got:?}");
        let small = execute(&["SELECT 1"]);
        let outcomes: Vec<Outcome> = fixture.database.apply(&[entry(2, &small)]).expect("applies");
        assert_eq!(results(&outcomes[0]), [written(0, 0)]);
    }
}
