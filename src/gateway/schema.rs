//! JSON schemas, written so that a route's shape is readable in its entry of the table.

use serde_json::{Map, Value, json};

/// Text.
pub(super) fn string() -> Value {
    json!({ "type": "string" })
}

/// Text, an example of which says more than its type.
pub(super) fn like(example: &str) -> Value {
    json!({ "type": "string", "examples": [example] })
}

/// One of some texts.
pub(super) fn one_of(texts: &[&str]) -> Value {
    json!({ "type": "string", "enum": texts })
}

/// A moment as RFC 3339.
pub(super) fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// A whole number that is not negative.
pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// True or false.
pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

/// The schema or null.
pub(super) fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// A list.
pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object. A member whose name ends in `?` may be missing; no others are there.
pub(super) fn object(members: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in members {
        let optional = name.strip_suffix('?');
        if optional.is_none() {
            required.push(*name);
        }
        properties.insert(optional.unwrap_or(name).to_owned(), schema.clone());
    }
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// An object of which at least one of some members must be there.
pub(super) fn any_of(members: &[(&str, Value)], needed: &[&str]) -> Value {
    let mut object = object(members);
    object["anyOf"] = needed.iter().map(|name| json!({ "required": [name] })).collect();
    object
}

/// A reference to a component of the document.
pub(super) fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
