//! Credentials where a browser can set no header: on the routes that open a socket or a stream of events.
//!
//! A page names its credential in the list of subprotocols, as `debros.bearer.` and the API key or token in base64url,
//! so that it is in no URL. Clients of the earlier system put it into the query (`api_key`, `token`), where proxies and
//! histories keep it; that can be switched off. Either is moved to the header where it belongs, and from there on it is
//! treated, and checked again, as if it had come there.
//!
//! A ticket (`ticket`, `wt_…`) is made for the query: it works once, so it counts there whatever is switched off.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::error::{ApiError, Code};
use super::query::Query;
use crate::auth::WsTicket;
use crate::http::head::X_API_KEY;

/// What a subprotocol that is a credential begins with.
const BEARER: &str = "debros.bearer.";

/// Whether credentials in a query count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryCredentials {
    /// They do, on the routes that open a socket or a stream.
    #[default]
    Taken,
    /// They are refused.
    Refused,
}

/// The subprotocols that a client offers, credentials included.
pub(super) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Moves a credential to its header. One that is in a header already stays, and then another is a conflict. A ticket,
/// which no header takes, is given back.
///
/// # Errors
/// [`Code::CredentialConflict`] for more than one, [`Code::Unauthenticated`] for one that cannot be read,
/// [`Code::InvalidParameter`] for one in the query where those do not count.
pub(super) fn lift(
    headers: &mut HeaderMap,
    query: &Query,
    taken: QueryCredentials,
) -> Result<Option<WsTicket>, ApiError> {
    let mut found: Vec<(HeaderName, String)> = Vec::new();
    for text in offered(headers).filter_map(|protocol| protocol.strip_prefix(BEARER)) {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        found.push((AUTHORIZATION, format!("Bearer {}", decoded.ok_or(Code::Unauthenticated)?)));
    }
    for (name, header) in [("api_key", X_API_KEY), ("token", AUTHORIZATION)] {
        let Some(text) = query.one(name)? else { continue };
        if taken == QueryCredentials::Refused {
            let message =
                format!("credentials in a URL are not taken here: send `{name}` in a header or a subprotocol");
            return Err(ApiError::parameter(name, message));
        }
        let text = if header == AUTHORIZATION { format!("Bearer {text}") } else { text.to_owned() };
        found.push((header, text));
    }
    let ticket = query.one("ticket")?;
    let in_headers = headers.contains_key(AUTHORIZATION) || headers.contains_key(&X_API_KEY);
    let others = found.len() + usize::from(ticket.is_some());
    if others > 1 || (others == 1 && in_headers) {
        return Err(ApiError::new(Code::CredentialConflict, "the request carries more than one credential"));
    }
    for (name, text) in found {
        let mut value = HeaderValue::from_str(&text).map_err(|_| ApiError::from(Code::Unauthenticated))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(ticket.map(str::parse).transpose().map_err(|_| Code::Unauthenticated)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifted(protocols: &str, query: &str, taken: QueryCredentials) -> Result<HeaderMap, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().expect("a value"));
        let query = Query::parse(query).expect("a query");
        lift(&mut headers, &query, taken).map_err(|error| error.code()).map(|_| headers)
    }

    fn bearer(text: &str) -> String {
        format!("debros.v1, {BEARER}{}", URL_SAFE_NO_PAD.encode(text))
    }

    #[test]
    fn a_credential_is_moved_to_the_header_where_it_belongs() {
        let taken = QueryCredentials::Taken;
        let headers = lifted(&bearer("ak_1:ns"), "topic=t", taken).expect("one");
        assert_eq!(headers[AUTHORIZATION], "Bearer ak_1:ns");
        assert_eq!(lifted("debros.v1", "api_key=ak_1:ns", taken).expect("one")[X_API_KEY], "ak_1:ns");
        assert_eq!(lifted("debros.v1", "token=a.b.c", taken).expect("one")[AUTHORIZATION], "Bearer a.b.c");
        assert_eq!(lifted("debros.v1", "topic=t", taken).expect("none").len(), 1);
        assert_eq!(lifted("x", "api_key=ak_1:ns", QueryCredentials::Refused), Err(Code::InvalidParameter));
    }

    #[test]
    fn two_credentials_or_a_broken_one_are_refused() {
        let taken = QueryCredentials::Taken;
        assert_eq!(lifted(&bearer("ak_1:ns"), "token=a.b.c", taken), Err(Code::CredentialConflict));
        assert_eq!(lifted("debros.v1", "token=a.b.c&api_key=x", taken), Err(Code::CredentialConflict));
        assert_eq!(lifted(&format!("{BEARER}!!"), "", taken), Err(Code::Unauthenticated));
        assert_eq!(lifted(&bearer("a\nb"), "", taken), Err(Code::Unauthenticated));
        let mut headers = HeaderMap::new();
        headers.insert(X_API_KEY, "ak_2:ns".parse().expect("a value"));
        let query = Query::parse("api_key=ak_1:ns").expect("a query");
        assert!(lift(&mut headers, &query, taken).is_err());
    }

    #[test]
    fn a_ticket_counts_wherever_it_is_the_only_credential() {
        let ticket = WsTicket::from_random([7; 32]);
        let query = Query::parse(&format!("topic=t&ticket={}", ticket.reveal())).expect("a query");
        let lifted_of = |mut headers: HeaderMap| lift(&mut headers, &query, QueryCredentials::Refused);
        let found = lifted_of(HeaderMap::new()).expect("a ticket").expect("a ticket");
        assert_eq!(found.hash(), ticket.hash());
        for (name, value) in [("x-api-key", "ak_1:ns".to_owned()), ("sec-websocket-protocol", bearer("ak_1:ns"))] {
            let name: HeaderName = name.parse().expect("a name");
            let error = lifted_of(HeaderMap::from_iter([(name, value.parse().expect("a value"))])).expect_err("two");
            assert_eq!(error.code(), Code::CredentialConflict);
        }
        let beside = format!("token=a.b.c&ticket={}", ticket.reveal());
        assert_eq!(lifted("debros.v1", &beside, QueryCredentials::Taken), Err(Code::CredentialConflict));
        for malformed in ["ticket=", "ticket=wt_1", "ticket=rt_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"] {
            assert_eq!(lifted("debros.v1", malformed, QueryCredentials::Taken), Err(Code::Unauthenticated));
        }
    }
}
