//! The contract as an OpenAPI 3.1 document, made from the table of routes.

use serde_json::{Map, Value, json};

use super::error::Code;
use super::route::{Class, Content, Place, Policy, Route, Routes, Tag};
use super::schema::{boolean, named, object, one_of, string};

/// The document.
pub(super) fn document(routes: &Routes, version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in &routes.all {
        for (position, path) in std::iter::once(&route.path).chain(&route.aliases).enumerate() {
            let method = route.method.as_str().to_ascii_lowercase();
            let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
            item[method] = operation(route, position);
        }
    }
    let tags: Vec<Value> =
        Tag::ALL.iter().map(|(_, name, about)| json!({ "name": name, "description": about })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "debros gateway",
            "version": version,
            "summary": "SQL, key-value storage and messages over HTTP, each caller in its own namespace.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": { "Error": error_schema() },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token or an API key." },
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            },
        },
    })
}

/// An alias is the same operation under a name of its own, because names are unique.
fn operation(route: &Route, position: usize) -> Value {
    let suffix = if position == 0 { String::new() } else { format!("Alias{position}") };
    let mut parameters: Vec<Value> = route
        .path_parameters()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": string() }))
        .collect();
    for parameter in &route.parameters {
        parameters.push(json!({
            "name": parameter.name, "in": if parameter.place == Place::Header { "header" } else { "query" }, "required": parameter.required,
            "description": parameter.about, "schema": parameter.schema,
        }));
    }
    let mut operation = json!({
        "operationId": format!("{}{suffix}", route.operation),
        "summary": route.summary,
        "tags": [route.tag.name()],
        "security": security(route.policy),
        "responses": responses(route),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({ "required": true, "content": contents(&route.takes) });
    }
    if position > 0 {
        operation["deprecated"] = true.into();
    }
    operation
}

fn security(policy: Policy) -> Value {
    match policy {
        Policy::Public => json!([]),
        Policy::Optional => json!([{}, { "token": [] }, { "apiKey": [] }]),
        Policy::Credential | Policy::Namespace(_) | Policy::Operator => json!([{ "token": [] }, { "apiKey": [] }]),
    }
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for answer in &route.answers {
        let mut response = json!({ "description": answer.about });
        if let Some(content) = &answer.content {
            response["content"] = contents(std::slice::from_ref(content));
        }
        responses.insert(answer.status.to_string(), response);
    }
    for (status, codes) in errors(route) {
        let description = format!("{}.", codes.iter().map(|code| code.name()).collect::<Vec<_>>().join(" or "));
        let error = json!({ "schema": named("Error") });
        let content = json!({ "application/json": error, "application/problem+json": error });
        // An ordinary answer with the same status is described by its own schema.
        responses
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": description, "content": content }));
    }
    Value::Object(responses)
}

/// Every code that a route may answer, by status.
fn errors(route: &Route) -> std::collections::BTreeMap<u16, Vec<Code>> {
    let mut codes = vec![Code::InvalidRequest, Code::UriTooLong, Code::HeadersTooLarge, Code::Internal];
    if route.class != Class::Probe {
        codes.push(Code::RateLimited);
    }
    if !route.parameters.is_empty() || route.path_parameters().next().is_some() {
        codes.push(Code::InvalidParameter);
    }
    if route.policy != Policy::Public {
        codes.extend([Code::CredentialConflict, Code::Unauthenticated, Code::Forbidden]);
        // Whose a credential is may have to be asked of the cluster.
        codes.extend([Code::NotReady, Code::NoLeader, Code::DeadlineExceeded]);
    }
    if matches!(route.policy, Policy::Namespace(_)) {
        codes.extend([Code::NamespaceMismatch, Code::InvalidParameter]);
    }
    if !route.takes.is_empty() {
        codes.extend([
            Code::InvalidJson,
            Code::InvalidBody,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Overloaded,
        ]);
    }
    codes.extend(&route.errors);
    let mut by_status = std::collections::BTreeMap::<u16, Vec<Code>>::new();
    for code in codes {
        let same = by_status.entry(code.status().as_u16()).or_default();
        if !same.contains(&code) {
            same.push(code);
        }
    }
    by_status
}

fn contents(contents: &[Content]) -> Value {
    let entry = |content: &Content| {
        let schema = content.schema.clone().unwrap_or_else(|| json!({}));
        (content.media_type.to_owned(), json!({ "schema": schema }))
    };
    Value::Object(contents.iter().map(entry).collect())
}

fn error_schema() -> Value {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    object(&[
        ("error", string()),
        ("code", one_of(&names)),
        ("request_id", string()),
        ("retryable", boolean()),
        ("outcome?", one_of(&["executed", "not_executed", "unknown"])),
        ("details?", json!({ "type": "object" })),
        ("hint?", string()),
        ("type?", string()),
        ("title?", string()),
        ("status?", json!({ "type": "integer" })),
        ("detail?", string()),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes;
    use super::*;

    #[test]
    fn every_route_of_the_table_is_in_the_document_with_its_policy() {
        let routes = Routes::new(routes());
        let document = document(&routes, "1");
        let mut names = BTreeSet::new();
        for route in &routes.all {
            for path in std::iter::once(&route.path).chain(&route.aliases) {
                let operation = &document["paths"][path][route.method.as_str().to_ascii_lowercase()];
                assert!(names.insert(operation["operationId"].as_str().expect("a name").to_owned()), "{path}");
                assert!(!operation["summary"].as_str().expect("a summary").is_empty(), "{path}");
                assert!(!operation["tags"][0].as_str().expect("a tag").is_empty(), "{path}");
                assert_eq!(operation["security"] == json!([]), route.policy == Policy::Public, "{path}");
                assert!(!route.answers.is_empty(), "{path} answers something");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        found.push(reference.clone());
                    }
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document(&Routes::new(routes()), "1");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
