//! The cluster as a process sees it that stores nothing: everything is asked of nodes, over the mesh.
//!
//! The promises are those of [`Cluster`](super::Cluster). A write goes to the leader, in one hop; what may have arrived
//! is not sent again unless it takes effect once. A read that any node can answer goes to the best one and, when
//! that one fails, to the next, as long as the caller's deadline allows. A node that dies is noticed when its streams
//! end; one that only falls silent, by [`remote_keeper`], which then ends them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{Notify, watch};

use super::Limits;
use super::error::ClusterError;
use super::leader::{self, Asked, LeaderWatch, Search};
use super::peer_api::{PeerError, PeerRequest, PeerResponse};
use super::peers::{CallError, Peers};
use super::remote_keeper;
use super::remote_view::{Connected, RemoteView};
use super::request::{Applied, KvAnswer, KvRead, Level, Read, ReadAnswer, ServedBy, TopicsAnswer, TopicsRead};
use super::submit::{Attempts, InFlight, served_by, unexpected};
use super::view::{Member, MemberStatus, Suffrage};
use crate::mesh::{Mesh, Standing};
use crate::tasks::Tasks;
use crate::types::{Command, Namespace, NodeId};

/// A cluster that this process is not a replica of. Clones share it.
#[derive(Clone)]
pub struct RemoteCluster {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) mesh: Mesh,
    pub(super) peers: Peers,
    limits: Limits,
    view: Mutex<RemoteView>,
    /// What the view says, for those who wait for it.
    leader: watch::Sender<Option<NodeId>>,
    nodes: watch::Sender<HashMap<NodeId, Vec<String>>>,
    /// Somebody found out that things have changed.
    pub(super) doubt: Notify,
    in_flight: InFlight,
}

impl fmt::Debug for RemoteCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCluster").field("process", &self.node_id()).finish_non_exhaustive()
    }
}

/// How much of the cluster this process reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Nodes that answer.
    pub nodes_answering: usize,
    /// Whether the leader is among them, and has a quorum.
    pub writable: bool,
    /// Whether the cluster says that this process does not belong to it.
    pub refused: bool,
}

impl RemoteCluster {
    /// The cluster that these nodes belonged to when last seen, under these multiaddrs. Looks for it until `tasks` stops,
    /// and tells the mesh who belongs to it.
    pub fn start(mesh: Mesh, nodes: HashMap<NodeId, Vec<String>>, limits: Limits, tasks: &Tasks) -> RemoteCluster {
        let peers = Peers::new(mesh.clone(), tasks.clone());
        let (leader, heard) = watch::channel(None);
        let watch = LeaderWatch::Heard(heard);
        tasks.spawn_until_cancelled(leader::follow(mesh.node_id(), watch, peers.clone(), tasks.clone()));
        mesh.set_members(nodes.clone(), HashMap::new());
        let inner = Inner {
            mesh,
            peers,
            limits,
            view: Mutex::new(RemoteView::new(&nodes)),
            leader,
            nodes: watch::Sender::new(nodes),
            doubt: Notify::new(),
            in_flight: InFlight::new(),
        };
        let cluster = RemoteCluster { inner: Arc::new(inner) };
        tasks.spawn_until_cancelled(remote_keeper::keep(cluster.clone()));
        cluster
    }

    /// This process's id on the mesh.
    pub fn node_id(&self) -> NodeId {
        self.inner.mesh.node_id()
    }

    /// The cluster's nodes and where they are, now and whenever that changes.
    pub fn watch_nodes(&self) -> watch::Receiver<HashMap<NodeId, Vec<String>>> {
        self.inner.nodes.subscribe()
    }

    /// How much of the cluster answers.
    pub fn reach(&self) -> Reach {
        let view = self.view();
        Reach { nodes_answering: view.answering(), writable: view.writable(), refused: view.is_refused() }
    }

    /// Every member, asked now whether it answers. Of other gateways nothing is known here.
    pub async fn members(&self, timeout: Duration) -> Vec<MemberStatus> {
        let (members, leader) = {
            let view = self.view();
            (view.members().cloned().collect::<Vec<Member>>(), view.leader())
        };
        let probes = members.into_iter().map(|member| async move {
            let reachable = match member.suffrage {
                _ if member.node == self.node_id() => Ok(Duration::ZERO),
                Suffrage::Gateway => Err("gateways do not talk to each other".to_owned()),
                Suffrage::Voter | Suffrage::Learner => self.inner.peers.probe(member.node, timeout).await,
            };
            MemberStatus { leader: leader == Some(member.node), reachable, member }
        });
        join_all(probes).await
    }

    /// Puts a command through the log, as [`Cluster::submit`](super::Cluster::submit) does.
    ///
    /// # Errors
    /// [`ClusterError`], also [`ClusterError::NoNode`].
    pub async fn submit(&self, command: Command, deadline: Instant) -> Result<Applied, ClusterError> {
        let command = self.inner.limits.apply(command);
        let _in_flight = self.inner.in_flight.reserve(&command, deadline).await?;
        let mut attempts = Attempts::of(&command, deadline);
        loop {
            let attempt = self.attempt(&command, &attempts.search).await;
            if let Some(applied) = attempts.after(attempt).await? {
                return Ok(applied);
            }
        }
    }

    async fn attempt(&self, command: &Command, search: &Search) -> Result<Option<Applied>, ClusterError> {
        let timeout = search.deadline().saturating_duration_since(Instant::now());
        let request = PeerRequest::Submit { command: command.clone(), timeout };
        match self.ask_leader(request, search).await? {
            Some((leader, PeerResponse::Applied { outcome, index })) => {
                Ok(Some(Applied { outcome, index, served_by: self.served_by(leader), repeated: false }))
            }
            Some((_, other)) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }

    /// Reads at the level asked for, as [`Cluster::read`](super::Cluster::read) does. `Auto` is `Weak`: there is no
    /// replica here.
    ///
    /// # Errors
    /// [`ClusterError`], also [`ClusterError::NoNode`].
    pub async fn read(&self, mut read: Read, deadline: Instant) -> Result<ReadAnswer, ClusterError> {
        if read.level == Level::Auto {
            read.level = Level::Weak;
        }
        let request = |timeout| PeerRequest::ReadAt { read: read.clone(), timeout };
        match self.ask(place_of(read.level), request, deadline).await? {
            (node, PeerResponse::ResultsAt { results, index }) => {
                Ok(ReadAnswer { results, index, served_by: self.served_by(node) })
            }
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Reads keys at the level asked for.
    ///
    /// # Errors
    /// As [`RemoteCluster::read`].
    pub async fn read_kv(&self, mut read: KvRead, deadline: Instant) -> Result<KvAnswer, ClusterError> {
        if read.level == Level::Auto {
            read.level = Level::Weak;
        }
        let request = |timeout| PeerRequest::ReadKvAt { read: read.clone(), timeout };
        match self.ask(place_of(read.level), request, deadline).await? {
            (node, PeerResponse::Kv { found, index }) => Ok(KvAnswer { found, index, served_by: self.served_by(node) }),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Waits until a node has a change of a key of `namespace` behind the one numbered `after`; the newest one's number.
    ///
    /// # Errors
    /// As [`RemoteCluster::read`]; [`ClusterError::Timeout`] when nothing has changed by the deadline.
    pub async fn wait_kv_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        let request = |timeout| PeerRequest::WaitKvChange { namespace: namespace.clone(), after, timeout };
        match self.ask(Place::Anywhere, request, deadline).await? {
            (_, PeerResponse::KvChange(number)) => Ok(number),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Reads durable topics or their messages at the level asked for.
    ///
    /// # Errors
    /// As [`RemoteCluster::read`].
    pub async fn read_topics(&self, mut read: TopicsRead, deadline: Instant) -> Result<TopicsAnswer, ClusterError> {
        if read.level == Level::Auto {
            read.level = Level::Weak;
        }
        let request = |timeout| PeerRequest::ReadTopicsAt { read: read.clone(), timeout };
        match self.ask(place_of(read.level), request, deadline).await? {
            (node, PeerResponse::Topics { found, index }) => {
                Ok(TopicsAnswer { found, index, served_by: self.served_by(node) })
            }
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Waits until a node has a stored message of `namespace`, or a change of its set of durable topics, behind the one
    /// numbered `after`; the newest one's number.
    ///
    /// # Errors
    /// As [`RemoteCluster::read`]; [`ClusterError::Timeout`] when nothing has changed by the deadline.
    pub async fn wait_topics_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        let request = |timeout| PeerRequest::WaitTopicsChange { namespace: namespace.clone(), after, timeout };
        match self.ask(Place::Anywhere, request, deadline).await? {
            (_, PeerResponse::TopicsChange(number)) => Ok(number),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Asks something that changes nothing, and asks again when the answer is lost.
    async fn ask(
        &self,
        place: Place,
        request: impl Fn(Duration) -> PeerRequest,
        deadline: Instant,
    ) -> Result<(NodeId, PeerResponse), ClusterError> {
        let request = || request(deadline.saturating_duration_since(Instant::now()));
        match place {
            Place::Anywhere => self.ask_anybody(request, deadline).await,
            Place::Leader => self.ask_the_leader(request, deadline).await,
        }
    }

    async fn ask_the_leader(
        &self,
        request: impl Fn() -> PeerRequest,
        deadline: Instant,
    ) -> Result<(NodeId, PeerResponse), ClusterError> {
        let mut search = Search::until(deadline);
        loop {
            match self.ask_leader(request(), &search).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => search.pause().await?,
                // It may have been at work for long.
                Err(ClusterError::LeadershipLost) => {
                    search = Search::until(deadline);
                    search.pause().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the best node, and another one when it cannot answer, until the search ends.
    async fn ask_anybody(
        &self,
        request: impl Fn() -> PeerRequest,
        deadline: Instant,
    ) -> Result<(NodeId, PeerResponse), ClusterError> {
        let mut search = Search::until(deadline);
        let mut tried = Vec::new();
        let mut reason = ClusterError::NoNode;
        loop {
            let next = self.view().next_reader(self.node_id(), &self.connected(), &tried);
            let Some(node) = next else {
                search.pause().await.map_err(|_| reason.clone())?;
                tried.clear();
                continue;
            };
            tried.push(node);
            match self.inner.peers.call(node, request(), deadline).await {
                Ok(Ok(response)) => {
                    self.view().good(node);
                    return Ok((node, response));
                }
                Ok(Err(PeerError::NotLeader { .. })) => reason = ClusterError::NoLeader,
                Ok(Err(PeerError::Failed(error))) if is_of_this_node(&error) => reason = error,
                Ok(Err(PeerError::Failed(error))) => return Err(error),
                Err(CallError::NotSent) => self.learn(|view| view.unheard(node)),
                Err(CallError::Lost) => {
                    self.learn(|view| view.unheard(node));
                    // It may have been at work for long.
                    search = Search::until(deadline);
                }
                Err(CallError::Refused) => self.learn(|view| view.refused(node)),
                Err(CallError::TimedOut) => return Err(ClusterError::Timeout),
            }
        }
    }

    /// Waits for a leader and asks it once; `None` when nothing was done and it may be tried again.
    async fn ask_leader(
        &self,
        request: PeerRequest,
        search: &Search,
    ) -> Result<Option<(NodeId, PeerResponse)>, ClusterError> {
        let leader = LeaderWatch::Heard(self.inner.leader.subscribe()).find(search).await;
        let leader = leader.map_err(|error| self.without_nodes(error))?;
        match self.inner.peers.ask_leader(leader, request, search).await? {
            Asked::Answered(response) => return Ok(Some((leader, response))),
            Asked::NotLeader(hint) => self.learn(|view| view.not_leader(leader, hint)),
            Asked::NotSent => self.learn(|view| view.unheard(leader)),
        }
        self.inner.doubt.notify_one();
        Ok(None)
    }

    /// When nobody answers, that is the reason and not the missing leader.
    fn without_nodes(&self, error: ClusterError) -> ClusterError {
        if error == ClusterError::NoLeader && self.view().answering() == 0 { ClusterError::NoNode } else { error }
    }

    fn served_by(&self, node: NodeId) -> ServedBy {
        served_by(node, self.view().member(node))
    }

    /// Who leads, as far as is known.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.view().leader()
    }

    fn view(&self) -> MutexGuard<'_, RemoteView> {
        self.inner.view.lock().expect("nothing panics while it holds the view")
    }

    /// Changes the view and tells everybody whom it concerns.
    pub(super) fn learn(&self, change: impl FnOnce(&mut RemoteView)) {
        // Held until all is told, so that the last word is the last one heard.
        let mut view = self.view();
        change(&mut view);
        let (leader, nodes) = (view.leader(), view.nodes());
        let moved = self.inner.nodes.send_if_modified(|known| {
            let changed = *known != nodes;
            if changed {
                known.clone_from(&nodes);
            }
            changed
        });
        if moved {
            self.inner.mesh.set_members(nodes, HashMap::new());
        }
        self.inner.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
    }

    /// The nodes that are connected now.
    pub(super) fn connected(&self) -> Vec<Connected> {
        let peers = self.inner.mesh.connected().into_iter().filter(|peer| peer.standing == Standing::Member);
        let rtt_ms = |rtt: Option<Duration>| rtt.map_or(0, |rtt| rtt.as_millis() as u64);
        peers.map(|peer| Connected { node: peer.node_id, rtt_ms: rtt_ms(peer.rtt) }).collect()
    }
}

/// Who can keep a read's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    Leader,
}

fn place_of(level: Level) -> Place {
    match level {
        Level::None | Level::Linearizable => Place::Anywhere,
        Level::Weak | Level::Auto | Level::Strong => Place::Leader,
    }
}

/// Whether another node may do what this one could not.
fn is_of_this_node(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::NoLeader
            | ClusterError::LeaderUnreachable { .. }
            | ClusterError::LeadershipLost
            | ClusterError::StaleRead
            | ClusterError::Overloaded
            | ClusterError::Stopping
    )
}
