//! One request on its way through an endpoint.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use serde::de::DeserializeOwned;

use super::Face;
use super::error::{ApiError, Code};
use super::json;
use super::query::Query;
use super::request::check_json;
use super::request_id::RequestId;
use super::route::PathParameters;
use crate::auth::{Grant, Principal};

/// A request whose path, caller and body are known and allowed.
#[allow(dead_code, reason = "the data endpoints use it")]
pub(super) struct Call {
    pub(super) face: Arc<Face>,
    pub(super) method: Method,
    pub(super) path: PathParameters,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Where the client is; behind a trusted proxy that is what the proxy says.
    pub(super) client: IpAddr,
    pub(super) request_id: RequestId,
    /// Who asks; `None` where everybody may.
    pub(super) principal: Option<Principal>,
    /// Proof that the caller may do what the route's policy says, where that is an action.
    pub(super) grant: Option<Grant>,
    /// When the caller stops waiting.
    pub(super) deadline: Instant,
}

impl Call {
    /// Who asks.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] on a public route, where nobody was asked for a credential.
    #[allow(dead_code, reason = "the data endpoints use it")]
    pub(super) fn principal(&self) -> Result<&Principal, ApiError> {
        self.principal.as_ref().ok_or_else(|| Code::Unauthenticated.into())
    }

    /// Proof that the caller may do this, and the namespace where.
    ///
    /// # Errors
    /// [`Code::Forbidden`] on a route whose policy is no action.
    pub(super) fn grant(&self) -> Result<&Grant, ApiError> {
        self.grant.as_ref().ok_or_else(|| Code::Forbidden.into())
    }

    /// The JSON body.
    ///
    /// # Errors
    /// When it says to be something else, is no JSON, or has another shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        check_json(&self.headers)?;
        json::decode(&self.body)
    }
}
