//! What a process without data does all the time: it asks every connected node who belongs to the cluster and who leads.
//!
//! Nodes are asked independently of each other, so that a silent one holds up nothing. While nobody is known to lead
//! they are asked often, otherwise once in a while. A node that is silent on a stream that should carry an answer is
//! given up: whoever waits for it goes on to another.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;

use super::peer_api::{MemberList, PeerRequest, PeerResponse};
use super::peers::CallError;
use super::remote::RemoteCluster;
use crate::mesh::ConnectionChange;
use crate::types::NodeId;

/// How often nodes are asked while all is well; also how long a change of members may stay unknown.
const ROUND: Duration = Duration::from_secs(1);

/// How often while there is no leader: an election takes about a second, and writes wait for its end.
const SEARCHING_ROUND: Duration = Duration::from_millis(50);

/// A node whose stream carries nothing for this long after a question is as good as dead. Long enough for a machine that
/// is busy with other things.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// What asking a node came to.
enum Heard {
    List(MemberList),
    Nothing,
    Refused,
    /// It has not answered in time, but it lives.
    Busy,
}

/// Runs until the cluster's tasks are cancelled.
pub(super) async fn keep(cluster: RemoteCluster) {
    let mut changes = cluster.inner.mesh.on_connection_changes();
    let mut asked = HashSet::new();
    let mut answers = FuturesUnordered::new();
    loop {
        for peer in cluster.connected() {
            if asked.insert(peer.node) {
                answers.push(ask(&cluster, peer.node));
            }
        }
        let began = Instant::now();
        // Answers come in until it is time to ask again.
        loop {
            let round = if cluster.leader().is_some() { ROUND } else { SEARCHING_ROUND };
            tokio::select! {
                () = tokio::time::sleep_until((began + round).into()) => break,
                // A caller has found out that the leader leads no more: the round may be over already.
                () = cluster.inner.doubt.notified() => {}
                Some((node, heard)) = answers.next() => {
                    asked.remove(&node);
                    cluster.note(node, heard);
                }
                change = changes.recv() => match change {
                    Ok(ConnectionChange::Connected(_)) | Err(RecvError::Lagged(_)) => break,
                    Ok(ConnectionChange::Disconnected(node)) => cluster.learn(|view| view.unheard(node)),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }
}

async fn ask(cluster: &RemoteCluster, node: NodeId) -> (NodeId, Heard) {
    let peers = &cluster.inner.peers;
    let heard = match peers.call(node, PeerRequest::Members, Instant::now() + SILENCE_MAX).await {
        Ok(Ok(PeerResponse::Members(list))) => Heard::List(list),
        Err(CallError::TimedOut) if peers.silent_for(node).is_some_and(|silence| silence < SILENCE_MAX) => Heard::Busy,
        Err(CallError::TimedOut) => {
            tracing::info!(%node, "node is silent and given up");
            peers.forget(node);
            Heard::Nothing
        }
        Err(CallError::Refused) => Heard::Refused,
        Err(CallError::NotSent | CallError::Lost) => Heard::Nothing,
        Ok(answer) => {
            tracing::debug!(%node, ?answer, "node does not say who belongs to the cluster");
            Heard::Nothing
        }
    };
    (node, heard)
}

impl RemoteCluster {
    fn note(&self, node: NodeId, heard: Heard) {
        self.learn(|view| match heard {
            Heard::List(list) => view.heard(node, list),
            Heard::Nothing => view.unheard(node),
            Heard::Refused => view.refused(node),
            Heard::Busy => {}
        });
    }
}
