//! `debros auth …`: what signs the users of the cluster in.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, TIMEOUT_DEFAULT, positive_duration};
use super::{CliError, Session};
use crate::types::Exit;
use crate::types::admin::{Done, Request};

/// What signs the users of the cluster in.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "auth", example = "debros auth rotate-signing-key")]
pub(super) struct Auth {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    RotateSigningKey(RotateSigningKey),
}

/// Sign access tokens with a new key from now on. Tokens of the key before are good until they expire; rotate twice to
/// end them at once. Debros does it by itself every 30 days.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "rotate-signing-key",
    example = "debros auth rotate-signing-key\ndebros auth rotate-signing-key --data-dir ./n1"
)]
struct RotateSigningKey {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

impl Auth {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let Verb::RotateSigningKey(RotateSigningKey { data_dir, timeout }) = self.verb;
        let Done {} = admin::ask(session, data_dir, timeout, &Request::SigningKeyRotate)?;
        writeln!(session.err, "access tokens are signed with a new key")?;
        Ok(Exit::Ok)
    }
}
