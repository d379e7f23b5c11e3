//! `/snapshot`, `/reap`, `/remove`: what an operator does to the cluster.

use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::call::Call;
use super::counters::Counter;
use super::failure::Failure;
use super::reply::{self, Reply};
use crate::cluster::ServedBy;
use crate::types::NodeId;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Answers `/snapshot`: 200, or 204 when nothing had happened since the last one.
pub(super) async fn snapshot(call: &Call<'_>) -> Result<Reply, Failure> {
    call.face.counters.add(Counter::Snapshots, 1);
    let taken = call.face.cluster.snapshot(call.parameters.trailing_logs).await?;
    Ok(reply::empty(if taken { StatusCode::OK } else { StatusCode::NO_CONTENT }))
}

/// Answers `/reap`. Old snapshots are removed when a new one is taken, so there are never any to reap.
pub(super) async fn reap(call: &Call<'_>) -> Result<Reply, Failure> {
    call.face.counters.add(Counter::Reaps, 1);
    let checkpointed = call.face.cluster.reap().await?;
    Ok(reply::typed(JSON, format!("{{\"snapshots_reaped\":0,\"wals_checkpointed\":{checkpointed}}}\n")))
}

/// Answers `/remove`: the body names one node. One that is not there needs no removing.
pub(super) async fn remove(call: &Call<'_>) -> Result<Reply, Failure> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        id: String,
    }
    let Ok(Body { id }) = serde_json::from_slice(&call.body) else {
        return Ok(reply::empty(StatusCode::BAD_REQUEST));
    };
    if let Some(elsewhere) = call.redirect()? {
        return Ok(elsewhere);
    }
    if let Ok(node) = id.parse::<NodeId>() {
        call.face.cluster.remove(node, call.deadline()).await?;
    }
    let mut answer = reply::empty(StatusCode::OK);
    reply::set_served_by(&mut answer, &ServedBy::Here, &call.face.served_by);
    Ok(answer)
}
