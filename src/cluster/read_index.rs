//! Read indexes, asked for together.
//!
//! A linearizable read needs an index that covers everything acknowledged before it began; the leader gives one after
//! asking a quorum whether it still leads. One question serves everybody who was waiting when it was asked, so under
//! load a round trip is shared by hundreds of reads, on followers as on the leader.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::error::ClusterError;
use super::peer_api::{PeerError, PeerRequest, PeerResponse};
use super::peers::{CallError, Peers};
use crate::raft::{ProposeError, Raft};
use crate::tasks::Tasks;

/// Reads waiting for an index; each is a request in flight, which the listeners bound.
const QUEUE_MAX: usize = 16_384;

/// A round within a datacentre takes a millisecond; a leader that does not answer for this long is none.
const ROUND_MAX: Duration = Duration::from_secs(2);

type Waiter = oneshot::Sender<Result<u64, ClusterError>>;

/// Handle to the task that asks.
#[derive(Clone)]
pub(super) struct ReadIndexes {
    queue: mpsc::Sender<Waiter>,
}

impl ReadIndexes {
    pub(super) fn start(raft: Raft, peers: Peers, tasks: &Tasks) -> ReadIndexes {
        let (queue, mut waiters) = mpsc::channel::<Waiter>(QUEUE_MAX);
        tasks.spawn_until_cancelled(async move {
            let mut round = Vec::new();
            while waiters.recv_many(&mut round, QUEUE_MAX).await > 0 {
                let index = ask(&raft, &peers).await;
                for waiter in round.drain(..) {
                    // The reader may have given up.
                    let _ = waiter.send(index.clone());
                }
            }
        });
        ReadIndexes { queue }
    }

    /// One index from a round that begins after this call. [`ClusterError::NoLeader`] may be retried.
    pub(super) async fn next(&self, deadline: Instant) -> Result<u64, ClusterError> {
        let (waiter, index) = oneshot::channel();
        let wait = async {
            self.queue.send(waiter).await.map_err(|_| ClusterError::Stopping)?;
            index.await.map_err(|_| ClusterError::Stopping)?
        };
        tokio::time::timeout_at(deadline.into(), wait).await.unwrap_or(Err(ClusterError::Timeout))
    }
}

async fn ask(raft: &Raft, peers: &Peers) -> Result<u64, ClusterError> {
    match raft.leader() {
        None => Err(ClusterError::NoLeader),
        Some(leader) if leader == raft.node_id() => {
            let index = tokio::time::timeout(ROUND_MAX, raft.read_index()).await;
            match index.map_err(|_| ClusterError::NoLeader)? {
                Ok(index) => Ok(index),
                Err(ProposeError::NotLeader { .. }) => Err(ClusterError::NoLeader),
                Err(error) => Err(error.into()),
            }
        }
        Some(leader) => match peers.call(leader, PeerRequest::ReadIndex, Instant::now() + ROUND_MAX).await {
            Ok(Ok(PeerResponse::Index(index))) => Ok(index),
            Ok(Ok(other)) => Err(super::submit::unexpected(&other)),
            Ok(Err(PeerError::Failed(error))) => Err(error),
            Ok(Err(PeerError::NotLeader { .. }))
            | Err(CallError::NotSent | CallError::Refused | CallError::Lost | CallError::TimedOut) => {
                Err(ClusterError::NoLeader)
            }
        },
    }
}
