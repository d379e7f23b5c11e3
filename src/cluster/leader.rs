//! Finding the leader, asking it once, and noticing when another one leads.
//!
//! A node hears from Raft who leads, a process without data hears it from nodes. Everything else is alike for both.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Cluster;
use super::error::ClusterError;
use super::peer_api::{PeerError, PeerRequest, PeerResponse};
use super::peers::{CallError, Peers};
use crate::raft::Raft;
use crate::tasks::Tasks;
use crate::types::NodeId;

/// How long a request waits for a leader when there is none. An election takes about a second; a cluster that has none
/// for this long has lost its quorum, and its callers should hear that.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(4);

/// Between two looks at who leads after the one believed to said no: its lease may just be beginning.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Who can carry out what only a leader can.
pub(super) enum Leader {
    Here,
    At(NodeId),
}

/// What asking a remote leader came to. Unless it answered, nothing was done there: look for the leader again.
pub(super) enum Asked {
    Answered(PeerResponse),
    /// It does not lead; perhaps it knows who does.
    NotLeader(Option<NodeId>),
    /// It cannot be reached.
    NotSent,
}

/// Bounds the search for a leader.
pub(super) struct Search {
    deadline: Instant,
    give_up: Instant,
}

impl Search {
    pub(super) fn until(deadline: Instant) -> Search {
        Search { deadline, give_up: deadline.min(Instant::now() + LEADER_WAIT_MAX) }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Pauses before the next look; an error when it is too late for one.
    pub(super) async fn pause(&self) -> Result<(), ClusterError> {
        if Instant::now() >= self.give_up {
            return Err(ClusterError::NoLeader);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        Ok(())
    }
}

/// Says who leads, as far as this process knows. Clones watch the same.
#[derive(Clone)]
pub(super) enum LeaderWatch {
    /// What Raft says.
    Raft(Box<Raft>),
    /// What nodes have said.
    Heard(watch::Receiver<Option<NodeId>>),
}

impl LeaderWatch {
    pub(super) fn now(&self) -> Option<NodeId> {
        match self {
            LeaderWatch::Raft(raft) => raft.leader(),
            LeaderWatch::Heard(heard) => *heard.borrow(),
        }
    }

    /// Waits until a leader is known.
    pub(super) async fn find(&self, search: &Search) -> Result<NodeId, ClusterError> {
        if let Some(leader) = self.now() {
            return Ok(leader);
        }
        let wait = search.give_up.saturating_duration_since(Instant::now());
        match tokio::time::timeout(wait, self.wait_for(|leader| leader.is_some())).await {
            Ok(Some(leader)) => leader.ok_or(ClusterError::NoLeader),
            Ok(None) => Err(ClusterError::Stopping),
            Err(_) => Err(ClusterError::NoLeader),
        }
    }

    /// Waits until who leads fulfils a condition; `None` when there will be no more news.
    async fn wait_for(&self, condition: impl Fn(Option<NodeId>) -> bool) -> Option<Option<NodeId>> {
        match self {
            LeaderWatch::Raft(raft) => raft.wait_for_leader(condition).await,
            LeaderWatch::Heard(heard) => heard.clone().wait_for(|leader| condition(*leader)).await.ok().map(|now| *now),
        }
    }
}

impl Peers {
    /// Asks a remote leader. A request that may have arrived is not repeated: that is for the caller to decide.
    pub(super) async fn ask_leader(
        &self,
        leader: NodeId,
        request: PeerRequest,
        search: &Search,
    ) -> Result<Asked, ClusterError> {
        match self.call(leader, request, search.deadline).await {
            Ok(Ok(response)) => Ok(Asked::Answered(response)),
            Ok(Err(PeerError::NotLeader { leader })) => Ok(Asked::NotLeader(leader)),
            Ok(Err(PeerError::Failed(error))) => Err(error),
            Err(CallError::NotSent | CallError::Refused) => Ok(Asked::NotSent),
            Err(CallError::Lost) => Err(ClusterError::LeadershipLost),
            Err(CallError::TimedOut) => Err(ClusterError::Timeout),
        }
    }
}

impl Cluster {
    /// Waits until a leader is known.
    pub(super) async fn find_leader(&self, search: &Search) -> Result<Leader, ClusterError> {
        let leader = self.inner.leader.find(search).await?;
        Ok(if leader == self.node_id() { Leader::Here } else { Leader::At(leader) })
    }

    /// As [`Peers::ask_leader`].
    pub(super) async fn ask_leader(
        &self,
        leader: NodeId,
        request: PeerRequest,
        search: &Search,
    ) -> Result<Asked, ClusterError> {
        self.inner.peers.ask_leader(leader, request, search).await
    }
}

/// A leader that handed over still answers what it was asked before; one that lives does it within this time.
const FORMER_LEADER_PATIENCE: Duration = Duration::from_millis(700);

/// Follows who leads. What was asked of an earlier leader may never be answered (a machine that lost its power closes
/// no connection), so its callers are told soon rather than at their deadline.
pub(super) async fn follow(own: NodeId, watch: LeaderWatch, peers: Peers, tasks: Tasks) {
    let mut known = None;
    while let Some(leader) = watch.wait_for(|leader| leader != known).await {
        match leader {
            Some(node) => tracing::info!(%node, here = node == own, "leader"),
            None => tracing::warn!("no leader"),
        }
        if let (Some(former), Some(_)) = (known, leader) {
            tasks.spawn_until_cancelled(give_up(former, watch.clone(), peers.clone()));
        }
        known = leader.or(known);
        if leader.is_none() && watch.wait_for(|leader| leader.is_some()).await.is_none() {
            return;
        }
    }
}

async fn give_up(former: NodeId, watch: LeaderWatch, peers: Peers) {
    tokio::time::sleep(FORMER_LEADER_PATIENCE).await;
    if watch.now() != Some(former) {
        peers.forget(former);
    }
}
