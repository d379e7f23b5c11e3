//! Queued writes: `/db/execute?queue`. Many small requests become few log entries.
//!
//! A queued write is acknowledged before it is safe: it is in this process's memory and lost when the process dies. The
//! answer says so (`Debros-Durability: queued`); with `wait` it comes after the write is committed. What SQLite refuses
//! in a queued write is not told to anyone, as in rqlite. A batch whose outcome is unknown is sent again under its
//! idempotency key, so it takes effect once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::counters::Counter;
use super::failure::{Effect, Failure};
use super::json::{self, Envelope, Operation};
use super::parameters::Flag;
use super::reply::{self, Durability, Reply};
use crate::cluster::{Cluster, ClusterError};
use crate::types::command::{Atomicity, Execute, IdempotencyKey, Outcome};
use crate::types::limits::STATEMENTS_PER_REQUEST_MAX;
use crate::types::{Command, Namespace, Statement};

/// How queued writes are gathered. The defaults are rqlite's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Requests waiting; one more is answered 503.
    pub requests_max: usize,
    /// Requests in one batch.
    pub batch_requests_max: usize,
    /// Longest time that the first request of a batch waits for others.
    pub batch_wait: Duration,
    /// What a failing statement does to the rest of its batch.
    pub atomicity: Atomicity,
}

impl Default for QueueOptions {
    fn default() -> QueueOptions {
        QueueOptions {
            requests_max: 1024,
            batch_requests_max: 128,
            batch_wait: Duration::from_millis(50),
            atomicity: Atomicity::EachStatement,
        }
    }
}

/// Bytes of bodies waiting, since a thousand large ones would be gigabytes.
const WAITING_KIB_MAX: u32 = 64 * 1024;
/// Bytes of bodies in one batch: well below what one log entry takes.
const BATCH_KIB_MAX: u32 = 4 * 1024;
/// How long a batch is tried: an election takes seconds, a restart minutes.
const RETRY_FOR: Duration = Duration::from_secs(5 * 60);
/// The same while stopping; the grace period of the process is not much longer.
const RETRY_FOR_STOPPING: Duration = Duration::from_secs(5);
/// Longest time of one attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The way into the queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Queued>,
    sequence: AtomicU64,
    space: Arc<Semaphore>,
}

/// One request's statements.
#[derive(Debug)]
struct Queued {
    namespace: Namespace,
    statements: Vec<Statement>,
    kib: u32,
    _space: OwnedSemaphorePermit,
    flushed: oneshot::Sender<Result<(), String>>,
}

/// Why nothing more is taken in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue is full, try again")]
struct QueueFull;

/// Answers a queued write.
pub(super) async fn handle(call: &Call<'_>, statements: Vec<Statement>) -> Result<Reply, Failure> {
    if call.idempotency()?.is_some() {
        return Err(Failure::BadRequest("Idempotency-Key cannot be used with queue"));
    }
    let style = call.style(Operation::Execute);
    if !call.parameters.has(Flag::NoLeader) && call.face.cluster.leader().is_none() {
        return Err(Failure::Data(ClusterError::NoLeader, style, Effect::Writes));
    }
    call.face.counters.add(Counter::QueuedExecutions, 1);
    let queue = &call.face.queue;
    let (sequence_number, flushed) = queue
        .push(call.namespace().clone(), statements, call.body.len())
        .map_err(|full| Failure::Text(StatusCode::SERVICE_UNAVAILABLE, full.to_string()))?;
    let mut error = None;
    let durability = if call.parameters.has(Flag::Wait) {
        call.face.counters.add(Counter::QueuedExecutionsWait, 1);
        match tokio::time::timeout_at(call.deadline().into(), flushed).await {
            Ok(Ok(outcome)) => error = outcome.err(),
            Ok(Err(_)) => error = Some(ClusterError::Stopping.to_string()),
            Err(_) => {
                return Err(Failure::Text(StatusCode::REQUEST_TIMEOUT, "queue wait timeout".to_owned()));
            }
        }
        Durability::Committed
    } else {
        Durability::Queued
    };
    let elapsed = call.started.elapsed();
    let envelope = Envelope { error: error.as_deref(), elapsed, sequence_number, ..Envelope::default() };
    let mut answer = reply::json(json::write(&envelope, &style)?);
    if error.is_none() {
        reply::set_durability(&mut answer, durability);
    }
    Ok(answer)
}

impl Queue {
    /// A queue, and the work that empties it until `stopping`.
    pub(super) fn new(
        cluster: Cluster,
        options: QueueOptions,
        stopping: CancellationToken,
    ) -> (Queue, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(options.requests_max);
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let sequence = u64::try_from(since_1970.as_nanos()).unwrap_or(0);
        let space = Arc::new(Semaphore::new(WAITING_KIB_MAX as usize));
        let flusher = Flusher {
            cluster,
            options,
            receiver,
            stopping,
            held_over: None,
            name: format!("queue-{sequence}"),
            batch: 0,
        };
        (Queue { sender, sequence: AtomicU64::new(sequence), space }, flusher.run())
    }

    /// The number of the last request taken in.
    pub(super) fn sequence_number(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    fn push(
        &self,
        namespace: Namespace,
        statements: Vec<Statement>,
        bytes: usize,
    ) -> Result<(u64, oneshot::Receiver<Result<(), String>>), QueueFull> {
        let kib = u32::try_from(bytes / 1024 + 1).map_err(|_| QueueFull)?;
        let space = Arc::clone(&self.space).try_acquire_many_owned(kib).map_err(|_| QueueFull)?;
        let place = self.sender.try_reserve().map_err(|_| QueueFull)?;
        let (flushed, waiting) = oneshot::channel();
        let number = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        place.send(Queued { namespace, statements, kib, _space: space, flushed });
        Ok((number, waiting))
    }
}

/// The one that takes requests out.
struct Flusher {
    cluster: Cluster,
    options: QueueOptions,
    receiver: mpsc::Receiver<Queued>,
    stopping: CancellationToken,
    /// A request that did not fit into the last batch.
    held_over: Option<Queued>,
    /// Makes this process's batches different from any other's.
    name: String,
    batch: u64,
}

impl Flusher {
    async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            let mut by_namespace: BTreeMap<Namespace, Vec<Queued>> = BTreeMap::new();
            for queued in batch {
                by_namespace.entry(queued.namespace.clone()).or_default().push(queued);
            }
            for (namespace, requests) in by_namespace {
                self.flush(namespace, requests).await;
            }
        }
    }

    /// The next batch; `None` when stopping and nothing is left.
    async fn gather(&mut self) -> Option<Vec<Queued>> {
        let first = match self.held_over.take() {
            Some(held_over) => held_over,
            None => self.next().await?,
        };
        let mut fill = Fill::default();
        fill.take(&first);
        let mut batch = vec![first];
        let full_at = tokio::time::Instant::now() + self.options.batch_wait;
        while batch.len() < self.options.batch_requests_max {
            let Ok(Some(queued)) = tokio::time::timeout_at(full_at, self.next()).await else { break };
            if !fill.take(&queued) {
                self.held_over = Some(queued);
                break;
            }
            batch.push(queued);
        }
        Some(batch)
    }

    async fn next(&mut self) -> Option<Queued> {
        tokio::select! {
            biased;
            queued = self.receiver.recv() => queued,
            () = self.stopping.cancelled() => {
                self.receiver.close();
                self.receiver.recv().await
            }
        }
    }

    async fn flush(&mut self, namespace: Namespace, requests: Vec<Queued>) {
        let mut statements = Vec::new();
        let mut waiting = Vec::with_capacity(requests.len());
        for mut queued in requests {
            statements.append(&mut queued.statements);
            waiting.push(queued);
        }
        self.batch += 1;
        let key = format!("{}-{}", self.name, self.batch);
        let fingerprint = blake3::hash(key.as_bytes()).into();
        let mut execute = Execute::new(namespace.clone(), statements);
        execute.atomicity = self.options.atomicity;
        execute.idempotency = Some(IdempotencyKey { key, fingerprint });
        let outcome = if execute.statements.is_empty() { Ok(()) } else { self.submit(execute).await };
        if let Err(error) = &outcome {
            tracing::error!(%namespace, requests = waiting.len(), %error, "queued writes lost");
        }
        let told = outcome.map_err(|error| error.to_string());
        for queued in waiting {
            // A client that did not wait has dropped its end.
            drop(queued.flushed.send(told.clone()));
        }
    }

    async fn submit(&self, execute: Execute) -> Result<(), ClusterError> {
        let started = Instant::now();
        let mut pause = RETRY_PAUSE;
        loop {
            let attempt = Command::Execute(execute.clone());
            let error = match self.cluster.submit(attempt, Instant::now() + ATTEMPT_MAX).await {
                Ok(applied) => match applied.outcome {
                    Outcome::Refused(refusal) => return Err(refusal.into()),
                    _ => return Ok(()),
                },
                Err(error) => error,
            };
            let stopping = self.stopping.is_cancelled();
            let patience = if stopping { RETRY_FOR_STOPPING } else { RETRY_FOR };
            if !may_pass(&error) || started.elapsed() > patience {
                return Err(error);
            }
            tracing::warn!(%error, "queued writes not committed yet, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

/// How full a batch is.
#[derive(Default)]
struct Fill {
    kib: u32,
    statements: usize,
}

impl Fill {
    /// Counts a request in; `false`, and nothing counted, when it does not fit. The first always does.
    fn take(&mut self, queued: &Queued) -> bool {
        let (kib, statements) = (self.kib + queued.kib, self.statements + queued.statements.len());
        let fits = self.kib == 0 || (kib <= BATCH_KIB_MAX && statements <= STATEMENTS_PER_REQUEST_MAX);
        if fits {
            *self = Fill { kib, statements };
        }
        fits
    }
}

/// Whether trying again can help.
fn may_pass(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::NoLeader
            | ClusterError::LeaderUnreachable { .. }
            | ClusterError::LeadershipLost
            | ClusterError::Timeout
            | ClusterError::Overloaded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue, mpsc::Receiver<Queued>) {
        let (sender, receiver) = mpsc::channel(1024);
        let space = Arc::new(Semaphore::new(WAITING_KIB_MAX as usize));
        (Queue { sender, sequence: AtomicU64::new(7), space }, receiver)
    }

    fn push(queue: &Queue, bytes: usize) -> Result<u64, QueueFull> {
        queue.push(Namespace::default_namespace(), vec![Statement::new("A")], bytes).map(|(number, _)| number)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_requests_and_in_bytes() {
        let (filled, _receiver) = queue();
        for number in 0..1024u64 {
            assert_eq!(push(&filled, 10), Ok(8 + number));
        }
        assert_eq!(push(&filled, 10), Err(QueueFull));
        assert_eq!(filled.sequence_number(), 7 + 1024u64, "a refused request has no number");

        let (heavy, mut receiver) = queue();
        let half = WAITING_KIB_MAX as usize * 512 - 1024;
        assert!(push(&heavy, half).is_ok() && push(&heavy, half).is_ok());
        assert_eq!(push(&heavy, half), Err(QueueFull));
        drop(receiver.recv().await);
        assert!(push(&heavy, half).is_ok(), "space comes back");
    }

    #[tokio::test]
    async fn a_batch_is_bounded_and_keeps_the_order() {
        let (queue, mut receiver) = queue();
        for bytes in [10, BATCH_KIB_MAX as usize * 1024 - 4096, 10_000] {
            push(&queue, bytes).expect("space");
        }
        let mut fill = Fill::default();
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(fill.take(&receiver.recv().await.expect("queued")));
        }
        assert_eq!(taken, [true, true, false]);
    }
}
