//! Messages as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event's id is the message's. Who comes back with `Last-Event-ID` is told with a `gap` that what was published
//! meanwhile is lost: nothing is kept. Of a durable topic the id is the message's cursor, and who comes back with it, to
//! whatever node, misses nothing.

use std::time::Duration;

use serde_json::json;

use super::call::Call;
use super::error::ApiError;
use super::event_stream::{self, LAST_EVENT_ID, Source, event};
use super::publication::check_namespace;
use super::pubsub_api::invalid;
use super::pubsub_durable as durable;
use super::pubsub_frames::{self as frames, After};
use super::reply::Reply;
use crate::pubsub::{Delivery, Followed, Follower, Subscriber};
use crate::types::TopicFilter;

/// Messages taken from the queue at once.
const TAKE_MAX: usize = 64;

/// Answers with a stream.
pub(super) async fn open(call: Call) -> Result<Reply, ApiError> {
    check_namespace(&call.face, call.grant()?.namespace()).await?;
    let filters = call.query.all("topic").map(|topic| topic.parse().map_err(invalid));
    let filters: Vec<TopicFilter> = filters.collect::<Result<_, _>>()?;
    if filters.is_empty() {
        return Err(ApiError::parameter("topic", "`topic` is missing"));
    }
    let last = call.headers.get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    // Cursors have fewer digits than the ids of messages that nobody keeps.
    let after = last.filter(|id| id.len() < 32).or(call.query.one("after")?).map(|text| After::Word(text.to_owned()));
    let mut first = event_stream::ready(None);
    let source = match after {
        Some(after) => {
            let follower = stored(&call, filters, &after).await?;
            // Whoever is cut off before the first message comes back to where it began.
            first = event_stream::ready(Some(&follower.cursor().to_string()));
            Messages::Stored(Box::new(follower))
        }
        None => {
            let mut subscriber = call.face.pubsub.subscriber(call.grant()?.namespace().clone());
            for filter in filters {
                subscriber.subscribe(filter)?;
            }
            if last.is_some() {
                first.push_str(&event("gap", None, &json!({ "type": "gap", "reason": "away" }).to_string()));
            }
            Messages::Live(subscriber)
        }
    };
    Ok(event_stream::reply(call, first, source))
}

/// A reader of one durable topic, or of one pattern: the id of an event has to tell where all of it is.
async fn stored(call: &Call, filters: Vec<TopicFilter>, after: &After) -> Result<Follower, ApiError> {
    let [filter] = <[TopicFilter; 1]>::try_from(filters)
        .map_err(|_| ApiError::parameter("topic", "with `after` there is one `topic`, which may be a pattern"))?;
    durable::follower(&call.face, call.grant()?.namespace(), filter, after.begin()?, call.deadline).await
}

/// Where messages come from.
enum Messages {
    Live(Subscriber),
    Stored(Box<Follower>),
}

impl Source for Messages {
    async fn next(&mut self, call: &Call, patience: Duration) -> Option<String> {
        let namespace = call.grant.as_ref()?.namespace();
        if !call.face.durable.namespace_exists(&call.face, namespace).await {
            return None;
        }
        Some(match self {
            Messages::Live(subscriber) => {
                let deliveries = tokio::time::timeout(patience, subscriber.inbox().take(TAKE_MAX)).await;
                deliveries.unwrap_or_default().iter().map(text_of).collect()
            }
            Messages::Stored(follower) => match durable::next(follower, patience).await {
                Followed::Messages(messages) => messages
                    .iter()
                    .map(|message| event("message", Some(&message.seq.to_string()), &frames::stored(message)))
                    .collect(),
                Followed::Gap { after } => {
                    event("gap", None, &frames::retention_gap(follower.topic(), after).to_string())
                }
                Followed::Quiet => String::new(),
            },
        })
    }
}

fn text_of(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Gap(gap) => event("gap", None, &frames::gap(*gap).to_string()),
        Delivery::Message(message) => {
            let data = frames::framed(message);
            event("message", Some(&message.id.to_string()), std::str::from_utf8(&data).expect("JSON is text"))
        }
    }
}
