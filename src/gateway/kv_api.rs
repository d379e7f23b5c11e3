//! Keys and values over HTTP: `/v1/storage`.
//!
//! A key is named by `?key=`, and then the body is the value itself, or by a JSON body, and then the value is base64 in
//! it. An `ETag` is the version of the write that a value stems from. Values go out as bytes, never as something that a
//! browser would run.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::auth_api::rfc3339;
use super::call::Call;
use super::error::{ApiError, Code, Effect, Outcome};
use super::reply::{self, Reply};
use super::route::{Answer, Content, Policy, Route, Tag};
use super::schema::{any_of, boolean, count, list, moment, nullable, object, one_of, string};
use super::{consistency, kv_watch};
use crate::cluster::Found;
use crate::kv::{KvError, Listing, Put, Store, WriteTerms, Written};
use crate::types::kv::{Condition, Expiry, KvEffect, KvEntry, KvOp, KvValues};
use crate::types::limits::{KV_OPS_PER_REQUEST_MAX, KV_VALUE_BYTES_MAX};
use crate::types::{Action, Key};

/// What the writer of a value said it is. Not `Content-Type`: a page stored here must not run as one of this origin.
const STORED_TYPE: HeaderName = HeaderName::from_static("debros-content-type");

/// A value in base64 and what stands around it.
const JSON_BODY_BYTES_MAX: usize = KV_VALUE_BYTES_MAX.div_ceil(3) * 4 + 8 * 1024;

/// Types that clients send when nobody has said anything.
const UNSAID: [&str; 2] = ["application/octet-stream", "application/x-www-form-urlencoded"];

/// Keys of one page when nothing is said.
const PAGE_DEFAULT: usize = 100;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let key = |route: Route| route.optional("key", string(), "The key; without it the JSON body names it.");
    let read = |method, path, operation, summary, handler: fn(Call) -> Answer| {
        let route = Route::new(method, path, operation, handler)
            .about(Tag::Storage, summary)
            .policy(Policy::Namespace(Action::ReadKv))
            .fails(READ_ERRORS);
        consistency::documented(route)
    };
    let write = |method, path, operation, summary, handler: fn(Call) -> Answer| {
        let route = Route::new(method, path, operation, handler)
            .about(Tag::Storage, summary)
            .policy(Policy::Namespace(Action::WriteKv))
            .body_max(JSON_BODY_BYTES_MAX)
            .fails(WRITE_ERRORS);
        consistency::documented_write(route)
            .header("If-Match", string(), "Only if the key has this ETag; `*`: only if it is there.")
            .header("If-None-Match", string(), "`*`: only if the key is not there.")
    };
    let named = || Content::json(object(&[("key", string())]));
    let bytes = || Content::of("application/octet-stream");
    let value = |route: Route| {
        key(route)
            .answers(200, "The value.", bytes())
            .answers(304, "It still has the ETag of If-None-Match.", Content::none())
            .fails(&[Code::NoSuchKey])
    };
    let stored = || {
        Content::json(object(&[("status", one_of(&["ok"])), ("key", string()), ("size", count()), ("etag", string())]))
    };
    let put_json = || {
        Content::json(any_of(
            &[
                ("key", string()),
                ("value?", string()),
                ("value_base64?", string()),
                ("content_type?", string()),
                ("ttl?", count()),
            ],
            &["value", "value_base64"],
        ))
    };
    let put = |route: Route| {
        key(route)
            .optional("ttl", count(), "Seconds until it goes by itself.")
            .takes(bytes())
            .takes(put_json())
            .answers(201, "It is stored.", stored())
    };
    let deleted = || Content::json(object(&[("status", one_of(&["ok"])), ("key", string()), ("existed", boolean())]));
    let exists = || Content::json(object(&[("exists", boolean())]));
    let entry = || {
        object(&[
            ("key", string()),
            ("etag", string()),
            ("size", count()),
            ("content_type", nullable(string())),
            ("created_at", moment()),
            ("updated_at", moment()),
            ("expires_at", nullable(moment())),
            ("value_base64?", string()),
        ])
    };
    vec![
        value(read(Method::GET, "/v1/storage/get", "getValue", "Read a value.", |call| Box::pin(get(call)))),
        value(read(Method::POST, "/v1/storage/get", "getValueByBody", "Read a value.", |call| Box::pin(get(call))))
            .takes(named()),
        value(
            read(Method::GET, "/v1/storage", "readValue", "Read a value.", |call| Box::pin(get(call)))
                .alias("/storage"),
        ),
        put(write(Method::POST, "/v1/storage/put", "putValue", "Store a value.", |call| Box::pin(put_value(call)))),
        put(write(Method::PUT, "/v1/storage/put", "replaceValue", "Store a value.", |call| Box::pin(put_value(call)))),
        put(write(Method::PUT, "/v1/storage", "writeValue", "Store a value.", |call| Box::pin(put_value(call)))
            .alias("/storage")),
        key(write(
            Method::POST,
            "/v1/storage/delete",
            "deleteKey",
            "Remove a key; one that is not there is no failure.",
            |call| Box::pin(delete(call)),
        ))
        .takes(named())
        .answers(200, "It is not there.", deleted()),
        key(write(Method::DELETE, "/v1/storage/delete", "removeKey", "Remove a key.", |call| Box::pin(delete(call))))
            .answers(200, "It is not there.", deleted()),
        key(write(Method::DELETE, "/v1/storage", "deleteValue", "Remove a key.", |call| Box::pin(delete(call)))
            .alias("/storage"))
        .answers(200, "It is not there.", deleted()),
        key(read(Method::GET, "/v1/storage/exists", "keyExists", "Whether a key is there.", |call| {
            Box::pin(exists_key(call))
        }))
        .answers(200, "Whether it is.", exists()),
        key(read(Method::POST, "/v1/storage/exists", "keyExistsByBody", "Whether a key is there.", |call| {
            Box::pin(exists_key(call))
        }))
        .takes(named())
        .answers(200, "Whether it is.", exists()),
        read(Method::GET, "/v1/storage/list", "listStoredKeys", "Keys in the order of their bytes.", |call| {
            Box::pin(list_keys(call))
        })
        .optional("prefix", string(), "Only keys that begin so, taken literally.")
        .optional("limit", count(), "Most keys of the answer.")
        .optional("cursor", string(), "Where to go on: `next_cursor` of the page before.")
        .optional("details", boolean(), "Also tell what is known of each key.")
        .optional("values", boolean(), "Also tell the values.")
        .answers(
            200,
            "A page of keys.",
            Content::json(object(&[
                ("keys", list(string())),
                ("next_cursor", nullable(string())),
                ("entries?", list(entry())),
            ])),
        ),
        read(Method::POST, "/v1/storage/multi-get", "getValues", "Several values, all as of one moment.", |call| {
            Box::pin(multi_get(call))
        })
        .takes(Content::json(object(&[("keys", list(string()))])))
        .answers(
            200,
            "Position for position; null where there is none.",
            Content::json(object(&[("items", list(nullable(entry())))])),
        ),
        write(Method::POST, "/v1/storage/batch", "changeValues", "Several changes, all or none.", |call| {
            Box::pin(batch(call))
        })
        .takes(Content::json(object(&[(
            "ops",
            list(object(&[
                ("op", one_of(&["put", "delete"])),
                ("key", string()),
                ("value?", string()),
                ("value_base64?", string()),
                ("content_type?", string()),
                ("ttl?", count()),
                ("if_match?", string()),
                ("if_none_match?", string()),
            ])),
        )])))
        .answers(
            200,
            "All were made.",
            Content::json(object(&[
                ("status", one_of(&["ok"])),
                (
                    "results",
                    list(object(&[
                        ("key", string()),
                        ("result", one_of(&["created", "replaced", "deleted", "absent"])),
                        ("etag?", string()),
                    ])),
                ),
            ])),
        ),
        read(
            Method::GET,
            "/v1/storage/watch",
            "watchKeys",
            "Changes of keys as they happen (server-sent events).",
            |call| Box::pin(kv_watch::watch(call)),
        )
        .optional("prefix", string(), "Only keys that begin so.")
        .optional("after", count(), "Begin behind this change, as with the header Last-Event-ID.")
        .answers(
            200,
            "Events `put`, `delete`, `expire`, with the change's number as id; `gap` when some are no longer known.",
            Content::of("text/event-stream"),
        ),
    ]
}

const READ_ERRORS: &[Code] = &[
    Code::InvalidParameter,
    Code::NoSuchNamespace,
    Code::StaleRead,
    Code::NoLeader,
    Code::Overloaded,
    Code::DeadlineExceeded,
    Code::ResultTooLarge,
];

const WRITE_ERRORS: &[Code] = &[
    Code::InvalidParameter,
    Code::PreconditionFailed,
    Code::QuotaExceeded,
    Code::NoSuchNamespace,
    Code::NoLeader,
    Code::Overloaded,
    Code::DeadlineExceeded,
    Code::IdempotencyMismatch,
];

/// The caller's keys.
pub(super) fn store(call: &Call) -> Result<Store, ApiError> {
    Ok(Store::new(call.face.cluster().clone(), call.grant()?.namespace().clone()))
}

fn write_terms(call: &Call) -> Result<WriteTerms, ApiError> {
    let quotas = call.face.quotas();
    Ok(WriteTerms {
        quota: quotas.kv,
        database_bytes_max: quotas.database_bytes_max,
        idempotency: consistency::idempotency(call)?,
    })
}

/// What the store refuses, as HTTP.
pub(super) fn refused(error: KvError, effect: Effect) -> ApiError {
    let message = error.to_string();
    match error {
        KvError::ConditionFailed { op, found, .. } => ApiError::new(Code::PreconditionFailed, message)
            .details(json!({ "op": op, "etag": found.map(etag_text) }))
            .outcome(Outcome::NotExecuted),
        KvError::OverQuota { .. } | KvError::DatabaseFull { .. } => {
            ApiError::new(Code::QuotaExceeded, message).outcome(Outcome::NotExecuted)
        }
        KvError::ValueTooLarge { .. } => ApiError::new(Code::BodyTooLarge, message),
        KvError::ContentTypeTooLong { .. } | KvError::TooMany { .. } => ApiError::new(Code::InvalidBody, message),
        KvError::AnswerTooLarge { .. } => ApiError::new(Code::ResultTooLarge, message),
        KvError::ChangesGone { newest } => {
            ApiError::new(Code::CursorTooOld, message).details(json!({ "resume_after": newest }))
        }
        KvError::Cluster(error) => ApiError::cluster(error, effect),
    }
}

fn etag_text(version: u64) -> String {
    format!("\"{version}\"")
}

fn parse_key(member: &str, text: &str) -> Result<Key, ApiError> {
    Key::from_str(text).map_err(|error| ApiError::parameter(member, format!("{member}: {error}")))
}

/// The key from `?key=` or a JSON body.
fn key_of(call: &Call) -> Result<Key, ApiError> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        key: String,
    }
    let text = match call.query.one("key")? {
        Some(key) => key.to_owned(),
        None if call.body.is_empty() => String::new(),
        None => call.json::<Named>()?.key,
    };
    if text.is_empty() {
        return Err(ApiError::parameter("key", "missing 'key'"));
    }
    parse_key("key", &text)
}

async fn get(call: Call) -> Result<Reply, ApiError> {
    let key = key_of(&call)?;
    let found = store(&call)?.get(key.clone(), consistency::read_terms(&call)?, call.deadline).await;
    let Found { value, .. } = found.map_err(|error| refused(error, Effect::Reads))?;
    let Some(entry) = value else {
        return Err(ApiError::new(Code::NoSuchKey, format!("key not found: {key}")));
    };
    let etag = etag_text(entry.version);
    let known = call.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut reply = if known.is_some_and(|known| known.split(',').any(|known| known.trim() == etag)) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        reply::typed(StatusCode::OK, reply::BYTES, entry.value.unwrap_or_default())
    };
    let headers = reply.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if let Some(stored) = entry.content_type.and_then(|stored| HeaderValue::from_str(&stored).ok()) {
        headers.insert(STORED_TYPE, stored);
    }
    Ok(reply)
}

async fn exists_key(call: Call) -> Result<Reply, ApiError> {
    let found = store(&call)?.exists(key_of(&call)?, consistency::read_terms(&call)?, call.deadline).await;
    let found = found.map_err(|error| refused(error, Effect::Reads))?;
    Ok(reply::ok(&json!({ "exists": found.value.is_some() })))
}

/// `If-Match` and `If-None-Match` of a write.
fn condition(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, ApiError> {
    let wrong = |name: &'static str, value: &str| {
        let shown: String = value.chars().take(40).collect();
        ApiError::parameter(name, format!("{name}: `{shown}` is not understood: send one ETag in quotes, or *"))
    };
    match (if_match.map(str::trim), if_none_match.map(str::trim)) {
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::IfPresent),
        (Some(etag), None) => {
            let version = etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag).parse();
            version.map(Condition::IfVersion).map_err(|_| wrong("If-Match", etag))
        }
        (None, Some("*")) => Ok(Condition::IfAbsent),
        (None, Some(other)) => Err(wrong("If-None-Match", other)),
        (Some(_), Some(other)) => Err(wrong("If-None-Match", other)),
    }
}

fn header_condition(call: &Call) -> Result<Condition, ApiError> {
    let text = |name| call.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    condition(text(IF_MATCH), text(IF_NONE_MATCH))
}

fn expiry(seconds: Option<u64>) -> Result<Expiry, ApiError> {
    match seconds {
        None => Ok(Expiry::Never),
        Some(0) => Err(ApiError::parameter("ttl", "ttl: 0 seconds is over at once; delete the key, or leave ttl out")),
        Some(seconds) => Ok(Expiry::AfterMs(seconds.saturating_mul(1000))),
    }
}

/// A value in a JSON body, with what belongs to it.
#[derive(Deserialize)]
struct JsonValue {
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    ttl: Option<u64>,
}

impl JsonValue {
    fn put(self, condition: Condition) -> Result<Put, ApiError> {
        let encoded = self.value_base64.or(self.value);
        let encoded =
            encoded.ok_or_else(|| ApiError::new(Code::InvalidBody, "invalid body: value_base64 is missing"))?;
        let value = BASE64.decode(encoded.trim_end()).map_err(|_| {
            ApiError::new(
                Code::InvalidBody,
                "invalid body: the value is not standard base64; or send raw bytes with ?key=",
            )
        })?;
        let key = parse_key("key", &self.key)?;
        Ok(Put { key, value, content_type: self.content_type, condition, expiry: expiry(self.ttl)? })
    }
}

async fn put_value(call: Call) -> Result<Reply, ApiError> {
    let condition = header_condition(&call)?;
    let put = match call.query.one("key")? {
        None => call.json::<JsonValue>()?.put(condition)?,
        Some(key) => {
            let ttl = call.query.one("ttl")?.map(|text| {
                text.parse().map_err(|_| ApiError::parameter("ttl", format!("ttl: `{text}` is no number of seconds")))
            });
            let content_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Put {
                key: parse_key("key", key)?,
                value: call.body.to_vec(),
                content_type: content_type.filter(|text| !UNSAID.contains(text)).map(str::to_owned),
                condition,
                expiry: expiry(ttl.transpose()?)?,
            }
        }
    };
    let (key, size) = (put.key.clone(), put.value.len());
    let written = store(&call)?.put(put, write_terms(&call)?, call.deadline).await;
    let written = written.map_err(|error| refused(error, Effect::Writes))?;
    let etag = written.effects.first().and_then(version_of).map(etag_text).unwrap_or_default();
    let mut reply =
        reply::json(StatusCode::CREATED, &json!({ "status": "ok", "key": key, "size": size, "etag": etag }));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        reply.headers_mut().insert(ETAG, etag);
    }
    Ok(told(reply, &written))
}

fn version_of(effect: &KvEffect) -> Option<u64> {
    match effect {
        KvEffect::Created { version } | KvEffect::Replaced { version } => Some(*version),
        KvEffect::Deleted | KvEffect::WasAbsent => None,
    }
}

/// Adds where in the log the write stands.
fn told(reply: Reply, written: &Written) -> Reply {
    consistency::tell_write(reply, written.index, written.replayed)
}

async fn delete(call: Call) -> Result<Reply, ApiError> {
    let key = key_of(&call)?;
    let condition = header_condition(&call)?;
    let written = store(&call)?.delete(key.clone(), condition, write_terms(&call)?, call.deadline).await;
    let written = written.map_err(|error| refused(error, Effect::Writes))?;
    let existed = written.effects.first() == Some(&KvEffect::Deleted);
    Ok(told(reply::ok(&json!({ "status": "ok", "key": key, "existed": existed })), &written))
}

async fn list_keys(call: Call) -> Result<Reply, ApiError> {
    let number = |name: &'static str| -> Result<Option<usize>, ApiError> {
        let text = call.query.one(name)?.filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| ApiError::parameter(name, format!("{name}: `{text}` is no number"))))
            .transpose()
    };
    let (with_values, details) = (call.query.flag("values")?, call.query.flag("details")?);
    let namespace = call.grant()?.namespace().as_str().to_owned();
    let listing = Listing {
        prefix: call.query.one("prefix")?.unwrap_or_default().to_owned(),
        after: call.query.one("cursor")?.map(|cursor| read_cursor(&namespace, cursor)).transpose()?,
        keys_max: number("limit")?.filter(|limit| *limit > 0).unwrap_or(PAGE_DEFAULT),
        values: if with_values { KvValues::Included } else { KvValues::Omitted },
    };
    let found = store(&call)?.list(listing, consistency::read_terms(&call)?, call.deadline).await;
    let page = found.map_err(|error| refused(error, Effect::Reads))?.value;
    let keys: Vec<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    let next_cursor = page.more_after.as_ref().map(|key| write_cursor(&namespace, key));
    let mut answer = json!({ "keys": keys, "next_cursor": next_cursor });
    if with_values || details {
        answer["entries"] = page.entries.iter().map(entry_json).collect();
    }
    Ok(reply::ok(&answer))
}

/// A place in one namespace's list. Whose it is stands in front, so that another's is refused and not misread.
fn write_cursor(namespace: &str, key: &Key) -> String {
    let owner = blake3::hash(namespace.as_bytes());
    BASE64_URL.encode([&owner.as_bytes()[..4], key.as_str().as_bytes()].concat())
}

fn read_cursor(namespace: &str, cursor: &str) -> Result<Key, ApiError> {
    let owner = blake3::hash(namespace.as_bytes());
    let decoded = BASE64_URL.decode(cursor).ok();
    let key = decoded.as_deref().and_then(|bytes| bytes.strip_prefix(&owner.as_bytes()[..4]));
    let key = key.and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.parse().ok());
    key.ok_or_else(|| ApiError::parameter("cursor", "cursor: this is no next_cursor of this namespace"))
}

fn entry_json(entry: &KvEntry) -> Json {
    let mut shown = json!({
        "key": entry.key,
        "etag": etag_text(entry.version),
        "size": entry.value_bytes,
        "content_type": entry.content_type,
        "created_at": rfc3339(entry.created_unix_ms),
        "updated_at": rfc3339(entry.updated_unix_ms),
        "expires_at": entry.expires_unix_ms.map(rfc3339),
    });
    if let Some(value) = &entry.value {
        shown["value_base64"] = BASE64.encode(value).into();
    }
    shown
}

async fn multi_get(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        keys: Vec<String>,
    }
    let body: Body = call.json()?;
    let keys = body.keys.iter().map(|key| parse_key("keys", key)).collect::<Result<Vec<_>, _>>()?;
    let found = store(&call)?.get_many(keys, KvValues::Included, consistency::read_terms(&call)?, call.deadline).await;
    let found = found.map_err(|error| refused(error, Effect::Reads))?.value;
    let items: Vec<Json> = found.iter().map(|entry| entry.as_ref().map_or(Json::Null, entry_json)).collect();
    Ok(reply::ok(&json!({ "items": items })))
}

#[derive(Deserialize)]
struct BatchOp {
    op: BatchKind,
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    if_match: Option<String>,
    #[serde(default)]
    if_none_match: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BatchKind {
    Put,
    Delete,
}

impl BatchOp {
    fn change(self) -> Result<KvOp, ApiError> {
        let condition = condition(self.if_match.as_deref(), self.if_none_match.as_deref())?;
        match self.op {
            BatchKind::Put => {
                let BatchOp { key, value, value_base64, content_type, ttl, .. } = self;
                Ok(JsonValue { key, value, value_base64, content_type, ttl }.put(condition)?.into())
            }
            BatchKind::Delete => Ok(KvOp::Delete { key: parse_key("key", &self.key)?, condition }),
        }
    }
}

async fn batch(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        ops: Vec<BatchOp>,
    }
    let body: Body = call.json()?;
    if body.ops.is_empty() {
        let message = format!("invalid body: ops: send 1 to {KV_OPS_PER_REQUEST_MAX} changes");
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    let mut ops = Vec::with_capacity(body.ops.len());
    for (position, op) in body.ops.into_iter().enumerate() {
        ops.push(op.change().map_err(|error| error.details(json!({ "op": position })))?);
    }
    let keys: Vec<Key> = ops.iter().map(|op| op.key().clone()).collect();
    let written = store(&call)?.batch(ops, write_terms(&call)?, call.deadline).await;
    let written = written.map_err(|error| refused(error, Effect::Writes))?;
    let results: Vec<Json> = keys
        .iter()
        .zip(&written.effects)
        .map(|(key, effect)| {
            let result = match effect {
                KvEffect::Created { .. } => "created",
                KvEffect::Replaced { .. } => "replaced",
                KvEffect::Deleted => "deleted",
                KvEffect::WasAbsent => "absent",
            };
            let mut shown = json!({ "key": key, "result": result });
            if let Some(version) = version_of(effect) {
                shown["etag"] = etag_text(version).into();
            }
            shown
        })
        .collect();
    Ok(told(reply::ok(&json!({ "status": "ok", "results": results })), &written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_one_etag_or_a_star() {
        assert_eq!(condition(None, None).expect("none"), Condition::Always);
        assert_eq!(condition(Some("\"7\""), None).expect("an etag"), Condition::IfVersion(7));
        assert_eq!(condition(Some("*"), None).expect("a star"), Condition::IfPresent);
        assert_eq!(condition(None, Some("*")).expect("a star"), Condition::IfAbsent);
        for (if_match, if_none_match) in [
            (Some("\"a\""), None),
            (Some("\"1\", \"2\""), None),
            (None, Some("\"7\"")),
            (Some("*"), Some("*")),
            (Some(""), None),
        ] {
            assert!(condition(if_match, if_none_match).is_err(), "{if_match:?} {if_none_match:?}");
        }
    }

    #[test]
    fn a_cursor_is_good_in_its_namespace_only() {
        let key: Key = "a\0é".parse().expect("a key");
        let cursor = write_cursor("chat", &key);
        assert_eq!(read_cursor("chat", &cursor).expect("its own"), key);
        for (namespace, cursor) in [("other", cursor.as_str()), ("chat", "AAAA"), ("chat", "!"), ("chat", "")] {
            assert!(read_cursor(namespace, cursor).is_err(), "{namespace} {cursor}");
        }
    }
}
