//! SQL over HTTP.

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::TestCluster;

#[test]
fn values_come_back_exactly() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "shop"]);
    let mut caller = Caller::with_key(&node, &node.cli_ok(&["key", "create", "--namespace", "shop"]));
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER, r REAL, b BLOB, flag BOOLEAN, day DATE, at DATETIME, x TEXT)";
    caller.ok("POST", "/v1/db/create-table", &json!({ "schema": schema }));
    let insert = "INSERT INTO t (i, r, b, flag, day, at, x) VALUES (?, ?, ?, ?, ?, ?, ?)";
    for i in [i64::MAX, i64::MIN, 9_007_199_254_740_993, 0, -1] {
        let args =
            json!([i, 0.1, { "base64": "AP9/gA==" }, true, "2025-08-20", "2025-08-20 10:11:12.5", "a\u{0}é🙂\"\\"]);
        let done = caller.ok("POST", "/v1/db/exec", &json!({ "sql": insert, "args": args }));
        assert_eq!(done["rows_affected"], 1);
        let id = done["last_insert_id"].as_i64().expect("a number");
        let found = caller.ok("POST", "/v1/db/find-one", &json!({ "table": "t", "criteria": { "id": id } }));
        assert_eq!(found["i"].as_i64(), Some(i), "{found}");
        assert_eq!((found["r"].as_f64(), found["b"].as_str()), (Some(0.1), Some("AP9/gA==")));
        assert_eq!((&found["flag"], &found["day"]), (&json!(true), &json!("2025-08-20T00:00:00Z")));
        assert_eq!((&found["at"], &found["x"]), (&json!("2025-08-20T10:11:12.5Z"), &json!("a\u{0}é🙂\"\\")));
        let equal = caller.ok("POST", "/v1/db/find", &json!({ "table": "t", "criteria": { "i": i, "flag": true } }));
        assert_eq!(equal["count"], 1, "{i}");
    }
    let nulls = "INSERT INTO t (id) VALUES (:id) RETURNING *";
    let done = caller.ok("POST", "/v1/db/exec", &json!({ "sql": nulls, "args": { "id": 100 } }));
    assert_eq!((&done["items"][0]["flag"], &done["items"][0]["at"]), (&Value::Null, &Value::Null));
    let bounds = "SELECT 9223372036854775807, -9223372036854775808, 1e308 * 10, 0.1 + 0.2, x'00ff', NULL";
    let answer = caller.ask("POST", "/v1/db/query", &json!({ "sql": bounds }));
    let exact = r#"[[9223372036854775807,-9223372036854775808,"Inf",0.30000000000000004,"AP8=",null]]"#;
    assert!(answer.body.contains(exact), "{}", answer.body);
    let table = caller.ok("POST", "/v1/db/query", &json!({ "sql": "PRAGMA table_info(t)" }));
    assert_eq!((&table["count"], &table["items"][4]["name"]), (&json!(8), &json!("flag")));
    caller.refused("POST", "/v1/db/query", &json!({ "sql": "PRAGMA journal_mode = DELETE" }), 422, "STATEMENT_REFUSED");
}

#[test]
fn a_mistyped_column_is_refused_and_not_taken_for_a_text() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "shop"]);
    let mut caller = Caller::with_key(&node, &node.cli_ok(&["key", "create", "--namespace", "shop"]));
    caller.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, `odd ``name` TEXT)");
    caller.exec("INSERT INTO t (name, `odd ``name`) VALUES ('a', 'b')");
    for body in [
        json!({ "table": "t", "criteria": { "nmae": "nmae" } }),
        json!({ "table": "t", "select": ["nmae"] }),
        json!({ "table": "t", "order_by": ["nmae"] }),
        json!({ "table": "t", "group_by": ["nmae"] }),
        json!({ "table": "t", "criteria": { "t.nmae": 1 } }),
    ] {
        let said = caller.refused("POST", "/v1/db/find", &body, 400, "STATEMENT_FAILED");
        assert!(
            said["error"].as_str().is_some_and(|text| text.contains("no such column") && text.contains("nmae")),
            "{said}"
        );
    }
    let odd = json!({ "table": "t", "select": ["\"odd `name\" AS odd"], "criteria": { "\"name\"": "a" } });
    assert_eq!(caller.ok("POST", "/v1/db/find-one", &odd), json!({ "odd": "b" }));
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let node = start(&[]);
    node.cli_ok(&["namespace", "create", "bank"]);
    let mut caller = Caller::with_key(&node, &node.cli_ok(&["key", "create", "--namespace", "bank"]));
    caller.exec("CREATE TABLE account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0))");
    caller.exec("INSERT INTO account VALUES ('a', 100), ('b', 0)");
    let pay = |cents: i64, to: &str| {
        json!({ "return_results": true, "ops": [
        { "kind": "exec", "sql": "UPDATE account SET cents = cents + ? WHERE name = ?", "args": [cents, to], "expect": 1 },
        { "kind": "exec", "sql": "UPDATE account SET cents = cents - ? WHERE name = 'a'", "args": [cents], "expect": { "rows": 1 } },
        { "kind": "query", "sql": "SELECT sum(cents) AS total FROM account", "expect": { "min": 1, "max": 1 } },
    ] })
    };
    let done = caller.ok("POST", "/v1/db/transaction", &pay(30, "b"));
    assert_eq!(done["results"][0]["rows_affected"], 1);
    assert_eq!(done["results"][2], json!([{ "total": 100 }]));
    let nobody = caller.refused("POST", "/v1/db/transaction", &pay(30, "nobody"), 409, "EXPECTATION_FAILED");
    assert_eq!((nobody["details"]["op"].as_u64(), nobody["outcome"].as_str()), (Some(0), Some("not_executed")));
    let poor = caller.refused("POST", "/v1/db/transaction", &pay(71, "b"), 409, "CONSTRAINT_FAILED");
    assert_eq!((poor["details"]["op"].as_u64(), poor["outcome"].as_str()), (Some(1), Some("not_executed")));
    assert_eq!(caller.rows("SELECT cents FROM account ORDER BY name"), json!([[70], [30]]));
    // Every amount of money is there, however many pay at once.
    let key = node.cli_ok(&["key", "create", "--namespace", "bank"]);
    let pay = &pay;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut caller = Caller::with_key(&node, &key);
            scope.spawn(move || (0..20).for_each(|_| drop(caller.ask("POST", "/v1/rqlite/transaction", &pay(1, "b")))));
        }
    });
    assert_eq!(caller.rows("SELECT cents FROM account ORDER BY name"), json!([[0], [100]]));
}

#[test]
fn a_write_is_seen_by_a_read_that_names_its_index_on_every_node_and_happens_once() {
    let cluster = TestCluster::start(3);
    cluster[0].cli_ok(&["namespace", "create", "shop"]);
    let key = cluster[0].cli_ok(&["key", "create", "--namespace", "shop"]);
    let mut callers: Vec<Caller> = cluster.nodes.iter().map(|node| Caller::with_key(node, &key)).collect();
    callers[0].exec("CREATE TABLE t (x)");
    for round in 0..30 {
        let index = callers[round % 3].exec("INSERT INTO t VALUES (1)");
        let count = json!({ "sql": "SELECT count(*) AS n FROM t" });
        for (node, caller) in callers.iter_mut().enumerate() {
            for target in [
                format!("level=none&min_index={index}"),
                "level=weak".to_owned(),
                "level=strong".to_owned(),
                String::new(),
            ] {
                let read = caller.ok("POST", &format!("/v1/db/query?{target}"), &count);
                assert_eq!(read["items"][0]["n"], round + 1, "node {node}, {target}");
            }
        }
    }
    let write = br#"{"sql":"INSERT INTO t VALUES (2)"}"#;
    let headers = [("Idempotency-Key", "once"), ("Content-Type", "application/json")];
    let answers: Vec<_> =
        callers.iter_mut().map(|caller| caller.send("POST", "/v1/db/exec", &headers, write)).collect();
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true")).count(), 2);
    assert_eq!(callers[1].rows("SELECT count(*) FROM t WHERE x = 2"), json!([[1]]));
    let other = callers[2].send("POST", "/v1/db/exec", &headers, br#"{"sql":"DELETE FROM t"}"#);
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("IDEMPOTENCY_MISMATCH")));
}
