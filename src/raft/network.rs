//! Raft's requests to one other member, over streams that stay open.
//!
//! openraft makes three clients per follower: one replicates, one sends heartbeats and votes, one sends snapshots. Each
//! keeps its own stream and opens a new one after any doubt about the old: an answer that did not come, a request that
//! was dropped midway, an end in the wrong place.

use std::future::Future;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use futures::Stream;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::{Backoff, RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::append_session::AppendSession;
use super::frames::{FrameReader, send_frame};
use super::snapshot::SnapshotData;
use super::type_config::{Peer, TypeConfig, Vote};
use super::wire::{self, Control, Hello};
use crate::mesh::{Mesh, MeshStream, Protocol};
use crate::types::{ClusterId, NodeId};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;
type RpcError = RPCError<TypeConfig>;

/// How long opening a stream may take; a dial within a datacentre takes milliseconds, a dead host never answers.
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);

/// A stream with its half-read frames.
pub(super) struct Connection {
    pub(super) stream: MeshStream,
    pub(super) frames: FrameReader,
}

/// Makes clients for members.
#[derive(Clone)]
pub(super) struct Network {
    mesh: Mesh,
    hello: Hello,
}

impl Network {
    pub(super) fn new(mesh: Mesh, cluster: ClusterId) -> Network {
        Network { mesh, hello: Hello { cluster } }
    }

    pub(super) async fn connect(&self, target: NodeId, protocol: Protocol) -> io::Result<Connection> {
        let mut stream = self.mesh.open(target, protocol, OPEN_TIMEOUT).await.map_err(io::Error::other)?;
        send_frame(&mut stream, |out| self.hello.put(out)).await?;
        Ok(Connection { stream, frames: FrameReader::default() })
    }

    fn client(&self, target: NodeId, purpose: Purpose) -> Client {
        Client { network: self.clone(), target, purpose, connection: Slot::default(), control: Slot::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Replication,
    Heartbeat,
    Snapshot,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, _node: &Peer) -> Client {
        self.client(target, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, _node: &Peer) -> Client {
        self.client(target, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, _node: &Peer) -> Client {
        self.client(target, Purpose::Snapshot)
    }
}

/// Raft's requests to one member.
pub(super) struct Client {
    network: Network,
    target: NodeId,
    purpose: Purpose,
    /// The replication stream, when nothing is outstanding on it.
    connection: Slot,
    /// The stream for questions with one answer, when none is outstanding.
    control: Slot,
}

/// A place for a connection. openraft wants its clients to be `Sync`, which a stream is not; only exclusive access is
/// ever used, so the mutex is never locked.
#[derive(Default)]
struct Slot(Mutex<Option<Connection>>);

impl Slot {
    fn get(&mut self) -> &mut Option<Connection> {
        self.0.get_mut().expect("the mutex is never locked, so never poisoned")
    }
}

impl Client {
    /// Asks one question on the control stream. The stream is kept only if the answer came whole.
    async fn ask<T>(
        &mut self,
        question: &Control,
        within: Duration,
        take: impl FnOnce(bytes::Bytes) -> io::Result<T>,
    ) -> Result<T, RpcError> {
        let exchange = async {
            let mut connection = match self.control.get().take() {
                Some(connection) => connection,
                None => self.network.connect(self.target, Protocol::RaftControl).await.map_err(unreachable)?,
            };
            let answer = async {
                send_frame(&mut connection.stream, |out| question.put(out)).await?;
                take(connection.frames.expect(&mut connection.stream).await?)
            };
            let answer = answer.await.map_err(broken)?;
            *self.control.get() = Some(connection);
            Ok(answer)
        };
        tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err(timed_out(within)))
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        self.ask(&Control::Append(request), option.soft_ttl(), wire::take_append_response).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> openraft::base::BoxFuture<
        's,
        Result<openraft::base::BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.purpose != Purpose::Replication {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let connection = match self.connection.get().take() {
                Some(connection) => connection,
                None => self.network.connect(self.target, Protocol::RaftAppend).await.map_err(unreachable)?,
            };
            let session = AppendSession::new(connection, self.connection.get(), input);
            Ok(Box::pin(session) as openraft::base::BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(&Control::Vote(request), option.soft_ttl(), wire::take_vote_response).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.ask(&Control::PreVote(request), option.soft_ttl(), wire::take_vote_response).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let transfer = async {
            let connection = self.network.connect(self.target, Protocol::RaftSnapshot).await.map_err(unreachable)?;
            let vote = super::transfer::send(connection, &vote, snapshot.snapshot).await.map_err(broken)?;
            Ok(SnapshotResponse::new(vote))
        };
        tokio::select! {
            done = transfer => done.map_err(|error: RpcError| match error {
                RPCError::Unreachable(error) => StreamingError::Unreachable(error),
                RPCError::Network(error) => StreamingError::Network(error),
                RPCError::Timeout(error) => StreamingError::Timeout(error),
                RPCError::RemoteError(_) => unreachable!("a transfer makes no remote errors"),
            }),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<openraft::raft::TransferLeaderResponse<TypeConfig>, RpcError> {
        self.ask(&Control::TransferLeader(request), option.soft_ttl(), wire::take_transfer_response).await
    }

    /// A restarted process is back within a second: ask often at first.
    fn backoff(&self) -> Option<Backoff> {
        let steps = [25u64, 50, 100, 200].into_iter().chain(std::iter::repeat(400));
        Some(Backoff::new(steps.map(Duration::from_millis)))
    }
}

/// Nobody answers there; openraft waits before it tries again.
fn unreachable(error: io::Error) -> RpcError {
    RPCError::Unreachable(openraft::errors::Unreachable::new(&error))
}

/// The connection broke; a new one may work at once.
pub(super) fn broken(error: io::Error) -> RpcError {
    RPCError::Network(openraft::errors::NetworkError::new(&error))
}

pub(super) fn timed_out(within: Duration) -> RpcError {
    let message = format!("no answer within {} ms", within.as_millis());
    RPCError::Network(openraft::errors::NetworkError::new(&AnyError::error(message)))
}
