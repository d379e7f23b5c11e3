//! Nodes for the time of a run: processes of this program, started and joined as an operator would.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::scratch::Scratch;
use super::target::Target;
use super::{Face, Own, Via};
use crate::types::admin::Status;

/// How long a node may take until it can serve: a join with three elections that failed is far below.
const START_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks at a starting node.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How much of a node's log is shown when it did not start.
const LOG_LINES_SHOWN: usize = 5;

/// What own processes are configured with, besides flags: limits that no run reaches, since it is not them that are
/// measured, but so that each request is still counted against them. A socket has none.
const CONFIG: &str = "[gateway]\nrate_per_key = 1000000\nrate_per_namespace = 1000000\nsocket_rate = 0\n";

/// Running nodes; dropped, they end at once.
pub(super) struct Nodes {
    program: PathBuf,
    config: PathBuf,
    log_level: String,
    nodes: Vec<Node>,
    gateway: Option<Node>,
}

struct Node {
    role: &'static str,
    directory: PathBuf,
    child: Child,
}

impl Nodes {
    /// Starts a cluster, waits until every node votes, and starts a gateway if it is to be asked.
    pub(super) async fn start(
        program: &Path,
        scratch: &Scratch,
        own: &Own,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Nodes, BenchError> {
        let config = scratch.path().join("bench.toml");
        std::fs::write(&config, CONFIG).map_err(|source| BenchError::Disk { path: config.clone(), source })?;
        let (program, log_level) = (program.to_owned(), own.log_level.clone());
        let mut cluster = Nodes { program, config, log_level, nodes: Vec::with_capacity(own.nodes), gateway: None };
        for number in 1..=own.nodes {
            progress(&format!("starting node {number} of {}", own.nodes));
            let role = if number == 1 { "bootstrap" } else { "node" };
            let node = cluster.spawn(role, &scratch.path().join(format!("node{number}")))?;
            let node =
                cluster.wait_until(node, |cluster, status| status.ready && cluster.voters(status) == Some(number));
            let node = node.await?;
            cluster.nodes.push(node);
        }
        if own.via == Via::Gateway {
            progress("starting a gateway");
            let gateway = cluster.spawn("gateway", &scratch.path().join("gateway"))?;
            cluster.gateway = Some(cluster.wait_until(gateway, |_, status| status.ready).await?);
        }
        Ok(cluster)
    }

    /// Makes a namespace besides the one that exists from the start.
    pub(super) fn make_namespace(&self, name: &str) -> Result<(), BenchError> {
        ask(&self.program, &self.first().directory, &["namespace", "create", name]).map(drop)
    }

    fn first(&self) -> &Node {
        self.nodes.first().expect("one was started")
    }

    /// Makes an API key that opens everything in a namespace. The tables of accounts come through the log, a moment after
    /// the first node is ready.
    pub(super) async fn make_key(&self, namespace: &str) -> Result<String, BenchError> {
        let first = self.first();
        let words = ["key", "create", "--namespace", namespace, "--label", "bench"];
        let deadline = Instant::now() + START_MAX;
        loop {
            match ask(&self.program, &first.directory, &words) {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
                made => return made,
            }
        }
    }

    /// The listener of the leader, a follower or the gateway, as it is now.
    pub(super) fn target(&self, via: Via, face: Face) -> Result<Target, BenchError> {
        let listener =
            |status: Status| Target::new(if face == Face::Sql { status.sql_address } else { status.gateway_address });
        let mut reason = "no node answered".to_owned();
        for node in self.nodes.iter().chain(&self.gateway) {
            let status = status(&self.program, &node.directory)?;
            let wanted = match (&status.raft, via) {
                (None, via) => via == Via::Gateway,
                (Some(raft), Via::Leader) => raft.leader == Some(status.node),
                (Some(raft), Via::Follower) => raft.leader != Some(status.node),
                (Some(_), Via::Gateway) => false,
            };
            if wanted {
                return Ok(listener(status));
            }
            reason = format!("no {via} among the processes");
        }
        Err(BenchError::Process { command: "debros cluster status".to_owned(), reason })
    }

    /// The gateways of all nodes, the first node's first.
    pub(super) fn gateways(&self) -> Result<Vec<Target>, BenchError> {
        let gateway = |node: &Node| Ok(Target::new(status(&self.program, &node.directory)?.gateway_address));
        self.nodes.iter().map(gateway).collect()
    }

    /// Starts a process of a role; all but the first join with a token of the first.
    fn spawn(&self, role: &'static str, directory: &Path) -> Result<Node, BenchError> {
        let words: &[&str] = match role {
            "gateway" => &["cluster", "invite", "--role", "gateway"],
            _ => &["cluster", "invite"],
        };
        let first = self.nodes.first();
        let token = first.map(|first| ask(&self.program, &first.directory, words)).transpose()?;
        let failed = |source| BenchError::Disk { path: directory.to_owned(), source };
        // A daemon refuses a directory that others can read.
        DirBuilder::new().mode(0o700).create(directory).map_err(failed)?;
        let log = File::create(directory.join("log")).map_err(failed)?;
        let mut command = command(&self.program, directory);
        command.arg(role).arg("--config").arg(&self.config).args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        command.args(["--sql-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0", "--log-level", &self.log_level]);
        let child = command.envs(token.map(|token| ("DEBROS_JOIN", token))).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|error| BenchError::Process {
            command: self.program.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Node { role, directory: directory.to_owned(), child })
    }

    /// Waits until what a process tells of itself is what is wanted.
    async fn wait_until(&self, mut node: Node, wanted: impl Fn(&Nodes, &Status) -> bool) -> Result<Node, BenchError> {
        let deadline = Instant::now() + START_MAX;
        let command = format!("debros {}", node.role);
        loop {
            if let Ok(Some(exit)) = node.child.try_wait() {
                let reason = format!("{exit}\n{}", log_tail(&node.directory));
                return Err(BenchError::Process { command, reason });
            }
            if status(&self.program, &node.directory).is_ok_and(|status| wanted(self, &status)) {
                return Ok(node);
            }
            if Instant::now() > deadline {
                let reason = format!("not ready within {} s\n{}", START_MAX.as_secs(), log_tail(&node.directory));
                return Err(BenchError::Process { command, reason });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many nodes vote, as the first one counts; `newest` when that is the first.
    fn voters(&self, newest: &Status) -> Option<usize> {
        let first = self.nodes.first().and_then(|first| status(&self.program, &first.directory).ok());
        first.as_ref().unwrap_or(newest).raft.as_ref().map(|raft| raft.voters)
    }
}

/// What a process tells of itself.
fn status(program: &Path, directory: &Path) -> Result<Status, BenchError> {
    let text = ask(program, directory, &["cluster", "status", "--format", "json"])?;
    serde_json::from_str(&text)
        .map_err(|error| BenchError::Process { command: "debros cluster status".to_owned(), reason: error.to_string() })
}

impl Drop for Node {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!(directory = %self.directory.display(), %error, "a process was not ended");
        }
    }
}

/// Only what was asked for: neither the environment nor a configuration file of the machine has a say.
fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    // A daemon that finds another time zone starts anew.
    command.env_clear().env("TZ", "UTC").current_dir("/").stdin(Stdio::null());
    command.arg("--data-dir").arg(directory);
    command
}

/// Asks a running node by a command, and gives what it printed.
fn ask(program: &Path, directory: &Path, words: &[&str]) -> Result<String, BenchError> {
    let failed = |reason: String| BenchError::Process { command: format!("debros {}", words.join(" ")), reason };
    let output = command(program, directory).args(words).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn log_tail(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
