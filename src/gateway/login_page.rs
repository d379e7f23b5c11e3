//! The page at `/v1/auth/login`, where people sign in with a wallet.
//!
//! It hands a fresh API key to the address in `callback`, so that address is the thing to guard: it is on the browser's
//! own machine, or the operator has listed it; otherwise there is no page and no script, only the reason. What was given
//! as an address is never put into an answer. The script reads its parameters from its own URL; a [`CallbackUrl`] is of
//! the plain form in which the browser finds the same place as was checked here, and two callbacks are refused.
//!
//! The page loads nothing from elsewhere, and its policy forbids that, with inline scripts and being framed.

use std::sync::LazyLock;

use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY,
};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::call::Call;
use super::error::{ApiError, Code};
use super::query::Query;
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};
use crate::types::Namespace;
use crate::types::callback_url::{CallbackUrl, InvalidCallbackUrl};

const PAGE: &str = include_str!("login/page.html");
const REFUSED: &str = include_str!("login/refused.html");

static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", include_str!("login/login.js")));
static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("login/login.css")));

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Pictures of wallets come from the wallets, as `data:`. Leaving for the callback needs no permission.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Why a key is not handed to an address.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// No address that everybody reads alike.
    #[error(transparent)]
    Invalid(#[from] InvalidCallbackUrl),
    /// Somewhere else.
    #[error("it is neither on this computer (http://localhost, http://127.0.0.1 or http://[::1]) nor listed")]
    Elsewhere,
    /// Who checked the one might be deceived by the other.
    #[error("there is more than one")]
    Several,
}

/// Whether a key may be handed to this address: to the browser's own machine, or below an address of the list. Those of
/// the list are compared by origin and by whole parts of the path; a query is free.
///
/// # Errors
/// [`Refused`].
pub(super) fn callback(text: &str, listed: &[CallbackUrl]) -> Result<CallbackUrl, Refused> {
    let url: CallbackUrl = text.parse()?;
    let below = |prefix: &CallbackUrl| {
        let rest = url.path().strip_prefix(prefix.path());
        url.origin() == prefix.origin()
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.path().ends_with('/'))
    };
    if url.is_loopback() || listed.iter().any(below) { Ok(url) } else { Err(Refused::Elsewhere) }
}

/// The routes of this chapter.
pub(super) fn routes() -> Vec<Route> {
    let public = |route: Route, summary| route.about(Tag::Auth, summary).policy(Policy::Public);
    let text = || json!({ "type": "string" });
    vec![
        public(Route::new(Method::GET, "/v1/auth/login", "getLoginPage", page), "A page to sign in with a wallet.")
            .optional(
                "callback",
                text(),
                "Where the browser goes with the new API key; without it the page shows the key.",
            )
            .optional("state", text(), "Handed to the callback as it is.")
            .optional("namespace", text(), "Where the key will work; it can be changed on the page.")
            .answers(200, "The page.", Content::of("text/html; charset=utf-8"))
            .fails(&[Code::InvalidParameter]),
        public(Route::new(Method::GET, "/v1/auth/login.js", "getLoginScript", script), "The page's script.").answers(
            200,
            "A script.",
            Content::of("text/javascript; charset=utf-8"),
        ),
        public(Route::new(Method::GET, "/v1/auth/login.css", "getLoginStyle", style), "The page's style.").answers(
            200,
            "A style sheet.",
            Content::of("text/css; charset=utf-8"),
        ),
    ]
}

async fn page(call: Call) -> Result<Reply, ApiError> {
    if let Err(refused) = asked(&call.query, &call.face.login_callbacks) {
        return refuse(&call.headers, refused);
    }
    let own = call.face.authenticator.namespace();
    // `default` is the operator's: whoever signs in with a wallet has to say another name.
    let prefilled = if *own == Namespace::default_namespace() { "" } else { own.as_str() };
    // A namespace's name has no character that HTML knows.
    Ok(html(StatusCode::OK, PAGE.replace("{namespace}", prefilled)))
}

async fn script(call: Call) -> Result<Reply, ApiError> {
    Ok(SCRIPT.reply(&call.headers))
}

async fn style(call: Call) -> Result<Reply, ApiError> {
    Ok(STYLE.reply(&call.headers))
}

/// The callback of a query, if there is one.
fn asked(query: &Query, listed: &[CallbackUrl]) -> Result<Option<CallbackUrl>, Refused> {
    let mut callbacks = query.all("callback");
    let first = callbacks.next();
    if callbacks.next().is_some() {
        return Err(Refused::Several);
    }
    first.map(|text| callback(text, listed)).transpose()
}

/// People get a page, programs the usual error.
fn refuse(headers: &HeaderMap, refused: Refused) -> Result<Reply, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        return Err(ApiError::parameter("callback", format!("the callback is refused: {refused}")));
    }
    Ok(html(StatusCode::BAD_REQUEST, REFUSED.replace("{reason}", &refused.to_string())))
}

fn html(status: StatusCode, page: String) -> Reply {
    let mut page = reply::typed(status, HTML, page);
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin-allow-popups"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

/// A file of the page. Browsers keep it, and ask whether it is still the same.
struct Asset {
    media_type: HeaderValue,
    text: &'static str,
    etag: HeaderValue,
}

impl Asset {
    fn new(media_type: &'static str, text: &'static str) -> Asset {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let etag = HeaderValue::from_str(&format!("\"{}\"", &hash[..32])).expect("hexadecimal digits");
        Asset { media_type: HeaderValue::from_static(media_type), text, etag }
    }

    fn reply(&self, headers: &HeaderMap) -> Reply {
        let mut answer = if self.is_known(headers) {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::typed(StatusCode::OK, self.media_type.clone(), self.text)
        };
        answer.headers_mut().insert(ETAG, self.etag.clone());
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }

    /// Whether the browser has it already. Compression has made the tag that it got a weak one.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag.as_bytes() == self.etag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<CallbackUrl> {
        ["https://app.example/auth", "https://files.example:8443/", "http://10.0.0.7:3000"]
            .map(|text| text.parse().expect(text))
            .to_vec()
    }

    #[test]
    fn a_key_goes_to_this_computer_or_to_an_address_of_the_list() {
        for good in [
            "http://localhost:43210/callback",
            "http://127.0.0.1:1/?a=b",
            "http://127.9.9.9/",
            "http://[::1]:8080/x",
            "https://app.example/auth",
            "https://app.example/auth?next=%2F",
            "https://app.example/auth/done",
            "https://files.example:8443/any/where",
            "http://10.0.0.7:3000/cb",
        ] {
            assert_eq!(callback(good, &listed()).map(|url| url.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn a_key_goes_nowhere_else() {
        for bad in [
            "http://localhost.evil.example/",
            "https://localhost/",
            "http://evil.example/",
            "http://app.example/auth",
            "https://app.example/",
            "https://app.example/authority",
            "https://app.example/AUTH",
            "https://app.example/auth%2fdone",
            "https://app.example:443/auth",
            "https://app.example:8443/auth",
            "https://app.example.evil.example/auth",
            "https://evil.example/https://app.example/auth",
            "https://files.example/",
            "http://10.0.0.7:30001/cb",
        ] {
            assert_eq!(callback(bad, &listed()), Err(Refused::Elsewhere), "{bad}");
        }
        assert_eq!(
            callback("https://app.example/auth/../admin", &listed()),
            Err(Refused::Invalid(InvalidCallbackUrl::DotSegment))
        );
    }

    #[test]
    fn a_query_has_one_callback_or_none() {
        let ask =
            |query: &str| asked(&Query::parse(query).expect("a query"), &[]).map(|url| url.map(|url| url.to_string()));
        assert_eq!(ask("state=x"), Ok(None));
        assert_eq!(
            ask("callback=http%3A%2F%2Flocalhost%3A1%2F%3Fa%3Db"),
            Ok(Some("http://localhost:1/?a=b".to_owned()))
        );
        assert_eq!(ask("callback=http://localhost:1&callback=http://localhost:1"), Err(Refused::Several));
        assert_eq!(ask("callback="), Err(Refused::Invalid(InvalidCallbackUrl::Scheme)));
        assert_eq!(ask("%63allback=//evil.example"), Err(Refused::Invalid(InvalidCallbackUrl::Scheme)));
    }

    #[test]
    fn no_reason_and_no_namespace_can_be_taken_for_markup() {
        for refused in [Refused::Elsewhere, Refused::Several, InvalidCallbackUrl::Fragment.into()] {
            assert!(!refused.to_string().contains(['<', '>', '&', '"']), "{refused}");
        }
        assert!("a\"b".parse::<Namespace>().is_err() && "a<b".parse::<Namespace>().is_err());
    }

    #[test]
    fn the_page_is_small_and_has_nothing_inline() {
        let parts = [PAGE, REFUSED, SCRIPT.text, STYLE.text];
        assert!(parts.iter().map(|part| part.len()).sum::<usize>() < 40_000);
        for page in [PAGE, REFUSED] {
            assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/v1/auth/login.js\"").count());
            assert!(!page.contains(" style=") && !page.contains("<style"));
            assert!(!page.split_whitespace().any(|word| word.starts_with("on") && word.contains('=')), "{page}");
            assert!(!page.contains("http:") && !page.contains("https:"));
        }
        assert!(!SCRIPT.text.contains("innerHTML") && !SCRIPT.text.contains("eval("));
    }
}
