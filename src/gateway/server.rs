//! Paths and answers.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::Face;
use super::health::{Observation, Verdict, observe};
use crate::http::ReplyBody;

/// Answers any request.
pub(super) async fn answer(face: &Face, request: &Request<Incoming>) -> Response<ReplyBody> {
    let path = request.uri().path();
    if !matches!(path, "/health" | "/v1/health" | "/livez" | "/readyz" | "/v1/version") {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "no such endpoint");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "use GET");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => ready(&Verdict::of(&observe(&face.cluster).await)),
        "/v1/version" => document(StatusCode::OK, &version(face)),
        _ => {
            let asked = Instant::now();
            let seen = observe(&face.cluster).await;
            health(face, &seen, asked)
        }
    }
}

fn ready(verdict: &Verdict) -> Response<ReplyBody> {
    match verdict {
        Verdict::Ok => text(StatusCode::OK, "ok\n".to_owned()),
        Verdict::Degraded(reason) => text(StatusCode::OK, format!("degraded: {reason}\n")),
        Verdict::Unavailable(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn version(face: &Face) -> Value {
    json!({
        "version": face.build.version,
        "commit": face.build.commit,
        "build_time": face.build.build_time,
        "started_at": rfc3339(face.started_at),
        "uptime": uptime(face),
    })
}

/// The shape that monitors of the earlier system read; its constants are replaced by what was seen.
fn health(face: &Face, seen: &Observation, asked: Instant) -> Response<ReplyBody> {
    let verdict = Verdict::of(seen);
    let (code, status, client, reason) = match &verdict {
        Verdict::Ok => (StatusCode::OK, "ok", "healthy", None),
        Verdict::Degraded(reason) => (StatusCode::OK, "degraded", "degraded", Some(reason)),
        Verdict::Unavailable(reason) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "unhealthy", Some(reason)),
    };
    let database = seen.database.as_ref().map_or_else(String::as_str, |()| "ok");
    let mut body = json!({
        "status": status,
        "server": { "status": "ok", "started_at": rfc3339(face.started_at), "uptime": uptime(face) },
        "client": {
            "status": client,
            "checks": {
                "connection": if seen.leader_known { "ok" } else { "disconnected" },
                "database": database,
                "storage": database,
            },
            "last_updated": rfc3339(std::time::SystemTime::now()),
            "response_time": u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX),
        },
    });
    if let Some(reason) = reason {
        body["reason"] = reason.as_str().into();
    }
    document(code, &body)
}

fn uptime(face: &Face) -> String {
    crate::http::go_duration::format(face.started.elapsed())
}

fn rfc3339(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<ReplyBody> {
    document(status, &json!({ "error": message, "code": code }))
}

fn document(status: StatusCode, body: &Value) -> Response<ReplyBody> {
    with_type(status, "application/json", body.to_string())
}

fn text(status: StatusCode, body: String) -> Response<ReplyBody> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<ReplyBody> {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
