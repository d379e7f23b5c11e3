//! Why there is nothing to report.

use std::io;
use std::path::PathBuf;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The loader's own thread.
    #[error("cannot start the loader: {0}")]
    Runtime(#[source] io::Error),
    /// The data directory.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection to the listener.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Of the listener.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A connection that was refused after it was made.
    #[error("{address}: {reason}")]
    Socket {
        /// Of the listener.
        address: String,
        /// What it said.
        reason: String,
    },
    /// What is read could not be made.
    #[error("what the requests need could not be made: {0}")]
    Prepare(String),
    /// The API key was not exchanged.
    #[error("no access token for the API key: {0}")]
    Token(String),
    /// A node, the echo or a question to a node.
    #[error("`{command}` failed: {reason}")]
    Process {
        /// What was run.
        command: String,
        /// Its last words.
        reason: String,
    },
    /// Told to stop.
    #[error("interrupted")]
    Interrupted,
}
