//! One line per request: what was asked by whom, what came of it, how long it took. No query, no header, no body: what
//! may be a secret is never looked at.

use std::net::IpAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::error::Code;
use super::request_id::RequestId;
use super::route::Class;
use crate::auth::Principal;
use crate::auth::grant::Who;
use crate::types::Namespace;

/// What a line says.
pub(super) struct Line<'a> {
    pub(super) method: &'a Method,
    /// The path as the table has it; `None` for one that is not served.
    pub(super) route: Option<&'static str>,
    pub(super) class: Class,
    pub(super) status: StatusCode,
    pub(super) code: Option<Code>,
    /// Until the answer began.
    pub(super) elapsed: Duration,
    /// Of the answer's body; `None` for a stream.
    pub(super) bytes: Option<u64>,
    pub(super) client: IpAddr,
    pub(super) request_id: &'a RequestId,
    pub(super) principal: Option<&'a Principal>,
    /// Whose data it concerned.
    pub(super) namespace: Option<&'a Namespace>,
}

impl Line<'_> {
    /// Writes it: to INFO, but a probe that went well only to DEBUG, because there is one every few seconds.
    pub(super) fn write(self) {
        if self.class == Class::Probe && !self.status.is_server_error() {
            tracing::debug!(target: "debros::access", method = %self.method, route = self.route, status = self.status.as_u16(),
                ms = self.milliseconds(), peer = %self.client, request_id = %self.request_id, "request");
            return;
        }
        tracing::info!(
            target: "debros::access",
            method = %self.method,
            route = self.route,
            status = self.status.as_u16(),
            code = self.code.map(Code::name),
            ms = self.milliseconds(),
            bytes = self.bytes,
            peer = %self.client,
            request_id = %self.request_id,
            namespace = self.namespace.map(Namespace::as_str),
            actor = self.principal.map(kind),
            "request"
        );
    }

    /// With microseconds as decimals.
    fn milliseconds(&self) -> f64 {
        self.elapsed.as_micros() as f64 / 1000.0
    }
}

/// What kind of caller it was; which one, an operator finds by the request id.
fn kind(principal: &Principal) -> &'static str {
    match principal.who() {
        Who::Member { .. } => "wallet",
        Who::Key { .. } => "key",
        Who::Operator => "operator",
        Who::Anonymous { .. } => "anonymous",
    }
}
