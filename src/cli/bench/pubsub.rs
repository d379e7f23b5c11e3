//! `debros bench pubsub`: topics, by the gateways' WebSockets.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::super::admin::positive_duration;
use super::super::output::{self, Format};
use super::super::{CliError, Session};
use super::{DURATION_DEFAULT, data_dir, failure, machine, ms, own, program, usage};
use crate::bench::{
    self, Broker, CLIENTS_MAX, NatsTarget, Own, Placement, PubSubPlan, PubSubReport, PubSubRun, PubSubWorkload,
    SIZE_BYTES_MAX, SIZE_BYTES_MIN, Server, Target,
};
use crate::types::Exit;

/// Load topics; exit code 1 when a message was lost.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "pubsub",
    example = "debros bench pubsub --workload fan-out --size 1024\ndebros bench pubsub --nodes 3 --placement across\n\
               debros bench pubsub --nats ws://127.0.0.1:8080",
    note = "Without --url it starts nodes of its own and removes them. Publishers are at the first --url and the first \
            --nats. Never more than 64 messages of a topic are on their way, nor 2 MiB of all, so nothing has to be \
            dropped; latencies are those of one message at a time."
)]
pub(super) struct PubSub {
    /// gateway to load; repeatable [default: own nodes]
    #[argh(option, arg_name = "url")]
    url: Vec<Target>,
    /// API key for --url; own nodes make one
    #[argh(option, arg_name = "key")]
    key: Option<String>,
    /// how many own nodes, 1 to 9 [default: 1]
    #[argh(option, arg_name = "n")]
    nodes: Option<usize>,
    /// where subscribers are: local (where their publisher is) or across (at the other nodes) [default: local]
    #[argh(option, default = "Placement::Local", arg_name = "where")]
    placement: Placement,
    /// fan-out, fan-in, many-topics, as a comma list [default: all]
    #[argh(option, default = "Workloads::default()", arg_name = "list")]
    workload: Workloads,
    /// how many subscribers, publishers or topics, whatever a workload has many of [default: 100]
    #[argh(option, default = "100", arg_name = "n")]
    clients: usize,
    /// bytes of a message [default: 16,1024,65536]
    #[argh(option, default = "Sizes(vec![16, 1024, 65536])", arg_name = "list")]
    size: Sizes,
    /// how long each throughput is measured [default: 5s]
    #[argh(option, default = "DURATION_DEFAULT", from_str_fn(positive_duration))]
    duration: Duration,
    /// NATS server to compare with, as host:port or ws://host:port; repeatable
    #[argh(option, arg_name = "server")]
    nats: Vec<NatsTarget>,
    /// where own nodes store [default: the system's temporary directory]
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Placement, String> {
        let placement = [Placement::Local, Placement::Across].into_iter().find(|known| known.to_string() == text);
        placement.ok_or_else(|| "allowed values: local, across".to_owned())
    }
}

/// Workloads, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Workloads(Vec<PubSubWorkload>);

impl Default for Workloads {
    fn default() -> Workloads {
        Workloads(PubSubWorkload::ALL.into())
    }
}

impl FromStr for Workloads {
    type Err = String;

    fn from_str(text: &str) -> Result<Workloads, String> {
        if text == "all" {
            return Ok(Workloads::default());
        }
        let workload = |name: &str| PubSubWorkload::ALL.into_iter().find(|workload| workload.name() == name);
        let workloads = text.split(',').map(workload).collect::<Option<_>>();
        workloads.map(Workloads).ok_or_else(|| "allowed values: fan-out, fan-in, many-topics, all".to_owned())
    }
}

/// Sizes in bytes, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sizes(Vec<usize>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let allowed = SIZE_BYTES_MIN..=SIZE_BYTES_MAX;
        let size = |text: &str| text.parse().ok().filter(|size| allowed.contains(size));
        let sizes = text.split(',').map(size).collect::<Option<_>>();
        sizes.map(Sizes).ok_or_else(|| {
            format!("must be numbers of bytes between {SIZE_BYTES_MIN} and {SIZE_BYTES_MAX}; got {text}")
        })
    }
}

impl PubSub {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return usage(format!("--clients must be between 1 and {CLIENTS_MAX}; got {}", self.clients));
        }
        if self.placement == Placement::Across {
            self.check_places()?;
        }
        let format = self.format;
        let plan = PubSubPlan {
            nats: self.nats.clone(),
            placement: self.placement,
            workloads: self.workload.0.clone(),
            sizes_bytes: self.size.0.clone(),
            clients: self.clients,
            duration: self.duration,
            data_dir: data_dir(session, self.data_dir.as_ref()),
            program: program()?,
            server: self.server()?,
        };
        // Progress that nobody can read is no reason to stop.
        let mut progress = |step: &str| writeln!(session.err, "{step}").unwrap_or(());
        let report = bench::run_pubsub(&plan, &mut progress).map_err(failure)?;
        match format {
            Format::Json => output::json(session.out, &report)?,
            Format::Table => table(session, &plan, &report)?,
        }
        if report.errors() == 0 {
            return Ok(Exit::Ok);
        }
        let first = report.runs.iter().find_map(|run| run.first_error.as_deref());
        let first = first.map_or(String::new(), |first| format!("; first error: {first}"));
        Err(CliError::new(Exit::Failed, format!("{} messages or connections were lost{first}", report.errors())))
    }

    fn check_places(&self) -> Result<(), CliError> {
        if self.url.is_empty() && self.nodes.unwrap_or(1) == 1 {
            return usage("--placement across needs more than one node; add --nodes 3");
        }
        if self.url.len() == 1 {
            return usage("--placement across needs another gateway to subscribe at; add a second --url");
        }
        if self.nats.len() == 1 {
            return usage("--placement across needs another NATS server to subscribe at; add a second --nats");
        }
        Ok(())
    }

    fn server(self) -> Result<Server, CliError> {
        if self.url.is_empty() {
            if self.key.is_some() {
                return usage("--key is for --url; own nodes make one");
            }
            return own(self.nodes, None, "warn").map(Server::Own);
        }
        if self.nodes.is_some() {
            return usage("--nodes is for own nodes; leave out --url or it");
        }
        let with_key = |target: Target| match &self.key {
            Some(key) => target.with_key(key),
            None => target,
        };
        Ok(Server::Existing(self.url.into_iter().map(with_key).collect()))
    }
}

fn table(session: &mut Session<'_>, plan: &PubSubPlan, report: &PubSubReport) -> Result<(), CliError> {
    let server = match &plan.server {
        Server::Own(Own { nodes: 1, .. }) => "1 own node".to_owned(),
        Server::Own(Own { nodes, .. }) => format!("{nodes} own nodes"),
        Server::Existing(targets) => format!("{} running", targets.len()),
    };
    let server = match plan.placement {
        Placement::Local => format!("{server}, all clients at the first"),
        Placement::Across => format!("{server}, publishers at the first, subscribers at the others"),
    };
    let mut fields = vec![("server", server), ("machine", machine(report.load_average))];
    if !plan.nats.is_empty() {
        let servers: Vec<String> = plan.nats.iter().map(NatsTarget::to_string).collect();
        fields.push(("nats", servers.join(", ")));
    }
    output::fields(session.out, &fields)?;
    writeln!(session.out)?;
    let headings = [
        "WORKLOAD",
        "BROKER",
        "CLIENTS",
        "BYTES",
        "PUBLISHED/S",
        "DELIVERED/S",
        "DELIVERED",
        "OF",
        "P50 ms",
        "P99 ms",
        "MAX ms",
        "ERRORS",
        "OF NATS",
    ];
    let rows: Vec<Vec<String>> = report.runs.iter().map(row).collect();
    output::table(session.out, &headings, &rows)?;
    Ok(())
}

fn row(run: &PubSubRun) -> Vec<String> {
    let broker = match run.broker {
        Broker::Debros => "debros",
        Broker::Nats => "nats",
    };
    vec![
        run.workload.to_string(),
        broker.to_owned(),
        run.clients.to_string(),
        run.size_bytes.to_string(),
        format!("{:.0}", run.published_per_second),
        format!("{:.0}", run.delivered_per_second),
        run.delivered.to_string(),
        run.expected.to_string(),
        ms(run.p50_us),
        ms(run.p99_us),
        ms(run.max_us),
        run.errors.to_string(),
        run.of_nats.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
    ]
}
