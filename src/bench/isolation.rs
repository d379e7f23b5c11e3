//! What one namespace's flood does to another's requests.
//!
//! One client of a quiet namespace asks one thing after the other, without and beside the flood, in turns, so that
//! whatever else the machine does falls on both. The flood's clients ask again as soon as they are answered, without a
//! rate limit, on a thread of their own. They take their share of the machine's cores, which clients elsewhere would not.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;

use super::error::BenchError;
use super::gateway_workload::GatewayWorkload;
use super::histogram::Histogram;
use super::loader::{self, Client, ExchangeError};
use super::nodes::Nodes;
use super::request::{Keys, Request};
use super::scratch::Scratch;
use super::sql_workload::ReadLevel;
use super::target::Target;
use super::workload::Workload;
use super::{Credential, Face, Own, load_average, until_interrupted};
use crate::tasks::Tasks;

/// How long the quiet client is measured at a time.
const TURN: Duration = Duration::from_millis(500);

/// How long a flood runs before it is measured what it does: until each of its clients has asked some times.
const SETTLE: Duration = Duration::from_millis(200);

/// Pause of a flooding client that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// What the quiet client asks, in turn.
const QUIET: [GatewayWorkload; 3] = [
    GatewayWorkload::KvGet { level: ReadLevel::Linearizable, value_bytes: 100 },
    GatewayWorkload::SqlQuery { level: ReadLevel::Linearizable },
    GatewayWorkload::SqlExec,
];

/// What floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flood {
    /// Queries of some ten milliseconds each.
    Reads,
    /// Inserts of two rows of a kilobyte each.
    Writes,
    /// Inserts that take some ten milliseconds each.
    HeavyWrites,
    /// Half of the clients read, half of them write.
    Mixed,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flood::Reads => "reads",
            Flood::Writes => "writes",
            Flood::HeavyWrites => "heavy-writes",
            Flood::Mixed => "mixed",
        })
    }
}

impl Flood {
    /// All of them.
    pub const ALL: [Flood; 4] = [Flood::Reads, Flood::Writes, Flood::HeavyWrites, Flood::Mixed];

    /// What one of its clients asks.
    fn request(self, client: usize, target: &Target) -> Request {
        let reads = self == Flood::Reads || self == Flood::Mixed && client.is_multiple_of(2);
        let (path, sql) = if reads {
            let numbers = "SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000";
            ("/v1/db/query", format!("WITH RECURSIVE n(i) AS ({numbers}) SELECT count(*) AS n FROM n"))
        } else if self == Flood::HeavyWrites {
            let numbers = "SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000";
            let counted = format!("WITH RECURSIVE n(i) AS ({numbers}) SELECT count(*) FROM n");
            ("/v1/db/exec", format!("INSERT INTO flood(x) {counted}"))
        } else {
            let row = "(hex(zeroblob(500)))";
            ("/v1/db/exec", format!("INSERT INTO flood(x) VALUES {row}, {row}"))
        };
        Request::post_json(target, path, &format!(r#"{{"sql":"{sql}"}}"#))
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct IsolationPlan {
    /// Whom to ask.
    pub own: Own,
    /// What floods, one after the other.
    pub floods: Vec<Flood>,
    /// Clients of the flood.
    pub connections: usize,
    /// How long the quiet client is measured, as long without the flood as beside it.
    pub duration: Duration,
    /// Where the nodes keep their data.
    pub data_dir: PathBuf,
    /// This program, which the nodes run.
    pub program: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct IsolationReport {
    /// As [`super::Report::load_average`].
    pub load_average: Option<f64>,
    /// One for each flood.
    pub runs: Vec<IsolationRun>,
}

impl IsolationReport {
    /// Requests of the quiet client that were not answered, or not well, and clients of the flood that broke.
    pub fn errors(&self) -> u64 {
        self.runs.iter().map(|run| run.errors).sum()
    }
}

/// One flood.
#[derive(Clone, Debug, Serialize)]
pub struct IsolationRun {
    /// What flooded.
    pub flood: Flood,
    /// By how many clients.
    pub connections: usize,
    /// Good answers to the flood.
    pub flood_per_second: f64,
    /// Refusals for too much at once (429 and 503).
    pub flood_refused_per_second: f64,
    /// What the quiet client felt of it: one for each kind of its requests, and one for all of them.
    pub felt: Vec<Felt>,
    /// Requests of the quiet client that were not answered, or not well, and clients of the flood that broke.
    pub errors: u64,
    /// What the first of them said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
}

/// What the quiet client felt.
#[derive(Clone, Debug, Serialize)]
pub struct Felt {
    /// At which requests; `all` for all together.
    pub requests: String,
    /// Its latencies without the flood.
    pub calm: Latencies,
    /// Its latencies beside the flood.
    pub flooded: Latencies,
    /// How many times the 99th percentile is what it was.
    pub p99_times: f64,
}

/// How long requests took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// Half of them took no longer; to 3 %.
    pub p50_us: u64,
    /// 99 of 100; to 3 %.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl From<&Histogram> for Latencies {
    fn from(histogram: &Histogram) -> Latencies {
        Latencies { p50_us: histogram.at(0.5), p99_us: histogram.at(0.99), max_us: histogram.max() }
    }
}

/// Measures. `progress` is told each step.
///
/// # Errors
/// [`BenchError`]; requests that were not answered well are no error but counted in the report.
pub fn run_isolation(plan: &IsolationPlan, progress: &mut dyn FnMut(&str)) -> Result<IsolationReport, BenchError> {
    until_interrupted(measure(plan, progress))
}

async fn measure(plan: &IsolationPlan, progress: &mut dyn FnMut(&str)) -> Result<IsolationReport, BenchError> {
    let load_average = load_average();
    let scratch = Scratch::create(&plan.data_dir)?;
    let nodes = Nodes::start(&plan.program, &scratch, &plan.own, progress).await?;
    let quiet_key = nodes.make_key("default").await?;
    nodes.make_namespace("flood")?;
    let flood_key = nodes.make_key("flood").await?;
    let gateway = nodes.target(plan.own.via, Face::Gateway(Credential::Key))?;
    let (quiet, loud) = (gateway.clone().with_key(&quiet_key), gateway.with_key(&flood_key));
    progress("preparing");
    for workload in QUIET {
        loader::prepare(&quiet, Workload::Gateway(workload)).await?;
    }
    let table = r#"{"sql":"CREATE TABLE flood (id INTEGER PRIMARY KEY, x TEXT)"}"#;
    loader::ask_all(&loud, vec![Request::post_json(&loud, "/v1/db/exec", table)]).await?;
    let mut quiet = Quiet::connect(&quiet).await?;
    let mut runs = Vec::new();
    for &flood in &plan.floods {
        progress(&format!("{flood}, {} connections", plan.connections));
        runs.push(one(plan, flood, &mut quiet, &loud).await?);
    }
    Ok(IsolationReport { load_average, runs })
}

async fn one(plan: &IsolationPlan, flood: Flood, quiet: &mut Quiet, loud: &Target) -> Result<IsolationRun, BenchError> {
    let turns = plan.duration.div_duration_f64(TURN).ceil().max(1.0) as u32;
    let turn = plan.duration / turns;
    let (mut calm, mut flooded) = <([Histogram; QUIET.len()], [Histogram; QUIET.len()])>::default();
    let mut told = Told::default();
    let mut flooding = Duration::ZERO;
    for _ in 0..turns {
        quiet.ask_for(turn, &mut calm, &mut told).await;
        let started = Instant::now();
        let running = Running::start(flood, plan.connections, loud);
        tokio::time::sleep(SETTLE).await;
        quiet.ask_for(turn, &mut flooded, &mut told).await;
        told.merge(running.end().await?);
        flooding += started.elapsed();
    }
    let per_second = |count: u64| count as f64 / flooding.as_secs_f64();
    let kinds = QUIET.iter().zip(calm.iter().zip(&flooded));
    let mut felt: Vec<Felt> = kinds.map(|(kind, (calm, flooded))| compare(kind.to_string(), calm, flooded)).collect();
    felt.push(compare("all".to_owned(), &total(&calm), &total(&flooded)));
    Ok(IsolationRun {
        flood,
        connections: plan.connections,
        flood_per_second: per_second(told.served),
        flood_refused_per_second: per_second(told.refused),
        felt,
        errors: told.errors,
        first_error: told.first_error,
    })
}

fn total(histograms: &[Histogram]) -> Histogram {
    let mut total = Histogram::default();
    histograms.iter().for_each(|histogram| total.merge(histogram));
    total
}

fn compare(requests: String, calm: &Histogram, flooded: &Histogram) -> Felt {
    let (calm, flooded) = (Latencies::from(calm), Latencies::from(flooded));
    Felt { requests, calm, flooded, p99_times: flooded.p99_us as f64 / calm.p99_us.max(1) as f64 }
}

/// What was answered besides the quiet client's latencies.
#[derive(Debug, Default)]
struct Told {
    served: u64,
    refused: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Told {
    fn merge(&mut self, other: Told) {
        self.served += other.served;
        self.refused += other.refused;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn error(&mut self, error: &impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }
}

/// The client that asks one thing after the other.
struct Quiet {
    client: Client,
    requests: [Request; QUIET.len()],
    keys: Keys,
}

impl Quiet {
    async fn connect(target: &Target) -> Result<Quiet, BenchError> {
        let client = Client::connect(target).await?;
        Ok(Quiet { client, requests: QUIET.map(|workload| workload.request(target)), keys: Keys::new(0) })
    }

    /// Asks for so long; after a connection broke, no more.
    async fn ask_for(&mut self, turn: Duration, latencies: &mut [Histogram; QUIET.len()], told: &mut Told) {
        let end = Instant::now() + turn;
        while Instant::now() < end {
            for (request, latencies) in self.requests.iter_mut().zip(latencies.iter_mut()) {
                let asked = Instant::now();
                match self.client.ask(request.next(&mut self.keys)).await {
                    Ok(_) => latencies.add(asked.elapsed()),
                    Err(error) => {
                        told.error(&error);
                        if !matches!(error, ExchangeError::Refused { .. }) {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// A flood on a thread of its own.
struct Running {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Told, BenchError>>,
}

impl Running {
    fn start(flood: Flood, connections: usize, target: &Target) -> Running {
        let over = Arc::new(AtomicBool::new(false));
        let (until, target) = (Arc::clone(&over), target.clone());
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(BenchError::Runtime)?.block_on(run_flood(flood, connections, &target, until))
        });
        Running { over, thread }
    }

    /// Ends it, once its last requests are answered.
    async fn end(mut self) -> Result<Told, BenchError> {
        self.over.store(true, Ordering::Relaxed);
        (&mut self.thread).await.map_err(|error| BenchError::Runtime(error.into()))?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

async fn run_flood(
    flood: Flood,
    connections: usize,
    target: &Target,
    over: Arc<AtomicBool>,
) -> Result<Told, BenchError> {
    let tasks = Tasks::new();
    let mut running = Vec::with_capacity(connections);
    for number in 0..connections {
        let client = Client::connect(target).await?;
        running.push(tasks.spawn(one_of_flood(client, flood.request(number, target), Arc::clone(&over))));
    }
    let mut total = Told::default();
    for client in running {
        total.merge(client.await.map_err(|error| BenchError::Runtime(error.into()))?);
    }
    Ok(total)
}

async fn one_of_flood(mut client: Client, mut request: Request, over: Arc<AtomicBool>) -> Told {
    let (mut told, mut keys) = (Told::default(), Keys::new(0));
    while !over.load(Ordering::Relaxed) {
        match client.ask(request.next(&mut keys)).await {
            Ok(_) => told.served += 1,
            Err(ExchangeError::Refused { status: 429 | 503, .. }) => {
                told.refused += 1;
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            Err(error) => {
                told.error(&error);
                break;
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::response::find;
    use super::*;

    #[test]
    fn half_of_a_mixed_flood_reads_and_half_of_it_writes() {
        let target = Target::new("h:1");
        let writes = |flood: Flood| {
            let requests = (0..4).map(|client| flood.request(client, &target));
            requests.filter_map(|mut request| find(request.next(&mut Keys::new(0)), b"INSERT")).count()
        };
        assert_eq!(Flood::ALL.map(writes), [0, 4, 4, 2]);
    }

    #[test]
    fn a_flood_that_doubles_the_slowest_requests_is_felt_twice() {
        let (mut calm, mut flooded) = (Histogram::default(), Histogram::default());
        for us in 1..=100 {
            calm.add(Duration::from_micros(us));
            flooded.add(Duration::from_micros(2 * us));
        }
        let felt = compare("all".to_owned(), &calm, &flooded);
        assert!((felt.p99_times - 2.0).abs() < 0.07, "{felt:?}");
    }
}
