//! What this node does with requests of its peers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Semaphore, mpsc};

use super::Cluster;
use super::error::ClusterError;
use super::peer_api::{PeerAnswer, PeerError, PeerRequest, PeerResponse, put_message, take_message};
use super::read::{Answer, Hop};
use crate::mesh::{InboundStream, MeshStream};
use crate::raft::{FrameReader, ProposeError, put_frame};
use crate::types::{Command, NodeId};

/// Requests of one peer carried out at once; a peer that sends more waits.
const AT_ONCE_MAX: usize = 4096;

/// Waits for a change that one peer has here at once: a gateway has one for each of its readers. They take nobody else's
/// place; beyond them it is told at once that there are too many.
const WAITS_MAX: usize = 65_536;

/// Answers collected into one write.
const ANSWERS_PER_WRITE_MAX: usize = 256;

/// Longest that a peer may make this node wait; more is a mistake of its own.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A checksum of a large database takes its time.
const CHECKSUM_WAIT: Duration = Duration::from_secs(600);

impl Cluster {
    /// Serves one peer's stream of requests until it ends.
    ///
    /// # Errors
    /// What broke.
    pub async fn serve_peer(&self, inbound: InboundStream) -> io::Result<()> {
        let InboundStream { peer, stream, .. } = inbound;
        let (mut reader, writer) = stream.split();
        let (answers, outgoing) = mpsc::channel(AT_ONCE_MAX);
        let writing = self.tasks().spawn_until_cancelled(write_answers(writer, outgoing));
        let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let waits = Arc::new(Semaphore::new(WAITS_MAX));
        let mut frames = FrameReader::default();
        let outcome = loop {
            let frame = match frames.next(&mut reader).await {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let (number, request) = match take_message::<PeerRequest>(&frame) {
                Ok(message) => message,
                Err(error) => break Err(error),
            };
            let permit = match request {
                PeerRequest::WaitKvChange { .. } | PeerRequest::WaitTopicsChange { .. } => {
                    waits.clone().try_acquire_owned().ok()
                }
                _ => Some(at_once.clone().acquire_owned().await.expect("the semaphore is never closed")),
            };
            let (cluster, answers) = (self.clone(), answers.clone());
            self.tasks().spawn_until_cancelled(async move {
                let answer = match permit {
                    Some(_) => cluster.answer_peer(peer, request).await,
                    None => Err(ClusterError::Overloaded.into()),
                };
                // The writer ends with the stream; then there is nobody to tell.
                let _ = answers.send((number, answer)).await;
                drop(permit);
            });
        };
        writing.abort();
        outcome
    }

    fn not_leader(&self) -> PeerError {
        PeerError::NotLeader { leader: self.raft().leader().filter(|leader| *leader != self.node_id()) }
    }

    /// What the asked node tells when it would need a leader for what it was asked.
    fn or_leader(&self, error: ClusterError) -> PeerError {
        match error {
            ClusterError::NoLeader => self.not_leader(),
            other => PeerError::Failed(other),
        }
    }

    async fn answer_peer(&self, peer: NodeId, request: PeerRequest) -> PeerAnswer {
        // A gateway may use the cluster, not change it.
        let member = self.is_member(peer);
        match request {
            PeerRequest::Submit { command, .. } if !member && !is_open_to_gateways(&command) => {
                let reason = format!("{peer} is a gateway and may only change data and make namespaces");
                Err(ClusterError::Membership(reason).into())
            }
            PeerRequest::Submit { command, timeout } => {
                match self.propose_in_turn(&command, Instant::now() + timeout.min(TIMEOUT_MAX)).await? {
                    Ok((outcome, index)) => Ok(PeerResponse::Applied { outcome, index }),
                    Err(error) => Err(peer_error(error)),
                }
            }
            PeerRequest::ReadIndex => {
                if !self.is_leader() {
                    return Err(self.not_leader());
                }
                match self.read_index_here(Instant::now() + Duration::from_secs(5)).await {
                    Ok(index) => Ok(PeerResponse::Index(index)),
                    Err(ClusterError::NoLeader) => Err(self.not_leader()),
                    Err(error) => Err(error.into()),
                }
            }
            PeerRequest::Read { read, timeout } => {
                if !self.is_leader() {
                    return Err(self.not_leader());
                }
                Ok(PeerResponse::Results(self.find_as_leader(&read, Instant::now() + timeout.min(TIMEOUT_MAX)).await?))
            }
            PeerRequest::Status => Ok(PeerResponse::Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                applied_index: self.raft().state().progress().index,
            }),
            PeerRequest::Members => Ok(PeerResponse::Members(self.member_list())),
            PeerRequest::Checksum { index } => {
                let checksum = self.raft().state().checksums().wait(index);
                let checksum =
                    tokio::time::timeout(CHECKSUM_WAIT, checksum).await.map_err(|_| ClusterError::Timeout)?;
                Ok(PeerResponse::Checksum(checksum))
            }
            PeerRequest::ReadAt { read, timeout } => {
                let answer = self.answer(read, Hop::Forbidden, Instant::now() + timeout.min(TIMEOUT_MAX)).await;
                let Answer { found, index, .. } = answer.map_err(|error| self.or_leader(error))?;
                Ok(PeerResponse::ResultsAt { results: found, index })
            }
            PeerRequest::ReadKv { .. } if !self.is_leader() => Err(self.not_leader()),
            PeerRequest::ReadKv { read, timeout } => {
                let found = self.find_as_leader(&read, Instant::now() + timeout.min(TIMEOUT_MAX)).await?;
                Ok(PeerResponse::Kv { found, index: None })
            }
            PeerRequest::ReadKvAt { read, timeout } => {
                let answer = self.answer(read, Hop::Forbidden, Instant::now() + timeout.min(TIMEOUT_MAX)).await;
                let Answer { found, index, .. } = answer.map_err(|error| self.or_leader(error))?;
                Ok(PeerResponse::Kv { found, index })
            }
            PeerRequest::WaitKvChange { namespace, after, timeout } => {
                let deadline = Instant::now() + timeout.min(TIMEOUT_MAX);
                Ok(PeerResponse::KvChange(self.wait_kv_change(&namespace, after, deadline).await?))
            }
            PeerRequest::ReadTopics { .. } if !self.is_leader() => Err(self.not_leader()),
            PeerRequest::ReadTopics { read, timeout } => {
                let found = self.find_as_leader(&read, Instant::now() + timeout.min(TIMEOUT_MAX)).await?;
                Ok(PeerResponse::Topics { found, index: None })
            }
            PeerRequest::ReadTopicsAt { read, timeout } => {
                let answer = self.answer(read, Hop::Forbidden, Instant::now() + timeout.min(TIMEOUT_MAX)).await;
                let Answer { found, index, .. } = answer.map_err(|error| self.or_leader(error))?;
                Ok(PeerResponse::Topics { found, index })
            }
            PeerRequest::WaitTopicsChange { namespace, after, timeout } => {
                let deadline = Instant::now() + timeout.min(TIMEOUT_MAX);
                Ok(PeerResponse::TopicsChange(self.wait_topics_change(&namespace, after, deadline).await?))
            }
            PeerRequest::TransferLeader { to } if member => {
                self.transfer_leader_here(to).await.map(|()| PeerResponse::Done).map_err(leader_error)
            }
            PeerRequest::Remove { node } if member => {
                self.raft().remove(node).await.map(|()| PeerResponse::Done).map_err(peer_error)
            }
            PeerRequest::SetMember { node, peer } if member => {
                self.raft().set_member(node, peer).await.map(|()| PeerResponse::Done).map_err(peer_error)
            }
            PeerRequest::TransferLeader { .. } | PeerRequest::Remove { .. } | PeerRequest::SetMember { .. } => {
                let reason = format!("{peer} is a gateway and may not change the cluster");
                Err(ClusterError::Membership(reason).into())
            }
        }
    }
}

/// What a gateway's callers may do: change data, and sign up.
fn is_open_to_gateways(command: &Command) -> bool {
    matches!(command, Command::Execute(_) | Command::Kv(_) | Command::Topics(_) | Command::CreateNamespace { .. })
}

fn peer_error(error: ProposeError) -> PeerError {
    match error {
        ProposeError::NotLeader { leader } => PeerError::NotLeader { leader },
        other => PeerError::Failed(other.into()),
    }
}

fn leader_error(error: ClusterError) -> PeerError {
    match error {
        ClusterError::NoLeader => PeerError::NotLeader { leader: None },
        other => PeerError::Failed(other),
    }
}

async fn write_answers(
    mut writer: WriteHalf<MeshStream>,
    mut answers: mpsc::Receiver<(u64, PeerAnswer)>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(ANSWERS_PER_WRITE_MAX);
    let mut out = Vec::new();
    while answers.recv_many(&mut batch, ANSWERS_PER_WRITE_MAX).await > 0 {
        out.clear();
        for (number, answer) in batch.drain(..) {
            put_frame(&mut out, |out| put_message(out, number, &answer));
        }
        writer.write_all(&out).await?;
        writer.flush().await?;
        out.shrink_to(1024 * 1024);
    }
    Ok(())
}
