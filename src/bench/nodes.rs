//! Nodes for the time of a run: processes of this program, started and joined as an operator would.

use std::fs::DirBuilder;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Via;
use super::error::BenchError;
use super::scratch::Scratch;
use super::target::Target;
use crate::types::admin::Status;

/// How long a node may take until it can serve: a join with three elections that failed is far below.
const START_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks at a starting node.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How much of a node's log is shown when it did not start.
const LOG_LINES_SHOWN: usize = 5;

/// Running nodes; dropped, they end at once.
pub(super) struct Nodes {
    program: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    directory: PathBuf,
    child: Child,
}

impl Nodes {
    /// Starts a cluster and waits until every node votes.
    pub(super) async fn start(
        program: &Path,
        scratch: &Scratch,
        count: usize,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Nodes, BenchError> {
        let mut cluster = Nodes { program: program.to_owned(), nodes: Vec::with_capacity(count) };
        let config = scratch.path().join("empty.toml");
        File::create(&config).map_err(|source| BenchError::Disk { path: config.clone(), source })?;
        for number in 1..=count {
            progress(&format!("starting node {number} of {count}"));
            let token = match cluster.nodes.first() {
                None => None,
                Some(first) => Some(ask(program, &first.directory, &["cluster", "invite"])?),
            };
            let directory = scratch.path().join(format!("node{number}"));
            let child = spawn(program, &directory, &config, token.as_deref())?;
            cluster.nodes.push(Node { directory, child });
            cluster.wait_until_voting(number).await?;
        }
        Ok(cluster)
    }

    /// The listener of the leader or of a follower, as it is now.
    pub(super) fn target(&self, via: Via) -> Result<Target, BenchError> {
        let mut reason = "no node answered".to_owned();
        for node in &self.nodes {
            let status = self.status(node)?;
            let leads = status.raft.as_ref().is_some_and(|raft| raft.leader == Some(status.node));
            if leads == (via == Via::Leader) {
                return Ok(Target::new(status.sql_address));
            }
            reason = format!("no {} among the nodes", if via == Via::Leader { "leader" } else { "follower" });
        }
        Err(BenchError::Process { command: "debros cluster status".to_owned(), reason })
    }

    /// Waits until the newest node serves and the first one counts `voters`.
    async fn wait_until_voting(&mut self, voters: usize) -> Result<(), BenchError> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let node = self.nodes.last_mut().expect("one was started");
            let command = "debros node".to_owned();
            if let Ok(Some(exit)) = node.child.try_wait() {
                let reason = format!("{exit}\n{}", log_tail(&node.directory));
                return Err(BenchError::Process { command, reason });
            }
            if self.is_voting(voters) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tail = self.nodes.last().map(|node| log_tail(&node.directory)).unwrap_or_default();
                let reason = format!("not ready within {} s\n{tail}", START_MAX.as_secs());
                return Err(BenchError::Process { command, reason });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn is_voting(&self, voters: usize) -> bool {
        let ready = self.nodes.last().and_then(|node| self.status(node).ok()).is_some_and(|status| status.ready);
        let counted = self.nodes.first().and_then(|node| self.status(node).ok()).and_then(|status| status.raft);
        ready && counted.is_some_and(|raft| raft.voters == voters)
    }

    fn status(&self, node: &Node) -> Result<Status, BenchError> {
        let text = ask(&self.program, &node.directory, &["cluster", "status", "--format", "json"])?;
        serde_json::from_str(&text).map_err(|error| BenchError::Process {
            command: "debros cluster status".to_owned(),
            reason: error.to_string(),
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let ended = node.child.kill().and_then(|()| node.child.wait());
            if let Err(error) = ended {
                tracing::warn!(directory = %node.directory.display(), %error, "a node was not ended");
            }
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

fn spawn(program: &Path, directory: &Path, config: &Path, token: Option<&str>) -> Result<Child, BenchError> {
    let failed = |source| BenchError::Disk { path: directory.to_owned(), source };
    // A node refuses a directory that others can read.
    DirBuilder::new().mode(0o700).create(directory).map_err(failed)?;
    let log = File::create(directory.join("log")).map_err(failed)?;
    let mut command = command(program, directory);
    command.arg(if token.is_some() { "node" } else { "bootstrap" }).arg("--config").arg(config);
    command.args(["--listen", "/ip4/127.0.0.1/tcp/0", "--sql-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"]);
    command.args(["--log-level", "warn"]).envs(token.map(|token| ("DEBROS_JOIN", token)));
    command
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| BenchError::Process { command: program.display().to_string(), reason: error.to_string() })
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
