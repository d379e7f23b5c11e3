//! What topics carry: messages per second to their subscribers without loss, and how long one takes.
//!
//! Two figures of the same run say what the one is worth: what reached a NATS server, when there is one, by the same
//! publishers and subscribers; and how many of the messages came, which is all of them or the run is no good.
//!
//! Throughput and latency are measured one after the other. Under full load a message waits behind those before it, as
//! many as the window has, so its latency says nothing but that; latencies are those of a message that is alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::error::BenchError;
use super::messenger::Place;
use super::nats::NatsTarget;
use super::nodes::Nodes;
use super::pubsub_loader::{self, Places, PubSubLoad, PubSubTally};
use super::pubsub_workload::PubSubWorkload;
use super::scratch::Scratch;
use super::stamp::STAMP_BYTES;
use super::target::Target;
use super::{Own, Server, load_average, until_interrupted};
use crate::types::limits::MESSAGE_BYTES_MAX;

/// Most publishers or subscribers: with both, still below the usual 1024 open files.
pub const CLIENTS_MAX: usize = 480;

/// Smallest message: what is measured by must fit.
pub const SIZE_BYTES_MIN: usize = STAMP_BYTES;

/// Largest message.
pub const SIZE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Where subscribers are, seen from their publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// At the same node.
    Local,
    /// At the other nodes.
    Across,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placement::Local => "local",
            Placement::Across => "across",
        })
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct PubSubPlan {
    /// Whom to ask. Publishers are at the first.
    pub server: Server,
    /// NATS servers to compare with, of one cluster; publishers are at the first. None: nothing is compared.
    pub nats: Vec<NatsTarget>,
    /// Where subscribers are.
    pub placement: Placement,
    /// What to do, in this order.
    pub workloads: Vec<PubSubWorkload>,
    /// How large messages are, one size after the other.
    pub sizes_bytes: Vec<usize>,
    /// How many publishers or subscribers, where a workload has many.
    pub clients: usize,
    /// How long throughput is measured, for each pair of workload and size.
    pub duration: Duration,
    /// Where own nodes keep their data.
    pub data_dir: PathBuf,
    /// This program, which own nodes run.
    pub program: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct PubSubReport {
    /// As [`super::Report::load_average`].
    pub load_average: Option<f64>,
    /// Where subscribers were.
    pub placement: Placement,
    /// One for each workload and size, and one more of each for NATS.
    pub runs: Vec<PubSubRun>,
}

impl PubSubReport {
    /// Messages that did not come, and connections that broke.
    pub fn errors(&self) -> u64 {
        self.runs.iter().map(|run| run.errors + run.lost).sum()
    }
}

/// Whose topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Broker {
    /// The nodes'.
    Debros,
    /// The NATS servers'.
    Nats,
}

/// One workload with messages of one size.
#[derive(Clone, Debug, Serialize)]
pub struct PubSubRun {
    /// Who published to whom.
    pub workload: PubSubWorkload,
    /// By whose topics.
    pub broker: Broker,
    /// How many publishers or subscribers, where the workload has many.
    pub clients: usize,
    /// Of a message.
    pub size_bytes: usize,
    /// Messages published.
    pub published_per_second: f64,
    /// Messages that came, counted for each subscriber.
    pub delivered_per_second: f64,
    /// How many came in both rounds.
    pub delivered: u64,
    /// How many were to come.
    pub expected: u64,
    /// The difference.
    pub lost: u64,
    /// Half of the messages took no longer from publisher to subscriber, when nothing else was in flight; to 3 %.
    pub p50_us: u64,
    /// 99 of 100 messages; to 3 %.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Connections that broke or were refused something.
    pub errors: u64,
    /// What the first of them said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Messages that came, as a share of those that NATS delivered in the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_nats: Option<f64>,
}

/// Measures. `progress` is told each step.
///
/// # Errors
/// [`BenchError`]; messages that were lost are no error but counted in the report.
pub fn run_pubsub(plan: &PubSubPlan, progress: &mut dyn FnMut(&str)) -> Result<PubSubReport, BenchError> {
    until_interrupted(measure(plan, progress))
}

async fn measure(plan: &PubSubPlan, progress: &mut dyn FnMut(&str)) -> Result<PubSubReport, BenchError> {
    let load_average = load_average();
    let scratch = Scratch::create(&plan.data_dir)?;
    let nodes = match &plan.server {
        Server::Own(own) => Some(start(plan, own, &scratch, progress).await?),
        Server::Existing(_) => None,
    };
    let gateways = match (&plan.server, &nodes) {
        (_, Some((_, gateways))) => gateways,
        (Server::Existing(targets), None) => targets,
        (Server::Own(_), None) => unreachable!("own nodes were started"),
    };
    let debros = places(gateways.iter().cloned().map(Place::Gateway).collect(), plan.placement);
    let nats = places(plan.nats.iter().cloned().map(Place::Nats).collect(), plan.placement);
    let mut runs = Vec::new();
    for &workload in &plan.workloads {
        for &size_bytes in &plan.sizes_bytes {
            let load = PubSubLoad { workload, clients: plan.clients, size_bytes, duration: plan.duration };
            progress(&format!("{workload}, {size_bytes} bytes"));
            let places = debros.as_ref().ok_or_else(too_few)?;
            let mut of_debros = run(Broker::Debros, load, pubsub_loader::drive(places, load).await?);
            if plan.nats.is_empty() {
                runs.push(of_debros);
                continue;
            }
            progress(&format!("{workload}, {size_bytes} bytes, NATS"));
            let places = nats.as_ref().ok_or_else(too_few)?;
            let of_nats = run(Broker::Nats, load, pubsub_loader::drive(places, load).await?);
            of_debros.of_nats = Some(of_debros.delivered_per_second / of_nats.delivered_per_second.max(1.0));
            runs.extend([of_debros, of_nats]);
        }
    }
    Ok(PubSubReport { load_average, placement: plan.placement, runs })
}

/// Own nodes, and their gateways with a key for each.
async fn start(
    plan: &PubSubPlan,
    own: &Own,
    scratch: &Scratch,
    progress: &mut dyn FnMut(&str),
) -> Result<(Nodes, Vec<Target>), BenchError> {
    let nodes = Nodes::start(&plan.program, scratch, own, progress).await?;
    let key = nodes.make_key("default").await?;
    let gateways = nodes.gateways()?.into_iter().map(|target| target.with_key(&key)).collect();
    Ok((nodes, gateways))
}

/// The first is where messages are published; `None` when there are not enough for the others.
fn places(all: Vec<Place>, placement: Placement) -> Option<Places> {
    let publish = all.first()?.clone();
    let subscribe = match placement {
        Placement::Local => vec![publish.clone()],
        Placement::Across => all.into_iter().skip(1).collect(),
    };
    (!subscribe.is_empty()).then_some(Places { publish, subscribe })
}

fn too_few() -> BenchError {
    BenchError::Prepare("subscribers across need a second place".to_owned())
}

fn run(broker: Broker, load: PubSubLoad, tally: PubSubTally) -> PubSubRun {
    let PubSubTally { elapsed, in_time, full_load, one_at_a_time } = tally;
    let per_second = |count: u64| count as f64 / elapsed.as_secs_f64();
    PubSubRun {
        workload: load.workload,
        broker,
        clients: load.clients,
        size_bytes: load.size_bytes,
        published_per_second: per_second(in_time.sent),
        delivered_per_second: per_second(in_time.delivered),
        delivered: full_load.delivered + one_at_a_time.delivered,
        expected: full_load.expected + one_at_a_time.expected,
        lost: full_load.lost() + one_at_a_time.lost(),
        p50_us: one_at_a_time.latencies.at(0.5),
        p99_us: one_at_a_time.latencies.at(0.99),
        max_us: one_at_a_time.latencies.max(),
        // The flights count them from the beginning.
        errors: one_at_a_time.errors,
        first_error: one_at_a_time.first_error,
        of_nats: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Place {
        Place::Gateway(Target::new(address))
    }

    #[test]
    fn subscribers_are_where_the_publisher_is_or_everywhere_else() {
        let all = ["a:1", "b:1", "c:1"].map(place).to_vec();
        let local = places(all.clone(), Placement::Local).expect("enough");
        assert_eq!((local.publish, local.subscribe), (place("a:1"), vec![place("a:1")]));
        let across = places(all, Placement::Across).expect("enough");
        assert_eq!((across.publish, across.subscribe), (place("a:1"), vec![place("b:1"), place("c:1")]));
        assert!(places(vec![place("a:1")], Placement::Across).is_none());
    }
}
