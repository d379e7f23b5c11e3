//! `debros bench …`: how much this machine, or a running cluster, answers per second.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::positive_duration;
use super::output::{self, Format};
use super::{CliError, Session};
use crate::bench::{self, BenchError, CONNECTIONS_MAX, Plan, ReadLevel, Report, Run, Server, Target, Via, Workload};
use crate::types::Exit;

/// Long enough for some thousand commits of a slow disk.
const DURATION_DEFAULT: Duration = Duration::from_secs(5);

/// Measure what SQL over HTTP reaches.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "bench", example = "debros bench sql\ndebros bench sql --nodes 3 --via follower")]
pub(super) struct Bench {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Sql(Sql),
    Echo(Echo),
}

/// Load a cluster with SQL over HTTP; exit code 1 when a request was not answered well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "sql",
    example = "debros bench sql --nodes 3 --workload insert\ndebros bench sql --url http://127.0.0.1:5001 --connections 64",
    note = "Without --url it starts nodes of its own and removes them. With it, a table `bench` is made and kept."
)]
struct Sql {
    /// listener to load; repeatable [default: own nodes]
    #[argh(option, arg_name = "url")]
    url: Vec<Target>,
    /// credentials for --url, as namespace:api-key
    #[argh(option, arg_name = "user")]
    user: Option<String>,
    /// how many own nodes, 1 to 9 [default: 1]
    #[argh(option, arg_name = "n")]
    nodes: Option<usize>,
    /// which own node to ask, leader or follower [default: leader]
    #[argh(option, arg_name = "role")]
    via: Option<Via>,
    /// insert, transaction (100 rows), read or all [default: all]
    #[argh(option, default = "Kind::All", arg_name = "kind")]
    workload: Kind,
    /// of reads: none, weak, linearizable, strong [default: all]
    #[argh(option, arg_name = "list")]
    level: Option<Levels>,
    /// how many clients [default: 1,16,64,256]
    #[argh(option, default = "Connections(vec![1, 16, 64, 256])", arg_name = "list")]
    connections: Connections,
    /// how long each figure is measured [default: 5s]
    #[argh(option, default = "DURATION_DEFAULT", from_str_fn(positive_duration))]
    duration: Duration,
    /// whose disk to measure, and where own nodes store [default: the system's temporary directory]
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// Serve answers of a given size and nothing else until the input ends; `bench sql` compares with it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "echo", example = "debros bench echo\ndebros bench echo --answer-bytes 4000")]
struct Echo {
    /// size of an answer's body, at most 1 MiB [default: 64]
    #[argh(option, default = "64", arg_name = "n")]
    answer_bytes: usize,
}

/// Largest answer of the echo.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Most own nodes, as for `debros dev`.
const NODES_MAX: usize = 9;

/// Which workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Transaction,
    Read,
    All,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        match text {
            "insert" => Ok(Kind::Insert),
            "transaction" => Ok(Kind::Transaction),
            "read" => Ok(Kind::Read),
            "all" => Ok(Kind::All),
            _ => Err("allowed values: insert, transaction, read, all".to_owned()),
        }
    }
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        match text {
            "leader" => Ok(Via::Leader),
            "follower" => Ok(Via::Follower),
            _ => Err("allowed values: leader, follower".to_owned()),
        }
    }
}

/// Levels, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Levels(Vec<ReadLevel>);

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Levels, String> {
        let level = |name: &str| ReadLevel::ALL.into_iter().find(|level| level.name() == name);
        let levels = text.split(',').map(level).collect::<Option<_>>();
        levels.map(Levels).ok_or_else(|| "allowed values: none, weak, linearizable, strong".to_owned())
    }
}

/// Numbers of connections, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connections(Vec<usize>);

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> Result<Connections, String> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..=CONNECTIONS_MAX).contains(number));
        let numbers = text.split(',').map(number).collect::<Option<_>>();
        numbers.map(Connections).ok_or_else(|| format!("must be numbers between 1 and {CONNECTIONS_MAX}; got {text}"))
    }
}

impl Bench {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Sql(command) => command.run(session),
            Verb::Echo(command) => command.run(session),
        }
    }
}

impl Echo {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if self.answer_bytes > ANSWER_BYTES_MAX {
            let message = format!("--answer-bytes must be at most {ANSWER_BYTES_MAX}; got {}", self.answer_bytes);
            return Err(CliError::new(Exit::Usage, message));
        }
        bench::serve_echo(self.answer_bytes, session.out, session.input)?;
        Ok(Exit::Ok)
    }
}

impl Sql {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let format = self.format;
        let plan = self.plan(session)?;
        // Progress that nobody can read is no reason to stop.
        let mut progress = |step: &str| writeln!(session.err, "{step}").unwrap_or(());
        let report = bench::run(&plan, &mut progress).map_err(failure)?;
        match format {
            Format::Json => output::json(session.out, &report)?,
            Format::Table => table(session, &plan, &report)?,
        }
        if report.errors() == 0 {
            return Ok(Exit::Ok);
        }
        let first = report.runs.iter().find_map(|run| run.first_error.as_deref()).unwrap_or_default();
        Err(CliError::new(Exit::Failed, format!("{} requests were not answered well; first: {first}", report.errors())))
    }

    fn plan(self, session: &Session<'_>) -> Result<Plan, CliError> {
        let workloads = self.workloads();
        let data_dir = match &self.data_dir {
            Some(dir) => session.working_dir.join(dir),
            None => std::env::temp_dir(),
        };
        let program = std::env::current_exe()
            .map_err(|error| CliError::new(Exit::Failed, format!("cannot find this program's file: {error}")))?;
        let (connections, duration) = (self.connections.0.clone(), self.duration);
        Ok(Plan { server: self.server()?, workloads, connections, duration, data_dir, program })
    }

    fn workloads(&self) -> Vec<Workload> {
        let levels = self.level.as_ref().map_or(ReadLevel::ALL.as_slice(), |levels| &levels.0);
        let reads = levels.iter().map(|&level| Workload::Read { level });
        match self.workload {
            Kind::Insert => vec![Workload::Insert],
            Kind::Transaction => vec![Workload::Transaction],
            Kind::Read => reads.collect(),
            Kind::All => [Workload::Insert, Workload::Transaction].into_iter().chain(reads).collect(),
        }
    }

    fn server(self) -> Result<Server, CliError> {
        let usage = |message: String| Err(CliError::new(Exit::Usage, message));
        if !self.url.is_empty() {
            if self.nodes.is_some() || self.via.is_some() {
                return usage("--nodes and --via are for own nodes; leave out --url or them".to_owned());
            }
            let with_user = |target: Target| match &self.user {
                Some(user) => target.with_user(user),
                None => target,
            };
            return Ok(Server::Existing(self.url.into_iter().map(with_user).collect()));
        }
        let (nodes, via) = (self.nodes.unwrap_or(1), self.via.unwrap_or(Via::Leader));
        if self.user.is_some() {
            return usage("--user is for --url; own nodes need none".to_owned());
        }
        if !(1..=NODES_MAX).contains(&nodes) {
            return usage(format!("--nodes must be between 1 and {NODES_MAX}; got {nodes}"));
        }
        if nodes == 1 && via == Via::Follower {
            return usage("--via follower needs more than one node; add --nodes 3".to_owned());
        }
        Ok(Server::Own { nodes, via })
    }
}

fn failure(error: BenchError) -> CliError {
    let exit = match &error {
        BenchError::Interrupted => Exit::Interrupted,
        BenchError::Connect { .. } => Exit::Unavailable,
        _ => Exit::Failed,
    };
    let told = CliError::new(exit, error.to_string());
    match error {
        BenchError::Connect { .. } => told.hint("is the listener running? `debros cluster status` tells its address"),
        BenchError::Disk { .. } => told.hint("choose another directory with --data-dir"),
        _ => told,
    }
}

fn table(session: &mut Session<'_>, plan: &Plan, report: &Report) -> Result<(), CliError> {
    let server = match &plan.server {
        Server::Own { nodes: 1, .. } => "1 own node".to_owned(),
        Server::Own { nodes, via: Via::Leader } => format!("{nodes} own nodes, asked at the leader"),
        Server::Own { nodes, via: Via::Follower } => format!("{nodes} own nodes, asked at a follower"),
        Server::Existing(targets) => format!("{} running", targets.len()),
    };
    let disk = format!("{:.0} fdatasync/s of 4 KiB in {}", report.fdatasyncs_per_second, plan.data_dir.display());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = report.load_average.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
    let machine = format!("{cores} cores, load average {load} before the run");
    output::fields(session.out, &[("server", server), ("machine", machine), ("disk", disk)])?;
    writeln!(session.out)?;
    let headings = ["WORKLOAD", "CLIENTS", "REQUESTS/S", "ROWS/S", "P50 ms", "P99 ms", "MAX ms", "ERRORS", "ECHO/S"];
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    output::table(session.out, &headings, &rows)?;
    Ok(())
}

fn row(run: &Run) -> Vec<String> {
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    vec![
        run.workload.to_string(),
        run.connections.to_string(),
        format!("{:.0}", run.requests_per_second),
        format!("{:.0}", run.rows_per_second),
        ms(run.p50_us),
        ms(run.p99_us),
        ms(run.max_us),
        run.errors.to_string(),
        format!("{:.0}", run.echo_requests_per_second),
    ]
}
