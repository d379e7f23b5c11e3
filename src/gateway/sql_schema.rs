//! The JSON schemas of the SQL endpoints.

use serde_json::{Value, json};

use super::schema::{any_of, boolean, count, like, list, nullable, object, one_of, string};

fn arguments() -> Value {
    json!({
        "description": "A list for `?`, or an object for `:name`. Bytes are {\"base64\": \"…\"}.",
        "anyOf": [{ "type": "array" }, { "type": "object" }],
    })
}

/// One statement.
pub(super) fn statement() -> Value {
    object(&[("sql", like("SELECT * FROM note WHERE id = ?")), ("args?", arguments())])
}

/// The rows of a query, in both forms.
pub(super) fn rows() -> Value {
    object(&[
        ("columns", list(string())),
        ("rows", list(json!({ "type": "array" }))),
        ("items", list(row())),
        ("count", count()),
    ])
}

/// What a write did.
pub(super) fn written() -> Value {
    object(&[
        ("rows_affected", count()),
        ("last_insert_id", json!({ "type": "integer" })),
        ("execution_state", one_of(&["ok"])),
        ("items?", list(row())),
    ])
}

/// Rows as objects.
pub(super) fn items() -> Value {
    object(&[("items", list(row())), ("count", count())])
}

/// A row as an object.
pub(super) fn row() -> Value {
    json!({ "type": "object" })
}

fn options() -> Vec<(&'static str, Value)> {
    vec![
        ("select?", list(string())),
        ("order_by?", list(like("created_at DESC"))),
        ("group_by?", list(string())),
        ("limit?", count()),
        ("offset?", count()),
        ("joins?", joins()),
    ]
}

fn joins() -> Value {
    list(object(&[("kind?", one_of(&["INNER", "LEFT", "RIGHT", "FULL"])), ("table", string()), ("on", string())]))
}

/// A search by equality.
pub(super) fn find() -> Value {
    let mut members = vec![("table", string()), ("criteria?", row()), ("options?", object(&options()))];
    members.extend(options());
    object(&members)
}

/// A query from its parts.
pub(super) fn select() -> Value {
    let condition =
        object(&[("conj?", one_of(&["AND", "OR"])), ("expr", like("age > ?")), ("args?", json!({ "type": "array" }))]);
    let mut members = vec![("table", string()), ("alias?", string()), ("where?", list(condition)), ("one?", boolean())];
    members.extend(options());
    object(&members)
}

/// Several statements.
pub(super) fn transaction() -> Value {
    let expect = json!({
        "description": "Rows that it must change or find.",
        "anyOf": [count(), object(&[("rows?", count()), ("min?", count()), ("max?", count())])],
    });
    let op =
        object(&[("kind", one_of(&["exec", "query"])), ("sql", string()), ("args?", arguments()), ("expect?", expect)]);
    any_of(
        &[("ops?", list(op)), ("statements?", list(string())), ("return_results?", boolean())],
        &["ops", "statements"],
    )
}

/// What several statements did.
pub(super) fn transaction_done() -> Value {
    object(&[("status", one_of(&["ok"])), ("results?", list(json!({})))])
}

/// A table to make.
pub(super) fn create_table() -> Value {
    object(&[("schema", like("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)"))])
}

/// A table to drop.
pub(super) fn drop_table() -> Value {
    object(&[("table", like("note"))])
}

/// Done.
pub(super) fn status() -> Value {
    object(&[("status", one_of(&["ok"]))])
}

/// Tables and views.
pub(super) fn sql_schema() -> Value {
    let kind = || one_of(&["table", "view"]);
    let column = object(&[
        ("name", string()),
        ("type", string()),
        ("nullable", boolean()),
        ("default", nullable(string())),
        ("primary_key", boolean()),
    ]);
    object(&[
        ("count", count()),
        ("objects", list(object(&[("name", string()), ("type", kind()), ("sql", nullable(string()))]))),
        (
            "tables",
            list(object(&[
                ("name", string()),
                ("type", kind()),
                ("columns", list(column)),
                ("sql", nullable(string())),
            ])),
        ),
    ])
}
