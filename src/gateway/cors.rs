//! Which pages of which origins may call the gateway from a browser.
//!
//! Credentials travel in headers that a page must set itself, never in cookies; so no answer ever allows credentials,
//! and a foreign page has nothing that its user's browser would add by itself.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, VARY,
};

/// Origins whose pages may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// None but the gateway's own.
    #[default]
    None,
    /// Those named, as scheme, host and port.
    Only(Vec<String>),
    /// Every origin.
    Any,
}

impl AllowedOrigins {
    /// From a list, in which `*` is every origin.
    pub fn from_list(origins: &[String]) -> AllowedOrigins {
        if origins.iter().any(|origin| origin == "*") {
            AllowedOrigins::Any
        } else if origins.is_empty() {
            AllowedOrigins::None
        } else {
            AllowedOrigins::Only(origins.to_vec())
        }
    }

    /// Whether a page of this origin may call.
    pub(super) fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            AllowedOrigins::None => false,
            AllowedOrigins::Any => true,
            AllowedOrigins::Only(origins) => {
                origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
            }
        }
    }
}

/// Whether the browser asks beforehand what it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Before,
    Now,
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, POST, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, Authorization, X-API-Key, X-Request-Id, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Debros-Index, ETag, Idempotent-Replayed, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, \
     X-Request-Id",
);
/// Seconds that a browser remembers the answer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Adds what the browser needs to know. Without `Origin` the request is no page's.
pub(super) fn set(allowed: &AllowedOrigins, origin: Option<&HeaderValue>, asked: Asked, answer: &mut HeaderMap) {
    if *allowed == AllowedOrigins::None {
        return;
    }
    if *allowed != AllowedOrigins::Any {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.filter(|origin| allowed.allows(origin)) else { return };
    let value = if *allowed == AllowedOrigins::Any { HeaderValue::from_static("*") } else { origin.clone() };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    match asked {
        Asked::Before => {
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Asked::Now => {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(allowed: &[&str], origin: Option<&str>) -> (Option<String>, bool) {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let origin = origin.map(|origin| HeaderValue::from_str(origin).expect("a value"));
        let mut answer = HeaderMap::new();
        set(&AllowedOrigins::from_list(&allowed), origin.as_ref(), Asked::Before, &mut answer);
        assert!(!answer.contains_key("access-control-allow-credentials"));
        let value = answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().expect("text").to_owned());
        (value, answer.contains_key(VARY))
    }

    #[test]
    fn only_a_listed_origin_is_told_that_it_may() {
        let app = "https://app.example.org";
        assert_eq!(told(&[], Some(app)), (None, false));
        assert_eq!(told(&[app], Some(app)), (Some(app.to_owned()), true));
        assert_eq!(told(&[app], None), (None, true));
        for other in
            ["null", "https://app.example.org.evil.test", "http://app.example.org", "https://app.example.org:8443"]
        {
            assert_eq!(told(&[app], Some(other)), (None, true), "{other}");
        }
        assert_eq!(told(&["*"], Some("https://any.test")), (Some("*".to_owned()), false));
    }
}
