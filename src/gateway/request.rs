//! What must hold for a request before its endpoint sees it, and its body.

use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::{ApiError, Code, Form};
use crate::http::{head, read_body};

/// Longest URI: what proxies and browsers agree on.
const URI_BYTES_MAX: usize = 8 * 1024;

/// Most bytes of all headers.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Longest time for a body to arrive. The largest one needs 270 KB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest that an answer waits for a body that it does not need.
const PASS_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// Bodies up to this size are not counted; connections times this is little.
const SMALL_BODY_BYTES: u64 = 16 * 1024;

/// KiB of larger bodies held at once.
pub(super) const BODIES_KIB_MAX: usize = 256 * 1024;

/// Checks a head.
///
/// # Errors
/// [`Code::UriTooLong`], [`Code::InvalidRequest`].
pub(super) fn check_head(head: &Parts) -> Result<(), ApiError> {
    let uri = &head.uri;
    let path_and_query = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if path_and_query > URI_BYTES_MAX {
        return Err(ApiError::from(Code::UriTooLong).details(json!({ "bytes_max": URI_BYTES_MAX })));
    }
    // hyper's bound is one of memory: it lets through what came in one piece.
    let header_bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > HEADER_BYTES_MAX {
        return Err(ApiError::from(Code::HeadersTooLarge).details(json!({ "bytes_max": HEADER_BYTES_MAX })));
    }
    // The absolute form is for proxies, which this is not; its host could be another one than `Host` says.
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(ApiError::new(Code::InvalidRequest, "the request target must be a path"));
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
        return Err(ApiError::new(Code::InvalidRequest, "the Host header is missing"));
    }
    head::check_repeated(&head.headers).map_err(|error| ApiError::new(Code::InvalidRequest, error.to_string()))?;
    // Other codings would have to be undone, and what stands in front may have done so already.
    let chunked = |value: &hyper::header::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if head.headers.get(TRANSFER_ENCODING).is_some_and(|value| !chunked(value)) {
        return Err(ApiError::new(Code::InvalidRequest, "only `Transfer-Encoding: chunked` is understood"));
    }
    let continues = |value: &hyper::header::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.headers.get(EXPECT).is_some_and(|value| !continues(value)) {
        return Err(ApiError::new(Code::InvalidRequest, "only `Expect: 100-continue` is understood"));
    }
    Ok(())
}

/// A body, and the room that it takes while its request is answered.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

/// Reads the body. One that is declared too large is refused before a byte of it is read, and so before the client is
/// told to `100 Continue`.
///
/// # Errors
/// [`Code::BodyTooLarge`], [`Code::UnsupportedMediaType`] for a compressed one, [`Code::RequestTimeout`],
/// [`Code::Overloaded`].
pub(super) async fn take_body<'a>(
    headers: &HeaderMap,
    body: &mut Option<Incoming>,
    bytes_max: usize,
    room: &'a Semaphore,
) -> Result<Taken<'a>, ApiError> {
    let Some(waiting) = body.as_ref().filter(|body| !body.is_end_stream()) else {
        return Ok(Taken { bytes: Bytes::new(), _room: None });
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(ApiError::new(Code::UnsupportedMediaType, "compressed request bodies are not taken"));
    }
    let bytes = waiting.size_hint().upper().unwrap_or(u64::MAX).min(bytes_max as u64);
    let permit = if bytes <= SMALL_BODY_BYTES {
        None
    } else {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        Some(room.try_acquire_many(kib).map_err(|_| ApiError::from(Code::Overloaded))?)
    };
    let bytes = match body.take() {
        Some(body) => read_body(body, bytes_max, BODY_TIMEOUT).await?,
        None => Bytes::new(),
    };
    Ok(Taken { bytes, _room: permit })
}

/// Where a body is that nobody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It was read and forgotten; the next request can follow.
    Passed,
    /// Before the next request: the connection cannot be used again, and the client has to be told.
    InTheWay,
}

/// Reads over the body of a request that was answered without it. One that is small is on its way already, and a client
/// whose token has run out, say, keeps its connection.
pub(super) async fn pass_over(body: Incoming, awaits_continue: bool) -> Unread {
    if body.is_end_stream() {
        return Unread::Passed;
    }
    // Reading would ask the client to send what it holds back.
    let small = body.size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES);
    if awaits_continue || !small {
        return Unread::InTheWay;
    }
    match read_body(body, SMALL_BODY_BYTES as usize, PASS_OVER_TIMEOUT).await {
        Ok(_) => Unread::Passed,
        Err(_) => Unread::InTheWay,
    }
}

/// Makes sure that a body says to be JSON, or does not say what it is.
///
/// # Errors
/// [`Code::UnsupportedMediaType`].
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json");
    if json {
        return Ok(());
    }
    Err(ApiError::new(Code::UnsupportedMediaType, "send the body with `Content-Type: application/json`"))
}

/// The form of errors that the client asked for.
pub(super) fn error_form(headers: &HeaderMap) -> Form {
    let problem = |value: &hyper::header::HeaderValue| {
        value.to_str().is_ok_and(|accept| accept.contains("application/problem+json"))
    };
    if headers.get_all(ACCEPT).iter().any(problem) { Form::Problem } else { Form::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: impl FnOnce(hyper::http::request::Builder) -> hyper::http::request::Builder) -> Parts {
        build(hyper::Request::builder()).body(()).expect("a request").into_parts().0
    }

    fn refused(head: &Parts) -> Option<Code> {
        check_head(head).err().map(|error| error.code())
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_refused() {
        let fine = head(|request| request.uri("/v1/health").header("host", "x"));
        assert_eq!(refused(&fine), None);
        let absolute = head(|request| request.uri("http://other/v1/health").header("host", "x"));
        assert_eq!(refused(&absolute), Some(Code::InvalidRequest));
        assert_eq!(refused(&head(|request| request.uri("/"))), Some(Code::InvalidRequest), "no Host");
        let hosts = head(|request| request.uri("/").header("host", "x").header("host", "y"));
        assert_eq!(refused(&hosts), Some(Code::InvalidRequest));
        let long = head(|request| request.uri(format!("/{}", "x".repeat(URI_BYTES_MAX))).header("host", "x"));
        assert_eq!(refused(&long), Some(Code::UriTooLong));
        let expects = head(|request| request.uri("/").header("host", "x").header("expect", "miracles"));
        assert_eq!(refused(&expects), Some(Code::InvalidRequest));
        for (coding, expected) in [("Chunked", None), ("gzip, chunked", Some(Code::InvalidRequest))] {
            let coded = head(|request| request.uri("/").header("host", "x").header("transfer-encoding", coding));
            assert_eq!(refused(&coded), expected, "{coding}");
        }
    }

    #[test]
    fn only_json_is_taken_for_json() {
        for (value, good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/ld+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=x", false),
        ] {
            let head = head(|request| request.uri("/").header("content-type", value));
            assert_eq!(check_json(&head.headers).is_ok(), good, "{value}");
        }
    }
}
