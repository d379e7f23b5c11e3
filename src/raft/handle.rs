//! The Raft group as the rest of the process uses it: propose, ask for the read index, change members, stop.
//!
//! A [`Raft`] is a cheap handle. What it owns (openraft's core, the log writer, the apply thread) ends with
//! [`RaftOwner::stop`], in that order, so that everything acknowledged is on disk and every file is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::{ChangeMembers, Config, ServerState, SnapshotPolicy};

use super::apply::{ApplyJoin, ApplyThread, Directories, StateView, Work};
use super::log_file::LogFileError;
use super::log_store::{LogStore, LogWriter};
use super::network::Network;
use super::state_machine::StateMachine;
use super::type_config::{LogData, Peer, TypeConfig};
use super::wire::Hello;
use crate::mesh::Mesh;
use crate::types::limits::COMMAND_BYTES_MAX;
use crate::types::{ClusterId, Command, Envelope, NodeId, Outcome, Stamp};

type Core = openraft::Raft<TypeConfig, StateMachine>;
type Metrics = openraft::RaftMetrics<TypeConfig>;

/// Appends in one request to a follower; the bytes are bounded where the log is read.
const ENTRIES_PER_APPEND_MAX: u64 = 4096;

/// How long taking a snapshot may take: an fsync of each file that was written.
const SNAPSHOT_WAIT_MAX: Duration = Duration::from_secs(60);

/// How the group behaves in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftOptions {
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// A follower that hears nothing stands for election after a random time from here…
    pub election_timeout_min: Duration,
    /// …to here.
    pub election_timeout_max: Duration,
    /// Entries kept behind a snapshot for followers that were away, so that they need not load the snapshot.
    pub entries_kept: u64,
}

/// Why the group could not start.
#[derive(Debug, thiserror::Error)]
pub enum RaftStartError {
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// The state files cannot be used.
    #[error("{0}")]
    State(#[source] io::Error),
    /// The times do not fit together.
    #[error("raft configuration: {0}")]
    Config(String),
    /// openraft refused what it found.
    #[error("raft cannot start: {0}")]
    Core(String),
}

/// Why a command was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead; nothing was done.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// The entry was appended, then leadership was lost: it may still be committed.
    #[error("leadership was lost before the command was committed")]
    Unknown,
    /// The command is too large for the log; nothing was done.
    #[error("command of {bytes} bytes is larger than the limit of {bytes_max}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A change of membership that openraft refuses; nothing was done.
    #[error("{0}")]
    Membership(String),
    /// The group has stopped.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

/// What this node knows of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its part.
    pub state: RaftState,
    /// Current term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log_index: u64,
    /// Index of the last entry known to be committed.
    pub commit_index: u64,
    /// Index of the last entry applied here.
    pub applied_index: u64,
    /// Index that the newest snapshot covers.
    pub snapshot_index: u64,
}

/// A node's part in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RaftState {
    /// Takes writes.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Stopped.
    Shutdown,
}

/// A member as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Who.
    pub node: NodeId,
    /// Whether it counts towards the quorum.
    pub votes: bool,
    /// Entries that it is not known to have.
    pub behind: u64,
    /// Time since its last answer; `None` when there was none in this leader's time.
    pub silent_for: Option<Duration>,
}

/// When a leader last spoke to this node.
#[derive(Debug)]
pub(super) struct Contact {
    started: Instant,
    /// Milliseconds after `started`; 0 for never.
    last: AtomicU64,
}

impl Contact {
    fn new() -> Contact {
        Contact { started: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(super) fn note(&self) {
        self.last.store(self.started.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Option<Duration> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            last => Some(self.started.elapsed().saturating_sub(Duration::from_millis(last - 1))),
        }
    }
}

/// Handle to the group. Clones share it.
#[derive(Clone)]
pub struct Raft {
    pub(super) core: Core,
    pub(super) hello: Hello,
    pub(super) directories: Directories,
    /// One snapshot is received at a time.
    pub(super) receiving: Arc<tokio::sync::Mutex<()>>,
    pub(super) contact: Arc<Contact>,
    lease: Duration,
    node: NodeId,
    log: LogStore,
    apply: ApplyThread,
    state: StateView,
    stamps: Arc<Stamps>,
}

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What must be joined when the group stops.
pub struct RaftOwner {
    raft: Raft,
    log: LogWriter,
    apply: ApplyJoin,
}

impl Raft {
    /// Opens log and state below `data_dir` and starts the group.
    ///
    /// # Errors
    /// [`RaftStartError`] when what is on disk cannot be used as it is; nothing is changed then.
    pub async fn start(
        node: NodeId,
        cluster: ClusterId,
        data_dir: &Path,
        mesh: Mesh,
        options: &RaftOptions,
    ) -> Result<(Raft, RaftOwner), RaftStartError> {
        let config = config_of(cluster, options)?;
        let log_directory = data_dir.join("raft");
        let directories = Directories::below(data_dir);
        refuse_lost_log(&log_directory.join("log.sqlite"), &directories.databases)?;
        std::fs::create_dir_all(&log_directory).map_err(RaftStartError::State)?;
        let (log, log_writer) = LogStore::open(&log_directory)?;
        let (apply, apply_join, state) =
            ApplyThread::start(directories.clone(), &log).map_err(RaftStartError::State)?;
        let machine = StateMachine::new(apply.clone(), directories.clone(), log.durable());
        let network = Network::new(mesh, cluster);
        let core = Core::new(node, Arc::new(config), network, log.clone(), machine)
            .await
            .map_err(|e| RaftStartError::Core(e.to_string()))?;
        let raft = Raft {
            core,
            hello: Hello { cluster },
            directories,
            receiving: Arc::default(),
            contact: Arc::new(Contact::new()),
            lease: options.election_timeout_min,
            node,
            log,
            apply,
            state,
            stamps: Arc::new(Stamps::new()),
        };
        let owner = RaftOwner { raft: raft.clone(), log: log_writer, apply: apply_join };
        Ok((raft, owner))
    }

    /// Makes this node the first and only voter. Only `bootstrap` with an empty directory does this.
    ///
    /// # Errors
    /// [`ProposeError::Membership`] when the log already has a configuration.
    pub async fn initialize(&self, peer: Peer) -> Result<(), ProposeError> {
        self.core
            .initialize(BTreeMap::from([(self.node, peer)]))
            .await
            .map_err(|e| ProposeError::Membership(e.to_string()))
    }

    /// Whether the log has a configuration, i.e. this node was bootstrapped or has joined.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn is_initialized(&self) -> Result<bool, ProposeError> {
        self.core.is_initialized().await.map_err(|e| ProposeError::Stopped(e.to_string()))
    }

    /// Stamps a command, appends it and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeError`]; only [`ProposeError::Unknown`] leaves open whether the command took effect. Dropping the
    /// future leaves the same open.
    pub async fn propose(&self, command: &Command) -> Result<(Outcome, u64), ProposeError> {
        let bytes_max = match command {
            Command::Load { .. } => crate::types::limits::LOAD_BYTES_MAX + 4096,
            _ => COMMAND_BYTES_MAX,
        };
        let bytes = Envelope::encode_parts(self.stamps.next(), command);
        if bytes.len() > bytes_max {
            return Err(ProposeError::TooLarge { bytes: bytes.len(), bytes_max });
        }
        let written = self.core.client_write(LogData(Bytes::from(bytes))).await.map_err(write_error)?;
        Ok((written.data, written.log_id.index))
    }

    /// An index such that everything acknowledged before this call is at or below it. Only the leader can tell; it asks
    /// a quorum whether it still leads.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`] or [`ProposeError::Stopped`].
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        match self.core.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Err(RaftError::APIError(error)) => {
                tracing::debug!(%error, "no quorum for a read");
                Err(ProposeError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(error)) => Err(ProposeError::Stopped(error.to_string())),
        }
    }

    /// Leads at once if nobody else has a vote: there is no reason to wait for a silence to end.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn lead_if_alone(&self) -> Result<(), ProposeError> {
        let voters: Vec<NodeId> = self.metrics().membership_config.voter_ids().collect();
        if voters != [self.node] {
            return Ok(());
        }
        self.core.trigger().elect(false).await.map_err(|e| ProposeError::Stopped(e.to_string()))
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.core.server_metrics().borrow_watched().current_leader
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.node)
    }

    /// The term this node leads in, if it leads as far as it knows.
    ///
    /// A leader answers for its predecessors' writes once [`Progress::term`](super::Progress::term) is its own: the
    /// first entry it appends comes after all of theirs.
    pub fn term_led(&self) -> Option<u64> {
        let metrics = self.core.server_metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_leader == Some(self.node)).then_some(metrics.vote.leader_id.term)
    }

    /// openraft's view of the group, now.
    pub(crate) fn metrics(&self) -> Metrics {
        self.core.metrics().borrow_watched().clone()
    }

    /// Waits until who leads, as far as this node knows, fulfils a condition; `None` when the group ends first.
    ///
    /// Cancel safe.
    pub async fn wait_for_leader(&self, condition: impl Fn(Option<NodeId>) -> bool) -> Option<Option<NodeId>> {
        // This channel changes with the server's state only, not with every entry.
        let mut metrics = self.core.server_metrics();
        loop {
            let leader = metrics.borrow_and_update().current_leader;
            if condition(leader) {
                return Some(leader);
            }
            metrics.changed().await.ok()?;
        }
    }

    /// Waits until openraft's view of the group fulfils a condition; `None` when the group ends first.
    ///
    /// Cancel safe.
    pub(crate) async fn wait_for(&self, condition: impl Fn(&Metrics) -> bool) -> Option<Metrics> {
        let mut metrics = self.core.metrics();
        loop {
            // Copied out: a borrowed value must not be held over the wait.
            let now = metrics.borrow_and_update().clone();
            if condition(&now) {
                return Some(now);
            }
            metrics.changed().await.ok()?;
        }
    }

    /// This node's view of the log.
    pub fn status(&self) -> Status {
        let metrics = self.metrics();
        let index = |id: Option<super::type_config::LogId>| id.map_or(0, |id| id.index);
        Status {
            node: self.node,
            state: match metrics.state {
                ServerState::Leader => RaftState::Leader,
                ServerState::Follower => RaftState::Follower,
                ServerState::Candidate => RaftState::Candidate,
                ServerState::Learner => RaftState::Learner,
                ServerState::Shutdown => RaftState::Shutdown,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            commit_index: index(metrics.local_committed),
            applied_index: self.state.progress().index,
            snapshot_index: index(metrics.snapshot),
        }
    }

    /// Members of the group: id, what is known of it, whether it votes.
    pub fn members(&self) -> Vec<(NodeId, Peer, bool)> {
        let metrics = self.metrics();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let nodes = metrics.membership_config.membership().nodes();
        nodes.map(|(id, peer)| (*id, peer.clone(), voters.contains(id))).collect()
    }

    /// Log index of the group's configuration: a later one has a higher index.
    pub fn configuration_index(&self) -> u64 {
        self.metrics().membership_config.log_id().as_ref().map_or(0, |id| id.index)
    }

    /// Whether this node leads and a quorum has answered it within `silence`.
    pub fn quorum_answered_within(&self, silence: Duration) -> bool {
        let metrics = self.metrics();
        let answered = |follower: &Follower| follower.votes && follower.silent_for.is_some_and(|ago| ago <= silence);
        let others = self.followers().iter().filter(|follower| answered(follower)).count();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let own = usize::from(voters.contains(&self.node));
        metrics.state == ServerState::Leader && (others + own) * 2 > voters.len()
    }

    /// Voters and learners with how far the leader knows them to be behind, in entries, and how long ago they last
    /// answered. Empty on a node that does not lead.
    pub fn followers(&self) -> Vec<Follower> {
        let metrics = self.metrics();
        let (Some(replication), Some(heartbeat)) = (metrics.replication, metrics.heartbeat) else { return Vec::new() };
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let followers = replication.into_iter().filter(|(node, _)| *node != self.node);
        followers
            .map(|(node, matched)| Follower {
                node,
                votes: voters.contains(&node),
                behind: last.saturating_sub(matched.map_or(0, |id| id.index)),
                silent_for: heartbeat
                    .get(&node)
                    .copied()
                    .flatten()
                    .map(|answered| openraft::Instant::elapsed(&*answered)),
            })
            .collect()
    }

    /// The follower with a vote that would lose least by leading.
    pub fn most_up_to_date_follower(&self) -> Option<NodeId> {
        let voters = self.followers().into_iter().filter(|follower| follower.votes && follower.silent_for.is_some());
        voters.min_by_key(|follower| (follower.behind, follower.silent_for)).map(|follower| follower.node)
    }

    /// Time since a leader last spoke to this node; `None` when none has since it started.
    pub fn last_contact(&self) -> Option<Duration> {
        self.contact.elapsed()
    }

    /// Time since a quorum last answered this node as its leader; `None` when none has yet.
    pub fn quorum_silence(&self) -> Option<Duration> {
        let metrics = self.metrics();
        let mut voters = metrics.membership_config.voter_ids();
        if voters.next() == Some(self.node) && voters.next().is_none() {
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|acked| openraft::Instant::elapsed(&*acked))
    }

    /// Longest silence of a quorum during which no other leader can have been elected.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// What everybody may read of the state machine.
    pub fn state(&self) -> &StateView {
        &self.state
    }

    /// Bytes of entries appended to the log since it was made, counted from this process's start on; what the log held
    /// then counts as appended.
    pub fn appended_bytes(&self) -> u64 {
        self.log.appended_bytes()
    }

    /// The log's size on disk.
    pub fn log_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    /// Adds a node that follows the log without a vote, or gives a member new addresses.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn set_member(&self, node: NodeId, peer: Peer) -> Result<(), ProposeError> {
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node, peer)]))).await
    }

    /// Gives learners a vote.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn promote(&self, nodes: impl IntoIterator<Item = NodeId>) -> Result<(), ProposeError> {
        self.change(ChangeMembers::AddVoterIds(nodes.into_iter().collect())).await
    }

    /// Takes the vote of a voter and gives it to a learner, in one step.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn replace_voter(&self, lost: NodeId, by: NodeId) -> Result<(), ProposeError> {
        let voters = self.metrics().membership_config.voter_ids().filter(|voter| *voter != lost).chain([by]).collect();
        self.core
            .change_membership(ChangeMembers::ReplaceAllVoters(voters), true)
            .await
            .map(|_| ())
            .map_err(write_error)
    }

    /// Takes a node out of the group, voter or not.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn remove(&self, node: NodeId) -> Result<(), ProposeError> {
        let voters: Vec<NodeId> = self.metrics().membership_config.voter_ids().collect();
        if voters == [node] {
            let reason = "the only voter cannot be removed: the data would be gone with it".to_owned();
            return Err(ProposeError::Membership(reason));
        }
        if voters.contains(&node) {
            self.change(ChangeMembers::RemoveVoters([node].into())).await?;
        }
        if self.metrics().membership_config.membership().get_node(&node).is_some() {
            self.change(ChangeMembers::RemoveNodes([node].into())).await?;
        }
        Ok(())
    }

    async fn change(&self, change: ChangeMembers<NodeId, Peer>) -> Result<(), ProposeError> {
        self.core.change_membership(change, false).await.map(|_| ()).map_err(write_error)
    }

    /// Hands leadership to a voter. Only the leader can; it is done when the other node leads.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        self.core.trigger().transfer_leader(to).await.map_err(|e| ProposeError::Stopped(e.to_string()))
    }

    /// A member can be reached again: do not wait for the next attempt.
    pub async fn reset_backoff(&self, node: NodeId) {
        if let Err(error) = self.core.trigger().reset_backoff([node]).await {
            tracing::debug!(%error, "raft has stopped");
        }
    }

    /// Makes everything applied durable in the state files, and cuts the log behind it, keeping `trailing` entries.
    /// `false` when the last snapshot already covered everything.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn snapshot(&self, trailing: Option<u64>) -> Result<bool, ProposeError> {
        let stopped = |e: openraft::errors::Fatal<TypeConfig>| ProposeError::Stopped(e.to_string());
        let before = self.metrics();
        let applied = before.last_applied.map_or(0, |id| id.index);
        let fresh = before.snapshot.is_none_or(|snapshot| snapshot.index < applied);
        if fresh {
            self.core.trigger().snapshot().await.map_err(stopped)?;
            let covered = |metrics: &Metrics| {
                metrics.running_state.is_err() || metrics.snapshot.is_some_and(|snapshot| snapshot.index >= applied)
            };
            // A snapshot that is just being taken makes openraft ignore this one; the next look will find it.
            if tokio::time::timeout(SNAPSHOT_WAIT_MAX, self.wait_for(covered)).await.is_err() {
                tracing::warn!("no snapshot after {SNAPSHOT_WAIT_MAX:?}");
            }
        }
        if let Some(trailing) = trailing {
            let upto = applied.saturating_sub(trailing);
            self.core.trigger().purge_log(upto).await.map_err(stopped)?;
        }
        Ok(fresh)
    }

    /// Moves every write-ahead log into its file; the number of files that had one.
    ///
    /// # Errors
    /// When the disk fails; the node is stopping then.
    pub async fn checkpoint(&self) -> io::Result<u64> {
        self.apply.ask(|reply| Work::Checkpoint { reply }).await
    }

    /// Waits until the group fails for good, and says why. Never returns while all is well.
    pub async fn failed(&self) -> String {
        // This channel changes with the server's state only, not several times for every batch of entries; it closes
        // when the core ends, for whatever reason.
        let mut server = self.core.server_metrics();
        while self.metrics().running_state.is_ok() && server.changed().await.is_ok() {}
        let reason = self.metrics().running_state.err();
        reason.map_or_else(|| "raft core has ended".to_owned(), |error| error.to_string())
    }

    /// Where scratch files may be made; emptied at each start.
    pub fn scratch_directory(&self) -> PathBuf {
        self.directories.scratch.clone()
    }
}

impl RaftOwner {
    /// Stops the group and closes its files. `false` when openraft did not end cleanly.
    pub async fn stop(self) -> bool {
        let RaftOwner { raft, log, apply } = self;
        let clean = raft.core.shutdown().await.is_ok();
        let Raft { core, log: log_handle, apply: apply_handle, .. } = raft;
        drop((core, log_handle, apply_handle));
        // Other handles may still be held by requests in flight; the threads end when the last one is gone, which the
        // caller bounds in time.
        tokio::task::spawn_blocking(move || {
            apply.join();
            log.join();
        })
        .await
        .is_ok()
            && clean
    }
}

/// State without the log that it was built from means that votes and entries were lost which others count on.
fn refuse_lost_log(log: &Path, databases: &Path) -> Result<(), LogFileError> {
    let is_there = std::fs::metadata(log).is_ok_and(|file| file.len() > 0);
    if is_there || !databases.join("_system.sqlite").exists() {
        return Ok(());
    }
    Err(LogFileError::Damaged {
        path: log.to_owned(),
        what: "log",
        position: "offset 0".to_owned(),
        reason: "it is missing or empty although there are databases".to_owned(),
    })
}

fn config_of(cluster: ClusterId, options: &RaftOptions) -> Result<Config, RaftStartError> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let config = Config {
        cluster_name: cluster.to_string(),
        heartbeat_interval: millis(options.heartbeat_interval),
        election_timeout_min: millis(options.election_timeout_min),
        election_timeout_max: millis(options.election_timeout_max),
        max_payload_entries: ENTRIES_PER_APPEND_MAX,
        // The daemon decides by bytes and time when a snapshot is due.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.entries_kept,
        purge_batch_size: 1024,
        // A follower that is behind is fed from the log as long as the log reaches back.
        replication_lag_threshold: u64::MAX,
        // Our transfers watch their own progress.
        install_snapshot_timeout: millis(Duration::from_secs(3600)),
        enable_pre_vote: Some(true),
        // A leader sends entries on before they are on its own disk. Killed and leading again in the same term, it would
        // give their places to others: two entries with one log id. A new term tells them apart.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|e| RaftStartError::Config(e.to_string()))
}

fn write_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id }
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Unknown,
        RaftError::APIError(error) => ProposeError::Membership(error.to_string()),
        RaftError::Fatal(error) => ProposeError::Stopped(error.to_string()),
    }
}

/// Makes the stamps of this node's proposals: times that never go back, seeds that never repeat.
struct Stamps {
    last_unix_ms: AtomicI64,
    seed: AtomicU64,
}

impl Stamps {
    fn new() -> Stamps {
        Stamps { last_unix_ms: AtomicI64::new(0), seed: AtomicU64::new(random_u64()) }
    }

    fn next(&self) -> Stamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let before = self.last_unix_ms.fetch_max(now, Ordering::Relaxed);
        // An odd step visits every seed once; what comes out is mixed by the generator that it seeds.
        let seed = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Stamp { unix_ms: now.max(before), seed }
    }
}

fn random_u64() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_go_back_and_never_share_a_seed() {
        let stamps = Stamps::new();
        let future = i64::MAX / 2;
        stamps.last_unix_ms.store(future, Ordering::Relaxed);
        let (first, second) = (stamps.next(), stamps.next());
        assert_eq!((first.unix_ms, second.unix_ms), (future, future));
        assert_ne!(first.seed, second.seed);
    }
}
