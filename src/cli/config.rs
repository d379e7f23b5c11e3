//! `debros config …`: what the configuration is, where it came from, and what is wrong with it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use serde_json::json;

use super::output::{self, Format};
use super::{CliError, Session};
use crate::config::{Config, ConfigError, Problem, SHIPPED, problems_of_paths, to_toml};
use crate::types::Exit;

/// What the configuration is, where it came from, and what is wrong with it.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "config", example = "debros config check\ndebros config show --origin")]
pub(super) struct ConfigCommand {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Check(Check),
    Show(Show),
    Init(Init),
}

/// Name everything that is wrong; exit code 8 when something is.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "check", example = "debros config check\ndebros config check --config ./debros.toml")]
struct Check {
    /// configuration file [default: the one that a daemon would read]
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// Print every value as TOML, without secrets.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "show", example = "debros config show\ndebros config show --origin")]
struct Show {
    /// say behind each value who set it: default, file, env or flag
    #[argh(switch)]
    origin: bool,
    /// configuration file [default: the one that a daemon would read]
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// table (TOML) or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
}

/// Print a configuration file with every key explained, or write it; an existing file is never overwritten.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "init", example = "debros config init\ndebros config init --path /etc/debros/debros.toml")]
struct Init {
    /// file to write [default: standard output]
    #[argh(option, arg_name = "file")]
    path: Option<PathBuf>,
}

impl ConfigCommand {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Check(command) => command.run(session),
            Verb::Show(command) => command.run(session),
            Verb::Init(command) => command.run(session),
        }
    }
}

impl Check {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let (file, problems, warnings) = match Config::load(session.request(self.config, Vec::new())) {
            Ok(loaded) => (loaded.file, problems_of_paths(&loaded.config), loaded.warnings),
            Err(ConfigError::Invalid { problems, warnings }) => (None, problems, warnings),
            Err(error @ ConfigError::Syntax { .. }) => {
                return Err(CliError { exit: Exit::ProblemsFound, ..CliError::from(error) });
            }
            Err(error) => return Err(error.into()),
        };
        match self.format {
            Format::Json => {
                let problem_json = |problem: &Problem| {
                    json!({
                        "path": problem.path,
                        "message": problem.message,
                        "hint": problem.hint,
                        "origin": problem.origin.as_ref().map(ToString::to_string),
                    })
                };
                let problem_list: Vec<_> = problems.iter().map(problem_json).collect();
                let answer =
                    json!({"valid": problems.is_empty(), "file": file, "problems": problem_list, "warnings": warnings});
                output::json(session.out, &answer)?;
            }
            Format::Table => {
                for problem in &problems {
                    writeln!(session.out, "error: {problem}")?;
                }
                for warning in &warnings {
                    writeln!(session.out, "warning: {warning}")?;
                }
                if problems.is_empty() {
                    let source = file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
                    writeln!(session.out, "valid: {source}")?;
                }
            }
        }
        Ok(if problems.is_empty() { Exit::Ok } else { Exit::ProblemsFound })
    }
}

impl Show {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let loaded = session.load(self.config, Vec::new())?;
        match self.format {
            Format::Table => {
                let origins = self.origin.then_some(&loaded.origins);
                write!(session.out, "{}", to_toml(&loaded.config, origins))?;
            }
            Format::Json if self.origin => {
                let origins: serde_json::Map<_, _> =
                    loaded.origins.iter().map(|(key, origin)| (key.clone(), json!(origin.to_string()))).collect();
                output::json(session.out, &json!({"config": loaded.config, "origins": origins}))?;
            }
            Format::Json => output::json(session.out, &loaded.config)?,
        }
        Ok(Exit::Ok)
    }
}

impl Init {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let Some(path) = self.path else {
            session.out.write_all(SHIPPED.as_bytes())?;
            return Ok(Exit::Ok);
        };
        let path = session.working_dir.join(path);
        let written = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| {
            file.write_all(SHIPPED.as_bytes())?;
            file.sync_all()
        });
        match written {
            Ok(()) => {
                writeln!(session.err, "wrote {}", path.display())?;
                Ok(Exit::Ok)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let message = format!("{} exists and is not overwritten", path.display());
                Err(CliError::new(Exit::Conflict, message).hint("choose another --path, or move the file away"))
            }
            Err(error) => Err(CliError::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))),
        }
    }
}
