//! What must hold for the head of a request before anybody looks at what it asks for.
//!
//! A header that decides something (who asks, for which host, how long the body is) must be there once: of two, a proxy
//! in front may have believed the other one (request smuggling, RFC 9112 section 11.2).

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN, TRANSFER_ENCODING,
};

/// `X-API-Key`.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const ONCE: [HeaderName; 7] = [HOST, ORIGIN, AUTHORIZATION, X_API_KEY, CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_TYPE];

/// A header that is there more than once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header `{0}` is there more than once")]
pub(crate) struct Repeated(pub(crate) HeaderName);

/// Makes sure that no header that decides something is repeated.
///
/// # Errors
/// [`Repeated`], which names the first.
pub(crate) fn check_repeated(headers: &HeaderMap) -> Result<(), Repeated> {
    // The usual request repeats nothing, and hashing seven names would be more work than the rest of the check.
    if headers.keys_len() == headers.len() {
        return Ok(());
    }
    let repeated = ONCE.into_iter().find(|name| headers.get_all(name).iter().nth(1).is_some());
    repeated.map_or(Ok(()), |name| Err(Repeated(name)))
}

/// Whether `host[:port]` is an IP address or `localhost`.
pub(crate) fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(name.parse::<HeaderName>().expect("a name"), "x".parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn only_what_decides_something_must_be_there_once() {
        assert_eq!(check_repeated(&headers(&["host", "accept", "accept", "x-api-key"])), Ok(()));
        for name in
            ["host", "origin", "authorization", "x-api-key", "content-length", "transfer-encoding", "content-type"]
        {
            let error = check_repeated(&headers(&[name, "accept", name])).expect_err("repeated");
            assert_eq!(error.0.as_str(), name);
        }
    }
}
