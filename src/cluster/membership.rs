//! Who is in the cluster, as this node sees it, and changing it from any node.

use std::time::{Duration, Instant};

use futures::future::join_all;

use super::Cluster;
use super::error::ClusterError;
use super::leader::{Asked, Leader, Search};
use super::peer_api::{MemberList, PeerRequest, PeerResponse};
use super::peers::CallError;
use super::request::Applied;
use super::view::{Member, MemberStatus, RaftStatus, Suffrage};
use crate::raft::{Checksum, Peer, ProposeError};
use crate::types::{Command, NodeId, Outcome};

/// How long the new leader of a transfer may take to appear.
const TRANSFER_WAIT: Duration = Duration::from_secs(5);

/// A leader that no quorum has answered for this long commits nothing: several heartbeats, and an election.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);

impl Cluster {
    /// This node's view of the log.
    pub fn raft_status(&self) -> RaftStatus {
        let status = self.raft().status();
        RaftStatus {
            node: status.node,
            state: status.state,
            term: status.term,
            leader: status.leader,
            last_log_index: status.last_log_index,
            commit_index: status.commit_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot_index,
            last_contact: self.last_contact(),
            log_bytes: self.raft().log_bytes(),
            members: self.known_members(),
        }
    }

    /// Time since this node last heard from the leader.
    pub(super) fn last_contact(&self) -> Option<Duration> {
        if self.is_leader() { Some(Duration::ZERO) } else { self.raft().last_contact() }
    }

    /// The leader's member entry, if this node knows one.
    pub fn leader(&self) -> Option<Member> {
        self.raft().leader().and_then(|leader| self.member(leader))
    }

    pub(super) fn member(&self, node: NodeId) -> Option<Member> {
        self.known_members().into_iter().find(|member| member.node == node)
    }

    fn known_members(&self) -> Vec<Member> {
        let group = self.raft().members().into_iter().map(|(node, peer, voter)| Member {
            node,
            suffrage: if voter { Suffrage::Voter } else { Suffrage::Learner },
            addresses: peer.addresses,
            sql_address: peer.sql_address,
            version: peer.version,
        });
        let system = self.raft().state().system();
        let gateways = system.gateways.iter().map(|(node, addresses)| Member {
            node: *node,
            suffrage: Suffrage::Gateway,
            addresses: addresses.clone(),
            sql_address: String::new(),
            version: String::new(),
        });
        group.chain(gateways).collect()
    }

    /// Every member, asked now whether it answers.
    pub async fn members(&self, timeout: Duration) -> Vec<MemberStatus> {
        let leader = self.raft().leader();
        let probes = self.known_members().into_iter().map(|member| async move {
            let reachable = self.probe(&member, timeout).await;
            MemberStatus { leader: leader == Some(member.node), reachable, member }
        });
        join_all(probes).await
    }

    async fn probe(&self, member: &Member, timeout: Duration) -> Result<Duration, String> {
        if member.node == self.node_id() {
            return Ok(Duration::ZERO);
        }
        if member.suffrage == Suffrage::Gateway {
            // A gateway answers no requests; being connected is all there is to know.
            let connected = self.inner.mesh.is_connected(member.node);
            return if connected { Ok(Duration::ZERO) } else { Err("not connected".to_owned()) };
        }
        self.inner.peers.probe(member.node, timeout).await
    }

    /// What this node knows of the cluster, for those who store nothing.
    pub(super) fn member_list(&self) -> MemberList {
        let raft = self.raft().status();
        MemberList {
            version: (self.raft().configuration_index(), raft.applied_index),
            term: raft.term,
            leader: raft.leader,
            quorum: self.raft().quorum_answered_within(QUORUM_SILENCE_MAX),
            members: self.known_members(),
        }
    }

    /// Hands leadership to `to`, or to the most up-to-date voter. May be called on any node.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchNode`] when `to` is no voter, [`ClusterError::Membership`] when there is no other voter or
    /// the other node does not take over in time.
    pub async fn transfer_leader(&self, to: Option<NodeId>, deadline: Instant) -> Result<(), ClusterError> {
        let search = Search::until(deadline);
        loop {
            match self.find_leader(&search).await? {
                Leader::Here => return self.transfer_leader_here(to).await,
                Leader::At(leader) => {
                    match self.ask_leader(leader, PeerRequest::TransferLeader { to }, &search).await? {
                        Asked::Answered(_) => return Ok(()),
                        Asked::NotLeader(_) | Asked::NotSent => search.pause().await?,
                    }
                }
            }
        }
    }

    pub(super) async fn transfer_leader_here(&self, to: Option<NodeId>) -> Result<(), ClusterError> {
        let to = match to {
            Some(node) if !self.raft().members().iter().any(|(id, _, voter)| *id == node && *voter) => {
                return Err(ClusterError::NoSuchNode(node));
            }
            Some(node) => node,
            None => self
                .raft()
                .most_up_to_date_follower()
                .ok_or_else(|| ClusterError::Membership("there is no other voter to lead".to_owned()))?,
        };
        if to == self.node_id() {
            return Ok(());
        }
        self.raft().transfer_leader(to).await?;
        let taken = self.raft().wait_for_leader(|leader| leader == Some(to));
        match tokio::time::timeout(TRANSFER_WAIT, taken).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ClusterError::Membership(format!("{to} did not take over within {TRANSFER_WAIT:?}"))),
        }
    }

    /// Takes a node out of the cluster. An unknown node is no error.
    ///
    /// # Errors
    /// [`ClusterError`]; afterwards the node may or may not be out when [`ClusterError::outcome`] says so.
    pub async fn remove(&self, node: NodeId, deadline: Instant) -> Result<(), ClusterError> {
        if self.raft().state().system().gateways.contains_key(&node) {
            return self.submit(Command::RemoveGateway { node }, deadline).await.map(|_| ());
        }
        self.change(PeerRequest::Remove { node }, deadline).await
    }

    /// Takes a node in, or notes new addresses of a member.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub(super) async fn set_member(&self, node: NodeId, peer: Peer, deadline: Instant) -> Result<(), ClusterError> {
        self.change(PeerRequest::SetMember { node, peer }, deadline).await
    }

    /// A change of the configuration, by the leader wherever it is. All of them may be repeated.
    async fn change(&self, request: PeerRequest, deadline: Instant) -> Result<(), ClusterError> {
        let search = Search::until(deadline);
        loop {
            match self.find_leader(&search).await? {
                Leader::Here => {
                    let changed = match request.clone() {
                        PeerRequest::SetMember { node, peer } => self.raft().set_member(node, peer).await,
                        PeerRequest::Remove { node } => self.raft().remove(node).await,
                        other => unreachable!("{other:?} changes no configuration"),
                    };
                    match changed {
                        Err(ProposeError::NotLeader { .. }) => search.pause().await?,
                        changed => return changed.map_err(ClusterError::from),
                    }
                }
                Leader::At(leader) => match self.ask_leader(leader, request.clone(), &search).await {
                    Ok(Asked::Answered(_)) => return Ok(()),
                    Ok(Asked::NotLeader(_) | Asked::NotSent) | Err(ClusterError::LeadershipLost) => {
                        search.pause().await?;
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Takes a snapshot here and cuts the log, keeping `trailing` entries. `false` when there was nothing new.
    ///
    /// # Errors
    /// [`ClusterError::Stopping`].
    pub async fn snapshot(&self, trailing: Option<u64>) -> Result<bool, ClusterError> {
        self.raft().snapshot(trailing).await.map_err(ClusterError::from)
    }

    /// Checkpoints every database's write-ahead log here; the number of files that had one.
    ///
    /// # Errors
    /// [`ClusterError::Storage`] when the disk fails.
    pub async fn reap(&self) -> Result<u64, ClusterError> {
        self.raft().checkpoint().await.map_err(super::read::storage)
    }

    /// Every member's content hashes at one log index, which is returned with them. A member that does not answer, or
    /// has gone past that index, has an error instead.
    ///
    /// # Errors
    /// [`ClusterError`] when the mark could not be put into the log.
    pub async fn verify(
        &self,
        deadline: Instant,
    ) -> Result<(u64, Vec<(NodeId, Result<Checksum, String>)>), ClusterError> {
        let Applied { outcome, index, .. } = self.submit(Command::Checksum, deadline).await?;
        debug_assert_eq!(outcome, Outcome::Done);
        let members = self.raft().members();
        let hashes = members.into_iter().map(|(node, _, _)| async move {
            let checksum = if node == self.node_id() {
                let wait = self.raft().state().checksums().wait(index);
                tokio::time::timeout_at(deadline.into(), wait).await.map_err(|_| "no answer in time".to_owned())
            } else {
                match self.inner.peers.call(node, PeerRequest::Checksum { index }, deadline).await {
                    Ok(Ok(PeerResponse::Checksum(checksum))) => Ok(checksum),
                    Ok(Ok(other)) => Err(format!("unexpected answer {other:?}")),
                    Ok(Err(error)) => Err(format!("{error:?}")),
                    Err(CallError::TimedOut) => Err("no answer in time".to_owned()),
                    Err(CallError::NotSent | CallError::Refused | CallError::Lost) => Err("not reachable".to_owned()),
                }
            };
            let superseded = || "another verification came in between; run it again".to_owned();
            (node, checksum.and_then(|checksum| checksum.ok_or_else(superseded)))
        });
        Ok((index, join_all(hashes).await))
    }
}
