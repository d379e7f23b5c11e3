//! What [`Database`] promises about batches, entries and statements.

use rusqlite::Connection;

use super::connection::ForeignKeys;
use super::database::{BatchEntry, Change, Database};
use super::entry::KILLS_MAX;
use super::error::SqlError;
use super::testing::*;
use crate::types::Statement;
use crate::types::command::{Execute, Executed, IdempotencyKey, Outcome, Refusal, Replayed, Stamp};
use crate::types::statement::{StatementErrorKind, StatementResult, Value};

#[test]
fn what_was_applied_is_skipped_after_a_restart() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
    let path = fixture.path();
    let Fixture { database, folder, .. } = fixture;
    database.close().expect("closes");
    let mut database = Database::open(&path).expect("opens");
    assert_eq!(database.applied_index(), 1);
    let insert = execute(&["INSERT INTO t VALUES(2)"]);
    let entry = |index| BatchEntry { index, stamp: stamp(index), change: Change::Execute(&insert) };
    let outcomes = database.apply(&[entry(1), entry(2)]).expect("applies");
    assert_eq!(outcomes[0], Outcome::None);
    assert_eq!(results(&outcomes[1]), [written(2, 1)]);
    assert_eq!(database.applied_index(), 2);
    drop(folder);
}

#[test]
fn counters_repeat_what_was_last_inserted_and_changed() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run(&["CREATE TABLE t(id INTEGER PRIMARY KEY, a)"]), [written(0, 0)]);
    assert_eq!(fixture.run(&["INSERT INTO t(a) VALUES(1),(2),(3)"]), [written(3, 3)]);
    assert_eq!(fixture.run(&["UPDATE t SET a = 9 WHERE id < 3"]), [written(3, 2)]);
    assert_eq!(fixture.run(&["CREATE TABLE u(a)", "SELECT 1", "DROP TABLE u"]), vec![written(3, 2); 3]);
    assert_eq!(fixture.run(&["DELETE FROM t WHERE id = 77"]), [written(3, 0)]);
    assert_eq!(fixture.run(&["INSERT INTO t VALUES(0, 0)"]), [written(0, 1)]);
    assert_eq!(fixture.run(&["CREATE TABLE v(a); INSERT INTO v VALUES(1),(2)"]), [written(2, 2)]);
    let failed = fixture.run(&["INSERT INTO t VALUES(10, 0),(0, 0)", "PRAGMA user_version = 4"]);
    assert_failed(&failed[0], StatementErrorKind::Sqlite, "UNIQUE constraint failed: t.id");
    assert_eq!(failed[1], written(2, 2));
}

#[test]
fn counters_survive_a_restart() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2)"]);
    let Fixture { database, folder, .. } = fixture;
    let path = database.path().to_owned();
    database.close().expect("closes");
    let mut database = Database::open(&path).expect("opens");
    let drop_table = execute(&["DROP TABLE t"]);
    let outcomes = database
        .apply(&[BatchEntry { index: 2, stamp: stamp(2), change: Change::Execute(&drop_table) }])
        .expect("applies");
    assert_eq!(results(&outcomes[0]), [written(2, 2)]);
    drop(folder);
}

#[test]
fn what_sql_itself_counts_starts_with_the_entry() {
    let mut fixture = Fixture::new();
    let counters = "SELECT changes(), total_changes(), last_insert_rowid()";
    fixture.run(&["CREATE TABLE t(a, b, c)", "INSERT INTO t(a) VALUES(1),(2),(3)"]);
    let insert = "INSERT INTO t SELECT changes(), total_changes(), last_insert_rowid()";
    fixture.run(&[insert, insert]);
    assert_eq!(fixture.rows("SELECT * FROM t WHERE b IS NOT NULL"), ["0|0|0", "1|1|4"]);
    let shown = fixture.run_entry(with_rows(&[counters]));
    let StatementResult::Rows(rows) = &shown[0] else { panic!("{shown:?}") };
    assert_eq!(show_row(&rows.values[0]), "0|0|0");
}

#[test]
fn a_transaction_is_all_or_nothing_and_ends_with_its_failure() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a UNIQUE)"]);
    let got = fixture.run_entry(transaction(&[
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t VALUES(2)",
    ]));
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], written(1, 1));
    assert_failed(&got[1], StatementErrorKind::Sqlite, "UNIQUE constraint failed: t.a");
    let got = fixture.run_entry(transaction(&["INSERT INTO t VALUES(1)", "INSERT INTO nothere VALUES(1)"]));
    assert_failed(&got[1], StatementErrorKind::Sqlite, "no such table: nothere");
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["0"]);
}

#[test]
fn statements_for_themselves_go_on_after_a_failure() {
    let mut fixture = Fixture::new();
    let got = fixture.run(&[
        "CREATE TABLE t(a UNIQUE)",
        "INSERT INTO t VALUES(1)",
        "nonsense",
        "",
        "INSERT INTO t VALUES(2); INSERT INTO t VALUES(2); INSERT INTO t VALUES(3)",
    ]);
    assert_eq!(got.len(), 4);
    assert_failed(&got[2], StatementErrorKind::Sqlite, "near \"nonsense\": syntax error");
    assert_failed(&got[3], StatementErrorKind::Sqlite, "UNIQUE");
    assert_eq!(fixture.rows("SELECT a FROM t"), ["1", "2"]);
}

#[test]
fn what_ends_the_transaction_hurts_nobody_else() {
    let mut fixture = Fixture::new();
    fixture.run(&[
        "CREATE TABLE t(a UNIQUE)",
        "CREATE TRIGGER no BEFORE INSERT ON t WHEN new.a = 99 BEGIN SELECT RAISE(ROLLBACK, 'no 99'); END",
    ]);
    let insert = |value: &str| format!("INSERT OR ROLLBACK INTO t VALUES({value})");
    let outcomes = fixture.apply(&[
        execute(&["INSERT INTO t VALUES(1)"]),
        execute(&["INSERT INTO t VALUES(2)", &insert("1"), "INSERT INTO t VALUES(99)", "INSERT INTO t VALUES(3)"]),
        transaction(&["INSERT INTO t VALUES(4)", &insert("1"), "INSERT INTO t VALUES(5)"]),
        execute(&["INSERT INTO t VALUES(6)"]),
    ]);
    assert_eq!(results(&outcomes[0]), [written(1, 1)]);
    let second = results(&outcomes[1]);
    assert_eq!((&second[0], &second[3]), (&written(2, 1), &written(3, 1)));
    assert_failed(&second[1], StatementErrorKind::Sqlite, "UNIQUE constraint failed: t.a");
    assert_failed(&second[2], StatementErrorKind::Sqlite, "no 99");
    let third = results(&outcomes[2]);
    assert_eq!(third.len(), 2);
    assert_failed(&third[1], StatementErrorKind::Sqlite, "UNIQUE");
    assert_eq!(results(&outcomes[3]), [written(4, 1)]);
    assert_eq!(fixture.rows("SELECT group_concat(a) FROM t"), ["1,2,3,6"]);
    assert_eq!(fixture.database.applied_index(), 5);
}

#[test]
fn an_entry_cannot_end_transactions_for_ever() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a UNIQUE)", "INSERT INTO t VALUES(1)"]);
    let mut statements = vec!["INSERT OR ROLLBACK INTO t VALUES(1)"; KILLS_MAX + 5];
    statements.push("INSERT INTO t VALUES(2)");
    let got = fixture.run(&statements);
    assert_eq!(got.len(), KILLS_MAX + 6);
    assert!(got.iter().all(|result| matches!(result, StatementResult::Failed(_))));
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["1"]);
}

#[test]
fn a_runaway_write_is_stopped_by_steps_and_undone() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let endless = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n";
    let long =
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 20000) SELECT i FROM n";
    for runaway in [endless, long] {
        let mut limited = execute(&["INSERT INTO t VALUES(1)", runaway, "INSERT INTO t VALUES(2)"]);
        limited.steps_max = 100_000;
        let outcomes = fixture.apply(&[execute(&["INSERT INTO t VALUES(0)"]), limited]);
        let got = results(&outcomes[1]);
        assert_eq!(got.len(), 3);
        assert!(matches!(got[0], StatementResult::Written(_)));
        assert_failed(&got[1], StatementErrorKind::Timeout, "execute timeout");
        assert_failed(&got[2], StatementErrorKind::Timeout, "execute timeout");
    }
    assert_eq!(fixture.rows("SELECT group_concat(a) FROM t"), ["0,1,0,1"]);
}

#[test]
fn steps_do_not_depend_on_what_is_cached() {
    let sql = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 3000) SELECT i FROM n";
    let least_steps = |warm: bool| {
        let fits = |steps_max| {
            let mut fixture = Fixture::new();
            fixture.run(&["CREATE TABLE t(a)"]);
            if warm {
                fixture.run(&[sql]);
            }
            let got = fixture.run_entry(Execute { steps_max, ..execute(&[sql]) });
            matches!(got[0], StatementResult::Written(_))
        };
        let (mut too_few, mut enough) = (1_u64, 1_000_000_u64);
        while enough - too_few > 1 {
            let middle = too_few.midpoint(enough);
            if fits(middle) { enough = middle } else { too_few = middle }
        }
        enough
    };
    assert_eq!(least_steps(false), least_steps(true));
}

#[test]
fn too_large_a_result_undoes_its_statement() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let returning = ["INSERT INTO t VALUES(1),(2),(3) RETURNING a", "INSERT INTO t VALUES(4)"];
    let got = fixture.run_entry(Execute { result_rows_max: 2, ..execute(&returning) });
    assert_failed(&got[0], StatementErrorKind::TooLarge, "more than 2 rows");
    assert_eq!(got[1], written(1, 1));
    let got = fixture.run_entry(Execute { result_bytes_max: 100, ..execute(&returning) });
    assert_failed(&got[0], StatementErrorKind::TooLarge, "bytes");
    assert_eq!(fixture.rows("SELECT group_concat(a) FROM t"), ["4,4"]);
}

#[test]
fn rows_come_from_returning_or_from_all() {
    let mut fixture = Fixture::new();
    let statements = [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a VARCHAR(5))",
        "INSERT INTO t(a) VALUES('x')RETURNING*",
        "SELECT a FROM t",
    ];
    let got = fixture.run_entry(execute(&statements));
    let StatementResult::Rows(rows) = &got[1] else { panic!("{got:?}") };
    assert_eq!(
        (rows.columns.join(","), rows.declared_types.join(",")),
        ("id,a".to_owned(), "integer,varchar(5)".to_owned())
    );
    assert_eq!(rows.values, [[Value::Integer(1), Value::Text("x".to_owned())]]);
    assert_eq!(got[2], written(1, 1));
    let got =
        fixture.run_entry(with_rows(&["SELECT a, 1.5 FROM t; SELECT a FROM t", "EXPLAIN SELECT 1", "DELETE FROM t"]));
    assert!(matches!(&got[0], StatementResult::Rows(rows) if rows.columns == ["a"]));
    assert!(matches!(&got[1], StatementResult::Rows(rows) if rows.columns.len() == 8));
    assert_eq!(got[2], written(1, 1));
}

#[test]
fn parameters_are_taken_in_order_by_all_statements_of_a_text() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a, b)"]);
    let statement = Statement {
        sql: "INSERT INTO t VALUES(?, :n); INSERT INTO t VALUES(@n, ?)".to_owned(),
        positional: vec![Value::Integer(1), Value::Real(f64::INFINITY), Value::Null],
        named: vec![("n".to_owned(), Value::Text("x".to_owned()))],
        expect: None,
    };
    let mut entry = execute(&[]);
    entry.statements = vec![
        statement,
        Statement { positional: vec![Value::Blob(vec![0, 255])], ..Statement::new("INSERT INTO t VALUES(?, ?)") },
        Statement {
            positional: vec![Value::Integer(8), Value::Integer(9)],
            ..Statement::new("INSERT INTO t VALUES(?2, ?1)")
        },
        Statement {
            positional: vec![Value::Real(f64::NAN), Value::Blob(vec![0, 255])],
            ..Statement::new("INSERT INTO t VALUES($a, $b)")
        },
    ];
    let got = fixture.run_entry(entry);
    assert_failed(&got[1], StatementErrorKind::Parameters, "not enough args to execute query: want 2 got 1");
    assert_eq!(fixture.rows("SELECT * FROM t"), ["1|x", "x|inf", "9|8", "NULL|x'[00, ff]'"]);
}

#[test]
fn a_key_has_at_most_one_effect() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a UNIQUE)"]);
    let keyed = |sql: &[&str], print: u8| Execute {
        idempotency: Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [print; 32] }),
        ..transaction(sql)
    };
    let insert = keyed(&["INSERT INTO t VALUES(1)", "SELECT 1"], 1);
    let outcomes = fixture.apply(&[insert.clone(), insert.clone(), keyed(&["DELETE FROM t"], 2)]);
    assert_eq!(results(&outcomes[0]), [written(1, 1), written(1, 1)]);
    assert_eq!(outcomes[1], Outcome::Executed(Executed { results: results(&outcomes[0]), replayed: Replayed::Yes }));
    assert!(matches!(&outcomes[2], Outcome::Refused(Refusal::IdempotencyMismatch(key)) if key == "k"));
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["1"]);

    let late = Stamp { unix_ms: stamp(0).unix_ms + 25 * 3_600_000, seed: 1 };
    let outcomes = fixture
        .database
        .apply(&[BatchEntry { index: 100, stamp: late, change: Change::Execute(&insert) }])
        .expect("applies");
    let failed = results(&outcomes[0]);
    assert_failed(&failed[0], StatementErrorKind::Sqlite, "UNIQUE");
    let outcomes = fixture
        .database
        .apply(&[BatchEntry { index: 101, stamp: late, change: Change::Execute(&insert) }])
        .expect("applies");
    assert_eq!(outcomes[0], Outcome::Executed(Executed { results: failed, replayed: Replayed::Yes }));
}

#[test]
fn deferred_foreign_keys_fail_their_own_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = Database::open_with(&folder.path().join("ns.sqlite"), ForeignKeys::On).expect("opens");
    let entries = [
        execute(&[
            "CREATE TABLE p(id INTEGER PRIMARY KEY)",
            "CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        ]),
        execute(&["INSERT INTO c VALUES(1)", "INSERT INTO p VALUES(5)"]),
        transaction(&["INSERT INTO p VALUES(2)", "INSERT INTO c VALUES(3)"]),
        transaction(&["INSERT INTO c VALUES(4)", "INSERT INTO p VALUES(4)"]),
    ];
    let batch: Vec<_> = (1..)
        .zip(&entries)
        .map(|(index, execute)| BatchEntry { index, stamp: stamp(index), change: Change::Execute(execute) })
        .collect();
    let outcomes = database.apply(&batch).expect("applies");
    let second = results(&outcomes[1]);
    assert_failed(&second[0], StatementErrorKind::Sqlite, "FOREIGN KEY constraint failed");
    assert_eq!(second[1], written(5, 1));
    assert_failed(&results(&outcomes[2])[1], StatementErrorKind::Sqlite, "FOREIGN KEY constraint failed");
    assert!(results(&outcomes[3]).iter().all(|result| matches!(result, StatementResult::Written(_))));
    let kept: String = database
        .connection
        .query_row("SELECT group_concat(id) || ' ' || (SELECT group_concat(p) FROM c) FROM p", [], |row| row.get(0))
        .expect("reads");
    assert_eq!(kept, "4,5 4");
}

#[test]
fn foreign_keys_are_declared_only_by_default() {
    let mut fixture = Fixture::new();
    let got = fixture.run(&[
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(p REFERENCES p)",
        "INSERT INTO c VALUES(1)",
        "PRAGMA foreign_keys = ON",
    ]);
    assert_eq!(got[2], written(1, 1));
    assert_failed(&got[3], StatementErrorKind::Refused, "foreign_keys");
}

#[test]
fn a_foreign_file_is_not_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("user.sqlite");
    super::prepare_process().expect("first");
    Connection::open(&path).expect("opens").execute_batch("CREATE TABLE t(a)").expect("creates");
    assert!(matches!(Database::open(&path), Err(SqlError::NotAdopted { .. })));
    std::fs::write(&path, [7; 8192]).expect("writes");
    assert!(matches!(Database::open(&path), Err(SqlError::Open { .. })));
}
