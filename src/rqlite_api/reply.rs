//! Answers: status, type, body, and the headers that rqlite's clients and debros' own read.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::cluster::{ServedBy, WriteOutcome};
use crate::http::ReplyBody;

/// An answer on its way out.
pub(super) type Reply = Response<ReplyBody>;

/// `X-Rqlite-Version`: the contract spoken here. Clients only look at whether it is there and print it.
pub(super) const RQLITE_VERSION: &str = "10";

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

const X_RQLITE_VERSION: HeaderName = HeaderName::from_static("x-rqlite-version");
const X_RQLITE_SERVED_BY: HeaderName = HeaderName::from_static("x-rqlite-served-by");
const DEBROS_INDEX: HeaderName = HeaderName::from_static("debros-index");
const DEBROS_OUTCOME: HeaderName = HeaderName::from_static("debros-outcome");
const DEBROS_DURABILITY: HeaderName = HeaderName::from_static("debros-durability");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How safe an acknowledged write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// In this process's memory only.
    Queued,
    /// In the log of a quorum.
    Committed,
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    with_body(status, Bytes::new())
}

/// A JSON answer with status 200.
pub(super) fn json(body: impl Into<Bytes>) -> Reply {
    typed(JSON, body)
}

/// An empty answer that says it is JSON, as rqlite gives on its data endpoints.
pub(super) fn empty_json(status: StatusCode) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// A text answer with status 200.
pub(super) fn text(body: impl Into<Bytes>) -> Reply {
    typed(TEXT, body)
}

/// An error in one line of text.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    let mut reply = with_body(status, Bytes::from(format!("{message}\n")));
    reply.headers_mut().insert(CONTENT_TYPE, TEXT);
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// An answer of some type with status 200.
pub(super) fn typed(content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = with_body(StatusCode::OK, body.into());
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

fn with_body(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    *reply.status_mut() = status;
    reply
}

/// Says which node served the request.
pub(super) fn set_served_by(reply: &mut Reply, served_by: &ServedBy, here: &HeaderValue) {
    let value = match served_by {
        ServedBy::Here => here.clone(),
        ServedBy::Peer { address, .. } => HeaderValue::from_str(address).unwrap_or_else(|_| here.clone()),
    };
    reply.headers_mut().insert(X_RQLITE_SERVED_BY, value);
}

/// Says at which log index the request took effect.
pub(super) fn set_index(reply: &mut Reply, index: u64) {
    reply.headers_mut().insert(DEBROS_INDEX, HeaderValue::from(index));
}

/// Says that this answer is that of an earlier request with the same idempotency key.
pub(super) fn set_replayed(reply: &mut Reply) {
    reply.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
}

/// Says how safe the write is.
pub(super) fn set_durability(reply: &mut Reply, durability: Durability) {
    let value = match durability {
        Durability::Queued => "queued",
        Durability::Committed => "committed",
    };
    reply.headers_mut().insert(DEBROS_DURABILITY, HeaderValue::from_static(value));
}

/// Says whether a failed write may have taken effect.
pub(super) fn set_outcome(reply: &mut Reply, outcome: WriteOutcome) {
    let value = match outcome {
        WriteOutcome::NotExecuted => "not-executed",
        WriteOutcome::Unknown => "unknown",
    };
    reply.headers_mut().insert(DEBROS_OUTCOME, HeaderValue::from_static(value));
}

/// Whether a listener takes requests without credentials; clients learn it from the headers of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Optional,
    Required,
}

/// Adds what every answer carries.
pub(super) fn set_common(headers: &mut HeaderMap, credentials: Credentials) {
    use hyper::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS};
    headers.insert(X_RQLITE_VERSION, HeaderValue::from_static(RQLITE_VERSION));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("OPTIONS, GET, POST"));
    let allowed = match credentials {
        Credentials::Optional => "Content-Type",
        Credentials::Required => {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            ask_for_credentials(headers);
            "Content-Type, Authorization"
        }
    };
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
}

/// Names the kind of credentials that are taken.
pub(super) fn ask_for_credentials(headers: &mut HeaderMap) {
    headers.insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"rqlite\""));
}
