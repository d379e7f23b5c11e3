//! How a command fails: what happened, what to do about it, and the exit code.

use std::io;

use serde_json::json;

use super::output::Format;
use super::session::Session;
use crate::config::ConfigError;
use crate::telemetry::TelemetryError;
use crate::types::Exit;

/// A command that failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> CliError {
        CliError { exit, message: message.into(), hint: None }
    }

    /// The same with its remedy.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> CliError {
        CliError { hint: Some(hint.into()), ..self }
    }

    /// Tells the failure, as text or as one JSON object.
    pub(super) fn report(&self, format: Format, session: &mut Session<'_>) -> Exit {
        // Nobody reads on: that is what `debros … | head` looks like, and no failure.
        if self.exit == Exit::Ok {
            return self.exit;
        }
        let text = match (format, &self.hint) {
            (Format::Json, hint) => format!(
                "{}\n",
                json!({"error": self.message, "code": self.exit.name(), "hint": hint, "exit_code": self.exit.code()})
            ),
            (Format::Table, Some(hint)) => format!("error: {}\nhint: {hint}\n", self.message),
            (Format::Table, None) => format!("error: {}\n", self.message),
        };
        // When even standard error is gone, the exit code still tells.
        session.err.write_all(text.as_bytes()).ok();
        self.exit
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::new(Exit::Ok, "nobody reads the output"),
            _ => CliError::new(Exit::Failed, format!("cannot write the output: {error}")),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        let hint = match &error {
            ConfigError::Invalid { .. } => "`debros config check` looks again, `debros config init` prints every key",
            ConfigError::Syntax { .. } => "`debros config init` prints a valid file",
            ConfigError::Unreadable { .. } | ConfigError::UnreadableValue { .. } => {
                "check the path and who may read it"
            }
        };
        CliError::new(Exit::Failed, with_source(&error)).hint(hint)
    }
}

impl From<TelemetryError> for CliError {
    fn from(error: TelemetryError) -> CliError {
        CliError::new(Exit::Failed, with_source(&error))
    }
}

/// `message: source`.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
