//! The daemon: puts the parts of a role together, starts and stops them. Not built yet: both entries say so.

use std::path::PathBuf;

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
    tracing::error!(%role, data_dir = %loaded.config.data_dir().display(), joins = join.is_some(), "not built yet");
    Exit::Failed
}

/// Runs a whole cluster in this process until Ctrl-C. `loaded` is what every node starts from; the ports are chosen.
pub fn run_dev(request: DevRequest, loaded: Loaded) -> Exit {
    tracing::error!(nodes = request.nodes, level = loaded.config.logging.level, "not built yet");
    Exit::Failed
}
