//! Every recorded answer of a real rqlite, asked of a debros node in the order of the recording.
//!
//! An answer must be the recorded one to the byte, times and counters of the recording's log aside, unless its name is in
//! [`DEVIATIONS`]: then it must be the answer written there, and the recorded one must differ. So the test fails when a
//! deviation appears that nobody decided on, and when one disappears that the documentation still lists.
//!
//! The recording was thinned; [`INTERLUDES`] does what the missing requests did, and undoes what deviates, so that later
//! answers can be compared.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::exchange::{Answer, exchange};
use crate::support;

/// A recorded exchange.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    method: String,
    path: String,
    req_headers: BTreeMap<String, String>,
    req_body: Option<String>,
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// What is answered instead of the recorded body.
enum Instead {
    /// This body.
    Body(&'static str),
    /// The recorded body with these parts replaced.
    Parts(&'static [(&'static str, &'static str)]),
    /// The statement itself as `rewritten`.
    NotRewritten,
    /// This status, with the body unchecked.
    Status(&'static [u16]),
    /// An error of this statement that contains the text.
    ErrorWith(&'static str),
    /// JSON with at least these dotted paths.
    Paths(&'static [&'static str]),
    /// A body that begins like this.
    Begins(&'static [u8]),
}

/// Name of the exchange, the answer, the reason.
const DEVIATIONS: &[(&str, Instead, &str)] = &[
    (
        "types_select",
        Instead::Parts(&[
            ("\"0001-01-01T00:00:00Z\"", "\"garbage\""),
            ("\"\\u0000\\ufffd\"", "\"AP8=\""),
            ("\"hi\\n\"", "\"aGkK\""),
        ]),
        "text that is no time and bytes that are no text come back as they are",
    ),
    (
        "types_select_assoc",
        Instead::Parts(&[
            ("\"0001-01-01T00:00:00Z\"", "\"garbage\""),
            ("\"\\u0000\\ufffd\"", "\"AP8=\""),
            ("\"hi\\n\"", "\"aGkK\""),
        ]),
        "text that is no time and bytes that are no text come back as they are",
    ),
    (
        "expr_types",
        Instead::Parts(&[("\"text\",\"text\",\"\"", "\"text\",\"blob\",\"\""), ("\"\\u0000\\ufffd\"", "\"AP8=\"")]),
        "a blob expression is a blob",
    ),
    (
        "multi_stmt_random",
        Instead::Body(r#"{"results":[{"last_insert_id":8,"rows_affected":1}]}"#),
        "no statement of a text is dropped",
    ),
    ("multi_stmt_random_check", Instead::Parts(&[("[[0]]", "[[1]]")]), "no statement of a text is dropped"),
    (
        "returning_newline",
        Instead::Body(r#"{"results":[{"columns":["id"],"types":["integer"],"values":[[10]]}]}"#),
        "SQLite knows what returns rows, not a search for \"returning \"",
    ),
    (
        "returning_star_tight",
        Instead::Body(r#"{"results":[{"columns":["id","name"],"types":["integer","text"],"values":[[11,"ret4"]]}]}"#),
        "SQLite knows what returns rows, not a search for \"returning \"",
    ),
    (
        "request_tx_prepare_err",
        Instead::Body(r#"{"results":[{"last_insert_id":15,"rows_affected":1},{"error":"no such table: nonesuch"}]}"#),
        "a transaction is all or nothing, also when a statement does not compile",
    ),
    (
        "request_tx_check",
        Instead::Body(r#"{"results":[{"columns":["name"],"types":["text"]}]}"#),
        "a transaction is all or nothing, also when a statement does not compile",
    ),
    (
        "explain",
        Instead::Body(r#"{"results":[{"last_insert_id":16,"rows_affected":1}]}"#),
        "a write that failed leaves the counters alone; rqlite shows how far it came",
    ),
    (
        "pragma_fk_exec",
        Instead::Body(r#"{"results":[{"last_insert_id":16,"rows_affected":1}]}"#),
        "a write that failed leaves the counters alone; rqlite shows how far it came",
    ),
    (
        "begin",
        Instead::ErrorWith("transaction control is not allowed"),
        "an open transaction would hide every later write",
    ),
    ("commit", Instead::ErrorWith("transaction control is not allowed"), "there is never an open transaction"),
    ("rollback_no_tx", Instead::ErrorWith("transaction control is not allowed"), "there is never an open transaction"),
    ("attach", Instead::ErrorWith("ATTACH"), "other files are outside of the namespace and of the log"),
    (
        "pragma_fk_set",
        Instead::ErrorWith("not allowed"),
        "a setting of one connection would hold for whoever gets that connection next",
    ),
    ("sqlrw", Instead::NotRewritten, "nothing is rewritten: the log fixes clock and chance"),
    ("sql_get", Instead::NotRewritten, "nothing is rewritten: the log fixes clock and chance"),
    ("backup_delete", Instead::Begins(b"SQLite format 3\0"), "the recording kept only the size"),
    ("backup_compress", Instead::Begins(b"\x1f\x8b"), "the recording kept only the size"),
    ("snapshot", Instead::Status(&[200, 204]), "whether there is something new depends on what else the node wrote"),
    (
        "snapshot_again",
        Instead::Status(&[200, 204]),
        "whether there is something new depends on what else the node wrote",
    ),
    ("reap", Instead::Paths(&["snapshots_reaped", "wals_checkpointed"]), "how many files there are is ours"),
    ("status_key", Instead::Paths(&["addr", "node_id"]), "names and addresses are ours"),
    (
        "status_key2",
        Instead::Paths(&["auth", "bind_addr", "queue._default.batch_size", "queue._default.sequence_number", "tls"]),
        "names and addresses are ours",
    ),
    ("vars_key", Instead::Paths(&["http.executions", "http.queries", "http.auth_ok"]), "counts are ours"),
    ("licenses", Instead::Begins(b"debros"), "another program"),
    (
        "status",
        Instead::Paths(&[
            "build.version",
            "cluster.addr",
            "cluster.api_addr",
            "extensions.names",
            "http.auth",
            "http.queue._default.sequence_number",
            "node.start_time",
            "node.uptime",
            "os.pid",
            "runtime.version",
            "store.addr",
            "store.db_applied_index",
            "store.db_conf.fk_constraints",
            "store.dir",
            "store.fsm_index",
            "store.leader.addr",
            "store.leader.node_id",
            "store.node_id",
            "store.nodes",
            "store.open",
            "store.ready",
            "store.raft.applied_index",
            "store.raft.commit_index",
            "store.raft.fsm_pending",
            "store.raft.last_contact",
            "store.raft.last_log_index",
            "store.raft.last_snapshot_index",
            "store.raft.latest_configuration",
            "store.raft.log_size",
            "store.raft.num_peers",
            "store.raft.state",
            "store.raft.term",
            "store.raft.voter",
            "store.snapshot_store.snapshots",
            "store.sqlite3.path",
            "store.sqlite3.pragmas.ro.foreign_keys",
            "store.sqlite3.size",
            "store.sqlite3.version",
        ]),
        "values are ours; these keys are read by clients",
    ),
];

/// Statements that run before the exchange of that name.
const INTERLUDES: &[(&str, &[&str])] = &[
    (
        "types_create",
        &[
            "CREATE TABLE foo (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)",
            "INSERT INTO foo(name, age) VALUES('fiona', 20),('bob', 9007199254740993),('a', 1),('b', 2)",
            "UPDATE foo SET age = 0 WHERE id = -1",
        ],
    ),
    ("multi_stmt_string", &["INSERT INTO bar(name) VALUES('nct')"]),
    ("select_on_execute", &["DELETE FROM bar WHERE id IN (7, 8)", "INSERT INTO bar VALUES(7, '7778870331848267690')"]),
    ("returning_newline", &["INSERT INTO bar(name) VALUES('ret2')"]),
    ("request_mixed", &["INSERT INTO bar(name) VALUES('as')"]),
    ("request_tx_fail", &["UPDATE bar SET name='upd' WHERE id=1", "INSERT INTO bar(name) VALUES('rqa')"]),
    ("request_only_reads", &["INSERT INTO bar(name) VALUES('txb')", "INSERT INTO bar(name) VALUES('txc')"]),
    ("exec_path_prefix", &["INSERT INTO ld VALUES(2)"]),
];

#[test]
fn every_recorded_answer_is_ours_or_a_deviation_with_a_reason() {
    let (_node, port) = support::start_single_node();
    let recording = include_str!("../data/rqlite_goldens.jsonl");
    let node_id = node_id(port);
    let mut wrong = Vec::new();
    for line in recording.lines() {
        let recorded: Recorded = serde_json::from_str(line).expect("a recorded exchange");
        if let Some((_, statements)) = INTERLUDES.iter().find(|(name, _)| *name == recorded.name) {
            interlude(port, statements);
        }
        let body = recorded.req_body.as_deref().map(|body| match recorded.name.as_str() {
            "leader_self" => format!(r#"{{"id":"{node_id}"}}"#),
            _ => body.to_owned(),
        });
        let answer = exchange(port, &recorded.method, &recorded.path, &recorded.req_headers, body.as_deref());
        if let Err(reason) = compare(&recorded, &answer, port) {
            let ours = String::from_utf8_lossy(&answer.body[..answer.body.len().min(2000)]).into_owned();
            wrong.push(format!(
                "{} {} {}\n  request  {:?}\n  recorded {} {:?}\n  ours     {} {ours:?}\n  {reason}\n",
                recorded.name,
                recorded.method,
                recorded.path,
                recorded.req_body,
                recorded.status,
                recorded.body,
                answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_deviation_names_a_recorded_exchange() {
    let recording = include_str!("../data/rqlite_goldens.jsonl");
    for (name, ..) in DEVIATIONS {
        assert!(recording.contains(&format!("\"name\": \"{name}\"")), "{name} was not recorded");
    }
}

fn compare(recorded: &Recorded, answer: &Answer, port: u16) -> Result<(), String> {
    let instead = DEVIATIONS.iter().find(|(name, ..)| *name == recorded.name).map(|(_, instead, _)| instead);
    if let Some(Instead::Status(allowed)) = instead {
        return check(allowed.contains(&answer.status), "another status is allowed, not this one");
    }
    check(recorded.status == answer.status, "the status differs")?;
    for (name, value) in &recorded.headers {
        let ours = answer.headers.get(&name.to_ascii_lowercase());
        let fits = match (name.as_str(), ours) {
            ("Transfer-Encoding", _) => true,
            ("X-Rqlite-Served-By", Some(ours)) => ours.ends_with(&format!(":{port}")),
            (_, ours) => ours == Some(value),
        };
        check(fits, &format!("header {name} is {ours:?}, recorded {value:?}"))?;
    }
    let has_served_by = answer.headers.contains_key("x-rqlite-served-by");
    check(has_served_by == recorded.headers.contains_key("X-Rqlite-Served-By"), "X-Rqlite-Served-By is there or not")?;
    let ours = normal(&String::from_utf8_lossy(&answer.body));
    let theirs = normal(&recorded.body);
    let Some(instead) = instead else { return check(ours == theirs, "the body differs") };
    let expected = match instead {
        Instead::Body(body) => (*body).to_owned(),
        Instead::Parts(parts) => parts.iter().fold(theirs.clone(), |body, (from, to)| body.replace(from, to)),
        Instead::NotRewritten => not_rewritten(&recorded.body),
        Instead::Begins(start) => return check(answer.body.starts_with(start), "the body begins otherwise"),
        Instead::ErrorWith(text) => {
            let json: serde_json::Value = serde_json::from_str(&ours).map_err(|e| e.to_string())?;
            let error = json["results"][0]["error"].as_str().unwrap_or_default();
            return check(error.contains(text) && ours != theirs, "there is no such error");
        }
        Instead::Paths(paths) => {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
            let missing: Vec<_> = paths.iter().filter(|path| at(&json, path).is_none()).collect();
            return check(missing.is_empty(), &format!("missing: {missing:?}"));
        }
        Instead::Status(_) => unreachable!("checked above"),
    };
    check(ours == expected, &format!("the deviation is not as decided: {expected:?}"))?;
    let may_be_equal = matches!(instead, Instead::NotRewritten);
    check(may_be_equal || ours != theirs, "there is no deviation any more: take it from the list and the documentation")
}

fn check(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn at<'a>(json: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    path.split('.').try_fold(json, |value, step| value.get(step))
}

/// The recorded answer with each statement as it was sent.
fn not_rewritten(recorded: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(recorded).expect("JSON");
    let original = json["results"][0]["original"].to_string();
    format!(r#"{{"results":[{{"original":{original},"rewritten":{original}}}]}}"#)
}

/// Numbers that depend on when and where: times, sequence numbers, log indexes.
fn normal(body: &str) -> String {
    let mut out = body.to_owned();
    for key in ["\"time\":", "\"sequence_number\":", "\"raft_index\":"] {
        if let Some(start) = out.find(key).map(|at| at + key.len()) {
            let len = out[start..].find([',', '}']).unwrap_or(0);
            if out[start..start + len].parse::<f64>().is_ok_and(|number| number > 0.0) {
                out.replace_range(start..start + len, "N");
            }
        }
    }
    out
}

fn interlude(port: u16, statements: &[&str]) {
    for statement in statements {
        let body = serde_json::json!([statement]).to_string();
        let answer = exchange(port, "POST", "/db/execute", &BTreeMap::new(), Some(&body));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 200 && !text.contains("error"), "{statement}: {text}");
    }
}

fn node_id(port: u16) -> String {
    let answer = exchange(port, "GET", "/status?key=store", &BTreeMap::new(), None);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("a status");
    json["node_id"].as_str().expect("a node id").to_owned()
}
