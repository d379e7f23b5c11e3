//! `debros bench …`: how much this machine, or a running cluster, answers per second.

mod gateway;
mod isolation;
mod pubsub;
mod sql;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::output::{self, Format};
use super::{CliError, Session};
use crate::bench::{self, BenchError, CONNECTIONS_MAX, Own, Plan, ReadLevel, Report, Run, Server, Via};
use crate::types::Exit;

/// Long enough for some thousand commits of a slow disk.
const DURATION_DEFAULT: Duration = Duration::from_secs(5);

/// Measure what SQL over HTTP, the gateway and topics reach, and what a flood does to others.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "bench",
    example = "debros bench sql\ndebros bench sql --nodes 3 --via follower\ndebros bench gateway\ndebros bench pubsub\ndebros bench isolation"
)]
pub(super) struct Bench {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Sql(sql::Sql),
    Gateway(gateway::Gateway),
    PubSub(pubsub::PubSub),
    Isolation(isolation::Isolation),
    Echo(Echo),
}

/// Serve answers of a given size and nothing else until the input ends; the others compare with it.
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

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        let via = [Via::Leader, Via::Follower, Via::Gateway].into_iter().find(|via| via.to_string() == text);
        via.ok_or_else(|| "allowed values: leader, follower, gateway".to_owned())
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

impl Default for Connections {
    fn default() -> Connections {
        Connections(vec![1, 16, 64, 256])
    }
}

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
            Verb::Gateway(command) => command.run(session),
            Verb::PubSub(command) => command.run(session),
            Verb::Isolation(command) => command.run(session),
            Verb::Echo(command) => command.run(session),
        }
    }
}

impl Echo {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if self.answer_bytes > ANSWER_BYTES_MAX {
            return usage(format!("--answer-bytes must be at most {ANSWER_BYTES_MAX}; got {}", self.answer_bytes));
        }
        bench::serve_echo(self.answer_bytes, session.out, session.input)?;
        Ok(Exit::Ok)
    }
}

/// What was asked cannot be done.
fn usage<T>(message: impl Into<String>) -> Result<T, CliError> {
    Err(CliError::new(Exit::Usage, message.into()))
}

/// Where own nodes store, and whose disk is measured.
fn data_dir(session: &Session<'_>, named: Option<&PathBuf>) -> PathBuf {
    named.map_or_else(std::env::temp_dir, |dir| session.working_dir.join(dir))
}

/// This program's file.
fn program() -> Result<PathBuf, CliError> {
    std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot find this program's file: {error}")))
}

/// Own processes, as the flags say.
fn own(nodes: Option<usize>, via: Option<Via>, log_level: &str) -> Result<Own, CliError> {
    let (nodes, via) = (nodes.unwrap_or(1), via.unwrap_or(Via::Leader));
    if !(1..=NODES_MAX).contains(&nodes) {
        return usage(format!("--nodes must be between 1 and {NODES_MAX}; got {nodes}"));
    }
    if nodes == 1 && via == Via::Follower {
        return usage("--via follower needs more than one node; add --nodes 3");
    }
    Ok(Own { nodes, via, log_level: log_level.to_owned() })
}

/// Measures and reports.
fn measure(session: &mut Session<'_>, plan: &Plan, format: Format) -> Result<Exit, CliError> {
    // Progress that nobody can read is no reason to stop.
    let mut progress = |step: &str| writeln!(session.err, "{step}").unwrap_or(());
    let report = bench::run(plan, &mut progress).map_err(failure)?;
    match format {
        Format::Json => output::json(session.out, &report)?,
        Format::Table => table(session, plan, &report)?,
    }
    if report.errors() == 0 {
        return Ok(Exit::Ok);
    }
    let first = report.runs.iter().find_map(|run| run.first_error.as_deref()).unwrap_or_default();
    Err(CliError::new(Exit::Failed, format!("{} requests were not answered well; first: {first}", report.errors())))
}

fn failure(error: BenchError) -> CliError {
    let exit = match &error {
        BenchError::Interrupted => Exit::Interrupted,
        BenchError::Connect { .. } | BenchError::Socket { .. } => Exit::Unavailable,
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
        Server::Own(own) => own_nodes(own),
        Server::Existing(targets) => format!("{} running", targets.len()),
    };
    let disk = format!("{:.0} fdatasync/s of 4 KiB in {}", report.fdatasyncs_per_second, plan.data_dir.display());
    let machine = machine(report.load_average);
    output::fields(session.out, &[("server", server), ("machine", machine), ("disk", disk)])?;
    writeln!(session.out)?;
    let headings =
        ["WORKLOAD", "CLIENTS", "REQUESTS/S", "ROWS/S", "P50 ms", "P99 ms", "MAX ms", "ERRORS", "ECHO/S", "OF ECHO"];
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    output::table(session.out, &headings, &rows)?;
    Ok(())
}

/// What a report says of own processes.
fn own_nodes(own: &Own) -> String {
    let nodes = if own.nodes == 1 { "1 own node".to_owned() } else { format!("{} own nodes", own.nodes) };
    match own.via {
        Via::Leader if own.nodes == 1 => nodes,
        Via::Leader => format!("{nodes}, asked at the leader"),
        Via::Follower => format!("{nodes}, asked at a follower"),
        Via::Gateway => format!("{nodes}, asked through a gateway"),
    }
}

/// A time in a table.
fn ms(us: u64) -> String {
    format!("{:.2}", us as f64 / 1000.0)
}

/// What a report says of the machine.
fn machine(load_average: Option<f64>) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = load_average.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
    format!("{cores} cores, load average {load} before the run")
}

fn row(run: &Run) -> Vec<String> {
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
        format!("{:.0} %", run.of_echo * 100.0),
    ]
}
