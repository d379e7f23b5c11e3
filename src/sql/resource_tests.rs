//! What one statement may cost: the attacks that put seconds or gigabytes into a single VM step.

use std::time::{Duration, Instant};

use super::ReadError;
use super::readers::{ReadOptions, Work};
use super::testing::*;
use crate::types::Statement;
use crate::types::limits::{SQL_PATTERN_BYTES_MAX, SQL_VALUE_BYTES_MAX};
use crate::types::statement::{StatementErrorKind, StatementResult, Value};

/// A text of some four megabytes.
const LONG: &str = "(SELECT replace(hex(zeroblob(2000000)),'00','aa'))";

/// Debug builds and busy machines take their time; what is looked for took minutes.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn functions_on_large_values_take_no_minutes() {
    let mut fixture = Fixture::new();
    let half = "(SELECT replace(hex(zeroblob(1000000)),'00','aa'))";
    let calls = [
        format!("instr({LONG}, {half} || 'b')"),
        format!("length(replace({LONG}, {half} || 'b', 'c'))"),
        format!("length(rtrim({LONG}, 'bcdefghijklmnopqrstuvwxyz€éüa'))"),
        format!("length(unhex({LONG}, {half}))"),
        format!("{LONG} LIKE '%a{}b'", "_".repeat(90)),
        format!("{LONG} GLOB '*[{}]'", "x".repeat(90)),
    ];
    for call in calls {
        let started = Instant::now();
        let read = fixture.query(&[&format!("SELECT {call}")]);
        assert!(matches!(&read[0], StatementResult::Rows(rows) if rows.values.len() == 1), "{call}: {read:?}");
        let written = fixture.run_entry(with_rows(&[&format!("SELECT {call}")]));
        assert_eq!(timeless(read[0].clone()), written[0], "{call}");
        assert!(started.elapsed() < SOON, "{call} took {:?}", started.elapsed());
    }
}

#[test]
fn a_long_pattern_is_refused() {
    let fixture = Fixture::new();
    for operator in ["LIKE", "GLOB"] {
        let refused = fixture.query(&[&format!("SELECT 'a' {operator} '{}'", "_".repeat(SQL_PATTERN_BYTES_MAX + 1))]);
        assert_failed(&refused[0], StatementErrorKind::Sqlite, "pattern too complex");
    }
}

#[test]
fn a_statement_holds_a_bounded_number_of_large_values() {
    let mut fixture = Fixture::new();
    let copies = vec!["x"; 300].join(", ");
    let nested = |open: &str, close: &str| format!("replace(substr(hex(zeroblob(500)), 1, 900), '0', '{open}{close}')");
    let bombs = [
        format!("SELECT {copies} FROM (SELECT {LONG} AS x)"),
        format!("SELECT length(json_array({copies})) FROM (SELECT {LONG} AS x)"),
        format!("SELECT length(concat({copies})) FROM (SELECT {LONG} AS x)"),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
         SELECT length(json_group_array(hex(zeroblob(250000)))) FROM n"
            .to_owned(),
        format!(
            "SELECT length(json_pretty({} || replace(substr(hex(zeroblob(500000)), 1, 900000), '0', '1,') || '1' || {}))",
            nested("[", ""),
            nested("]", "")
        ),
    ];
    for bomb in &bombs {
        for result in [&fixture.query(&[bomb])[0], &fixture.run_entry(with_rows(&[bomb]))[0]] {
            assert_failed(result, StatementErrorKind::TooLarge, "bytes of memory for large values");
        }
    }
    // The connections are as good as before.
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
    assert_eq!(fixture.rows("SELECT a FROM t"), ["1"]);
}

#[test]
fn a_write_that_holds_too_much_leaves_nothing_and_spares_its_neighbours() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let copies = vec!["x"; 30].join(", ");
    let bomb =
        format!("INSERT INTO t SELECT length(concat({copies})) FROM (SELECT {LONG} AS x UNION ALL SELECT {LONG})");
    let outcomes = fixture.apply(&[
        execute(&["INSERT INTO t VALUES(1)"]),
        execute(&["INSERT INTO t VALUES(2)", &bomb, "INSERT INTO t VALUES(3)"]),
        execute(&["INSERT INTO t VALUES(4)"]),
    ]);
    assert_failed(&results(&outcomes[1])[1], StatementErrorKind::TooLarge, "memory");
    assert_eq!(fixture.rows("SELECT a FROM t"), ["1", "2", "3", "4"]);
}

#[test]
fn doubling_ends_at_the_largest_value() {
    let fixture = Fixture::new();
    let doubling =
        "WITH RECURSIVE d(s) AS (SELECT 'aaaaaaaa' UNION ALL SELECT s || s FROM d) SELECT max(length(s)) FROM d";
    let started = Instant::now();
    assert_failed(&fixture.query(&[doubling])[0], StatementErrorKind::Sqlite, "too big");
    assert!(started.elapsed() < SOON);
}

#[test]
fn work_inside_a_step_counts_against_the_budget_alike_everywhere() {
    let statement = format!("SELECT sum(instr(x, 'b')) FROM (SELECT {LONG} AS x), generate");
    let statement =
        format!("WITH RECURSIVE generate(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM generate LIMIT 200) {statement}");
    let run = |steps_max| {
        let mut fixture = Fixture::new();
        let mut execute = with_rows(&[&statement]);
        execute.steps_max = steps_max;
        fixture.run_entry(execute)
    };
    // 200 looks at four megabytes, a step for 32 bytes of each.
    assert_failed(&run(20_000_000)[0], StatementErrorKind::Timeout, "execute timeout");
    assert!(matches!(&run(40_000_000)[0], StatementResult::Rows(_)));
}

#[test]
fn a_quick_read_meets_no_large_value_and_does_not_run_long() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(zeroblob(100000)), (1)"]);
    let quick = ReadOptions { work: Work::Quick, ..ReadOptions::default() };
    let ask = |sql: &str| fixture.readers.query(&[Statement::new(sql)], &quick);
    assert_eq!(ask("SELECT count(*) FROM t").expect("quick").len(), 1);
    for sql in ["SELECT a FROM t", "SELECT hex(zeroblob(20000))", "SELECT nonsense"] {
        assert!(matches!(ask(sql), Err(ReadError::StepsExhausted)), "{sql}");
    }
    // The same connection serves reads that may take longer.
    assert_eq!(fixture.rows("SELECT length(hex(a)) FROM t"), ["200000", "2"]);
}

#[test]
fn the_largest_value_is_stored_and_read_back() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    for (bytes, fits) in [(8 * 1024 * 1024, true), (SQL_VALUE_BYTES_MAX + 1, false)] {
        let mut insert = execute(&["INSERT INTO t VALUES(?)"]);
        insert.statements[0].positional = vec![Value::Blob(vec![7; bytes])];
        let result = fixture.run_entry(insert);
        assert_eq!(matches!(&result[0], StatementResult::Written(_)), fits, "{bytes}: {:?}", result[0]);
    }
    assert_eq!(fixture.rows("SELECT length(a) FROM t"), [(8 * 1024 * 1024).to_string()]);
}
