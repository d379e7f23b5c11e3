//! rqlite's HTTP contract: every client of rqlite is a client of debros.
//!
//! The wire is kept to the byte, because clients compare it: the order of keys, what is left out, Go's way of printing
//! numbers, the texts of errors. Behind it is another machine: nothing is rewritten, nothing diverges, a transaction is
//! one, bytes come back as they went in. Where rqlite answers something that is wrong or loses data, debros answers the
//! truth; `docs/rqlite.md` lists every such place with its reason, and `tests/rqlite/goldens.rs` holds each of them to it.
//!
//! What a request needs of the cluster it gets from [`Cluster`]; nothing here knows SQLite or Raft. A namespace comes
//! from the caller's API key, so a client can only reach its own database.

mod access;
mod analyze;
mod backup;
mod body;
mod call;
mod counters;
mod execute;
mod failure;
mod go_number;
mod go_string;
mod go_value;
mod indent;
mod json;
mod leader;
mod load;
mod maintenance;
mod nodes;
mod parameters;
mod pragma;
mod query;
mod queue;
mod readyz;
mod reply;
mod request;
mod route;
mod space;
mod sql_script;
mod status;
mod vars;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hyper::header::HeaderValue;
use tokio::net::TcpListener;

use crate::accounts::Accounts;
use crate::cluster::Cluster;
use crate::http::{self, HttpLimits};
use crate::tasks::Tasks;
use crate::types::limits::{ANSWER_BYTES_MAX, LOAD_BYTES_MAX};
use counters::Counters;
use queue::Queue;
use space::Space;

pub use access::AnonymousAccess;
pub use queue::QueueOptions;

/// How the listener is set up.
#[derive(Clone, Debug)]
pub struct RqliteApiConfig {
    /// `host:port` under which clients reach this listener; answers carry it. Empty: the address that it is bound to.
    pub advertised: String,
    /// Who may come without an API key.
    pub anonymous: AnonymousAccess,
    /// Connections, timeouts and the grace period.
    pub limits: HttpLimits,
    /// How queued writes are gathered.
    pub queue: QueueOptions,
}

/// What all requests of one listener share.
#[derive(Debug)]
struct Face {
    cluster: Cluster,
    accounts: Accounts,
    anonymous: AnonymousAccess,
    advertised: String,
    served_by: HeaderValue,
    bound: SocketAddr,
    queue: Queue,
    queue_options: QueueOptions,
    bodies: Arc<Space>,
    answers: Arc<Space>,
    counters: Counters,
    tasks: Tasks,
    started: Instant,
    started_at: SystemTime,
}

/// Large bodies held at once: one load of the largest size, and as much again of others' requests.
const BODIES_BYTES_MAX: usize = 2 * LOAD_BYTES_MAX;

/// Large answers held at once: two of the largest size for one namespace, and as much again for others.
const ANSWERS_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;

/// Serves rqlite's clients until the owner of `tasks` stops; then queued writes are flushed, running requests end, and
/// this returns.
///
/// # Errors
/// When the listener has no address, or `advertised` cannot stand in a header.
pub async fn serve(
    listener: TcpListener,
    cluster: Cluster,
    accounts: Accounts,
    config: RqliteApiConfig,
    tasks: &Tasks,
) -> std::io::Result<()> {
    let bound = listener.local_addr()?;
    let advertised = if config.advertised.is_empty() { bound.to_string() } else { config.advertised };
    let served_by = HeaderValue::from_str(&advertised).map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, "advertised address is not a header value")
    })?;
    let (queue, flush) = Queue::new(cluster.clone(), config.queue.clone(), tasks.cancelled());
    let flushing = tasks.spawn(flush);
    let face = Arc::new(Face {
        cluster,
        accounts,
        anonymous: config.anonymous,
        advertised,
        served_by,
        bound,
        queue,
        queue_options: config.queue,
        bodies: Space::new(BODIES_BYTES_MAX),
        answers: Space::new(ANSWERS_BYTES_MAX),
        counters: Counters::default(),
        tasks: tasks.clone(),
        started: Instant::now(),
        started_at: SystemTime::now(),
    });
    http::serve(listener, config.limits, tasks, move |peer, request| {
        let face = Arc::clone(&face);
        async move { route::answer(&face, peer, request).await }
    })
    .await;
    if let Err(error) = flushing.await {
        tracing::error!(%error, "the queue of writes ended early");
    }
    Ok(())
}
