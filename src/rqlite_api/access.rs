//! Who asks, and for which namespace.
//!
//! Basic auth `namespace:api-key` names a namespace and proves it. Without credentials only a caller on this machine is
//! let in, only to the default namespace, and only where the operator allows it. A browser on this machine is such a
//! caller for every page it shows, so anonymous requests must look unlike one of a foreign page: `Host` an IP address or
//! `localhost` (else a page whose name was pointed at 127.0.0.1 gets in), no `Origin` but our own, not marked cross-site.
//! Nor may they have come through a proxy on this machine, whose clients are elsewhere.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{AUTHORIZATION, FORWARDED, HOST, HeaderMap, HeaderName, ORIGIN, VIA};

use crate::http::head::is_local_name;
use crate::types::{Namespace, Scope, Scopes};

/// Who may come without credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Programs on this machine, as the operator of the default namespace.
    Loopback,
    /// Nobody.
    #[default]
    Never,
}

/// A caller whose namespace is known. There is no other way to make one than [`identify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    namespace: Namespace,
    scopes: Scopes,
}

impl Caller {
    /// Whose database the caller works on.
    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Whether the caller may change the cluster itself: the default namespace belongs to the operator.
    pub(super) fn is_operator(&self) -> bool {
        self.namespace == Namespace::default_namespace() && self.scopes.contains(Scope::Admin)
    }

    /// Makes sure that the caller's key has a scope.
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.contains(scope) { Ok(()) } else { Err(Denied::Scope(scope)) }
    }
}

/// Why a caller was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// Credentials are missing or wrong.
    #[error("unauthorized")]
    Unauthorized,
    /// The key may not do this.
    #[error("this needs an API key with the scope {0}")]
    Scope(Scope),
    /// Anonymous, local, but addressed by a name.
    #[error(
        "anonymous requests must address this node by IP address or as localhost; send credentials to use another name"
    )]
    NamedHost,
    /// Anonymous, local, but on behalf of a web page from elsewhere.
    #[error("anonymous requests from web pages of other origins are refused; send credentials")]
    ForeignPage,
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers that only a proxy adds.
const PROXY_HEADERS: [HeaderName; 4] =
    [FORWARDED, VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// The API key that a request shows.
pub(super) fn key_of(headers: &HeaderMap) -> Option<String> {
    basic(headers.get(AUTHORIZATION)?.as_bytes()).map(|(_, key)| key)
}

/// Finds out who asks; `opened` is what the key of [`key_of`] opens.
///
/// # Errors
/// [`Denied`]. Wrong credentials are never taken for none.
pub(super) fn identify(
    anonymous: AnonymousAccess,
    peer: IpAddr,
    headers: &HeaderMap,
    opened: Option<(Namespace, Scopes)>,
) -> Result<Caller, Denied> {
    if let Some(credentials) = headers.get(AUTHORIZATION) {
        let (name, _) = basic(credentials.as_bytes()).ok_or(Denied::Unauthorized)?;
        let opened = opened.filter(|(namespace, _)| namespace.as_str() == name);
        return opened.map(|(namespace, scopes)| Caller { namespace, scopes }).ok_or(Denied::Unauthorized);
    }
    let local = peer.to_canonical().is_loopback() && !PROXY_HEADERS.iter().any(|name| headers.contains_key(name));
    if anonymous == AnonymousAccess::Never || !local {
        return Err(Denied::Unauthorized);
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST).filter(|host| is_local_name(host)).ok_or(Denied::NamedHost)?;
    let own_page = text(ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, page)| page == host));
    let own_site = text(FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    if own_page && own_site {
        Ok(Caller { namespace: Namespace::default_namespace(), scopes: Scopes::ALL })
    } else {
        Err(Denied::ForeignPage)
    }
}

/// User name and password of `Basic` credentials.
fn basic(credentials: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(credentials).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1";

    fn ask(anonymous: AnonymousAccess, peer: &str, headers: &[(&str, &str)]) -> Result<Caller, Denied> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value")))
            .collect();
        let opened = match key_of(&headers).as_deref() {
            Some("ak_1:acme") => Some(("acme".parse().expect("a namespace"), Scopes::ALL)),
            Some("ak_2") => Some((Namespace::default_namespace(), Scopes::ALL)),
            Some("ak_3") => Some((Namespace::default_namespace(), Scopes::of(&[Scope::SqlRead]))),
            _ => None,
        };
        identify(anonymous, peer.parse().expect("an address"), &headers, opened)
    }

    fn with_password(password: &str) -> String {
        format!("Basic {}", BASE64.encode(password))
    }

    #[test]
    fn a_key_opens_its_own_namespace_only() {
        let anywhere = "203.0.113.9";
        let asked =
            |password: &str| ask(AnonymousAccess::Never, anywhere, &[("authorization", &with_password(password))]);
        let tenant = asked("acme:ak_1:acme").expect("let in");
        assert_eq!(tenant.namespace().as_str(), "acme");
        assert!(!tenant.is_operator());
        assert!(asked("default:ak_2").expect("let in").is_operator());
        let reader = asked("default:ak_3").expect("let in");
        assert!(!reader.is_operator());
        assert_eq!(
            (reader.needs(Scope::SqlRead), reader.needs(Scope::SqlWrite)),
            (Ok(()), Err(Denied::Scope(Scope::SqlWrite)))
        );
        for password in
            ["default:ak_1:acme", "acme:ak_2", "acme:", ":ak_1:acme", "acme", "", "acme:ak_4", "ACME:ak_1:acme"]
        {
            assert_eq!(asked(password), Err(Denied::Unauthorized), "{password}");
        }
    }

    #[test]
    fn wrong_credentials_are_not_taken_for_none() {
        for credentials in [&with_password("default:wrong"), "Bearer ak_2", "Basic !", "Basic", ""] {
            let asked = ask(AnonymousAccess::Loopback, LOCAL, &[("host", "localhost"), ("authorization", credentials)]);
            assert_eq!(asked, Err(Denied::Unauthorized), "{credentials}");
        }
    }

    #[test]
    fn a_program_on_this_machine_is_the_operator_where_allowed() {
        for (peer, host) in [
            (LOCAL, "127.0.0.1:4001"),
            (LOCAL, "localhost"),
            (LOCAL, "LocalHost:4001"),
            ("::1", "[::1]:4001"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            assert!(ask(AnonymousAccess::Loopback, peer, &[("host", host)]).expect("let in").is_operator());
            assert_eq!(ask(AnonymousAccess::Never, peer, &[("host", host)]), Err(Denied::Unauthorized));
        }
        for peer in ["192.0.2.1", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"] {
            let asked = ask(AnonymousAccess::Loopback, peer, &[("host", "127.0.0.1")]);
            assert_eq!(asked, Err(Denied::Unauthorized), "{peer}");
        }
    }

    #[test]
    fn a_name_that_was_pointed_at_this_machine_is_refused() {
        let hosts =
            ["evil.example", "evil.example:4001", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1"];
        for host in hosts {
            assert_eq!(ask(AnonymousAccess::Loopback, LOCAL, &[("host", host)]), Err(Denied::NamedHost), "{host}");
        }
        assert_eq!(ask(AnonymousAccess::Loopback, LOCAL, &[]), Err(Denied::NamedHost));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused() {
        let host = ("host", "localhost:4001");
        for header in [
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(ask(AnonymousAccess::Loopback, LOCAL, &[host, header]), Err(Denied::ForeignPage), "{header:?}");
        }
        let own = [host, ("origin", "http://localhost:4001"), ("sec-fetch-site", "same-origin")];
        assert!(ask(AnonymousAccess::Loopback, LOCAL, &own).is_ok());
    }

    #[test]
    fn what_a_proxy_on_this_machine_passes_on_is_not_local() {
        for header in [("x-forwarded-for", "203.0.113.9"), ("via", "1.1 x"), ("forwarded", "for=x"), ("x-real-ip", "x")]
        {
            let asked = ask(AnonymousAccess::Loopback, LOCAL, &[("host", "127.0.0.1"), header]);
            assert_eq!(asked, Err(Denied::Unauthorized), "{header:?}");
        }
    }
}
