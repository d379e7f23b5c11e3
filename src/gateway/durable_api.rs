//! Durable topics over HTTP: `/v1/pubsub/durable` and `/v1/pubsub/messages`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::consistency;
use super::error::{ApiError, Code, Effect};
use super::publication::{change_terms, durable_topics, refused};
use super::pubsub_api::{invalid, one_topic};
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};
use super::schema::{boolean, count, list, nullable, object, one_of, string};
use crate::pubsub::durable::{Changed, Messages, Wanted};
use crate::types::durable::{ConfiguredTopic, OnGap, Retain, StoredMessage, TopicEffect};
use crate::types::{Action, TopicFilter};

/// Messages of one page when nothing is said.
const PAGE_DEFAULT: usize = 100;

/// Bytes of one page.
const PAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let topic = |route: Route| route.needed("topic", string(), "The topic.");
    let retain = || object(&[("count?", count()), ("age_seconds?", count()), ("bytes?", count())]);
    let configured = || {
        object(&[
            ("topic", string()),
            ("retain", retain()),
            ("messages", count()),
            ("bytes", count()),
            ("first_cursor", nullable(count())),
            ("last_cursor", nullable(count())),
        ])
    };
    let message = || {
        object(&[
            ("cursor", count()),
            ("topic", string()),
            ("message_id", string()),
            ("publisher", string()),
            ("timestamp", count()),
            ("data_base64", string()),
        ])
    };
    let page = || Content::json(object(&[("messages", list(message())), ("next_after", count()), ("newest", count())]));
    let status = || Content::json(object(&[("status", one_of(&["ok"])), ("topic", string())]));
    let read =
        |method, path, operation, handler: fn(Call) -> super::route::Answer| {
            let route = Route::new(method, path, operation, handler)
                .policy(Policy::Namespace(Action::Subscribe))
                .fails(&[Code::NoSuchNamespace, Code::NoLeader, Code::DeadlineExceeded]);
            consistency::documented(route)
        };
    let write =
        |method, path, operation, handler: fn(Call) -> super::route::Answer| {
            let route = Route::new(method, path, operation, handler)
                .policy(Policy::Namespace(Action::Publish))
                .fails(&[Code::NoSuchNamespace, Code::NoLeader, Code::DeadlineExceeded, Code::QuotaExceeded]);
            consistency::documented_write(route)
        };
    vec![
        read(Method::GET, "/v1/pubsub/durable", "listDurableTopics", |call| Box::pin(configured_topics(call)))
            .about(Tag::PubSub, "Topics whose messages are stored, with what they keep.")
            .answers(200, "They, in order.", Content::json(object(&[("topics", list(configured()))]))),
        topic(
            write(Method::PUT, "/v1/pubsub/durable", "makeTopicDurable", |call| Box::pin(configure(call)))
                .about(Tag::PubSub, "Store a topic's messages from now on, or change what is kept."),
        )
        .takes(Content::json(retain()))
        .answers(200, "It is so.", status())
        .fails(&[Code::TooMany]),
        topic(
            write(Method::DELETE, "/v1/pubsub/durable", "makeTopicLive", |call| Box::pin(remove(call)))
                .about(Tag::PubSub, "Store a topic's messages no longer, and drop those that are."),
        )
        .answers(
            200,
            "It is so.",
            Content::json(object(&[("status", one_of(&["ok"])), ("topic", string()), ("existed", boolean())])),
        ),
        read(Method::GET, "/v1/pubsub/messages", "listMessages", |call| Box::pin(messages(call)))
            .about(Tag::PubSub, "Stored messages of a topic or pattern, some at a time.")
            .needed("topic", string(), "The topic, or a pattern.")
            .optional("after", count(), "Only messages behind this cursor; without it, from the oldest that is kept.")
            .optional("limit", count(), "How many at most.")
            .answers(200, "Some, in order.", page())
            .fails(&[Code::CursorTooOld]),
    ]
}

#[derive(Deserialize)]
struct Keeps {
    count: Option<u64>,
    age_seconds: Option<u64>,
    bytes: Option<u64>,
}

async fn configure(call: Call) -> Result<Reply, ApiError> {
    let topic = one_topic(&call)?;
    let Keeps { count, age_seconds, bytes } = call.json()?;
    let retain = Retain { count, age: age_seconds.map(|seconds| seconds.saturating_mul(1000)), bytes };
    let namespace = call.grant()?.namespace();
    let terms = change_terms(&call.face, consistency::idempotency(&call)?);
    let changed = durable_topics(&call.face, namespace).configure(topic.clone(), retain, terms, call.deadline).await;
    let Changed { index, replayed, .. } = changed.map_err(|error| refused(error, Effect::Writes))?;
    call.face.durable.changed(namespace, index);
    Ok(consistency::tell_write(reply::ok(&json!({ "status": "ok", "topic": topic })), index, replayed))
}

async fn remove(call: Call) -> Result<Reply, ApiError> {
    let topic = one_topic(&call)?;
    let namespace = call.grant()?.namespace();
    let terms = change_terms(&call.face, consistency::idempotency(&call)?);
    let removed = durable_topics(&call.face, namespace).remove(topic.clone(), terms, call.deadline).await;
    let Changed { index, replayed, effects, .. } = removed.map_err(|error| refused(error, Effect::Writes))?;
    call.face.durable.changed(namespace, index);
    let existed = effects.contains(&TopicEffect::Removed);
    let reply = reply::ok(&json!({ "status": "ok", "topic": topic, "existed": existed }));
    Ok(consistency::tell_write(reply, index, replayed))
}

async fn configured_topics(call: Call) -> Result<Reply, ApiError> {
    let topics = durable_topics(&call.face, call.grant()?.namespace());
    let found = topics.configured(consistency::read_terms(&call)?, call.deadline).await;
    let found = found.map_err(|error| refused(error, Effect::Reads))?;
    let topics: Vec<Json> = found.value.topics.iter().map(topic_json).collect();
    Ok(reply::ok(&json!({ "topics": topics })))
}

fn topic_json(configured: &ConfiguredTopic) -> Json {
    let ConfiguredTopic { topic, retain, messages, bytes, first_seq, last_seq } = configured;
    let mut keeps = serde_json::Map::new();
    let age_seconds = retain.age.map(|ms| ms / 1000);
    for (name, bound) in [("count", retain.count), ("age_seconds", age_seconds), ("bytes", retain.bytes)] {
        if let Some(bound) = bound {
            keeps.insert(name.to_owned(), bound.into());
        }
    }
    json!({
        "topic": topic, "retain": keeps, "messages": messages, "bytes": bytes,
        "first_cursor": first_seq, "last_cursor": last_seq,
    })
}

async fn messages(call: Call) -> Result<Reply, ApiError> {
    let text = call.query.one("topic")?.ok_or_else(|| ApiError::parameter("topic", "`topic` is missing"))?;
    let filter: TopicFilter = text.parse().map_err(invalid)?;
    let number = |name: &str| -> Result<Option<u64>, ApiError> {
        let Some(text) = call.query.one(name)? else { return Ok(None) };
        let wrong = || ApiError::parameter(name, format!("`{text}` is no number"));
        text.parse().map(Some).map_err(|_| wrong())
    };
    let (after, limit) = (number("after")?, number("limit")?);
    let wanted = Wanted {
        on_gap: if after.is_some() { OnGap::Tell } else { OnGap::Skip },
        count_max: limit.map_or(PAGE_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX)).max(1),
        bytes_max: PAGE_BYTES_MAX,
        ..Wanted::after(filter, after.unwrap_or(0))
    };
    let topics = durable_topics(&call.face, call.grant()?.namespace());
    let found = topics.messages(wanted, consistency::read_terms(&call)?, call.deadline).await;
    let Messages { messages, next_after, newest, .. } = found.map_err(|error| refused(error, Effect::Reads))?.value;
    let messages: Vec<Json> = messages.iter().map(message_json).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "messages": messages, "next_after": next_after, "newest": newest })))
}

fn message_json(message: &StoredMessage) -> Json {
    let StoredMessage { seq, topic, unix_ms, publisher, message_id, data } = message;
    json!({
        "cursor": seq, "topic": topic, "message_id": message_id, "publisher": publisher, "timestamp": unix_ms,
        "data_base64": BASE64.encode(data),
    })
}
