//! What a caller asks of a read (`level`, `freshness`, `min_index`), and that a write happens once (`Idempotency-Key`).

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::call::Call;
use super::error::{ApiError, Code};
use super::reply::Reply;
use super::route::Route;
use crate::cluster::{Freshness, Level, ReadTerms};
use crate::types::command::{IdempotencyKey, Replayed};
use crate::types::limits::IDEMPOTENCY_KEY_BYTES_MAX;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const DEBROS_INDEX: HeaderName = HeaderName::from_static("debros-index");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Documents the parameters of a read.
pub(super) fn documented(route: Route) -> Route {
    route
        .optional(
            "level",
            json!({ "type": "string", "enum": ["linearizable", "weak", "none", "strong", "auto"] }),
            "What the read must see: everything acknowledged before it (linearizable, the default), what the leader has \
             (weak), what the asked node has (none), or an entry of its own in the log (strong).",
        )
        .optional(
            "freshness",
            json!({ "type": "string" }),
            "With level=none: how long ago the asked node may have heard from the leader, as in `2s`.",
        )
        .optional(
            "min_index",
            json!({ "type": "integer", "minimum": 0 }),
            "See at least the write that answered with this Debros-Index.",
        )
}

/// Documents what a write takes beside its body.
pub(super) fn documented_write(route: Route) -> Route {
    route.header(
        "Idempotency-Key",
        json!({ "type": "string", "maxLength": IDEMPOTENCY_KEY_BYTES_MAX }),
        "The same request with the same key takes effect once; a repetition gets the first answer.",
    )
}

/// What the caller asks of a read.
///
/// # Errors
/// A parameter that is not understood, by name.
pub(super) fn read_terms(call: &Call) -> Result<ReadTerms, ApiError> {
    let level = match call.query.one("level")? {
        None | Some("" | "linearizable") => Level::Linearizable,
        Some("none" | "stale") => Level::None,
        Some("weak") => Level::Weak,
        Some("strong") => Level::Strong,
        Some("auto") => Level::Auto,
        Some(other) => {
            let message = format!("`{other}` is no level: use linearizable, weak, none, strong or auto");
            return Err(ApiError::parameter("level", message));
        }
    };
    let freshness = match call.query.one("freshness")? {
        None | Some("") => None,
        Some(text) => {
            let age = text.parse::<jiff::SignedDuration>().ok().and_then(|age| Duration::try_from(age).ok());
            let max_age = age.ok_or_else(|| {
                ApiError::parameter("freshness", format!("`{text}` is no duration: write 500ms, 2s or 1m"))
            })?;
            Some(Freshness { max_age, strict: false })
        }
    };
    let min_index = match call.query.one("min_index")? {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::parameter("min_index", format!("`{text}` is no log index: send a Debros-Index of an answer"))
        })?),
    };
    Ok(ReadTerms { level, freshness, min_index })
}

/// Tells with an answer where in the log its write stands, and whether an earlier request made it.
pub(super) fn tell_write(mut reply: Reply, index: u64, replayed: Replayed) -> Reply {
    reply.headers_mut().insert(DEBROS_INDEX, HeaderValue::from(index));
    if replayed == Replayed::Yes {
        reply.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    reply
}

/// The caller's name for this write, with what it is a name for.
///
/// # Errors
/// A key that is too long or no visible ASCII.
pub(super) fn idempotency(call: &Call) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = call.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
    let key = key.ok_or_else(|| {
        let message = format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters");
        ApiError::new(Code::InvalidRequest, message)
    })?;
    let mut hasher = blake3::Hasher::new();
    for part in [call.method.as_str().as_bytes(), call.target.to_string().as_bytes(), &call.body] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: *hasher.finalize().as_bytes() }))
}
