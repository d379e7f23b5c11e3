//! `debros help` and `debros version`.

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::{self, Format};
use super::{CliError, Session};
use crate::types::{Exit, build};

/// Show which build this is.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "version", example = "debros version\ndebros version --format json")]
pub(super) struct Version {
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// `debros help [TOPIC]`: a command, or `exit-codes`. The parser keeps the word `help` to itself, so this is no command
/// of its.
pub(super) fn help(topic: &[String], session: &mut Session<'_>) -> Result<Exit, CliError> {
    if topic == ["exit-codes"] {
        let rows = Exit::ALL.iter();
        let rows: Vec<Vec<String>> =
            rows.map(|exit| vec![exit.code().to_string(), exit.name().to_owned(), exit.meaning().to_owned()]).collect();
        output::table(session.out, &["CODE", "NAME", "MEANING"], &rows)?;
        return Ok(Exit::Ok);
    }
    let args: Vec<String> = topic.iter().cloned().chain(["--help".to_owned()]).collect();
    Ok(super::run(&args, session))
}

impl Version {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let (version, commit, build_time) = (build::VERSION, build::COMMIT, build::BUILD_TIME);
        match self.format {
            Format::Json => {
                let answer = json!({"version": version, "commit": commit, "build_time": build_time});
                output::json(session.out, &answer)?;
            }
            Format::Table => {
                let commit = if commit.is_empty() { String::new() } else { format!(" (commit {commit})") };
                let built = if build_time.is_empty() { String::new() } else { format!(" built {build_time}") };
                writeln!(session.out, "debros {version}{commit}{built}")?;
            }
        }
        Ok(Exit::Ok)
    }
}
