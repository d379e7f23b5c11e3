//! `/openapi.json`, and a page that shows it and tries it out.
//!
//! The page is one file without a script, style or font from elsewhere, and its policy forbids them. What the caller
//! types stays in the page.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use hyper::{Method, StatusCode};

use super::call::Call;
use super::error::ApiError;
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};

const PAGE: &str = include_str!("docs/page.html");
const SCRIPT: &str = include_str!("docs/page.js");
const STYLE: &str = include_str!("docs/page.css");

const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
const FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");

/// The routes of this chapter.
pub(super) fn routes() -> Vec<Route> {
    let public = |route: Route, summary| route.about(Tag::Documentation, summary).policy(Policy::Public);
    vec![
        public(Route::new(Method::GET, "/openapi.json", "getContract", contract), "This contract, as OpenAPI 3.1.")
            .answers(200, "The document.", Content::json(serde_json::json!({ "type": "object" }))),
        public(Route::new(Method::GET, "/docs", "getDocumentation", page), "This contract, for people.").answers(
            200,
            "A page.",
            Content::of("text/html; charset=utf-8"),
        ),
        public(Route::new(Method::GET, "/docs/page.js", "getDocumentationScript", script), "The page's script.")
            .answers(200, "A script.", Content::of("text/javascript; charset=utf-8")),
        public(Route::new(Method::GET, "/docs/page.css", "getDocumentationStyle", style), "The page's style.").answers(
            200,
            "A style sheet.",
            Content::of("text/css; charset=utf-8"),
        ),
    ]
}

async fn contract(call: Call) -> Result<Reply, ApiError> {
    Ok(reply::typed(StatusCode::OK, reply::JSON, call.face.contract()))
}

async fn page(_: Call) -> Result<Reply, ApiError> {
    let mut page = reply::typed(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), PAGE);
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    Ok(page)
}

async fn script(_: Call) -> Result<Reply, ApiError> {
    Ok(reply::typed(StatusCode::OK, HeaderValue::from_static("text/javascript; charset=utf-8"), SCRIPT))
}

async fn style(_: Call) -> Result<Reply, ApiError> {
    Ok(reply::typed(StatusCode::OK, HeaderValue::from_static("text/css; charset=utf-8"), STYLE))
}
