//! The daemon: puts the parts of a role together, starts and stops them.
//!
//! One tokio runtime, one data directory. SIGTERM and SIGINT stop it in order; a second one ends it at once. When the
//! log or the state can no longer be trusted it stops acknowledging and exits with a code that says failure, and its
//! supervisor starts it again.

mod admin;
mod cluster_key;
mod dev;
mod directory;
mod environment;
mod gateway_role;
mod inbound;
mod listeners;
mod node;
mod open_files;
mod private;
mod start_error;

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use self::gateway_role::Gateway;
use self::node::{Leadership, Node};
use self::start_error::StartError;
use crate::config::Loaded;
use crate::types::{Exit, Role};

/// A local cluster for development.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevRequest {
    /// How many nodes.
    pub nodes: usize,
    /// Where their data lies; a temporary directory, removed at the end, when absent.
    pub data_dir: Option<PathBuf>,
}

/// Runs a daemon until it is told to stop. Logging is set up.
pub fn run(role: Role, loaded: Loaded, join: Option<String>) -> Exit {
    if let Err(error) = environment::ensure(loaded.config.data_dir()) {
        tracing::error!(%error, "cannot start in the environment that a daemon needs");
        return Exit::Failed;
    }
    on_runtime(async move {
        let started = match role {
            Role::Gateway => Gateway::start(&loaded.config, join.as_deref()).await.map(Daemon::Gateway),
            _ => Node::start(role, &loaded.config, join.as_deref()).await.map(|node| Daemon::Node(Box::new(node))),
        };
        match started {
            Ok(daemon) => daemon.run().await,
            Err(error) => {
                report(&error);
                Exit::Failed
            }
        }
    })
}

/// Runs a whole cluster in this process until Ctrl-C. `loaded` is what every node starts from; the ports are chosen.
pub fn run_dev(request: DevRequest, loaded: Loaded) -> Exit {
    // The nodes share the process and so the directory for temporary files: the first one's.
    if let Err(error) = environment::ensure(&dev::root(&request).join("node1")) {
        tracing::error!(%error, "cannot start in the environment that a daemon needs");
        return Exit::Failed;
    }
    on_runtime(dev::run(request, loaded))
}

/// How long threads may take that nobody waits for any more.
const THREADS_STOP_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Every daemon has one runtime.
fn on_runtime(future: impl Future<Output = Exit>) -> Exit {
    open_files::allow_many();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(future);
            // Whatever still runs on a thread (a long read, say) must not keep the process: its supervisor waits.
            runtime.shutdown_timeout(THREADS_STOP_MAX);
            exit
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            Exit::Failed
        }
    }
}

fn report(error: &StartError) {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let message = error.to_string();
    causes.retain(|cause| !message.contains(cause.as_str()));
    if causes.is_empty() {
        tracing::error!("{message}");
    } else {
        tracing::error!(causes = causes.join(": "), "{message}");
    }
}

enum Daemon {
    Node(Box<Node>),
    Gateway(Gateway),
}

impl Daemon {
    async fn run(self) -> Exit {
        let failure = tokio::select! {
            () = asked_to_stop() => None,
            reason = self.failed() => Some(reason),
        };
        match &failure {
            None => tracing::info!("stopping"),
            Some(reason) => tracing::error!(reason, "cannot go on; stopping"),
        }
        let clean = tokio::select! {
            clean = self.stop() => clean,
            () = asked_to_stop() => {
                tracing::warn!("asked to stop again; ending at once");
                false
            }
        };
        if failure.is_none() && clean { Exit::Ok } else { Exit::Failed }
    }

    async fn failed(&self) -> String {
        match self {
            Daemon::Node(node) => node.failed().await,
            Daemon::Gateway(_) => std::future::pending().await,
        }
    }

    async fn stop(self) -> bool {
        match self {
            Daemon::Node(node) => node.stop(Leadership::HandOver).await,
            Daemon::Gateway(gateway) => gateway.stop().await,
        }
    }
}

/// Returns at SIGTERM or SIGINT.
async fn asked_to_stop() {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        tracing::error!("signals cannot be received; stop this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
