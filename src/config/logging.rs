//! `[logging]`: what the process tells about itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Problems};
use super::units;
use crate::telemetry::{Colour, LogFormat, Telemetry};

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// What the process tells about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// `debug`, `info`, `warn` or `error`, or directives per module as in `info,debros::raft=debug`. `info` tells
    /// changes of state, `debug` each request.
    pub level: String,
    /// `console` for people, `json` for collectors.
    pub format: LogFormat,
    /// A file to append to; `file` is accepted as another name. Empty means standard error, which journald and
    /// container runtimes keep and rotate.
    #[serde(with = "units::unset")]
    pub output_file: Option<PathBuf>,
}

impl Default for LoggingConfig {
    fn default() -> LoggingConfig {
        LoggingConfig { level: "info".to_owned(), format: LogFormat::Console, output_file: None }
    }
}

impl LoggingConfig {
    /// The same for [`crate::telemetry::init`].
    pub fn telemetry(&self, colour: Colour) -> Telemetry<'_> {
        Telemetry { filter: &self.level, format: self.format, output_file: self.output_file.as_deref(), colour }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let known = |level: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level.trim()));
        let is_directive = |directive: &str| match directive.rsplit_once('=') {
            Some((target, level)) => !target.trim().is_empty() && known(level),
            None => known(directive),
        };
        if !self.level.split(',').all(is_directive) {
            problems
                .add(Problem::new("logging.level", format!("invalid value \"{}\"", self.level)).hint(
                    "allowed values: debug, info, warn, error, trace, off, and module=level separated by commas",
                ));
        }
    }
}
