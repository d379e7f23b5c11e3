//! Requests to other nodes: one stream per peer, many requests on it at once.
//!
//! A task per peer writes what is queued, as much as there is in one write, and another reads answers and hands each to
//! its caller. When the stream breaks, requests that were written end as [`CallError::Lost`] (they may have been carried
//! out), the others as [`CallError::NotSent`]; the next request opens a new stream.
//!
//! A peer whose machine has lost its power breaks nothing. [`Peers::silent_for`] tells when its stream was last alive, and
//! [`Peers::forget`] ends it; whoever watches over peers decides with them.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::peer_api::{PeerAnswer, PeerRequest, put_message, take_message};
use crate::mesh::{Mesh, MeshError, MeshStream, Protocol};
use crate::raft::{FrameReader, put_frame};
use crate::tasks::Tasks;
use crate::types::NodeId;

/// How long opening the stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_millis(1000);

/// Requests waiting to be written to one peer. A full queue means that it takes nothing.
const QUEUE_MAX: usize = 4096;

/// Requests encoded into one write.
const REQUESTS_PER_WRITE_MAX: usize = 256;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// It did not leave this node.
    NotSent,
    /// It did not leave this node, because the peer does not admit it.
    Refused,
    /// It may have arrived; no answer came.
    Lost,
    /// No answer came in time.
    TimedOut,
}

type Caller = oneshot::Sender<Result<PeerAnswer, CallError>>;

type Pending = Arc<Mutex<HashMap<u64, Caller>>>;

struct Call {
    request: PeerRequest,
    answer: Caller,
}

/// When a peer's stream was made, or last carried something from it.
type Heard = Arc<Mutex<Instant>>;

/// The streams to all peers. Clones share them.
#[derive(Clone)]
pub(super) struct Peers {
    mesh: Mesh,
    tasks: Tasks,
    queues: Arc<Mutex<HashMap<NodeId, Queue>>>,
}

struct Queue {
    calls: mpsc::Sender<Call>,
    given_up: CancellationToken,
    heard: Heard,
}

impl Peers {
    pub(super) fn new(mesh: Mesh, tasks: Tasks) -> Peers {
        Peers { mesh, tasks, queues: Arc::default() }
    }

    /// Asks and waits for the answer. Dropping the future leaves open whether the request is carried out.
    pub(super) async fn call(
        &self,
        peer: NodeId,
        request: PeerRequest,
        deadline: Instant,
    ) -> Result<PeerAnswer, CallError> {
        let exchange = async {
            let (answer, answered) = oneshot::channel();
            // A queue whose task has just ended takes nothing: the second attempt opens a new stream.
            let mut call = Call { request, answer };
            for _ in 0..2 {
                match self.queue(peer).send(call).await {
                    Ok(()) => return answered.await.unwrap_or(Err(CallError::Lost)),
                    Err(returned) => call = returned.0,
                }
            }
            Err(CallError::NotSent)
        };
        let wait = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(wait, exchange).await.unwrap_or(Err(CallError::TimedOut))
    }

    fn queue(&self, peer: NodeId) -> mpsc::Sender<Call> {
        let mut queues = self.queues.lock().expect("nothing panics while it holds the queues");
        if let Some(queue) = queues.get(&peer).filter(|queue| !queue.calls.is_closed()) {
            return queue.calls.clone();
        }
        let (calls, waiting) = mpsc::channel(QUEUE_MAX);
        let given_up = CancellationToken::new();
        let heard = Arc::new(Mutex::new(Instant::now()));
        queues.insert(peer, Queue { calls: calls.clone(), given_up: given_up.clone(), heard: heard.clone() });
        let mesh = self.mesh.clone();
        self.tasks.spawn_until_cancelled(async move {
            if let Err(error) = run(mesh, peer, waiting, given_up, heard).await {
                tracing::debug!(%peer, %error, "stream to peer ended");
            }
        });
        calls
    }

    /// Time since the stream to a peer was made or last carried a byte from it; `None` without a stream.
    pub(super) fn silent_for(&self, peer: NodeId) -> Option<Duration> {
        let queues = self.queues.lock().expect("nothing panics while it holds the queues");
        let queue = queues.get(&peer).filter(|queue| !queue.calls.is_closed())?;
        let heard = *queue.heard.lock().expect("nothing panics while it holds the time");
        Some(heard.elapsed())
    }

    /// How long a peer takes to answer the cheapest question, or why it does not.
    pub(super) async fn probe(&self, peer: NodeId, timeout: Duration) -> Result<Duration, String> {
        let asked = Instant::now();
        match self.call(peer, PeerRequest::Status, asked + timeout).await {
            Ok(Ok(_)) => Ok(asked.elapsed()),
            Ok(Err(error)) => Err(format!("{error:?}")),
            Err(CallError::TimedOut) => Err(format!("no answer within {} ms", timeout.as_millis())),
            Err(CallError::Refused) => Err("it does not admit this process".to_owned()),
            Err(CallError::NotSent | CallError::Lost) => Err("not reachable".to_owned()),
        }
    }

    /// Ends the stream to a peer: its callers hear at once that their requests are lost.
    pub(super) fn forget(&self, peer: NodeId) {
        if let Some(queue) = self.queues.lock().expect("nothing panics while it holds the queues").remove(&peer) {
            queue.given_up.cancel();
        }
    }
}

async fn run(
    mesh: Mesh,
    peer: NodeId,
    mut calls: mpsc::Receiver<Call>,
    given_up: CancellationToken,
    heard: Heard,
) -> io::Result<()> {
    let stream = match mesh.open(peer, Protocol::Rpc, OPEN_TIMEOUT).await {
        Ok(stream) => stream,
        Err(error) => {
            let refused = matches!(error, MeshError::Refused { .. });
            refuse_all(&mut calls, if refused { CallError::Refused } else { CallError::NotSent }).await;
            return Err(io::Error::other(error));
        }
    };
    let (stream, writer) = stream.split();
    let reader = Noting { stream, heard };
    let pending = Pending::default();
    let outcome = tokio::select! {
        written = write_calls(writer, &mut calls, &pending) => written,
        read = read_answers(reader, &pending) => read,
        () = given_up.cancelled() => Ok(()),
    };
    refuse_all(&mut calls, CallError::NotSent).await;
    // Dropping the senders tells the callers that their requests are lost.
    pending.lock().expect("nothing panics while it holds the map").clear();
    outcome
}

/// Tells the callers of what is still queued that it has not left this node, so that they may try again.
async fn refuse_all(calls: &mut mpsc::Receiver<Call>, reason: CallError) {
    calls.close();
    while let Some(call) = calls.recv().await {
        // The caller may have given up.
        let _ = call.answer.send(Err(reason));
    }
}

async fn write_calls(
    mut writer: WriteHalf<MeshStream>,
    calls: &mut mpsc::Receiver<Call>,
    pending: &Pending,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(REQUESTS_PER_WRITE_MAX);
    let mut out = Vec::new();
    let mut number = 0u64;
    while calls.recv_many(&mut batch, REQUESTS_PER_WRITE_MAX).await > 0 {
        out.clear();
        {
            let mut pending = pending.lock().expect("nothing panics while it holds the map");
            for Call { request, answer } in batch.drain(..) {
                number += 1;
                put_frame(&mut out, |out| put_message(out, number, &request));
                pending.insert(number, answer);
            }
            // Callers that gave up would otherwise be remembered until the stream ends.
            if pending.len() > QUEUE_MAX {
                pending.retain(|_, answer| !answer.is_closed());
            }
        }
        writer.write_all(&out).await?;
        writer.flush().await?;
        out.shrink_to(1024 * 1024);
    }
    Ok(())
}

async fn read_answers(mut reader: Noting, pending: &Pending) -> io::Result<()> {
    let mut frames = FrameReader::default();
    while let Some(frame) = frames.next(&mut reader).await? {
        let (number, answer) = take_message::<PeerAnswer>(&frame)?;
        let caller = pending.lock().expect("nothing panics while it holds the map").remove(&number);
        if let Some(caller) = caller {
            // The caller may have given up.
            let _ = caller.send(Ok(answer));
        }
    }
    Ok(())
}

/// Notes when something arrives: a large answer takes its time, and is a sign of life from its first byte.
struct Noting {
    stream: ReadHalf<MeshStream>,
    heard: Heard,
}

impl AsyncRead for Noting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        *self.heard.lock().expect("nothing panics while it holds the time") = Instant::now();
        Poll::Ready(Ok(()))
    }
}
