//! `debros bench sql`: the listener of rqlite's contract.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::super::admin::positive_duration;
use super::super::output::Format;
use super::super::{CliError, Session};
use super::{Connections, DURATION_DEFAULT, Levels, data_dir, measure, own, program, usage};
use crate::bench::{Face, Plan, ReadLevel, Server, SqlWorkload, Target, Via, Workload};
use crate::types::Exit;

/// Load a cluster with SQL over HTTP; exit code 1 when a request was not answered well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "sql",
    example = "debros bench sql --nodes 3 --workload insert\ndebros bench sql --url http://127.0.0.1:5001 --connections 64",
    note = "Without --url it starts nodes of its own and removes them. With it, a table `bench` is made and kept."
)]
pub(super) struct Sql {
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
    #[argh(option, default = "Connections::default()", arg_name = "list")]
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

impl Sql {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let format = self.format;
        let plan = Plan {
            face: Face::Sql,
            workloads: self.workloads(),
            connections: self.connections.0.clone(),
            duration: self.duration,
            data_dir: data_dir(session, self.data_dir.as_ref()),
            program: program()?,
            server: self.server()?,
        };
        measure(session, &plan, format)
    }

    fn workloads(&self) -> Vec<Workload> {
        let levels = self.level.as_ref().map_or(ReadLevel::ALL.as_slice(), |levels| &levels.0);
        let reads = levels.iter().map(|&level| SqlWorkload::Read { level });
        let workloads: Vec<SqlWorkload> = match self.workload {
            Kind::Insert => vec![SqlWorkload::Insert],
            Kind::Transaction => vec![SqlWorkload::Transaction],
            Kind::Read => reads.collect(),
            Kind::All => [SqlWorkload::Insert, SqlWorkload::Transaction].into_iter().chain(reads).collect(),
        };
        workloads.into_iter().map(Workload::Sql).collect()
    }

    fn server(self) -> Result<Server, CliError> {
        if self.url.is_empty() {
            if self.user.is_some() {
                return usage("--user is for --url; own nodes need none");
            }
            if self.via == Some(Via::Gateway) {
                return usage("--via gateway is for `debros bench gateway`: a gateway has no SQL listener");
            }
            return own(self.nodes, self.via, "warn").map(Server::Own);
        }
        if self.nodes.is_some() || self.via.is_some() {
            return usage("--nodes and --via are for own nodes; leave out --url or them");
        }
        let with_user = |target: Target| match &self.user {
            Some(user) => target.with_user(user),
            None => target,
        };
        Ok(Server::Existing(self.url.into_iter().map(with_user).collect()))
    }
}
