//! What a statement's expectation of rows promises.

use super::testing::*;
use crate::types::command::{Execute, RowsWanted};
use crate::types::statement::{Expect, Statement, StatementErrorKind, StatementResult};

fn expecting(sql: &str, expect: Expect) -> Statement {
    Statement { expect: Some(expect), ..Statement::new(sql) }
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "INSERT INTO t(a) VALUES(1),(1),(2)"]);
    fixture
}

#[test]
fn an_unmet_expectation_undoes_the_whole_transaction() {
    let mut fixture = fixture();
    let statements = vec![
        Statement::new("INSERT INTO t(a) VALUES(9)"),
        expecting("UPDATE t SET a = 5 WHERE id = 77", Expect::exactly(1)),
        Statement::new("INSERT INTO t(a) VALUES(10)"),
    ];
    let got = fixture.run_entry(Execute { statements, ..transaction(&[]) });
    assert_eq!(got.len(), 2);
    assert_failed(
        &got[1],
        StatementErrorKind::Expectation,
        "expected exactly 1 rows to be affected or returned, found 0",
    );
    assert_eq!(fixture.rows("SELECT a FROM t"), ["1", "1", "2"]);
    assert_eq!(fixture.run(&["SELECT 1"]), [written(3, 3)]);
}

#[test]
fn each_kind_of_statement_counts_its_own_rows() {
    let at_least = |min| Expect { min, max: None };
    let at_most = |max| Expect { min: 0, max: Some(max) };
    for (sql, met, unmet) in [
        ("UPDATE t SET a = 3 WHERE a = 1", Expect::exactly(2), at_most(1)),
        ("DELETE FROM t WHERE a = 1 RETURNING id", Expect::exactly(2), at_least(3)),
        ("INSERT OR IGNORE INTO t VALUES(1, 1)", Expect::exactly(0), at_least(1)),
        ("CREATE TABLE u(a)", Expect::exactly(0), at_least(1)),
        ("SELECT * FROM t", Expect::exactly(3), at_most(2)),
        ("SELECT * FROM t WHERE a = 7", at_most(0), Expect::exactly(1)),
        ("WITH n AS (SELECT 8 AS x) INSERT INTO t(a) SELECT x FROM n", Expect::exactly(1), Expect::exactly(0)),
        ("UPDATE t SET a = 4; SELECT * FROM t WHERE a = 4 LIMIT 1", Expect::exactly(1), Expect::exactly(3)),
        ("PRAGMA user_version = 4", Expect::exactly(0), at_least(1)),
        ("-- nothing", Expect::exactly(0), at_least(1)),
    ] {
        for rows in [RowsWanted::FromReturning, RowsWanted::FromAll] {
            // A write before it must not be counted for it.
            let run = |expect| {
                let statements = vec![Statement::new("UPDATE t SET a = a WHERE id = 3"), expecting(sql, expect)];
                fixture().run_entry(Execute { statements, rows, ..transaction(&[]) })
            };
            let failed = |results: &[StatementResult]| matches!(results.last(), Some(StatementResult::Failed(_)));
            assert!(!failed(&run(met)), "{sql} {rows:?}");
            let got = run(unmet);
            assert_failed(got.last().expect("a result"), StatementErrorKind::Expectation, "expected");
        }
    }
}

#[test]
fn outside_of_a_transaction_nothing_is_expected() {
    let mut fixture = fixture();
    let statements = vec![expecting("DELETE FROM t WHERE id = 9", Expect::exactly(1))];
    assert_eq!(fixture.run_entry(Execute { statements, ..execute(&[]) }), [written(3, 0)]);
}
