//! Values of the recorded answers, encoded and compared byte for byte.

use super::*;

const STYLE: Style = Style {
    operation: Operation::Query,
    rows: RowForm::Arrays,
    blobs: BlobForm::Base64,
    timings: Timings::Hidden,
    layout: Layout::Compact,
};

fn text(results: &[StatementResult], style: Style) -> String {
    let bytes = write(&Envelope { results, ..Envelope::default() }, &style).expect("finite");
    String::from_utf8(bytes).expect("UTF-8")
}

fn rows(columns: &[(&str, &str)], values: Vec<Vec<Value>>) -> StatementResult {
    StatementResult::Rows(Rows {
        columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        declared_types: columns.iter().map(|(_, declared)| (*declared).to_owned()).collect(),
        values,
        ..Rows::default()
    })
}

fn t(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn golden(name: &str) -> String {
    let recorded = include_str!("../../../tests/data/rqlite_goldens.jsonl");
    let found = recorded
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .find(|entry| entry["name"] == name)
        .expect("a recorded answer of this name");
    found["body"].as_str().expect("a text").to_owned()
}

/// The rows of the recorded table of every declared type, without the values that rqlite loses.
fn every_type() -> StatementResult {
    use Value::{Blob, Integer, Null, Real};
    let columns = [
        ("i", "integer"),
        ("r", "real"),
        ("t", "text"),
        ("b", "blob"),
        ("n", "numeric"),
        ("bo", "boolean"),
        ("d", "date"),
        ("dt", "datetime"),
        ("ts", "timestamp"),
        ("vc", "varchar(20)"),
        ("dec", "decimal(10,2)"),
        ("js", "json"),
        ("notype", ""),
        ("bi", "bigint"),
        ("bool", "bool"),
    ];
    let mut only_integer = vec![Null; 15];
    only_integer[0] = Integer(4);
    rows(
        &columns,
        vec![
            vec![
                Integer(1),
                Real(1.5),
                t("text"),
                Blob(vec![0, 255, 16]),
                Integer(3),
                Integer(1),
                t("2024-02-29"),
                t("2024-02-29 12:34:56"),
                t("2024-02-29 12:34:56.789"),
                t("vc"),
                Real(10.5),
                t("{\"a\":1}"),
                t("x"),
                Integer(i64::MAX),
                Integer(0),
            ],
            vec![
                Integer(2),
                Null,
                Null,
                Null,
                Null,
                Integer(5),
                Integer(1_700_000_000),
                Integer(1_700_000_000),
                Integer(1_700_000_000_123),
                Null,
                Null,
                Null,
                Null,
                Null,
                Null,
            ],
            vec![
                Integer(3),
                Real(2.0),
                t("t"),
                Blob(vec![0xde, 0xad, 0xbe, 0xef]),
                Real(1e300),
                Integer(1),
                t("garbage"),
                t("2024-02-29T12:34:56Z"),
                t("2024-02-29T12:34:56.123456+02:00"),
                Blob(vec![0, 255]),
                Integer(1),
                t("[1,2]"),
                Blob(b"hi\n".to_vec()),
                Integer(i64::MIN),
                Integer(0),
            ],
            only_integer,
        ],
    )
}

/// What rqlite loses of that table, and what is answered instead.
const NOT_LOST: [(&str, &str); 3] =
    [("\"0001-01-01T00:00:00Z\"", "\"garbage\""), ("\"\\u0000\\ufffd\"", "\"AP8=\""), ("\"hi\\n\"", "\"aGkK\"")];

#[test]
fn every_declared_type_is_shown_as_rqlite_shows_it_and_nothing_is_lost() {
    for (name, form) in [("types_select", RowForm::Arrays), ("types_select_assoc", RowForm::Objects)] {
        let expected = NOT_LOST.iter().fold(golden(name), |body, (lost, kept)| {
            assert!(body.contains(lost));
            body.replace(lost, kept)
        });
        assert_eq!(text(&[every_type()], Style { rows: form, ..STYLE }), expected);
    }
}

#[test]
fn expressions_take_the_type_of_their_first_value() {
    use Value::{Integer, Null, Real};
    let result = rows(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], vec![vec![Integer(1), Real(1.0), t("x"), Null]]);
    let expected =
        r#"{"results":[{"columns":["a","b","c","d"],"types":["integer","real","text",""],"values":[[1,1,"x",null]]}]}"#;
    assert_eq!(text(&[result], STYLE), expected);
    assert_eq!(
        text(&[rows(&[("a", "")], vec![])], STYLE),
        r#"{"results":[{"columns":["a"],"types":[""]}]}"#,
        "no row, no type, no values"
    );
}

#[test]
fn an_untyped_blob_is_base64_and_says_so() {
    let result = rows(&[("x", "")], vec![vec![Value::Blob(vec![0, 255])]]);
    assert_eq!(
        text(std::slice::from_ref(&result), STYLE),
        r#"{"results":[{"columns":["x"],"types":["blob"],"values":[["AP8="]]}]}"#
    );
    assert_eq!(
        text(&[result], Style { blobs: BlobForm::Integers, ..STYLE }),
        r#"{"results":[{"columns":["x"],"types":["blob"],"values":[[[0,255]]]}]}"#
    );
}

#[test]
fn utf8_bytes_in_a_text_column_are_text() {
    let result = rows(&[("x", "nvarchar(9)")], vec![vec![Value::Blob(b"hi".to_vec())]]);
    assert!(text(&[result], STYLE).ends_with(r#""values":[["hi"]]}]}"#));
}

#[test]
fn zeros_of_a_write_are_left_out() {
    let written = |last_insert_id, rows_affected| {
        StatementResult::Written(Written { last_insert_id, rows_affected, elapsed_ns: 72_571_491 })
    };
    let results = [written(0, 0), written(13, 0), written(-1, 2)];
    assert_eq!(
        text(&results, Style { operation: Operation::Execute, ..STYLE }),
        r#"{"results":[{},{"last_insert_id":13},{"last_insert_id":-1,"rows_affected":2}]}"#
    );
    let style = Style { operation: Operation::Execute, rows: RowForm::Objects, timings: Timings::Shown, ..STYLE };
    assert_eq!(text(&results[1..2], style), r#"{"results":[{"last_insert_id":13,"time":0.072571491,"rows":null}]}"#);
}

#[test]
fn associative_columns_of_one_name_collapse_to_the_last() {
    let result = rows(&[("b", ""), ("a", ""), ("a", "")], vec![vec![Value::Integer(0), Value::Integer(1), t("2")]]);
    assert_eq!(
        text(std::slice::from_ref(&result), Style { rows: RowForm::Objects, ..STYLE }),
        r#"{"results":[{"types":{"a":"text","b":"integer"},"rows":[{"a":"2","b":0}]}]}"#
    );
    assert_eq!(
        text(&[rows(&[("a", "text")], vec![])], Style { rows: RowForm::Objects, ..STYLE }),
        r#"{"results":[{"types":{"a":"text"},"rows":[]}]}"#
    );
}

#[test]
fn failures_have_only_their_text_and_timeouts_rqlites_words() {
    let failed = |kind, message: &str| StatementResult::Failed(StatementError { message: message.to_owned(), kind });
    let results =
        [failed(StatementErrorKind::Sqlite, "no such column: nope"), failed(StatementErrorKind::Timeout, "steps")];
    assert_eq!(text(&results, STYLE), r#"{"results":[{"error":"no such column: nope"},{"error":"query timeout"}]}"#);
    assert_eq!(
        text(&results[1..], Style { operation: Operation::Execute, ..STYLE }),
        r#"{"results":[{"error":"execute timeout"}]}"#
    );
    assert_eq!(
        text(&results[..1], Style { rows: RowForm::Objects, ..STYLE }),
        r#"{"results":[{"rows":[],"error":"no such column: nope"}]}"#
    );
}

#[test]
fn the_envelope_keeps_its_order() {
    let envelope = Envelope {
        results: &[],
        error: Some("stale read"),
        elapsed: Duration::from_nanos(72_571_491),
        sequence_number: 1_795_400_731_026_683_060,
        raft_index: 35,
    };
    let bytes = write(&envelope, &Style { timings: Timings::Shown, ..STYLE }).expect("finite");
    assert_eq!(
        String::from_utf8(bytes).expect("UTF-8"),
        r#"{"results":[],"error":"stale read","time":0.072571491,"sequence_number":1795400731026683060,"raft_index":35}"#
    );
}

#[test]
fn an_infinity_refuses_the_whole_answer() {
    let result = rows(&[("x", "")], vec![vec![Value::Real(f64::INFINITY)]]);
    let refused = write(&Envelope { results: &[result], ..Envelope::default() }, &STYLE);
    assert_eq!(refused, Err(WriteError::NotFinite(NotFinite("+Inf"))));
}

#[test]
fn an_answer_is_bounded_whatever_its_form_makes_of_it() {
    let name = "n".repeat(100);
    let values = vec![vec![Value::Blob(vec![200; 50])]; 20];
    let result = rows(&[(&name, "")], values);
    let envelope = Envelope { results: &[result], ..Envelope::default() };
    let forms = [
        (STYLE, 1_500),
        (Style { rows: RowForm::Objects, ..STYLE }, 3_000),
        (Style { blobs: BlobForm::Integers, ..STYLE }, 4_000),
        (Style { blobs: BlobForm::Integers, layout: Layout::Indented, ..STYLE }, 20_000),
    ];
    for (style, about) in forms {
        let whole = write(&envelope, &style).expect("fits").len();
        assert!(whole >= about && whole < about * 2, "{style:?}: {whole}");
        assert_eq!(write_within(&envelope, &style, whole).expect("fits").len(), whole, "{style:?}");
        let refused = write_within(&envelope, &style, whole - 1);
        assert_eq!(refused, Err(WriteError::TooLarge { bytes_max: whole - 1 }), "{style:?}");
    }
}

#[test]
fn qualified_names_are_used_where_known() {
    let result = StatementResult::Rows(Rows {
        columns: vec!["id".to_owned(), "1".to_owned()],
        declared_types: vec!["integer".to_owned(), String::new()],
        values: vec![vec![Value::Integer(1), Value::Integer(1)]],
        qualified_columns: vec!["foo.id".to_owned(), String::new()],
        elapsed_ns: 0,
    });
    assert_eq!(
        text(&[result], STYLE),
        r#"{"results":[{"columns":["foo.id","1"],"types":["integer","integer"],"values":[[1,1]]}]}"#
    );
}
