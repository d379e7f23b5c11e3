//! Answers: a status, a type, a body.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::http::ReplyBody;

/// The type of values that nobody is to interpret.
pub(super) const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An answer on its way out.
pub(super) type Reply = Response<ReplyBody>;

/// The type of JSON answers.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The type of text answers.
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut bytes = serde_json::to_vec(body).expect("an answer has text keys and finite numbers");
    // People look at answers with curl.
    bytes.push(b'\n');
    typed(status, JSON, bytes)
}

/// A JSON answer with status 200.
pub(super) fn ok(body: &impl Serialize) -> Reply {
    json(StatusCode::OK, body)
}

/// A text answer.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, TEXT, body)
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = status;
    reply
}

/// An answer of some type.
pub(super) fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}
