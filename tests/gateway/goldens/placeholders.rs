//! What differs from run to run, and what stands for it.

use serde_json::Value;

/// Members whose values are secrets, ids or moments. Their texts are replaced wherever they come up again.
const REMEMBERED: &[&str] = &[
    "access_token",
    "api_key",
    "app_id",
    "client_id",
    "key_id",
    "kid",
    "next_cursor",
    "message_id",
    "node_id",
    "nonce",
    "peer_id",
    "refresh_token",
    "request_id",
    "ticket",
    "token",
    "x",
];

/// Members whose numbers, or texts too short to be looked for elsewhere, differ.
const REPLACED: &[&str] = &[
    "addresses",
    "build_time",
    "commit",
    "cursor",
    "database_size",
    "etag",
    "expires_at",
    "first_cursor",
    "issued_at",
    "last_cursor",
    "newest",
    "next_after",
    "joined_at",
    "not_before",
    "peer_count",
    "peers",
    "publisher",
    "response_time",
    "resume_after",
    "timestamp",
    "uptime",
    "version",
];

/// Texts that were met, with what stands for them.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    known: Vec<(String, String)>,
}

impl Placeholders {
    /// Shows `<name>` instead of `text` from now on.
    pub(super) fn conceal(&mut self, text: &str, name: &str) {
        if !self.known.iter().any(|(known, _)| known == text) {
            self.known.push((text.to_owned(), format!("<{name}>")));
            // A text may contain another one.
            self.known.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
        }
    }

    /// A text as it is the same in every run.
    pub(super) fn settle(&self, text: &str) -> String {
        let replaced = self.known.iter().fold(text.to_owned(), |text, (known, name)| text.replace(known, name));
        ages(&versions(&moments(&replaced)))
    }

    /// A JSON value likewise; what its members are called tells what they hold.
    pub(super) fn settle_json(&mut self, value: &Value) -> Value {
        self.remember(value);
        self.replace("", value)
    }

    fn remember(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.remember(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if REMEMBERED.contains(&name.as_str()) && text.len() > 4 => self.conceal(text, name),
                        _ => self.remember(member),
                    }
                }
            }
            _ => {}
        }
    }

    fn replace(&self, name: &str, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.replace(name, item)).collect(),
            Value::Object(members) => {
                let replaced = |(name, value): (&String, &Value)| (name.clone(), self.replace(name, value));
                Value::Object(members.iter().map(replaced).collect())
            }
            Value::Null => Value::Null,
            Value::Number(_) | Value::String(_) if REPLACED.contains(&name) => format!("<{name}>").into(),
            Value::String(text) => self.settle(text).into(),
            other => other.clone(),
        }
    }
}

/// RFC 3339 in UTC, as the gateway writes every moment.
fn moments(text: &str) -> String {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let fits = |at: usize| {
        bytes.len() >= at + FORM.len()
            && FORM
                .iter()
                .zip(&bytes[at..])
                .all(|(form, byte)| if *form == b'd' { byte.is_ascii_digit() } else { form == byte })
    };
    let (mut settled, mut at) = (String::new(), 0);
    while let Some(found) = (at..bytes.len()).find(|at| fits(*at)) {
        settled.push_str(&text[at..found]);
        let rest = &text[found + FORM.len()..];
        let fraction = rest.len() - rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit()).len();
        let zone = usize::from(rest[fraction..].starts_with('Z'));
        settled.push_str("<moment>");
        at = found + FORM.len() + fraction + zone;
    }
    settled.push_str(&text[at..]);
    settled
}

/// Versions of values in messages: places in the log.
fn versions(text: &str) -> String {
    let mut parts = text.split("version ");
    let mut settled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        settled.push_str("version ");
        settled.push_str(if digits > 0 { "<version>" } else { "" });
        settled.push_str(&part[digits..]);
    }
    settled
}

/// How long ago something was, in messages.
fn ages(text: &str) -> String {
    let mut parts = text.split(" s ago").peekable();
    let mut settled = String::new();
    while let Some(part) = parts.next() {
        let digits = part.len() - part.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let aged = parts.peek().is_some() && digits > 0;
        settled.push_str(if aged { &part[..part.len() - digits] } else { part });
        settled.push_str(if aged { "<seconds>" } else { "" });
        settled.push_str(if parts.peek().is_some() { " s ago" } else { "" });
    }
    settled
}

#[test]
fn what_differs_between_runs_is_replaced_and_nothing_else() {
    let mut placeholders = Placeholders::default();
    let first = serde_json::json!({ "nonce": "abcdefgh", "message": "Nonce: abcdefgh at 2026-01-02T03:04:05.678Z." });
    let settled = placeholders.settle_json(&first);
    assert_eq!(settled, serde_json::json!({ "nonce": "<nonce>", "message": "Nonce: <nonce> at <moment>." }));
    assert_eq!(placeholders.settle("it has version 17, abcdefgh"), "it has version <version>, <nonce>");
    assert_eq!(placeholders.settle("heard 59 s ago, and 7 s ago."), "heard <seconds> s ago, and <seconds> s ago.");
    assert_eq!(placeholders.settle("2026-01-02 is a version of é"), "2026-01-02 is a version of é");
}
