//! What a node does for its cluster by itself, all the time.
//!
//! Every node keeps the mesh's list of members up to date, tells the leader when it listens elsewhere than the
//! configuration says, and takes snapshots when its log has grown. The leader gives learners that have caught up a vote
//! while there are fewer voters than wanted, and replaces a voter that has been silent for long by such a learner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Cluster;
use crate::mesh::ConnectionChange;
use crate::raft::{Follower, Peer};
use crate::types::NodeId;

/// How often the keeper looks. Nothing it does is urgent: joining and healing within seconds is enough.
const ROUND: Duration = Duration::from_millis(500);

/// A learner this close to the end of the log has caught up; under load nobody ever has exactly everything.
const CAUGHT_UP_ENTRIES: u64 = 1000;

/// A learner that has not answered for this long is not given a vote.
const ALIVE: Duration = Duration::from_secs(2);

/// What the keeper aims at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperOptions {
    /// Voters wanted, at most.
    pub voters_max: usize,
    /// A voter silent for this long is replaced if a learner can take its place; zero for never.
    pub voter_lost_after: Duration,
    /// A snapshot is taken when the log has grown by this much since the last one.
    pub snapshot_log_bytes: u64,
    /// How often that is looked at.
    pub snapshot_interval: Duration,
    /// What this node says of itself.
    pub own: Peer,
}

/// Runs until the cluster's tasks are cancelled.
pub async fn keep(cluster: Cluster, options: KeeperOptions) {
    let mut changes = cluster.inner.mesh.on_connection_changes();
    let mut roster = Roster::default();
    let mut leads_since = None;
    let mut snapshots = Snapshots { looked: Instant::now(), covered_bytes: 0 };
    let mut round = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            change = changes.recv() => {
                if let Ok(ConnectionChange::Connected(node)) = change {
                    cluster.raft().reset_backoff(node).await;
                }
                continue;
            }
        }
        roster.sync(&cluster);
        announce(&cluster, &options.own).await;
        if cluster.is_leader() {
            let since = *leads_since.get_or_insert_with(Instant::now);
            keep_voters(&cluster, &options, since.elapsed()).await;
        } else {
            leads_since = None;
        }
        snapshots.take_when_due(&cluster, &options).await;
    }
}

/// What the mesh was last told.
#[derive(Default, PartialEq, Eq)]
struct Roster {
    members: HashMap<NodeId, Vec<String>>,
    gateways: HashMap<NodeId, Vec<String>>,
}

impl Roster {
    /// Members may speak Raft, gateways may ask; the mesh enforces it and keeps connections to both.
    fn sync(&mut self, cluster: &Cluster) {
        let members: HashMap<NodeId, Vec<String>> =
            cluster.raft().members().into_iter().map(|(node, peer, _)| (node, peer.addresses)).collect();
        let gateways = cluster.raft().state().system().gateways.clone().into_iter().collect();
        let now = Roster { members, gateways };
        // A newcomer whose leader has not yet spoken knows its members from its admission only.
        if now.members.is_empty() || now == *self {
            return;
        }
        cluster.inner.mesh.set_members(now.members.clone(), now.gateways.clone());
        *self = now;
    }
}

/// Tells the leader where this node is, if the configuration says otherwise.
async fn announce(cluster: &Cluster, own: &Peer) {
    let here = cluster.node_id();
    let known = cluster.raft().members().into_iter().find(|(node, _, _)| *node == here);
    if known.is_none_or(|(_, peer, _)| peer == *own) {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    match cluster.set_member(here, own.clone(), deadline).await {
        Ok(()) => tracing::info!(addresses = ?own.addresses, "announced new addresses"),
        Err(error) => tracing::debug!(%error, "addresses not announced yet"),
    }
}

async fn keep_voters(cluster: &Cluster, options: &KeeperOptions, leads_for: Duration) {
    let voters = cluster.raft().members().iter().filter(|(_, _, voter)| *voter).count();
    let change = decide(voters, &cluster.raft().followers(), options, leads_for);
    let outcome = match change {
        Change::Nothing => return,
        Change::Promote(node) => {
            tracing::info!(%node, "learner has caught up and gets a vote");
            cluster.raft().promote([node]).await
        }
        Change::Replace { lost, by } => {
            tracing::warn!(%lost, %by, after = ?options.voter_lost_after, "voter is lost; a learner takes its place");
            cluster.raft().replace_voter(lost, by).await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "voters not changed yet");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Promote(NodeId),
    Replace { lost: NodeId, by: NodeId },
}

/// A voter that never answered this leader has been silent for as long as it leads.
fn decide(voters: usize, followers: &[Follower], options: &KeeperOptions, leads_for: Duration) -> Change {
    let ready = followers.iter().find(|follower| {
        !follower.votes
            && follower.behind <= CAUGHT_UP_ENTRIES
            && follower.silent_for.is_some_and(|silence| silence < ALIVE)
    });
    let Some(ready) = ready else { return Change::Nothing };
    if voters < options.voters_max {
        return Change::Promote(ready.node);
    }
    let replaces = !options.voter_lost_after.is_zero();
    let lost = followers.iter().find(|follower| {
        replaces && follower.votes && follower.silent_for.unwrap_or(leads_for) > options.voter_lost_after
    });
    match lost {
        Some(lost) => Change::Replace { lost: lost.node, by: ready.node },
        None => Change::Nothing,
    }
}

/// When the next snapshot is due.
struct Snapshots {
    looked: Instant,
    /// What the log had been given when the last one was taken.
    covered_bytes: u64,
}

impl Snapshots {
    async fn take_when_due(&mut self, cluster: &Cluster, options: &KeeperOptions) {
        if self.looked.elapsed() < options.snapshot_interval {
            return;
        }
        self.looked = Instant::now();
        let appended = cluster.raft().appended_bytes();
        if appended - self.covered_bytes < options.snapshot_log_bytes {
            return;
        }
        match cluster.snapshot(None).await {
            Ok(_) => self.covered_bytes = appended,
            Err(error) => tracing::debug!(%error, "no snapshot taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(number: u64, votes: bool, behind: u64, silent_ms: u64) -> Follower {
        let silent_for = Some(Duration::from_millis(silent_ms));
        Follower { node: NodeId::from(number), votes, behind, silent_for }
    }

    fn options() -> KeeperOptions {
        KeeperOptions {
            voters_max: 3,
            voter_lost_after: Duration::from_secs(600),
            snapshot_log_bytes: 1,
            snapshot_interval: Duration::from_secs(1),
            own: Peer::default(),
        }
    }

    #[test]
    fn a_learner_gets_a_vote_only_when_it_has_caught_up_and_lives() {
        let promoted = Change::Promote(NodeId::from(2));
        assert_eq!(decide(1, &[follower(2, false, 0, 10)], &options(), Duration::ZERO), promoted);
        assert_eq!(decide(1, &[follower(2, false, 5000, 10)], &options(), Duration::ZERO), Change::Nothing);
        assert_eq!(decide(1, &[follower(2, false, 0, 60_000)], &options(), Duration::ZERO), Change::Nothing);
        assert_eq!(decide(3, &[follower(2, false, 0, 10)], &options(), Duration::ZERO), Change::Nothing);
    }

    #[test]
    fn a_voter_is_replaced_only_after_long_silence_and_only_by_a_ready_learner() {
        let dead = follower(3, true, 9000, 700_000);
        let resting = follower(3, true, 9000, 500_000);
        let ready = follower(4, false, 0, 10);
        let replaced = Change::Replace { lost: NodeId::from(3), by: NodeId::from(4) };
        assert_eq!(decide(3, &[dead, ready], &options(), Duration::ZERO), replaced);
        assert_eq!(decide(3, &[resting, ready], &options(), Duration::ZERO), Change::Nothing);
        assert_eq!(decide(3, &[dead], &options(), Duration::ZERO), Change::Nothing);
        let never_heard = Follower { silent_for: None, ..dead };
        assert_eq!(decide(3, &[never_heard, ready], &options(), Duration::from_secs(700)), replaced);
        assert_eq!(decide(3, &[never_heard, ready], &options(), Duration::from_secs(10)), Change::Nothing);
    }
}
