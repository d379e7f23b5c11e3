//! SQL.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};
use super::refusals::{Callers, refusals};
use crate::gateway::caller::start;

#[test]
fn sql_answers_as_written() {
    let node = start(&[
        ("GATEWAY__API_KEYS", "ghost:ghost"),
        ("DATABASE__RESULT_ROWS_MAX", "1000"),
        ("DATABASE__STATEMENT_TIMEOUT", "1s"),
    ]);
    node.cli_ok(&["namespace", "create", "chat"]);
    let key = |scope: &str| {
        let key = node.cli_ok(&["key", "create", "--namespace", "chat", "--scope", scope]);
        Some(("X-API-Key", key))
    };
    let (full, weak) = (key("*"), key("kv:read"));
    let mut book = Book::open("sql", &node);
    book.conceal(&full.as_ref().expect("a key").1, "key");
    book.conceal(&weak.as_ref().expect("a key").1, "a weak key");
    tables(&mut book, &full);
    writes(&mut book, &full);
    reads(&mut book, &full);
    transactions(&mut book, &full);
    let ghost = Some(("X-API-Key", "ghost".to_owned()));
    let query = Request::new("POST", "/v1/db/query").json(json!({ "sql": "SELECT 1" })).by(&ghost);
    book.ask("A namespace that is not there", query);
    let drop = |table: &str| Request::new("POST", "/v1/db/drop-table").json(json!({ "table": table })).by(&full);
    for (title, table) in
        [("Drop it", "note"), ("It is gone", "note"), ("No name", ""), ("One of ours", "sqlite_schema")]
    {
        book.ask(title, drop(table));
    }
    refusals(&mut book, "sql", &Callers { full, weak });
    book.close();
}

fn tables(book: &mut Book, full: &Credential) {
    let create = |schema: &str| Request::new("POST", "/v1/db/create-table").json(json!({ "schema": schema })).by(full);
    let note = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL, done BOOLEAN DEFAULT 0, at DATETIME, \
        size REAL, data BLOB, UNIQUE (text))";
    for (title, schema) in [
        ("Make a table", note),
        ("It is there", note),
        ("Another statement", "DROP TABLE note"),
        ("Two statements", "CREATE TABLE a (x); CREATE TABLE b (x)"),
        ("No SQL", "CREATE TABLE"),
    ] {
        book.ask(title, create(schema));
    }
    book.ask("The schema", Request::new("GET", "/v1/db/schema").by(full));
    book.ask("The schema", Request::new("GET", "/v1/rqlite/schema").by(full));
}

fn writes(book: &mut Book, full: &Credential) {
    let exec = |body: Value| Request::new("POST", "/v1/db/exec").json(body).by(full);
    let insert = "INSERT INTO note (text, done, at, size, data) VALUES (?, ?, ?, ?, ?)";
    let args = json!(["first", true, "2025-08-20 10:11:12", 1.5, { "base64": "AP8=" }]);
    book.ask("Insert", exec(json!({ "sql": insert, "args": args })));
    let named = json!({ "sql": "INSERT INTO note (text) VALUES (:text) RETURNING id", "args": { "text": "second" } });
    book.ask("By name, with RETURNING", exec(named));
    let once = || exec(json!({ "sql": "INSERT INTO note (text) VALUES ('third')" })).header("Idempotency-Key", "k1");
    book.ask("Once", once());
    book.ask("Once more", once());
    let other = exec(json!({ "sql": "INSERT INTO note (text) VALUES ('4')" })).header("Idempotency-Key", "k1");
    book.ask("Another under the same key", other);
    let long = "k".repeat(300);
    book.ask("A key that is too long", exec(json!({ "sql": "DELETE FROM note" })).header("Idempotency-Key", &long));
    for (title, sql) in [
        ("A constraint", "INSERT INTO note (text) VALUES ('first')"),
        ("No such table", "INSERT INTO absent VALUES (1)"),
        ("A syntax error", "INSERT note"),
        ("A file of the machine", "ATTACH '/etc/passwd' AS p"),
        ("A transaction of one's own", "BEGIN"),
        ("Two statements", "DELETE FROM note; DROP TABLE note"),
        ("No statement", " -- nothing"),
        ("Too few arguments", "INSERT INTO note (text) VALUES (?)"),
    ] {
        book.ask(title, exec(json!({ "sql": sql })));
    }
    book.ask("A value that is none", exec(json!({ "sql": insert, "args": [[1]] })));
    book.ask(
        "By the old path",
        Request::new("POST", "/v1/rqlite/exec").json(json!({ "sql": "DELETE FROM note WHERE 0" })).by(full),
    );
}

fn reads(book: &mut Book, full: &Credential) {
    let post = |path: &'static str, body: Value| Request::new("POST", path).json(body).by(full);
    let query = |sql: &str| post("/v1/db/query", json!({ "sql": sql }));
    book.ask("Rows", query("SELECT * FROM note ORDER BY id LIMIT 1"));
    book.ask(
        "With arguments",
        post("/v1/db/query", json!({ "sql": "SELECT text FROM note WHERE id > ?", "args": [1] })),
    );
    book.ask("No rows", query("SELECT text FROM note WHERE 0"));
    book.ask("By the old path", post("/v1/rqlite/query", json!({ "sql": "SELECT 1 AS one" })));
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT ";
    for (title, sql) in [
        ("A write", "DELETE FROM note"),
        ("No such table", "SELECT * FROM absent"),
        ("A syntax error", "SELEKT 1"),
        ("A forbidden function", "SELECT load_extension('x')"),
        ("Too many rows", &format!("{endless} x FROM n LIMIT 2000")),
        ("Too much work", &format!("{endless} count(*) FROM n")),
    ] {
        book.ask(title, query(sql));
    }
    for (title, target) in [
        ("What this node has", "/v1/db/query?level=none"),
        ("A level that is none", "/v1/db/query?level=best"),
        ("A freshness that is none", "/v1/db/query?level=none&freshness=soon"),
        ("An index that is none", "/v1/db/query?min_index=x"),
        ("A level twice", "/v1/db/query?level=none&level=weak"),
        ("A name that is none", "/v1/db/query?namespace=No"),
    ] {
        book.ask(title, Request::new("POST", target).json(json!({ "sql": "SELECT 1 AS one" })).by(full));
    }
    let find = |more: Value| post("/v1/db/find", more);
    book.ask("By equality", find(json!({ "table": "note", "criteria": { "done": true }, "select": ["id", "text"] })));
    let some = json!({ "table": "note", "criteria": { "id": [1, 2], "at": null }, "options": { "order_by": ["id DESC"], "limit": 1 } });
    book.ask("By any of some, with options", find(some));
    book.ask("No such table", find(json!({ "table": "absent" })));
    book.ask("No such column", find(json!({ "table": "note", "criteria": { "colour": 1 } })));
    book.ask("No such column to show", find(json!({ "table": "note", "select": ["colour"] })));
    book.ask("A name that is none", find(json!({ "table": "note; DROP TABLE note" })));
    book.ask("An order that is none", find(json!({ "table": "note", "order_by": ["id; DROP"] })));
    book.ask("The first", post("/v1/db/find-one", json!({ "table": "note", "criteria": { "id": 1 } })));
    book.ask("None", post("/v1/db/find-one", json!({ "table": "note", "criteria": { "id": 100 } })));
    let select = |more: Value| post("/v1/db/select", more);
    let parts = json!({ "table": "note", "alias": "n", "select": ["n.text AS t", "count(*) AS c"],
        "where": [{ "expr": "n.id > ?", "args": [0] }, { "conj": "OR", "expr": "n.done" }],
        "joins": [{ "kind": "LEFT", "table": "note AS m", "on": "m.id = n.id + 1" }],
        "group_by": ["n.text"], "order_by": ["t DESC"], "limit": 2, "offset": 1 });
    book.ask("From its parts", select(parts));
    book.ask("One", select(json!({ "table": "note", "select": ["text"], "one": true })));
    book.ask("One of none", select(json!({ "table": "note", "where": [{ "expr": "0" }], "one": true })));
    book.ask("An expression that ends early", select(json!({ "table": "note", "where": [{ "expr": "1) OR (1" }] })));
    book.ask(
        "A conjunction that is none",
        select(json!({ "table": "note", "where": [{ "expr": "1" }, { "conj": "XOR", "expr": "1" }] })),
    );
    book.ask(
        "A join that is none",
        select(json!({ "table": "note", "joins": [{ "kind": "SIDE", "table": "m", "on": "1" }] })),
    );
}

fn transactions(book: &mut Book, full: &Credential) {
    let transaction = |body: Value| Request::new("POST", "/v1/db/transaction").json(body).by(full);
    let ops = json!({ "return_results": true, "ops": [
        { "kind": "exec", "sql": "INSERT INTO note (text) VALUES (?)", "args": ["in a transaction"] },
        { "kind": "query", "sql": "SELECT text FROM note WHERE id = last_insert_rowid()" },
        { "kind": "exec", "sql": "UPDATE note SET done = 1 WHERE id = 1", "expect": 1 },
    ] });
    book.ask("All", transaction(ops));
    book.ask(
        "Statements",
        transaction(json!({ "statements": ["UPDATE note SET size = 2", "UPDATE note SET size = 3"] })),
    );
    let unmet = json!({ "ops": [
        { "kind": "exec", "sql": "DELETE FROM note" },
        { "kind": "exec", "sql": "UPDATE note SET done = 1 WHERE id = 100", "expect": { "min": 1 } },
    ] });
    book.ask("What is expected does not hold", transaction(unmet));
    let failing = json!({ "ops": [
        { "kind": "exec", "sql": "DELETE FROM note" },
        { "kind": "exec", "sql": "INSERT INTO absent VALUES (1)" },
    ] });
    book.ask("One fails", transaction(failing));
    book.ask("Two in one", transaction(json!({ "ops": [{ "kind": "exec", "sql": "SELECT 1; SELECT 2" }] })));
    book.ask("A kind that is none", transaction(json!({ "ops": [{ "kind": "run", "sql": "SELECT 1" }] })));
    book.ask("None", transaction(json!({ "ops": [] })));
    let counted = Request::new("POST", "/v1/db/query").json(json!({ "sql": "SELECT count(*) AS notes FROM note" }));
    book.ask("And nothing was deleted", counted.by(full));
}
