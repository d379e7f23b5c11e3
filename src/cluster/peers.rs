//! Requests to other nodes: one stream per peer, many requests on it at once.
//!
//! A task per peer writes what is queued, as much as there is in one write, and another reads answers and hands each to
//! its caller. When the stream breaks, requests that were written end as [`CallError::Lost`] (they may have been carried
//! out), the others as [`CallError::NotSent`]; the next request opens a new stream.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::peer_api::{PeerAnswer, PeerRequest, put_message, take_message};
use crate::mesh::{Mesh, MeshStream, Protocol};
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
    /// It may have arrived; no answer came.
    Lost,
    /// No answer came in time.
    TimedOut,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<PeerAnswer>>>>;

struct Call {
    request: PeerRequest,
    answer: oneshot::Sender<PeerAnswer>,
}

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
                    Ok(()) => return answered.await.map_err(|_| CallError::Lost),
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
        queues.insert(peer, Queue { calls: calls.clone(), given_up: given_up.clone() });
        let mesh = self.mesh.clone();
        self.tasks.spawn_until_cancelled(async move {
            if let Err(error) = run(mesh, peer, waiting, given_up).await {
                tracing::debug!(%peer, %error, "stream to peer ended");
            }
        });
        calls
    }

    /// Ends the stream to a peer: its callers hear at once that their requests are lost.
    pub(super) fn forget(&self, peer: NodeId) {
        if let Some(queue) = self.queues.lock().expect("nothing panics while it holds the queues").remove(&peer) {
            queue.given_up.cancel();
        }
    }
}

async fn run(mesh: Mesh, peer: NodeId, mut calls: mpsc::Receiver<Call>, given_up: CancellationToken) -> io::Result<()> {
    let stream = match mesh.open(peer, Protocol::Rpc, OPEN_TIMEOUT).await {
        Ok(stream) => stream,
        Err(error) => {
            refuse_all(&mut calls).await;
            return Err(io::Error::other(error));
        }
    };
    let (reader, writer) = stream.split();
    let pending = Pending::default();
    let outcome = tokio::select! {
        written = write_calls(writer, &mut calls, &pending) => written,
        read = read_answers(reader, &pending) => read,
        () = given_up.cancelled() => Ok(()),
    };
    refuse_all(&mut calls).await;
    // Dropping the senders tells the callers that their requests are lost.
    pending.lock().expect("nothing panics while it holds the map").clear();
    outcome
}

/// Tells the callers of what is still queued that it has not left this node, so that they may try again.
async fn refuse_all(calls: &mut mpsc::Receiver<Call>) {
    calls.close();
    while let Some(call) = calls.recv().await {
        // The caller may have given up.
        let _ = call.answer.send(Err(super::peer_api::PeerError::NotSent));
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

async fn read_answers(mut reader: ReadHalf<MeshStream>, pending: &Pending) -> io::Result<()> {
    let mut frames = FrameReader::default();
    while let Some(frame) = frames.next(&mut reader).await? {
        let (number, answer) = take_message::<PeerAnswer>(&frame)?;
        let caller = pending.lock().expect("nothing panics while it holds the map").remove(&number);
        if let Some(caller) = caller {
            // The caller may have given up.
            let _ = caller.send(answer);
        }
    }
    Ok(())
}
