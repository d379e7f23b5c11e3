//! Pub/sub over HTTP: `/v1/pubsub`. The sockets are in [`super::pubsub_socket`], streams of events in
//! [`super::pubsub_events`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::error::{ApiError, Code};
use super::pubsub_frames::{self as frames, AskedAck, Data};
use super::reply::{self, Reply};
use super::route::{Class, Content, Policy, Route, Tag};
use super::schema::{any_of, count, list, object, one_of, string};
use super::{consistency, publication, pubsub_events, pubsub_socket};
use crate::pubsub::{Member, PublishError, Publisher, SubscribeError};
use crate::types::limits::MESSAGE_BYTES_MAX;
use crate::types::topic::InvalidTopic;
use crate::types::{Action, Namespace, Topic};

/// A message in base64 and what stands around it.
const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(3) * 4 + 4 * 1024;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let topic = |route: Route| route.needed("topic", string(), "The topic.");
    let credentials = |route: Route| {
        route
            .optional("api_key", string(), "An API key, where no header can be set. A subprotocol is better.")
            .optional("token", string(), "An access token, where no header can be set. A subprotocol is better.")
            .optional("ticket", string(), "A ticket from /v1/auth/ws-ticket, in place of any other credential.")
    };
    let published = || {
        Content::json(object(&[
            ("status", one_of(&["ok"])),
            ("message_id", string()),
            ("seq", count()),
            ("subscribers", count()),
            ("peers", count()),
            ("cursor?", count()),
        ]))
    };
    let message = || {
        Content::json(any_of(
            &[
                ("topic", string()),
                ("data?", string()),
                ("data_base64?", string()),
                ("ack?", one_of(&["none", "local", "mesh", "durable"])),
            ],
            &["data", "data_base64"],
        ))
    };
    let member = || object(&[("member_id", string()), ("joined_at", count()), ("meta?", json!({}))]);
    let members = || Content::json(object(&[("topic", string()), ("members", list(member())), ("count", count())]));
    let socket = Route::new(Method::GET, "/v1/pubsub/ws", "openSocket", pubsub_socket::open)
        .about(Tag::PubSub, "Open a WebSocket (RFC 6455): subscribed to `topic`, or with the subprotocol debros.v1.")
        .policy(Policy::Namespace(Action::Subscribe))
        .class(Class::Socket)
        .optional("topic", string(), "The topic; debros.v1 can do without.")
        .optional("format", one_of(&["raw", "envelope"]), "How messages come where no subprotocol is spoken.")
        .optional("presence", one_of(&["true", "false"]), "Whether to name a member of the topic.")
        .optional("member_id", string(), "Who that is.")
        .optional("member_meta", string(), "What is said of it, in JSON.")
        .answers(101, "The connection is a WebSocket.", Content::none())
        .fails(&[Code::UpgradeRequired, Code::TooMany, Code::NoSuchNamespace]);
    let events = Route::new(Method::GET, "/v1/pubsub/sse", "streamMessages", pubsub_events::open)
        .about(Tag::PubSub, "Messages as server-sent events.")
        .policy(Policy::Namespace(Action::Subscribe))
        .class(Class::Socket)
        .optional(
            "after",
            string(),
            "For a durable topic: behind which cursor to begin, 0 with the oldest, or `newest`.",
        )
        .header(
            "Last-Event-ID",
            string(),
            "The last event that the client has: of a durable topic it goes on from there.",
        )
        .answers(200, "Events `ready`, `message` and `gap`.", Content::of("text/event-stream"))
        .fails(&[Code::TooMany, Code::NoSuchNamespace, Code::Conflict, Code::NoLeader, Code::DeadlineExceeded]);
    vec![
        credentials(socket),
        credentials(topic(events)),
        consistency::documented_write(
            Route::new(Method::POST, "/v1/pubsub/publish", "publish", publish)
                .about(Tag::PubSub, "Publish a message.")
                .policy(Policy::Namespace(Action::Publish)),
        )
        .body_max(BODY_BYTES_MAX)
        .takes(message())
        .answers(200, "It is published, as far as was asked for.", published())
        .fails(&[
            Code::Overloaded,
            Code::Conflict,
            Code::NoLeader,
            Code::QuotaExceeded,
            Code::IdempotencyMismatch,
        ]),
        Route::new(Method::GET, "/v1/pubsub/topics", "listTopics", topics)
            .about(Tag::PubSub, "Topics with a subscriber anywhere in the cluster.")
            .policy(Policy::Namespace(Action::Subscribe))
            .answers(200, "They, in order.", Content::json(object(&[("topics", list(string()))]))),
        topic(
            Route::new(Method::GET, "/v1/pubsub/presence", "listPresence", presence)
                .about(Tag::PubSub, "Who is in a topic, anywhere in the cluster.")
                .policy(Policy::Namespace(Action::Subscribe)),
        )
        .answers(200, "They, by id.", members()),
    ]
}

#[derive(Deserialize)]
struct Publication {
    topic: String,
    #[serde(flatten)]
    data: Data,
    #[serde(default)]
    ack: AskedAck,
}

async fn publish(call: Call) -> Result<Reply, ApiError> {
    let Publication { topic, data, ack } = call.json()?;
    let topic: Topic = topic.parse().map_err(invalid)?;
    let grant = call.grant()?;
    let publisher = call.face.publishers.of(grant.namespace(), grant.actor());
    let idempotency = consistency::idempotency(&call)?;
    let data = data.bytes()?;
    let published = publication::publish(&call.face, &publisher, topic, data, ack, idempotency, call.deadline).await?;
    let mut told = frames::publication(&published);
    told["status"] = "ok".into();
    Ok(reply::ok(&told))
}

async fn topics(call: Call) -> Result<Reply, ApiError> {
    let topics = call.face.pubsub.topics(call.grant()?.namespace());
    Ok(reply::ok(&json!({ "topics": topics })))
}

async fn presence(call: Call) -> Result<Reply, ApiError> {
    let topic = one_topic(&call)?;
    let members = call.face.pubsub.members(call.grant()?.namespace(), &topic);
    let count = members.len();
    let members: Vec<Json> = members.into_iter().map(member_json).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "topic": topic, "members": members, "count": count })))
}

fn member_json(member: Member) -> Json {
    let mut told = json!({ "member_id": member.id, "joined_at": member.joined_at });
    if let Some(meta) = member.meta.and_then(|meta| serde_json::from_str::<Json>(&meta).ok()) {
        told["meta"] = meta;
    }
    told
}

/// The topic that a request is about.
pub(super) fn one_topic(call: &Call) -> Result<Topic, ApiError> {
    let text = call.query.one("topic")?.ok_or_else(|| ApiError::parameter("topic", "`topic` is missing"))?;
    text.parse().map_err(invalid)
}

/// A text that is no topic.
pub(super) fn invalid(error: InvalidTopic) -> ApiError {
    ApiError::parameter("topic", error.to_string())
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> ApiError {
        let code = match error {
            PublishError::TooLarge { .. } => Code::BodyTooLarge,
            PublishError::Congested => Code::Overloaded,
        };
        ApiError::new(code, error.to_string())
    }
}

impl From<SubscribeError> for ApiError {
    fn from(error: SubscribeError) -> ApiError {
        ApiError::new(Code::TooMany, error.to_string())
    }
}

/// Most publishers that are remembered; those who publish by single requests are told apart by their credential.
const PUBLISHERS_MAX: usize = 4096;

/// Who publishes by single requests.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    known: Mutex<HashMap<(Namespace, String), Arc<Publisher>>>,
}

impl Publishers {
    /// The publisher that stands for a caller.
    fn of(&self, namespace: &Namespace, actor: &str) -> Arc<Publisher> {
        let mut known = self.known.lock().expect("nobody panics while holding it");
        if known.len() >= PUBLISHERS_MAX {
            // Who comes again is counted anew, under another number.
            known.retain(|_, publisher| Arc::strong_count(publisher) > 1);
        }
        let place = (namespace.clone(), actor.to_owned());
        known.entry(place).or_insert_with(|| Arc::new(Publisher::new(namespace.clone(), actor))).clone()
    }
}
