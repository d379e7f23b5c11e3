//! A daemon of any role, its directory, and the operator's commands to it.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use debros::types::NodeId;
use debros::types::admin::{Nodes, Raft, Status};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::http::Client;
use super::process::{Process, binary, command};
use super::wait::{soon, within};

/// Where a daemon serves, as it says in its directory.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Addresses {
    pub(crate) node_id: NodeId,
    pub(crate) peer: Vec<String>,
    pub(crate) sql: Option<String>,
    pub(crate) gateway: Option<String>,
}

/// What an operator's command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// How a daemon is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// `bootstrap`, `node` or `gateway`.
    pub(crate) role: &'static str,
    /// The loopback address where it listens.
    pub(crate) host: String,
    pub(crate) flags: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Largest file that it may write, in KiB.
    pub(crate) file_kib_max: Option<u64>,
    /// The umask that it is started with, in octal; that of the tests when absent.
    pub(crate) umask: Option<&'static str>,
}

impl Launch {
    pub(crate) fn new(role: &'static str) -> Launch {
        Launch {
            role,
            host: "127.0.0.1".to_owned(),
            flags: Vec::new(),
            env: Vec::new(),
            file_kib_max: None,
            umask: None,
        }
    }

    pub(crate) fn flag(mut self, name: &str, value: &str) -> Launch {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// What a shell does before it becomes the daemon.
    fn shell(&self) -> Option<String> {
        // Without the signal a write fails with an error, as on a full disk.
        let limit = self.file_kib_max.map(|kib| format!("trap '' XFSZ; ulimit -f {kib};"));
        let umask = self.umask.map(|umask| format!("umask {umask};"));
        (limit.is_some() || umask.is_some()).then(|| [limit, umask].map(Option::unwrap_or_default).concat())
    }

    /// Sets a configuration key as `SECTION__KEY`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Launch {
        self.env.push((format!("DEBROS_{key}"), value.to_owned()));
        self
    }
}

/// A daemon, running or not. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct TestNode {
    /// Dropped before the directory below.
    process: Option<Process>,
    launch: Launch,
    addresses: Option<Addresses>,
    data: PathBuf,
    log: PathBuf,
    _root: Arc<TempDir>,
}

impl TestNode {
    /// A node alone in a fresh directory.
    pub(crate) fn bootstrap() -> TestNode {
        let mut node = TestNode::new(Launch::new("bootstrap"), &root(), "node");
        node.start();
        node
    }

    /// A daemon below `root` that is not started yet.
    pub(crate) fn new(launch: Launch, root: &Arc<TempDir>, name: &str) -> TestNode {
        TestNode {
            process: None,
            launch,
            addresses: None,
            data: root.path().join(name),
            log: root.path().join(format!("{name}.log")),
            _root: Arc::clone(root),
        }
    }

    /// A new daemon that joins with `token`, running.
    pub(crate) fn join(launch: Launch, token: &str, root: &Arc<TempDir>, name: &str) -> TestNode {
        let mut node = TestNode::new(launch.flag("--join", token), root, name);
        node.start();
        node
    }

    pub(crate) fn launch_mut(&mut self) -> &mut Launch {
        &mut self.launch
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it and waits until it serves; where it served before, if it did.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it on ports that it did not have before.
    pub(crate) fn start_elsewhere(&mut self) {
        self.addresses = None;
        self.start();
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        // A killed process leaves it behind.
        let _ = std::fs::remove_file(self.data.join("addresses.json"));
        let mut command = match self.launch.shell() {
            None => command(binary()),
            Some(script) => {
                let mut shell = command("bash");
                shell.args(["-c", &format!("{script} exec \"$@\""), "bash"]).arg(binary());
                shell
            }
        };
        let any = format!("{}:0", self.launch.host);
        let known = self.addresses.as_ref();
        let gateway = known.and_then(|known| known.gateway.clone()).unwrap_or_else(|| any.clone());
        let peer = known.and_then(|known| known.peer[0].split_once("/p2p/")).map(|(address, _)| address.to_owned());
        let peer = peer.unwrap_or_else(|| format!("/ip4/{}/tcp/0", self.launch.host));
        command.arg(self.launch.role).arg("--data-dir").arg(&self.data);
        command.args(["--gateway-addr", &gateway, "--listen", &peer]);
        if self.launch.role != "gateway" {
            let sql = known.and_then(|known| known.sql.clone());
            command.args(["--sql-addr", &sql.unwrap_or(any)]);
        }
        command.args(&self.launch.flags).envs(self.launch.env.iter().cloned()).current_dir(self._root.path());
        self.process = Some(Process::spawn(command, &self.log));
    }

    /// Waits until it says where it serves.
    pub(crate) fn wait_ready(&mut self) {
        let file = self.data.join("addresses.json");
        let process = self.process.as_mut().expect("it was started");
        let addresses = soon("the daemon says where it serves", || {
            if let Some(status) = process.ended() {
                panic!("the daemon ended with {status} instead of serving");
            }
            serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()
        });
        self.addresses = Some(addresses);
    }

    /// Starts it although it must refuse; returns its exit status and what it said.
    pub(crate) fn start_refused(&mut self) -> (ExitStatus, String) {
        let said_before = self.log_text().len();
        self.spawn();
        let mut process = self.process.take().expect("it was started");
        let status = process.wait();
        (status, self.log_text()[said_before..].to_owned())
    }

    pub(crate) fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        process.wait()
    }

    /// Sends a signal by name, as `kill` knows it.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").wait()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    pub(crate) fn addresses(&self) -> &Addresses {
        self.addresses.as_ref().expect("it has served")
    }

    pub(crate) fn id(&self) -> NodeId {
        self.addresses().node_id
    }

    pub(crate) fn sql_address(&self) -> &str {
        self.addresses().sql.as_deref().expect("it has an SQL listener")
    }

    pub(crate) fn gateway_address(&self) -> &str {
        self.addresses().gateway.as_deref().expect("it has a gateway listener")
    }

    /// A client of its SQL listener.
    pub(crate) fn sql(&self) -> Client {
        Client::new(self.sql_address())
    }

    /// A client of its gateway.
    pub(crate) fn gateway(&self) -> Client {
        Client::new(self.gateway_address())
    }

    /// Everything that it has said so far, in all its lives.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs an operator's command against this daemon.
    pub(crate) fn cli(&self, args: &[&str]) -> Printed {
        let output = command(binary()).args(args).arg("--data-dir").arg(&self.data).output().expect("the command runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Printed { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs an operator's command that must succeed.
    pub(crate) fn cli_ok(&self, args: &[&str]) -> String {
        let printed = self.cli(args);
        assert_eq!(printed.code, 0, "debros {args:?}: {printed:?}");
        printed.out.trim().to_owned()
    }

    fn cli_json<T: DeserializeOwned>(&self, args: &[&str]) -> Option<T> {
        let printed = self.cli(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&printed.out).ok()
    }

    pub(crate) fn status(&self) -> Status {
        soon("status is answered", || self.cli_json(&["cluster", "status"]))
    }

    /// Its view of the log.
    pub(crate) fn raft(&self) -> Raft {
        self.status().raft.expect("a node has a log")
    }

    pub(crate) fn nodes(&self) -> Nodes {
        soon("the members are listed", || self.cli_json(&["cluster", "nodes"]))
    }

    /// A join token for `role`.
    pub(crate) fn invite(&self, role: &str) -> String {
        self.cli_ok(&["cluster", "invite", "--role", role])
    }

    /// Compares all replicas until every one of `nodes` has answered; panics when two differ.
    pub(crate) fn verify(&self, nodes: usize) {
        within(Duration::from_secs(120), "every replica answers and all are alike", || {
            let printed = self.cli(&["cluster", "verify", "--format", "json"]);
            assert_ne!(printed.code, 8, "replicas differ: {printed:?}");
            let answer: debros::types::admin::Verification = serde_json::from_str(&printed.out).ok()?;
            let verified = answer.hashes.iter().filter(|hash| hash.database == "_system").count();
            (printed.code == 0 && verified == nodes).then_some(())
        });
    }
}

/// A fresh directory for one test.
pub(crate) fn root() -> Arc<TempDir> {
    Arc::new(tempfile::Builder::new().prefix("debros-test-").tempdir().expect("a temporary directory"))
}
