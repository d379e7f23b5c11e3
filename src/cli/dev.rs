//! `debros dev`: a whole local cluster under one command.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::{CliError, Session};
use crate::config::Flag;
use crate::daemon::{self, DevRequest};
use crate::telemetry;
use crate::types::Exit;

/// Most nodes of a local cluster: every one has its own log, databases and threads in this one process.
const NODES_MAX: usize = 9;

/// Run a local cluster until Ctrl-C; ports are chosen and printed.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "dev", example = "debros dev\ndebros dev --nodes 1 --data-dir ./dev")]
pub(super) struct Dev {
    /// how many nodes [default: 3]
    #[argh(option, default = "3", arg_name = "n")]
    nodes: usize,
    /// keep the data in this directory [default: a temporary one, removed at the end]
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// configuration file that every node starts from
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// debug, info, warn or error [default: info]
    #[argh(option, arg_name = "level")]
    log_level: Option<String>,
}

impl Dev {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        if !(1..=NODES_MAX).contains(&self.nodes) {
            let message = format!("--nodes must be between 1 and {NODES_MAX}; got {}", self.nodes);
            return Err(CliError::new(Exit::Usage, message));
        }
        let level = self.log_level.map(|level| Flag { name: "--log-level", key: "logging.level", values: vec![level] });
        let loaded = session.load(self.config, level.into_iter().collect())?;
        telemetry::init(loaded.config.logging.telemetry(session.colour()))?;
        telemetry::abort_on_panic();
        let data_dir = self.data_dir.map(|dir| session.working_dir.join(dir));
        Ok(daemon::run_dev(DevRequest { nodes: self.nodes, data_dir }, loaded))
    }
}
