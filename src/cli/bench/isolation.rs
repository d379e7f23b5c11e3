//! `debros bench isolation`: what one namespace feels of another's flood.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::super::admin::positive_duration;
use super::super::output::{self, Format};
use super::super::{CliError, Session};
use super::{DURATION_DEFAULT, data_dir, failure, machine, ms, own, own_nodes, program, usage};
use crate::bench::{self, CONNECTIONS_MAX, Felt, Flood, IsolationPlan, IsolationReport, IsolationRun, Via};
use crate::types::Exit;

/// Ask one thing after the other in one namespace while another floods; exit code 1 when a request was not answered well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "isolation",
    example = "debros bench isolation\ndebros bench isolation --nodes 3 --via follower --flood mixed --duration 20s",
    note = "It starts nodes of its own, without rate limits, and removes them. The quiet client is measured half a second \
            without the flood and half a second beside it, in turns. The flood's clients run on the same machine and take \
            their share of it."
)]
pub(super) struct Isolation {
    /// how many nodes, 1 to 9 [default: 1]
    #[argh(option, arg_name = "n")]
    nodes: Option<usize>,
    /// which process to ask: leader, follower, or gateway (which stores nothing) [default: leader]
    #[argh(option, arg_name = "role")]
    via: Option<Via>,
    /// reads and heavy-writes (some 10 ms each), writes, mixed (reads and writes), as a comma list [default: all]
    #[argh(option, default = "Floods::default()", arg_name = "list")]
    flood: Floods,
    /// how many clients flood [default: 32]
    #[argh(option, default = "32", arg_name = "n")]
    connections: usize,
    /// how long the quiet client is measured beside each flood, and as long without [default: 5s]
    #[argh(option, default = "DURATION_DEFAULT", from_str_fn(positive_duration))]
    duration: Duration,
    /// where the nodes store [default: the system's temporary directory]
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// Floods, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Floods(Vec<Flood>);

impl Default for Floods {
    fn default() -> Floods {
        Floods(Flood::ALL.into())
    }
}

impl FromStr for Floods {
    type Err = String;

    fn from_str(text: &str) -> Result<Floods, String> {
        if text == "all" {
            return Ok(Floods::default());
        }
        let flood = |name: &str| Flood::ALL.into_iter().find(|flood| flood.to_string() == name);
        let floods = text.split(',').map(flood).collect::<Option<_>>();
        floods.map(Floods).ok_or_else(|| "allowed values: reads, writes, heavy-writes, mixed, all".to_owned())
    }
}

impl Isolation {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return usage(format!("--connections must be between 1 and {CONNECTIONS_MAX}; got {}", self.connections));
        }
        let plan = IsolationPlan {
            own: own(self.nodes, self.via, "warn")?,
            floods: self.flood.0,
            connections: self.connections,
            duration: self.duration,
            data_dir: data_dir(session, self.data_dir.as_ref()),
            program: program()?,
        };
        // Progress that nobody can read is no reason to stop.
        let mut progress = |step: &str| writeln!(session.err, "{step}").unwrap_or(());
        let report = bench::run_isolation(&plan, &mut progress).map_err(failure)?;
        match self.format {
            Format::Json => output::json(session.out, &report)?,
            Format::Table => table(session, &plan, &report)?,
        }
        if report.errors() == 0 {
            return Ok(Exit::Ok);
        }
        let first = report.runs.iter().find_map(|run| run.first_error.as_deref()).unwrap_or_default();
        Err(CliError::new(Exit::Failed, format!("{} requests were not answered well; first: {first}", report.errors())))
    }
}

fn table(session: &mut Session<'_>, plan: &IsolationPlan, report: &IsolationReport) -> Result<(), CliError> {
    let fields = [("server", own_nodes(&plan.own)), ("machine", machine(report.load_average))];
    output::fields(session.out, &fields)?;
    writeln!(session.out)?;
    let headings = [
        "FLOOD",
        "CLIENTS",
        "SERVED/S",
        "REFUSED/S",
        "REQUESTS",
        "P50 ms",
        "BESIDE",
        "P99 ms",
        "BESIDE",
        "TIMES",
        "MAX ms",
        "BESIDE",
    ];
    let rows: Vec<Vec<String>> =
        report.runs.iter().flat_map(|run| run.felt.iter().map(|felt| row(run, felt))).collect();
    output::table(session.out, &headings, &rows)?;
    Ok(())
}

fn row(run: &IsolationRun, felt: &Felt) -> Vec<String> {
    vec![
        run.flood.to_string(),
        run.connections.to_string(),
        format!("{:.0}", run.flood_per_second),
        format!("{:.0}", run.flood_refused_per_second),
        felt.requests.clone(),
        ms(felt.calm.p50_us),
        ms(felt.flooded.p50_us),
        ms(felt.calm.p99_us),
        ms(felt.flooded.p99_us),
        format!("{:.1}", felt.p99_times),
        ms(felt.calm.max_us),
        ms(felt.flooded.max_us),
    ]
}
