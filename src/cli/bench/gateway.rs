//! `debros bench gateway`: the gateway, at a node or in a process of its own.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::super::admin::positive_duration;
use super::super::output::Format;
use super::super::{CliError, Session};
use super::{Connections, DURATION_DEFAULT, Levels, data_dir, measure, own, program, usage};
use crate::bench::{
    Credential, Face, GatewayWorkload, Plan, ReadLevel, Server, Target, VALUE_BYTES_MAX, Via, Workload,
};
use crate::types::Exit;

/// Load a gateway; exit code 1 when a request was not answered well.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "gateway",
    example = "debros bench gateway --workload kv-get,kv-put --connections 64\ndebros bench gateway --nodes 3 --via gateway",
    note = "Without --url it starts processes of its own and removes them. With it, a table `bench` and keys `bench-…` \
            are made and kept."
)]
pub(super) struct Gateway {
    /// gateway to load; repeatable [default: own processes]
    #[argh(option, arg_name = "url")]
    url: Vec<Target>,
    /// API key for --url; own processes make one
    #[argh(option, arg_name = "key")]
    key: Option<String>,
    /// exchange the key for an access token and send that
    #[argh(switch)]
    jwt: bool,
    /// how many own nodes, 1 to 9 [default: 1]
    #[argh(option, arg_name = "n")]
    nodes: Option<usize>,
    /// which own process to ask: leader, follower, or gateway (which stores nothing) [default: leader]
    #[argh(option, arg_name = "role")]
    via: Option<Via>,
    /// health, kv-get, kv-put, sql-query, sql-exec, as a comma list [default: all]
    #[argh(option, default = "Kinds::default()", arg_name = "list")]
    workload: Kinds,
    /// of reads: none, weak, linearizable, strong [default: linearizable]
    #[argh(option, default = "Levels(vec![ReadLevel::Linearizable])", arg_name = "list")]
    level: Levels,
    /// size of a key's value [default: 100]
    #[argh(option, default = "100", arg_name = "n")]
    value_bytes: usize,
    /// how many clients [default: 1,16,64,256]
    #[argh(option, default = "Connections::default()", arg_name = "list")]
    connections: Connections,
    /// how long each figure is measured [default: 5s]
    #[argh(option, default = "DURATION_DEFAULT", from_str_fn(positive_duration))]
    duration: Duration,
    /// whose disk to measure, and where own nodes store [default: the system's temporary directory]
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// what own processes log; to info, a line for every request [default: info]
    #[argh(option, arg_name = "level")]
    log_level: Option<String>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// Which workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Health,
    KvGet,
    KvPut,
    SqlQuery,
    SqlExec,
}

impl Kind {
    const ALL: [(Kind, &'static str); 5] = [
        (Kind::Health, "health"),
        (Kind::KvGet, "kv-get"),
        (Kind::KvPut, "kv-put"),
        (Kind::SqlQuery, "sql-query"),
        (Kind::SqlExec, "sql-exec"),
    ];
}

/// Workloads, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kinds(Vec<Kind>);

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds(Kind::ALL.map(|(kind, _)| kind).into())
    }
}

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Kinds, String> {
        if text == "all" {
            return Ok(Kinds::default());
        }
        let kind = |word: &str| Kind::ALL.into_iter().find(|(_, name)| *name == word).map(|(kind, _)| kind);
        let kinds = text.split(',').map(kind).collect::<Option<_>>();
        kinds.map(Kinds).ok_or_else(|| format!("allowed values: {}, all", Kind::ALL.map(|(_, name)| name).join(", ")))
    }
}

impl Gateway {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if !(1..=VALUE_BYTES_MAX).contains(&self.value_bytes) {
            return usage(format!("--value-bytes must be between 1 and {VALUE_BYTES_MAX}; got {}", self.value_bytes));
        }
        let format = self.format;
        let plan = Plan {
            face: Face::Gateway(if self.jwt { Credential::Token } else { Credential::Key }),
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
        let value_bytes = self.value_bytes;
        let levels = || self.level.0.iter().copied();
        let of = |kind: &Kind| -> Vec<GatewayWorkload> {
            match kind {
                Kind::Health => vec![GatewayWorkload::Health],
                Kind::KvGet => levels().map(|level| GatewayWorkload::KvGet { level, value_bytes }).collect(),
                Kind::KvPut => vec![GatewayWorkload::KvPut { value_bytes }],
                Kind::SqlQuery => levels().map(|level| GatewayWorkload::SqlQuery { level }).collect(),
                Kind::SqlExec => vec![GatewayWorkload::SqlExec],
            }
        };
        self.workload.0.iter().flat_map(of).map(Workload::Gateway).collect()
    }

    fn server(self) -> Result<Server, CliError> {
        if self.url.is_empty() {
            if self.key.is_some() {
                return usage("--key is for --url; own processes make one");
            }
            return own(self.nodes, self.via, self.log_level.as_deref().unwrap_or("info")).map(Server::Own);
        }
        if self.nodes.is_some() || self.via.is_some() || self.log_level.is_some() {
            return usage("--nodes, --via and --log-level are for own processes; leave out --url or them");
        }
        if self.jwt && self.key.is_none() {
            return usage("--jwt needs a key to exchange; add --key");
        }
        let with_key = |target: Target| match &self.key {
            Some(key) => target.with_key(key),
            None => target,
        };
        Ok(Server::Existing(self.url.into_iter().map(with_key).collect()))
    }
}
