//! gzip for answers that are text and not tiny.
//!
//! Never for answers that hold secrets: their length would tell an eavesdropper what else they contain (BREACH).

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, VARY};

use super::reply::Reply;

/// Smaller answers fit into a packet or two anyway.
const BYTES_MIN: usize = 1024;

/// Larger answers are compressed on a thread of their own: at about 200 MB/s more would hold up other requests.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// Whether the client takes gzip.
pub(super) fn accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = |weight: &str| {
            let weight = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="));
            weight.and_then(|weight| weight.trim().parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
        };
        named && !parts.any(refused)
    })
}

/// Compresses an answer that is held in memory, where that is worth it.
pub(super) async fn compress(reply: Reply) -> Reply {
    let (mut head, body) = reply.into_parts();
    let Either::Left(whole) = body else { return Reply::from_parts(head, body) };
    let worth = head.headers.get(CONTENT_TYPE).is_some_and(is_text) && !head.headers.contains_key(CONTENT_ENCODING);
    if !worth {
        return Reply::from_parts(head, Either::Left(whole));
    }
    head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let bytes = match whole.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    let (encoded, encoding) = encode(bytes).await;
    if let Some(encoding) = encoding {
        head.headers.insert(CONTENT_ENCODING, encoding);
        weaken_etag(&mut head.headers);
    }
    Reply::from_parts(head, Either::Left(Full::new(encoded)))
}

async fn encode(bytes: Bytes) -> (Bytes, Option<HeaderValue>) {
    let gzip = Some(HeaderValue::from_static("gzip"));
    let encoded = match bytes.len() {
        ..BYTES_MIN => return (bytes, None),
        BYTES_MIN..=INLINE_BYTES_MAX => deflate(&bytes),
        _ => {
            let shared = bytes.clone();
            tokio::task::spawn_blocking(move || deflate(&shared)).await.ok().flatten()
        }
    };
    match encoded {
        Some(encoded) if encoded.len() < bytes.len() => (encoded, gzip),
        _ => (bytes, None),
    }
}

fn deflate(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn is_text(value: &HeaderValue) -> bool {
    let value = value.to_str().unwrap_or_default();
    value.starts_with("text/") && !value.starts_with("text/event-stream") || value.starts_with("application/json")
}

/// The compressed form is another sequence of bytes of the same thing, which is what a weak ETag says.
fn weaken_etag(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.starts_with("W/"));
    if let Some(Ok(weak)) = weak.map(|etag| HeaderValue::from_str(&format!("W/{etag}"))) {
        headers.insert(ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hyper::StatusCode;

    use super::super::reply;
    use super::*;

    #[test]
    fn gzip_is_used_only_where_it_is_accepted() {
        for (value, good) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("identity", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().expect("a value"));
            assert_eq!(accepted(&headers), good, "{value}");
        }
        assert!(!accepted(&HeaderMap::new()));
    }

    async fn sent(content_type: &'static str, len: usize) -> (bool, usize) {
        let text = HeaderValue::from_static(content_type);
        let reply = compress(reply::typed(StatusCode::OK, text, vec![b'a'; len])).await;
        let encoded = reply.headers().contains_key(CONTENT_ENCODING);
        let bytes = reply.into_body().collect().await.expect("a body").to_bytes();
        let mut whole = Vec::new();
        if encoded {
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut whole).expect("gzip");
            assert_eq!(whole.len(), len);
        }
        (encoded, bytes.len())
    }

    #[tokio::test]
    async fn what_is_text_and_not_tiny_gets_smaller() {
        assert_eq!(sent("application/json", 100).await, (false, 100));
        assert_eq!(sent("application/octet-stream", 5000).await, (false, 5000));
        assert!(sent("application/json", 5000).await.0);
        assert!(sent("text/html; charset=utf-8", INLINE_BYTES_MAX + 1).await.0);
    }
}
