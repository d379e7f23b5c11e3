//! `debros namespace migrate` with the files that people really write.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::node::Printed;
use crate::support::{TestCluster, TestNode};

/// A namespace of its own with a directory of migrations.
struct Schema<'a> {
    node: &'a TestNode,
    namespace: String,
    directory: PathBuf,
    caller: Caller,
}

impl Schema<'_> {
    fn of<'a>(node: &'a TestNode, namespace: &str) -> Schema<'a> {
        node.cli_ok(&["namespace", "create", namespace]);
        let key = node.cli_ok(&["key", "create", "--namespace", namespace]);
        let directory = node.data().with_file_name(format!("migrations-{namespace}"));
        std::fs::create_dir(&directory).expect("a new directory");
        Schema { node, namespace: namespace.to_owned(), directory, caller: Caller::with_key(node, &key) }
    }

    fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.directory.join(name), sql).expect("written");
    }

    fn run(&self) -> Printed {
        migrate(self.node, &self.namespace, &self.directory)
    }

    /// Runs and must apply exactly these.
    fn applies(&self, files: &[&str]) {
        let printed = self.run();
        assert_eq!((printed.code, printed.out.lines().collect::<Vec<_>>()), (0, files.to_vec()), "{printed:?}");
    }

    /// Runs and must be refused; what it said.
    fn refused(&self, code: i32, parts: &[&str]) -> String {
        let printed = self.run();
        assert_eq!((printed.code, printed.out.as_str()), (code, ""), "{printed:?}");
        for part in parts {
            assert!(printed.err.contains(part), "{part}: {}", printed.err);
        }
        printed.err
    }

    fn versions(&mut self) -> Value {
        self.caller.rows("SELECT version FROM schema_migrations ORDER BY version")
    }
}

fn migrate(node: &TestNode, namespace: &str, directory: &Path) -> Printed {
    node.cli(&["namespace", "migrate", namespace, directory.to_str().expect("text")])
}

#[test]
fn files_as_people_write_them_are_applied_whole_and_once() {
    let node = start(&[]);
    let mut schema = Schema::of(&node, "shop");
    schema.write(
        "001_tables.sql",
        "\u{feff}-- it's the first; really\r\nBEGIN;\r\nCREATE TABLE item (\r\n  id INTEGER PRIMARY KEY, -- a ; here\r\n  \
         name TEXT NOT NULL DEFAULT 'it''s; -- no comment' /* nor; this */\r\n);\r\n\
         CREATE TABLE log (text TEXT);\r\nCOMMIT;\r\n",
    );
    schema.write(
        "002_triggers.sql",
        "/* a -- b ; 'c' */\n;;\nCREATE TRIGGER item_logged AFTER INSERT ON item\nBEGIN\n  \
         INSERT INTO log VALUES ('new; ' || NEW.name);\n  \
         UPDATE log SET text = CASE WHEN text = 'x' THEN 'END;' ELSE text END;\nEND;\n\
         create temp view v as select 1;\n",
    );
    schema.refused(2, &["002_triggers.sql", "statement 2", "line 8"]);
    assert_eq!(schema.versions(), json!([[1]]), "what came before the failure is applied");
    schema.write(
        "002_triggers.sql",
        "/* a -- b ; 'c' */\n;;\nCREATE TRIGGER item_logged AFTER INSERT ON item\nBEGIN\n  \
         INSERT INTO log VALUES ('new; ' || NEW.name);\n  \
         UPDATE log SET text = CASE WHEN text = 'x' THEN 'END;' ELSE text END;\nEND;\n\
         INSERT INTO item (id) VALUES (1), (2) -- without a semicolon",
    );
    schema.write(
        "0010_data.sql",
        "begin transaction;\nINSERT INTO item(name) VALUES ('--'), ('/*'), ('ü; 🙂');\nend transaction",
    );
    schema.write("notes.txt", "no migration");
    schema.applies(&["002_triggers.sql", "0010_data.sql"]);
    let names = schema.caller.rows("SELECT name FROM item ORDER BY id");
    let default = "it's; -- no comment";
    assert_eq!(names, json!([[default], [default], ["--"], ["/*"], ["ü; 🙂"]]));
    assert_eq!(schema.caller.rows("SELECT count(*), min(text) FROM log"), json!([[5, "new; --"]]));

    let again = schema.run();
    assert_eq!((again.code, again.out.as_str(), again.err.trim()), (0, "", "nothing to do"));
    assert_eq!(schema.versions(), json!([[1], [2], [10]]));
    assert_eq!(schema.caller.rows("SELECT count(*) FROM item"), json!([[5]]));
}

#[test]
fn a_file_that_fails_leaves_nothing_and_says_where() {
    let node = start(&[]);
    let mut schema = Schema::of(&node, "shop");
    schema.write("1_broken.sql", "CREATE TABLE a (x);\n-- fine so far\nCREATE TABLE b (x);\n\n  INSERT INTO c VALUES (1);\nCREATE TABLE d (x);\n");
    schema.refused(2, &["`1_broken.sql`, statement 3 at line 5", "no such table: c"]);
    assert_eq!(schema.caller.rows("SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b', 'd')"), json!([[0]]));
    for (sql, parts) in [
        ("CREATE TABLE a (x);\nROLLBACK;", ["line 2", "ROLLBACK"]),
        ("SAVEPOINT s;", ["line 1", "SAVEPOINT"]),
        ("CREATE TABLE a (x);\n/* one /* two */ three */", ["statement 2 at line 2", "syntax error"]),
        ("CREATE TABLE a (x);\nCREATE TABLE b (x", ["statement 2 at line 2", "incomplete input"]),
        ("ATTACH 'x' AS y;", ["statement 1 at line 1", "not"]),
    ] {
        schema.write("1_broken.sql", sql);
        schema.refused(2, &parts);
    }
    assert_eq!(schema.caller.rows("SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b')"), json!([[0]]));
    schema.write("1_broken.sql", "CREATE TABLE a (x);");
    schema.applies(&["1_broken.sql"]);
}

#[test]
fn history_that_does_not_fit_is_refused_and_says_what_to_do() {
    let node = start(&[]);
    let mut schema = Schema::of(&node, "shop");
    schema.write("001_a.sql", "CREATE TABLE a (x);");
    schema.write("003_c.sql", "CREATE TABLE c (x);");
    schema.applies(&["001_a.sql", "003_c.sql"]);
    schema.write("001_a.sql", "CREATE TABLE a (x, y);");
    schema.refused(2, &["`001_a.sql` was changed after it was applied", "put its old text back"]);
    schema.write("001_a.sql", "CREATE TABLE a (x);");
    schema.write("002_b.sql", "CREATE TABLE b (x);");
    schema.refused(2, &["`002_b.sql` was not applied, but version 3 was", "above 3"]);
    std::fs::rename(schema.directory.join("002_b.sql"), schema.directory.join("3_b.sql")).expect("renamed");
    schema.refused(2, &["both have version 3", "next free number"]);
    std::fs::rename(schema.directory.join("3_b.sql"), schema.directory.join("b.sql")).expect("renamed");
    schema.refused(2, &["`b.sql` is no migration", "001_initial.sql"]);
    std::fs::rename(schema.directory.join("b.sql"), schema.directory.join("4_b.sql")).expect("renamed");
    schema.applies(&["4_b.sql"]);
    // Files of an older checkout: what is applied and not there is left alone.
    std::fs::remove_file(schema.directory.join("003_c.sql")).expect("removed");
    schema.applies(&[]);
    assert_eq!(schema.versions(), json!([[1], [3], [4]]));
    for namespace in ["nowhere", "_accounts"] {
        assert_ne!(migrate(&node, namespace, &schema.directory).code, 0, "{namespace}");
    }
}

#[test]
fn three_that_migrate_at_once_apply_each_file_once() {
    let cluster = TestCluster::start(3);
    let mut schema = Schema::of(&cluster[0], "shop");
    schema.write("001_t.sql", "CREATE TABLE t (x);\nINSERT INTO t VALUES (1);");
    for number in 2..=6 {
        schema.write(&format!("00{number}_more.sql"), "INSERT INTO t SELECT max(x) + 1 FROM t;");
    }
    let run = |node: &TestNode| migrate(node, "shop", &schema.directory);
    let run = &run;
    let printed: Vec<Printed> = std::thread::scope(|scope| {
        let running: Vec<_> = cluster.nodes.iter().map(|node| scope.spawn(move || run(node))).collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let mut applied: Vec<&str> = printed.iter().flat_map(|printed| printed.out.lines()).collect();
    applied.sort_unstable();
    assert!(printed.iter().all(|printed| printed.code == 0), "{printed:?}");
    let files = ["001_t.sql", "002_more.sql", "003_more.sql", "004_more.sql", "005_more.sql", "006_more.sql"];
    assert_eq!(applied, files, "{printed:?}");
    assert_eq!(schema.caller.rows("SELECT x FROM t ORDER BY x"), json!([[1], [2], [3], [4], [5], [6]]));
    assert_eq!(schema.versions(), json!([[1], [2], [3], [4], [5], [6]]));
}
