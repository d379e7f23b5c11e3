//! `/leader`: who leads, and handing it over.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};

use super::call::Call;
use super::failure::Failure;
use super::nodes;
use super::parameters::Flag;
use super::reply::{self, Reply};
use crate::cluster::{Cluster, ClusterError, ServedBy, Suffrage};
use crate::types::NodeId;

/// Answers `/leader`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    if call.method == Method::GET { show(call).await } else { hand_over(call).await }
}

async fn show(call: &Call<'_>) -> Result<Reply, Failure> {
    if call.face.cluster.leader().is_none() {
        return Err(Failure::Control(ClusterError::NoLeader));
    }
    let members = call.face.cluster.members(call.parameters.timeout()).await;
    let leader = members.into_iter().find(|status| status.leader).ok_or(ClusterError::NoLeader)?;
    Ok(nodes::answer(call, &nodes::describe(&leader)))
}

/// Without `wait` the answer is 200 whatever comes of it, as in rqlite.
async fn hand_over(call: &Call<'_>) -> Result<Reply, Failure> {
    let target = target(call)?;
    let cluster = &call.face.cluster;
    if let Some(elsewhere) = call.redirect()? {
        return Ok(elsewhere);
    }
    if call.parameters.has(Flag::Wait) {
        refused(cluster, target.as_deref())?;
        let node = target.and_then(|id| id.parse().ok());
        cluster.transfer_leader(node, call.deadline()).await.map_err(stepdown)?;
    } else if refused(cluster, target.as_deref()).is_ok() {
        let node = target.and_then(|id| id.parse().ok());
        let (cluster, deadline) = (cluster.clone(), call.deadline());
        call.face.tasks.spawn_until_cancelled(async move {
            if let Err(error) = cluster.transfer_leader(node, deadline).await {
                tracing::warn!(%error, "handing over leadership failed");
            }
        });
    }
    let mut answer = reply::empty_json(StatusCode::OK);
    reply::set_served_by(&mut answer, &ServedBy::Here, &call.face.served_by);
    Ok(answer)
}

/// The node named in the body; rqlite reads it only as `application/json`.
fn target(call: &Call<'_>) -> Result<Option<String>, Failure> {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        id: String,
    }
    let json = call.headers.get(CONTENT_TYPE) == Some(&HeaderValue::from_static("application/json"));
    if !json || call.body.is_empty() {
        return Ok(None);
    }
    let Body { id } =
        serde_json::from_slice(&call.body).map_err(|_| Failure::BadRequest("invalid stepdown request"))?;
    Ok(Some(id).filter(|id| !id.is_empty()))
}

/// What can be said against a transfer before it is tried.
fn refused(cluster: &Cluster, target: Option<&str>) -> Result<(), Failure> {
    let status = cluster.raft_status();
    let no = |text: &str| Err(stepdown(ClusterError::Membership(text.to_owned())));
    let is_voter =
        |node: &NodeId| status.members.iter().any(|member| member.node == *node && member.suffrage == Suffrage::Voter);
    match target.map(str::parse::<NodeId>) {
        Some(Ok(node)) if status.leader == Some(node) => no("cannot step down to the current Leader"),
        Some(Ok(node)) if is_voter(&node) => Ok(()),
        Some(_) => no("node not found in cluster"),
        None if status.members.iter().filter(|m| m.suffrage == Suffrage::Voter).count() < 2 => no("cannot find peer"),
        None => Ok(()),
    }
}

fn stepdown(error: ClusterError) -> Failure {
    match error {
        ClusterError::NoLeader => Failure::Control(error),
        error => Failure::Text(StatusCode::INTERNAL_SERVER_ERROR, format!("stepdown: {error}")),
    }
}
