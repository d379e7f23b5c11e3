//! `debros health`: can this machine's daemon serve? For supervisors and containers, which have no HTTP client.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, positive_duration};
use super::output::{self, Format};
use super::{CliError, Session};
use crate::types::Exit;
use crate::types::admin::{self as answers, Request};

/// Longest wait: a daemon that takes longer to say that it is well is not.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Ask the daemon whether it can serve; exit code 0 when it can, 5 when not.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "health", example = "debros health\ndebros health --data-dir /data --quiet")]
pub(super) struct Health {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// print nothing, only exit
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 5s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

impl Health {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let health: answers::Health = match admin::ask(session, self.data_dir, self.timeout, &Request::Health) {
            Ok(health) => health,
            // Whatever keeps the daemon from answering, to a supervisor it is the same.
            Err(error) if self.quiet => return Ok(unavailable(&error)),
            Err(error) => return Err(CliError { exit: unavailable(&error), ..error }),
        };
        match self.format {
            _ if self.quiet => {}
            Format::Json => output::json(session.out, &health)?,
            Format::Table if health.ready => writeln!(session.out, "ready")?,
            Format::Table => writeln!(session.out, "not ready: {}", health.reasons.join(", "))?,
        }
        Ok(if health.ready { Exit::Ok } else { Exit::Unavailable })
    }
}

fn unavailable(error: &CliError) -> Exit {
    match error.exit {
        Exit::Timeout => Exit::Unavailable,
        exit => exit,
    }
}
