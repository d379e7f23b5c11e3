//! What the process tells about itself: the log, and the last words of a panic.
//!
//! Standard output belongs to data, so the log goes to standard error or to a file. A panic anywhere is a broken
//! invariant: it is logged with its place and the process aborts, since half a process that holds a vote is worse than
//! none; the supervisor starts it again.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people, coloured on a terminal.
    #[default]
    Console,
    /// One JSON object per line, for collectors.
    Json,
}

/// Whether a console line may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Colour {
    /// On a terminal.
    #[default]
    Auto,
    /// Nowhere: `NO_COLOR` is set.
    Never,
}

/// What to log, how and where.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry<'a> {
    /// A level, or `target=level` directives separated by commas.
    pub filter: &'a str,
    /// The look of a line.
    pub format: LogFormat,
    /// A file to append to; standard error when absent.
    pub output_file: Option<&'a Path>,
    /// Colours on standard error; a file never has any.
    pub colour: Colour,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is no filter.
    #[error("log level `{filter}` is not understood: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot open log file {}", path.display())]
    OutputFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else set up logging in this process.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Starts logging for the whole process. Call it once, first thing in a role.
///
/// # Errors
/// [`TelemetryError`]; nothing is changed then.
pub fn init(telemetry: Telemetry<'_>) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(directives(telemetry.filter))
        .map_err(|error| TelemetryError::Filter { filter: telemetry.filter.to_owned(), reason: error.to_string() })?;
    let coloured = telemetry.colour == Colour::Auto && telemetry.output_file.is_none() && io::stderr().is_terminal();
    let writer = match telemetry.output_file {
        Some(path) => BoxMakeWriter::new(Mutex::new(open_for_append(path)?)),
        None => BoxMakeWriter::new(io::stderr),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(coloured);
    let set = match telemetry.format {
        LogFormat::Console => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    set.map_err(|_| TelemetryError::AlreadySet)
}

/// A bare level is about debros; the libraries below it then speak only of errors, and openraft not even of those: what
/// it tells its caller it also logs, and once is enough. Whoever wants more says so with directives
/// (`info,openraft=debug`).
fn directives(filter: &str) -> String {
    match filter.parse::<tracing::Level>() {
        Ok(level) => format!("error,openraft=off,debros={level}"),
        Err(_) => filter.to_owned(),
    }
}

/// Makes every panic a logged abort.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(message, place, thread, %backtrace, "panic: a bug, the process aborts");
        } else {
            eprintln!("panic: {message} at {place} in thread {thread}\n{backtrace}");
        }
        std::process::abort();
    }));
}

/// Opens for append, so that a rotation by copy and truncate loses nothing.
fn open_for_append(path: &Path) -> Result<File, TelemetryError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| TelemetryError::OutputFile { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_is_appended_to() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("debros.log");
        for line in ["one\n", "two\n"] {
            io::Write::write_all(&mut open_for_append(&path).expect("opens"), line.as_bytes()).expect("writes");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "one\ntwo\n");
    }

    #[test]
    fn what_cannot_be_set_up_is_named() {
        let missing = Path::new("/nonexistent/debros.log");
        let telemetry =
            Telemetry { filter: "info", format: LogFormat::Json, output_file: Some(missing), colour: Colour::Auto };
        let error = init(telemetry).expect_err("no such directory");
        assert_eq!(error.to_string(), "cannot open log file /nonexistent/debros.log");
        let telemetry =
            Telemetry { filter: "debros=loud", format: LogFormat::Console, output_file: None, colour: Colour::Auto };
        assert!(matches!(init(telemetry), Err(TelemetryError::Filter { .. })));
    }
}
