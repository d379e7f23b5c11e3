//! The load generator: what a listener answers per second, and what bounds it.
//!
//! A figure alone says little, so each comes with two more of the same run: how often the disk makes 4 KiB durable, and
//! what a server without a database reaches with the same requests. The loader costs about what `wrk -t1` does: one
//! thread, requests that are bytes before the clock starts, no allocation for a request, only as much of HTTP as an
//! answer needs. The server is always another process, so that loader and server share nothing but the machine.
//!
//! Topics are measured apart ([`pubsub`]): there messages come to those who asked for nothing. So is what one namespace
//! feels of another ([`isolation`]).
//!
//! Closed loop: a connection asks again as soon as it is answered. So latencies are those under that many clients, not
//! those of a client who comes when it pleases.

mod disk;
mod echo;
mod error;
mod flight;
mod gateway_workload;
mod histogram;
mod isolation;
mod loader;
mod messenger;
mod nats;
mod nodes;
mod pubsub;
mod pubsub_loader;
mod pubsub_workload;
mod request;
mod response;
mod scratch;
mod socket;
mod sql_workload;
mod stamp;
mod target;
mod workload;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

pub use echo::serve_echo;
pub use error::BenchError;
pub use gateway_workload::GatewayWorkload;
pub use isolation::{Felt, Flood, IsolationPlan, IsolationReport, IsolationRun, Latencies, run_isolation};
pub use nats::NatsTarget;
pub use pubsub::{
    Broker, CLIENTS_MAX, Placement, PubSubPlan, PubSubReport, PubSubRun, SIZE_BYTES_MAX, SIZE_BYTES_MIN, run_pubsub,
};
pub use pubsub_workload::PubSubWorkload;
pub use sql_workload::{ReadLevel, SqlWorkload};
pub use target::Target;
pub use workload::Workload;

use echo::EchoProcess;
use loader::Load;
use nodes::Nodes;
use scratch::Scratch;

/// Most connections at once: half of what the listener holds, and below the usual 1024 open files.
pub const CONNECTIONS_MAX: usize = 1000;

/// How long the disk is measured.
const DISK_TIME: Duration = Duration::from_secs(1);

/// Longest time for the echo: it has no log that grows and no cache that warms, so a short look is enough.
const ECHO_TIME_MAX: Duration = Duration::from_secs(2);

/// Largest value of a key: an answer with it fits into what the loader reads.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;

/// What is driven.
#[derive(Clone, Debug)]
pub enum Server {
    /// Nodes that are started for the run and removed after it.
    Own(Own),
    /// Listeners that run already; connections are spread over them.
    Existing(Vec<Target>),
}

/// Nodes for the time of a run.
#[derive(Clone, Debug)]
pub struct Own {
    /// How many.
    pub nodes: usize,
    /// Which process is asked.
    pub via: Via,
    /// What they log: to `info`, a gateway writes a line for every request.
    pub log_level: String,
}

/// Which of the own processes is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The leader.
    Leader,
    /// A follower, which passes on what it cannot answer.
    Follower,
    /// A gateway that stores nothing and asks the nodes.
    Gateway,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Via::Leader => "leader",
            Via::Follower => "follower",
            Via::Gateway => "gateway",
        })
    }
}

/// Which of a process's listeners is asked, and how it is told who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// That of rqlite's contract: own nodes take it from this machine without a credential.
    Sql,
    /// The gateway.
    Gateway(Credential),
}

/// What is shown to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The API key.
    Key,
    /// An access token, for which the API key is exchanged before each run.
    Token,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to ask.
    pub server: Server,
    /// At which listener.
    pub face: Face,
    /// What to ask, in this order.
    pub workloads: Vec<Workload>,
    /// How many clients, one after the other.
    pub connections: Vec<usize>,
    /// How long, for each pair of the two.
    pub duration: Duration,
    /// Where own nodes keep their data, and whose disk is measured.
    pub data_dir: PathBuf,
    /// This program, which the other processes run.
    pub program: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Processes that wanted to run in the minute before, as the system counts them: what else the machine was doing.
    /// Absent where the system does not tell.
    pub load_average: Option<f64>,
    /// How often per second 4 KiB were made durable, in the data directory and before anything else ran.
    pub fdatasyncs_per_second: f64,
    /// One for each workload and number of connections.
    pub runs: Vec<Run>,
}

impl Report {
    /// Requests that were not answered, or not well.
    pub fn errors(&self) -> u64 {
        self.runs.iter().map(|run| run.errors).sum()
    }
}

/// One workload with one number of connections.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was asked.
    #[serde(flatten)]
    pub workload: Workload,
    /// By how many clients.
    pub connections: usize,
    /// Good answers.
    pub requests_per_second: f64,
    /// Rows written or read.
    pub rows_per_second: f64,
    /// Half of the answers took no longer; to 3 %.
    pub p50_us: u64,
    /// 99 of 100 answers took no longer; to 3 %.
    pub p99_us: u64,
    /// The slowest answer.
    pub max_us: u64,
    /// Requests that were not answered, or not well.
    pub errors: u64,
    /// What the first of them said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// What a server without a database reached with the same requests and answers of the same size.
    pub echo_requests_per_second: f64,
    /// The one divided by the other.
    pub of_echo: f64,
}

/// Measures. `progress` is told each step.
///
/// # Errors
/// [`BenchError`]; answers that were refusals are no error but counted in the report.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    until_interrupted(measure(plan, progress))
}

/// Runs a measurement on this thread until it ends or is told to.
fn until_interrupted<T>(measurement: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Runtime)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(BenchError::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(BenchError::Runtime)?;
        tokio::select! {
            measured = measurement => measured,
            _ = interrupt.recv() => Err(BenchError::Interrupted),
            _ = terminate.recv() => Err(BenchError::Interrupted),
        }
    })
}

async fn measure(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let load_average = load_average();
    let scratch = Scratch::create(&plan.data_dir)?;
    progress("measuring the disk");
    let fdatasyncs_per_second = disk::fdatasyncs_per_second(scratch.path(), DISK_TIME)?;
    let nodes = match &plan.server {
        Server::Own(own) => Some(Nodes::start(&plan.program, &scratch, own, progress).await?),
        Server::Existing(_) => None,
    };
    let key = match (&nodes, plan.face) {
        (Some(nodes), Face::Gateway(_)) => Some(nodes.make_key("default").await?),
        _ => None,
    };
    let mut runs = Vec::new();
    for workload in &plan.workloads {
        for (number, &connections) in plan.connections.iter().enumerate() {
            let targets = targets(plan, nodes.as_ref(), key.as_deref()).await?;
            if number == 0 {
                progress(&format!("{workload}: preparing"));
                loader::prepare(&targets[0], *workload).await?;
            }
            progress(&format!("{workload}, {connections} connections"));
            let load = Load { workload: *workload, connections, duration: plan.duration };
            runs.push(one(plan, &targets, load).await?);
        }
    }
    Ok(Report { load_average, fdatasyncs_per_second, runs })
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Whom to ask now: leadership of own nodes may have moved since the last run, and access tokens end.
async fn targets(plan: &Plan, nodes: Option<&Nodes>, key: Option<&str>) -> Result<Vec<Target>, BenchError> {
    let mut targets = match (&plan.server, nodes) {
        (Server::Own(own), Some(nodes)) => vec![nodes.target(own.via, plan.face)?],
        (Server::Existing(targets), _) => targets.clone(),
        (Server::Own(_), None) => unreachable!("own nodes were started"),
    };
    if let Some(key) = key {
        targets = targets.into_iter().map(|target| target.with_key(key)).collect();
    }
    if plan.face == Face::Gateway(Credential::Token) {
        let token = loader::access_token(&targets[0]).await?;
        targets = targets.into_iter().map(|target| target.with_token(&token)).collect();
    }
    Ok(targets)
}

async fn one(plan: &Plan, targets: &[Target], load: Load) -> Result<Run, BenchError> {
    let tally = loader::drive(targets, load).await?;
    let answers = tally.latencies.count().max(1);
    let echo = EchoProcess::start(&plan.program, tally.body_bytes / answers)?;
    let echo_load = Load { duration: load.duration.min(ECHO_TIME_MAX), ..load };
    let echo_tally = loader::drive(&[echo.target(&targets[0])], echo_load).await?;
    let per_second = |count: u64, duration: Duration| count as f64 / duration.as_secs_f64();
    let requests_per_second = per_second(tally.latencies.count(), load.duration);
    let echo_requests_per_second = per_second(echo_tally.latencies.count(), echo_load.duration);
    Ok(Run {
        workload: load.workload,
        connections: load.connections,
        requests_per_second,
        rows_per_second: requests_per_second * load.workload.rows() as f64,
        p50_us: tally.latencies.at(0.5),
        p99_us: tally.latencies.at(0.99),
        max_us: tally.latencies.max(),
        errors: tally.errors,
        first_error: tally.first_error,
        echo_requests_per_second,
        of_echo: requests_per_second / echo_requests_per_second.max(1.0),
    })
}
