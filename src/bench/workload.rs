//! What is asked, of either listener.

use std::fmt;

use serde::Serialize;

use super::gateway_workload::GatewayWorkload;
use super::request::Request;
use super::sql_workload::{self, SqlWorkload};
use super::target::Target;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Workload {
    /// Of a listener of rqlite's contract.
    Sql(SqlWorkload),
    /// Of a gateway.
    Gateway(GatewayWorkload),
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Sql(workload) => workload.fmt(f),
            Workload::Gateway(workload) => workload.fmt(f),
        }
    }
}

impl Workload {
    /// Rows that one request writes or reads; keys count as rows.
    pub const fn rows(self) -> u64 {
        match self {
            Workload::Sql(workload) => workload.rows(),
            Workload::Gateway(GatewayWorkload::Health) => 0,
            Workload::Gateway(_) => 1,
        }
    }

    pub(super) fn request(self, target: &Target) -> Request {
        match self {
            Workload::Sql(workload) => workload.request(target),
            Workload::Gateway(workload) => workload.request(target),
        }
    }

    /// What must be there before; to prepare twice does no harm.
    pub(super) fn preparation(self, target: &Target) -> Vec<Request> {
        match self {
            Workload::Sql(_) => sql_workload::preparation(target),
            Workload::Gateway(workload) => workload.preparation(target),
        }
    }
}
