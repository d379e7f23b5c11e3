//! The client of a running daemon's admin socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{CliError, Session};
use crate::config::{format_duration, parse_duration};
use crate::types::Exit;
use crate::types::admin::{FailureCode, LINE_BYTES_MAX, Reply, Request, SOCKET_NAME};

/// Longest wait for an answer when none is given: a daemon that waits for a leader gives up before.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Asks the daemon of a data directory: one connection, one line each way.
pub(super) fn ask<T: DeserializeOwned>(
    session: &Session<'_>,
    data_dir: Option<PathBuf>,
    timeout: Duration,
    request: &Request,
) -> Result<T, CliError> {
    let data_dir = session.data_dir(data_dir)?;
    let failed = |error: io::Error| explain(&error, &data_dir, timeout);
    let mut socket = UnixStream::connect(data_dir.join(SOCKET_NAME)).map_err(failed)?;
    socket.set_read_timeout(Some(timeout)).map_err(failed)?;
    socket.set_write_timeout(Some(timeout)).map_err(failed)?;
    let mut line = serde_json::to_string(request).expect("a request holds only text and numbers");
    line.push('\n');
    socket.write_all(line.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(socket.take(LINE_BYTES_MAX)).read_line(&mut answer).map_err(failed)?;
    understand(&answer)
}

fn understand<T: DeserializeOwned>(line: &str) -> Result<T, CliError> {
    if !line.ends_with('\n') {
        let error = CliError::new(Exit::Unavailable, "the daemon ended before it answered; the outcome is unknown");
        return Err(error.hint("look at its log"));
    }
    let strange = |error: serde_json::Error| {
        let error = CliError::new(Exit::Failed, format!("the daemon's answer is not understood: {error}"));
        error.hint("is the daemon of another version? restart it with this one")
    };
    match serde_json::from_str(line).map_err(strange)? {
        Reply::Ok(value) => serde_json::from_value(value).map_err(strange),
        Reply::Error(failure) => {
            let exit = match failure.code {
                FailureCode::Invalid => Exit::Usage,
                FailureCode::NotFound => Exit::NotFound,
                FailureCode::Unavailable => Exit::Unavailable,
                FailureCode::Conflict => Exit::Conflict,
                FailureCode::Timeout => Exit::Timeout,
                FailureCode::Failed => Exit::Failed,
            };
            Err(CliError { exit, message: failure.message, hint: failure.hint })
        }
    }
}

fn explain(error: &io::Error, data_dir: &Path, timeout: Duration) -> CliError {
    let dir = data_dir.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
            CliError::new(Exit::Unavailable, format!("no debros daemon is running in {dir}"))
                .hint(format!("start one with `debros bootstrap --data-dir {dir}`, or name another with --data-dir"))
        }
        io::ErrorKind::PermissionDenied => {
            CliError::new(Exit::Auth, format!("permission denied for {dir}/{SOCKET_NAME}"))
                .hint("run the command as the user that the daemon runs as")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let after = format_duration(timeout);
            CliError::new(Exit::Timeout, format!("the daemon in {dir} did not answer within {after}"))
                .hint("give it longer with --timeout, or look at its log")
        }
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            CliError::new(Exit::Unavailable, format!("the daemon in {dir} ended while it was asked"))
                .hint("look at its log")
        }
        io::ErrorKind::InvalidInput => {
            CliError::new(Exit::Failed, format!("the path {dir}/{SOCKET_NAME} is too long for a socket"))
                .hint("choose a data directory with a path shorter than 90 bytes")
        }
        _ => CliError::new(Exit::Failed, format!("cannot talk to the daemon in {dir}: {error}")),
    }
}

/// Reads a duration of a flag that must not be zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be > 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Whole seconds, at least one.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}
