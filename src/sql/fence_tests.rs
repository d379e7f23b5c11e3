//! The tenant fence against real SQL, on both kinds of connections.

use super::readers::ReadOptions;
use super::testing::*;
use crate::types::statement::{Statement, StatementErrorKind, StatementResult};

#[test]
fn what_reaches_outside_of_the_request_is_refused_with_a_way_out() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    for (sql, part) in [
        ("BEGIN", "in one request with `transaction`"),
        ("COMMIT", "transaction control"),
        ("ROLLBACK", "transaction control"),
        ("SAVEPOINT x", "transaction control"),
        ("RELEASE entry", "transaction control"),
        ("ROLLBACK TO entry", "transaction control"),
        ("/*debros*/ COMMIT", "transaction control"),
        (" /*debros*/ BEGIN", "transaction control"),
        ("/*debros*/ SELECT fingerprint, outcome FROM sqlite_debros_idempotency WHERE key = ?1", "belongs to debros"),
        ("ATTACH '/tmp/x' AS y", "ATTACH"),
        ("DETACH main", "DETACH"),
        ("CREATE TEMP TABLE x(a)", "ordinary table"),
        ("CREATE TEMP VIEW x AS SELECT 1", "ordinary table"),
        ("CREATE TABLE temp.x(a)", "ordinary table"),
        ("CREATE TABLE temp.x AS SELECT 1", "ordinary table"),
        ("CREATE VIEW \"TEMP\".x AS SELECT 1", "ordinary table"),
        ("CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END", "ordinary table"),
        ("CREATE VIRTUAL TABLE temp.x USING fts5(a)", "ordinary table"),
        ("PRAGMA journal_mode = DELETE", "journal_mode"),
        ("PRAGMA writable_schema = ON", "writable_schema"),
        ("PRAGMA trusted_schema = ON", "trusted_schema"),
        ("PRAGMA foreign_keys = ON", "foreign_keys"),
        ("PRAGMA optimize", "optimize"),
        ("PRAGMA wal_checkpoint", "wal_checkpoint"),
        ("SELECT load_extension('x')", "load_extension"),
        ("CREATE VIRTUAL TABLE x USING dbstat", "dbstat"),
        ("SELECT * FROM dbstat", "dbstat"),
        ("SELECT * FROM sqlite_debros_applied", "belongs to debros"),
        ("SELECT count(*) FROM SQLITE_DEBROS_IDEMPOTENCY", "belongs to debros"),
        ("INSERT INTO t VALUES(1)\0; INSERT INTO t VALUES(2)", "NUL character"),
        ("\0", "NUL character"),
    ] {
        assert_failed(&fixture.run(&[sql])[0], StatementErrorKind::Refused, part);
        assert_failed(&fixture.query(&[sql])[0], StatementErrorKind::Refused, part);
    }
    assert_failed(&fixture.run(&["VACUUM"])[0], StatementErrorKind::Refused, "VACUUM");
    assert_failed(&fixture.run(&["VACUUM INTO '/tmp/never'"])[0], StatementErrorKind::Refused, "VACUUM");
    assert!(matches!(fixture.query(&["VACUUM INTO '/tmp/never'"])[0], StatementResult::Failed(_)));
    assert!(!std::path::Path::new("/tmp/never").exists());
}

#[test]
fn internal_tables_can_neither_be_written_nor_imitated() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
    for sql in [
        "INSERT INTO sqlite_debros_applied VALUES(2, 3, 4, 5)",
        "UPDATE sqlite_debros_applied SET log_index = 99",
        "DELETE FROM sqlite_debros_idempotency",
        "DROP TABLE sqlite_debros_applied",
        "ALTER TABLE sqlite_debros_applied RENAME TO x",
        "ALTER TABLE sqlite_debros_applied ADD COLUMN x",
        "ALTER TABLE t RENAME TO sqlite_debros_x",
        "CREATE TABLE sqlite_debros_x(a)",
        "CREATE INDEX sqlite_debros_x ON t(a)",
        "CREATE INDEX x ON sqlite_debros_applied(log_index)",
        "CREATE TRIGGER x AFTER UPDATE ON sqlite_debros_applied BEGIN SELECT 1; END",
        "INSERT INTO sqlite_schema VALUES('table', 'x', 'x', 2, 'CREATE TABLE x(a)')",
        "UPDATE sqlite_schema SET sql = 'x'",
        "CREATE TABLE copy AS SELECT * FROM sqlite_debros_applied",
    ] {
        assert!(matches!(fixture.run(&[sql])[0], StatementResult::Failed(_)), "{sql}");
    }
    let through_trigger = fixture.run(&[
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE sqlite_debros_applied SET log_index = 99; END",
        "INSERT INTO t VALUES(2)",
        "DROP TRIGGER tr",
    ]);
    assert_failed(&through_trigger[1], StatementErrorKind::Refused, "belongs to debros");
    let through_view =
        fixture.run(&["CREATE VIEW v AS SELECT * FROM sqlite_debros_applied", "INSERT INTO t SELECT 1 FROM v"]);
    assert_failed(&through_view[1], StatementErrorKind::Refused, "belongs to debros");
    assert_eq!(fixture.rows("SELECT a FROM t"), ["1"]);
}

#[test]
fn what_differs_between_nodes_cannot_be_written() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    for sql in [
        "INSERT INTO t VALUES(sqlite_version())",
        "INSERT INTO t SELECT sqlite_source_id()",
        "INSERT INTO t SELECT file FROM pragma_database_list",
        "CREATE TABLE u AS SELECT name FROM pragma_table_info('t')",
        "PRAGMA data_version",
    ] {
        let got = fixture.run(&[sql, sql]);
        assert!(
            matches!(&got[0], StatementResult::Failed(error) if error.kind == StatementErrorKind::Refused),
            "{sql}: {got:?}"
        );
        assert_eq!(got[0], got[1]);
    }
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["0"]);
    assert_eq!(fixture.rows("SELECT sqlite_version() > '3.45'"), ["1"]);
}

#[test]
fn names_that_are_no_text_hurt_nobody() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    for sql in ["SELECT * FROM pragma_table_info(CAST(x'ff' AS TEXT))", "SELECT CAST(x'ff' AS TEXT) AS a"] {
        fixture.run_entry(with_rows(&[sql]));
        assert!(matches!(fixture.query(&[sql])[0], StatementResult::Rows(_)), "{sql}");
    }
}

#[test]
fn introspection_works_as_tools_expect() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", "CREATE INDEX i ON t(b)"]);
    for sql in [
        "PRAGMA table_info(t)",
        "PRAGMA main.table_xinfo('t')",
        "PRAGMA table_list",
        "PRAGMA index_list(t)",
        "PRAGMA index_info(i)",
        "PRAGMA index_xinfo(i)",
        "PRAGMA user_version",
        "PRAGMA foreign_keys",
        "PRAGMA journal_mode",
        "PRAGMA page_count",
        "PRAGMA integrity_check",
        "PRAGMA quick_check",
        "PRAGMA database_list",
        "PRAGMA collation_list",
        "SELECT name FROM pragma_table_info('t')",
        "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'",
    ] {
        assert!(
            matches!(&fixture.query(&[sql])[0], StatementResult::Rows(rows) if !rows.values.is_empty()),
            "{sql}: {:?}",
            fixture.query(&[sql])
        );
    }
    assert_eq!(fixture.rows("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1"), ["i", "t"]);
    assert!(matches!(fixture.run(&["PRAGMA user_version = 9"])[0], StatementResult::Written(_)));
    assert_eq!(fixture.rows("PRAGMA user_version"), ["9"]);
    assert_failed(&fixture.query(&["PRAGMA user_version = 10"])[0], StatementErrorKind::ReadOnly, "attempt to change");
}

#[test]
fn sizes_and_depths_are_bounded() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let deep = format!("SELECT {}1{}", "(1+".repeat(600), ")".repeat(600));
    let compound = vec!["SELECT 1"; 501].join(" UNION ALL ");
    let huge = format!("SELECT '{}'", "x".repeat(1024 * 1024));
    let like = |operator: &str, wildcard: &str| {
        let (text, pattern) = ("a".repeat(50_000), format!("{wildcard}a").repeat(20_000));
        format!("INSERT INTO t SELECT '{text}' {operator} '{pattern}b'")
    };
    for sql in [
        &like("GLOB", "*"),
        &like("LIKE", "%"),
        "INSERT INTO t VALUES(zeroblob(1000000000))",
        "INSERT INTO t VALUES(randomblob(1000000000))",
        &deep,
        &compound,
        &huge,
    ] {
        let got = fixture.run(&[sql]);
        assert!(matches!(&got[0], StatementResult::Failed(_)), "{}", &sql[..40]);
    }
    let many = "SELECT 1;".repeat(100_000);
    let got = fixture.run(&[&many]);
    assert_eq!(got.len(), 1);
    let blank = ";".repeat(1_000_000);
    assert_eq!(fixture.run(&[&blank]).len(), 0);
}

#[test]
fn the_extensions_that_users_rely_on_are_built_in() {
    let mut fixture = Fixture::new();
    let got = fixture.run(&[
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        "INSERT INTO f VALUES('one two'),('three')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES(1, 0, 5)",
        "CREATE TABLE j(d CHECK(json_valid(d)))",
        "INSERT INTO j VALUES('{\"a\":[1,2]}')",
    ]);
    assert!(got.iter().all(|result| matches!(result, StatementResult::Written(_))), "{got:?}");
    assert_eq!(fixture.rows("SELECT a FROM f WHERE f MATCH 'two'"), ["one two"]);
    assert_eq!(fixture.rows("SELECT id FROM r WHERE x0 < 1 AND x1 > 4"), ["1"]);
    assert_eq!(fixture.rows("SELECT d -> '$.a[1]' FROM j"), ["2"]);
    assert_eq!(fixture.rows("SELECT \"dqs\", round(4.0)"), ["dqs|4.0"]);
}

#[test]
fn what_a_check_of_fts5_finds_does_not_stop_the_node() {
    let mut fixture = Fixture::new();
    let got = fixture.run(&[
        "CREATE TABLE content(a)",
        "CREATE VIRTUAL TABLE f USING fts5(a, content='content')",
        "INSERT INTO content VALUES('x')",
        "INSERT INTO f(f) VALUES('integrity-check')",
        "INSERT INTO f(f, rank) VALUES('integrity-check', 1)",
    ]);
    assert_failed(&got[4], StatementErrorKind::Sqlite, "malformed");
}

#[test]
fn random_states_of_sqlite_are_out_of_reach() {
    let mut fixture = Fixture::new();
    let got = fixture.run(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
        "INSERT INTO t VALUES(9223372036854775807, 1)",
        "INSERT INTO t VALUES(9223372036854775806, 1)",
        "INSERT INTO t(a) VALUES(2)",
        "UPDATE t SET id = 9223372036854775807",
        "UPDATE sqlite_sequence SET seq = 9223372036854775807",
        "CREATE TABLE u AS SELECT 1 a, 2 a, 3 a",
        "CREATE TABLE v(\"a:1\", b); INSERT INTO v VALUES(1, 2)",
        "INSERT INTO t(id, a) VALUES(1, 'create')",
    ]);
    for refused in [1, 3, 4] {
        assert_failed(&got[refused], StatementErrorKind::Refused, "9223372036854775807 is not allowed");
    }
    assert_failed(&got[5], StatementErrorKind::Refused, "sqlite_sequence");
    assert_failed(&got[6], StatementErrorKind::Refused, "equal names");
    assert!(matches!(got[7], StatementResult::Written(_)));
    assert!(matches!(got[8], StatementResult::Written(_)));
    assert_eq!(fixture.rows("SELECT id FROM t"), ["1", "9223372036854775806"]);
}

#[test]
fn a_write_is_told_from_a_read() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let read_only =
        |sql: &str| fixture.readers.all_read_only(&[Statement::new("SELECT 1"), Statement::new(sql)]).expect("tells");
    for sql in [
        "SELECT * FROM t",
        "EXPLAIN INSERT INTO t VALUES(1)",
        "nonsense",
        "",
        "SELECT 1; SELECT 2",
        "PRAGMA table_info(t)",
        "BEGIN",
    ] {
        assert!(read_only(sql), "{sql}");
    }
    for sql in [
        "INSERT INTO t VALUES(1)",
        "SELECT 1; DELETE FROM t",
        "CREATE TABLE u(a); INSERT INTO u VALUES(1)",
        "PRAGMA user_version = 1",
    ] {
        assert!(!read_only(sql), "{sql}");
        let got = fixture.readers.query(&[Statement::new(sql)], &ReadOptions::default()).expect("answers");
        assert_failed(&got[0], StatementErrorKind::ReadOnly, "attempt to change database via query operation");
    }
    assert_eq!(fixture.rows("SELECT count(*) FROM t"), ["0"]);
}

#[test]
fn no_statement_can_exhaust_the_stack_or_stop_the_node() {
    let mut fixture = Fixture::new();
    let depth = 20_000;
    let nested = [
        format!("{}SELECT 1{}", "SELECT * FROM (".repeat(depth), ")".repeat(depth)),
        format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth)),
        format!("SELECT {}1{}", "abs(".repeat(depth), ")".repeat(depth)),
        format!("SELECT {}1{}", "(SELECT ".repeat(depth), ")".repeat(depth)),
        format!("SELECT {}1{}", "CASE WHEN 1 THEN ".repeat(depth), " END".repeat(depth)),
        format!("SELECT {}1", "NOT ".repeat(depth)),
        format!("SELECT 1{}", " + 1".repeat(depth)),
        format!("SELECT 1{}", " IN (SELECT 1".repeat(depth)),
        format!("{}SELECT 1", "WITH x AS (SELECT 1) ".repeat(depth)),
        format!("{}SELECT 1{}", "WITH x AS (".repeat(depth), ") SELECT 1".repeat(depth)),
        format!("SELECT * FROM {}t{}", "(".repeat(depth), ")".repeat(depth)),
        format!("SELECT json('{}{}')", "[".repeat(depth), "]".repeat(depth)),
    ];
    for sql in &nested {
        fixture.run(&[sql]);
        fixture.query(&[sql]);
    }
    fixture.run(&["CREATE TABLE t(a)", "CREATE VIEW v0 AS SELECT * FROM t"]);
    let views: Vec<_> = (1..3_000).map(|n| format!("CREATE VIEW v{n} AS SELECT * FROM v{}", n - 1)).collect();
    fixture.run(&views.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.run(&["INSERT INTO t SELECT * FROM v2999", "SELECT * FROM v500"]);
    fixture.query(&["SELECT * FROM v2999"]);
    let triggers: Vec<_> = (0..300)
        .flat_map(|n| {
            [
                format!("CREATE TABLE c{n}(a)"),
                format!("CREATE TRIGGER r{n} AFTER INSERT ON c{n} BEGIN INSERT INTO c{} VALUES(1); END", n + 1),
            ]
        })
        .collect();
    fixture.run(&triggers.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.run(&["CREATE TABLE c300(a)", "INSERT INTO c0 VALUES(1)"]);
    let doubling: Vec<_> = (1..40)
        .map(|n| format!("CREATE VIEW d{n} AS SELECT * FROM d{0} UNION ALL SELECT * FROM d{0}", n - 1))
        .collect();
    fixture.run(&["CREATE VIEW d0 AS SELECT * FROM t"]);
    fixture.run(&doubling.iter().map(String::as_str).collect::<Vec<_>>());
    let got = fixture.run(&["INSERT INTO t SELECT * FROM d39"]);
    assert!(matches!(got[0], StatementResult::Failed(_)), "{got:?}");
    assert_eq!(fixture.rows("SELECT 1"), ["1"]);
}

#[test]
fn many_rows_in_one_statement_do_not_stop_the_node() {
    let mut fixture = Fixture::new();
    let sql = format!("INSERT INTO t VALUES{}(1)", "(1),".repeat(240_000));
    let got = fixture.run(&["CREATE TABLE t(a)", &sql, "INSERT INTO t VALUES(1)"]);
    assert_failed(&got[1], StatementErrorKind::Sqlite, "too complex");
    assert!(matches!(got[2], StatementResult::Written(_)), "{got:?}");
    let text = "x".repeat(900_000);
    let add = |name: &str| format!("ALTER TABLE t ADD COLUMN {name} DEFAULT '{text}'");
    fixture.run(&[&add("b"), &add("c"), &add("d")]);
    fixture.run_entry(transaction(&["CREATE TABLE u(a)", "nonsense"]));
    let got = fixture.run(&["INSERT INTO t(a) VALUES(2)"]);
    assert!(matches!(got[0], StatementResult::Written(_)), "{got:?}");
}
