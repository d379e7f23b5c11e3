//! What every route refuses in the same manner: a caller who shows nothing or may too little, another's namespace, a body
//! that is no JSON, or of another type, or has a member of a wrong type, a method that is not there.

use serde_json::{Value, json};

use super::book::{Book, Credential, Request};

/// Values of a type that no member has.
const STRANGE: &str = "[[[]]]";

/// Whom the routes of a chapter are asked by.
pub(super) struct Callers {
    /// May everything.
    pub(super) full: Credential,
    /// Is known, and may nothing of this chapter.
    pub(super) weak: Credential,
}

/// Writes the refusals of every route with this tag.
pub(super) fn refusals(book: &mut Book, tag: &str, callers: &Callers) {
    let paths = book.contract["paths"].as_object().expect("paths").clone();
    for (path, item) in &paths {
        let operations = item.as_object().expect("methods");
        if operations.values().all(|operation| operation["tags"][0] != tag) {
            continue;
        }
        let target = with_parameters(path);
        for (method, operation) in operations {
            let method = method.to_ascii_uppercase();
            route(book, &Request::new(&method, &target), operation, callers);
        }
        let wrong = Request::new("PATCH", &target);
        let answer = book.line(&format!("PATCH {path}"), &wrong);
        let allowed = answer.header("allow").expect("it is told which there are");
        for method in operations.keys() {
            assert!(allowed.contains(&method.to_ascii_uppercase()), "{path}: {allowed}");
        }
    }
}

fn route(book: &mut Book, request: &Request<'_>, operation: &Value, callers: &Callers) {
    let public = operation["security"] == json!([]);
    let content = operation["requestBody"]["content"].as_object().cloned().unwrap_or_default();
    let json = content.get("application/json");
    let asked = |body: &str| match json {
        Some(_) => request.clone().header("Content-Type", "application/json").text(body),
        None => request.clone(),
    };
    if !public && operation["security"][0] != json!({}) {
        book.line("nothing shown", &asked("{}"));
        book.line("a wrong key", &asked("{}").by(&Some(("X-API-Key", "wrong".to_owned()))));
        book.line("a weak key", &asked("{}").by(&callers.weak));
        let answers = &operation["responses"]["403"]["description"];
        let elsewhere = answers.as_str().is_some_and(|codes| codes.contains("NAMESPACE_MISMATCH"));
        if elsewhere && operation["tags"][0] != "namespaces" {
            let elsewhere = format!("{}?namespace=elsewhere", request.target);
            book.line("for another namespace", &Request { target: &elsewhere, ..asked("{}") }.by(&callers.full));
        }
    }
    let Some(json) = json else { return };
    let full = |body: &str| asked(body).by(&callers.full);
    book.line("no JSON", &full("{\"a\":"));
    book.line("no object", &full("7"));
    book.line("a member twice", &full("{\"a\":1,\"a\":2}"));
    if content.len() == 1 {
        let form = request.clone().by(&callers.full).header("Content-Type", "text/plain").text("{}");
        book.line("of another type", &form);
    }
    book.line("an empty object", &full("{}"));
    for (member, schema) in json["schema"]["properties"].as_object().into_iter().flatten() {
        // Where every value is good, none is wrong.
        if schema.as_object().is_some_and(|schema| !schema.is_empty()) {
            book.line(&format!("{member} of a wrong type"), &full(&format!("{{\"{member}\":{STRANGE}}}")));
        }
    }
}

/// A path with something that fits in place of each parameter, and that is not there where that is possible.
fn with_parameters(path: &str) -> String {
    path.replace("{namespace}", "chat")
        .replace("{wallet}", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")
        .replace("{id}", "absent")
}
