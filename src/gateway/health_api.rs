//! Whether this process lives, can serve, and what it is: for load balancers, supervisors and people at a terminal.
//!
//! Anybody may ask, so answers are terse: no addresses, no paths, no tenants. They tell the truth with their status code,
//! not only in their text.

use std::time::{Instant, SystemTime};

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::Face;
use super::call::Call;
use super::error::ApiError;
use super::health::{Observation, Verdict, checks};
use super::reply::{self, Reply};
use super::route::{Class, Content, Policy, Route, Tag};
use super::schema::{boolean, count, like, moment, object, one_of, string};
use crate::http::go_duration;

/// The routes of this chapter.
pub(super) fn routes() -> Vec<Route> {
    let probe = |route: Route, summary| route.about(Tag::Health, summary).policy(Policy::Public).class(Class::Probe);
    let text = Content::of("text/plain; charset=utf-8");
    vec![
        probe(
            Route::new(Method::GET, "/v1/health", "getHealth", health),
            "Whether this process can serve, and why not.",
        )
        .alias("/health")
        .answers(200, "It can, perhaps not well: see `status`.", Content::json(health_schema()))
        .answers(503, "It cannot.", Content::json(health_schema())),
        probe(Route::new(Method::GET, "/v1/status", "getStatus", status), "Since when it runs and whom it reaches.")
            .alias("/status")
            .answers(200, "The status.", Content::json(status_schema())),
        probe(Route::new(Method::GET, "/v1/version", "getVersion", version), "What build this is.").answers(
            200,
            "The build.",
            Content::json(version_schema()),
        ),
        probe(Route::new(Method::GET, "/livez", "getLive", live), "Whether the process lives. Restart it if not.")
            .answers(200, "It lives.", text.clone()),
        probe(Route::new(Method::GET, "/readyz", "getReady", ready), "Whether it should get requests.")
            .optional("verbose", string(), "Lists every check.")
            .answers(200, "It should.", text.clone())
            .answers(503, "It should not.", text),
    ]
}

async fn live(_: Call) -> Result<Reply, ApiError> {
    Ok(reply::text(StatusCode::OK, "ok\n"))
}

async fn ready(call: Call) -> Result<Reply, ApiError> {
    let seen = call.face.look().await;
    let verdict = Verdict::of(&seen);
    let status = status_of(&verdict);
    if !call.query.flag("verbose")? {
        return Ok(reply::text(
            status,
            match verdict {
                Verdict::Ok => "ok\n".to_owned(),
                Verdict::Degraded(reason) => format!("degraded: {reason}\n"),
                Verdict::Unavailable(reason) => format!("{reason}\n"),
            },
        ));
    }
    let mut text = String::new();
    for check in checks(&seen) {
        let (mark, reason) = match &check.verdict {
            Verdict::Ok => ("+", "ok"),
            Verdict::Degraded(reason) => ("~", reason.as_str()),
            Verdict::Unavailable(reason) => ("-", reason.as_str()),
        };
        text.push_str(&format!("[{mark}]{} {reason}\n", check.name));
    }
    Ok(reply::text(status, text))
}

fn status_of(verdict: &Verdict) -> StatusCode {
    match verdict {
        Verdict::Ok | Verdict::Degraded(_) => StatusCode::OK,
        Verdict::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn version(call: Call) -> Result<Reply, ApiError> {
    let face = &call.face;
    Ok(reply::ok(&json!({
        "version": face.build.version,
        "commit": face.build.commit,
        "build_time": face.build.build_time,
        "started_at": rfc3339(face.started_at),
        "uptime": uptime(face),
    })))
}

async fn status(call: Call) -> Result<Reply, ApiError> {
    let face = &call.face;
    let seen = face.look().await;
    let peers = face.cluster().peers_connected();
    Ok(reply::ok(&json!({
        "server": { "started_at": rfc3339(face.started_at), "uptime": uptime(face) },
        "network": {
            "node_id": face.cluster().node_id().to_string(),
            "connected": seen.leader_known,
            "peer_count": peers,
            "uptime": nanoseconds(face.started.elapsed()),
        },
    })))
}

async fn health(call: Call) -> Result<Reply, ApiError> {
    let asked = Instant::now();
    let seen = call.face.look().await;
    let verdict = Verdict::of(&seen);
    Ok(reply::json(status_of(&verdict), &document(&call.face, &seen, &verdict, asked)))
}

/// The shape that monitors of the earlier system read; its constants are replaced by what was seen.
///
/// A struct and no [`Value`]: probes and load balancers ask for this more than for anything else.
#[derive(Serialize)]
struct Document<'a> {
    client: ClientPart<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    server: ServerPart,
    status: &'static str,
}

#[derive(Serialize)]
struct ClientPart<'a> {
    checks: ClientChecks<'a>,
    last_updated: String,
    response_time: u64,
    status: &'static str,
}

#[derive(Serialize)]
struct ClientChecks<'a> {
    connection: &'static str,
    database: &'a str,
    storage: &'a str,
}

#[derive(Serialize)]
struct ServerPart {
    started_at: String,
    status: &'static str,
    uptime: String,
}

fn document<'a>(face: &Face, seen: &'a Observation, verdict: &'a Verdict, asked: Instant) -> Document<'a> {
    let (status, client, reason) = match verdict {
        Verdict::Ok => ("ok", "healthy", None),
        Verdict::Degraded(reason) => ("degraded", "degraded", Some(reason.as_str())),
        Verdict::Unavailable(reason) => ("unavailable", "unhealthy", Some(reason.as_str())),
    };
    let connection = if seen.leader_known { "ok" } else { "disconnected" };
    let database = seen.database.as_ref().map_or_else(String::as_str, |()| "ok");
    let checks = ClientChecks { connection, database, storage: database };
    let last_updated = rfc3339(SystemTime::now());
    Document {
        client: ClientPart { checks, last_updated, response_time: nanoseconds(asked.elapsed()), status: client },
        reason,
        server: ServerPart { started_at: rfc3339(face.started_at), status: "ok", uptime: uptime(face) },
        status,
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn uptime(face: &Face) -> String {
    go_duration::format(face.started.elapsed())
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

fn health_schema() -> Value {
    let checks = object(&[("connection", string()), ("database", string()), ("storage", string())]);
    object(&[
        ("status", one_of(&["ok", "degraded", "unavailable"])),
        ("reason?", string()),
        ("server", object(&[("status", string()), ("started_at", moment()), ("uptime", like("1h2m3s"))])),
        (
            "client",
            object(&[
                ("status", one_of(&["healthy", "degraded", "unhealthy"])),
                ("checks", checks),
                ("last_updated", moment()),
                ("response_time", count()),
            ]),
        ),
    ])
}

fn status_schema() -> Value {
    let network =
        object(&[("node_id", string()), ("connected", boolean()), ("peer_count", count()), ("uptime", count())]);
    object(&[("server", object(&[("started_at", moment()), ("uptime", like("1h2m3s"))])), ("network", network)])
}

fn version_schema() -> Value {
    object(&[
        ("version", like("0.1.0")),
        ("commit", string()),
        ("build_time", string()),
        ("started_at", moment()),
        ("uptime", like("1h2m3s")),
    ])
}
