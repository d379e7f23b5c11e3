//! Our functions against SQLite's own, on texts that are ordinary, and on bytes that are no text at all.

use std::fmt::Write as _;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::{functions, prepare_process};

fn connections() -> (Connection, Connection) {
    prepare_process().expect("first");
    let (ours, theirs) = (Connection::open_in_memory().expect("opens"), Connection::open_in_memory().expect("opens"));
    functions::register(&ours).expect("registers");
    (ours, theirs)
}

fn answer(connection: &Connection, call: &str, parameters: &[Value]) -> Result<(Value, String), String> {
    let sql = format!("SELECT x, typeof(x) || json_array(y) FROM (SELECT {call} AS x, {call} AS y)");
    // A blob has no place in a JSON array; the error is the same on both sides then.
    let sql = if call.contains("json") { sql } else { format!("SELECT {call}, typeof({call})") };
    let mut statement = connection.prepare(&sql).map_err(|e| e.to_string())?;
    statement
        .query_row(rusqlite::params_from_iter(parameters), |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|e| e.to_string())
}

/// Pieces that meet each other often: letters, digits, characters of all lengths, continuation bytes without a start.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"a",
        b"b",
        b"ab",
        b" ",
        b"0",
        b"F",
        b"\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xf0\x9f\x98\x80",
        b"\x80",
        b"\xc3",
        b"\xe2\x82",
        b"\xff",
        b"\xfc\x80\x80",
        b"\0",
        b"\xed\xa0\x80",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..8).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => bytes().prop_map(Value::Blob),
        8 => "[ab é€]{0,12}".prop_map(Value::Text),
        1 => Just(Value::Null),
        1 => (-20_i64..2000).prop_map(Value::Integer),
        1 => (-4.0_f64..1e20).prop_map(Value::Real),
    ]
}

/// As text, though the bytes need not be any.
const CALLS: [&str; 18] = [
    "trim(?1)",
    "trim(?1, ?2)",
    "ltrim(?1, ?2)",
    "rtrim(?1, ?2)",
    "ltrim(?1)",
    "rtrim(?1)",
    "trim(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
    "rtrim(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
    "ltrim(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
    "instr(?1, ?2)",
    "instr(CAST(?1 AS TEXT), CAST(?2 AS TEXT))",
    "instr(CAST(?1 AS TEXT), ?2)",
    "instr(?1, CAST(?2 AS BLOB))",
    "replace(?1, ?2, ?3)",
    "replace(CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS TEXT))",
    "unhex(?1, ?2)",
    "unhex(hex(?1) || CAST(?2 AS TEXT) || hex(?3), CAST(?2 AS TEXT))",
    "unhex(CAST(?2 AS TEXT) || hex(?1), CAST(?3 AS TEXT))",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn our_functions_answer_what_sqlites_own_answer(a in value(), b in value(), c in value()) {
        let (ours, theirs) = connections();
        let parameters = [a, b, c];
        for call in CALLS {
            // Texts that are not UTF-8 come back as blobs; how they are typed is the second column.
            let as_bytes = format!("CAST({call} AS BLOB)");
            for call in [as_bytes.as_str(), &format!("typeof({call})")] {
                let places = 1 + usize::from(call.contains("?2")) + usize::from(call.contains("?3"));
                prop_assert_eq!(
                    answer(&ours, call, &parameters[..places]), answer(&theirs, call, &parameters[..places]),
                    "{} of {:?}", call, parameters
                );
            }
        }
    }
}

#[test]
fn a_patched_document_is_sqlites_own() {
    let (ours, theirs) = connections();
    let documents =
        ["{}", r#"{"a":1,"b":{"c":[1,2]}}"#, r#"{"b":{"c":null,"d":2}}"#, "{a:1,}", "[1]", "nonsense", "5", "null"];
    for target in documents {
        for patch in documents {
            for call in ["json_patch(?1, ?2)", "json(jsonb_patch(?1, ?2))", "json(jsonb_patch(jsonb(?1), jsonb(?2)))"] {
                let parameters = [Value::Text(target.to_owned()), Value::Text(patch.to_owned())];
                let got = answer(&ours, call, &parameters);
                assert_eq!(got, answer(&theirs, call, &parameters), "{call} of {target} and {patch}");
            }
        }
    }
    let null = [Value::Null, Value::Text("{}".to_owned())];
    assert_eq!(answer(&ours, "json_patch(?1, ?2)", &null), answer(&theirs, "json_patch(?1, ?2)", &null));
}

#[test]
fn they_may_stand_in_indexes_checks_and_generated_columns() {
    let (ours, _) = connections();
    ours.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).expect("set");
    let schema = "CREATE TABLE t(a TEXT CHECK(instr(a, ' ') = 0), b TEXT AS (replace(a, 'x', 'y')) STORED);
        CREATE INDEX i ON t(trim(a, 'z'));
        INSERT INTO t(a) VALUES('zxz');";
    ours.execute_batch(schema).expect("allowed");
    let plan: String = ours
        .query_row("EXPLAIN QUERY PLAN SELECT * FROM t WHERE trim(a, 'z') = 'x'", [], |row| row.get(3))
        .expect("a plan");
    assert!(plan.contains("USING INDEX i"), "{plan}");
}

#[test]
fn what_would_take_minutes_is_refused_with_its_reason() {
    let (ours, _) = connections();
    let set = Value::Text("é".repeat(3000));
    let refused = answer(&ours, "trim(?1, ?2)", &[Value::Text("x".to_owned()), set]).expect_err("refused");
    assert!(refused.contains("set of 6000 bytes"), "{refused}");
    let mut document = "{".to_owned();
    for member in 0..5000 {
        write!(document, "\"m{member}\":1,").expect("writes");
    }
    document.push_str("\"z\":1}");
    let document = Value::Text(document);
    let refused = answer(&ours, "json_patch(?1, ?2)", &[document.clone(), document]).expect_err("refused");
    assert!(refused.contains("so many members"), "{refused}");
}
