//! What a command may touch of the process around it. Tests put their own in.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use super::CliError;
use crate::config::{Account, Config, Flag, LoadRequest, Loaded, account_of_this_process};
use crate::telemetry::Colour;
use crate::types::Exit;

/// Whether somebody can answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// A person sits there.
    Person,
    /// A script: questions are answered by flags.
    Script,
}

/// The surroundings of a command.
pub struct Session<'a> {
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// What relative paths are relative to.
    pub working_dir: PathBuf,
    /// Where the machine's `debros/debros.toml` is.
    pub system_dir: PathBuf,
    /// Whose process this is.
    pub account: Account,
    /// For data.
    pub out: &'a mut dyn Write,
    /// For talk.
    pub err: &'a mut dyn Write,
    /// For answers.
    pub input: &'a mut dyn BufRead,
    /// Whether there are answers.
    pub terminal: Terminal,
}

impl Session<'_> {
    /// Loads the configuration and tells its warnings.
    pub(super) fn load(&mut self, file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Loaded, CliError> {
        let loaded = Config::load(self.request(file, flags))?;
        for warning in &loaded.warnings {
            writeln!(self.err, "warning: {warning}")?;
        }
        Ok(loaded)
    }

    pub(super) fn request(&self, file: Option<PathBuf>, flags: Vec<Flag>) -> LoadRequest<'_> {
        LoadRequest {
            flags,
            env: self.env,
            file,
            working_dir: self.working_dir.clone(),
            system_dir: self.system_dir.clone(),
            account: self.account,
        }
    }

    /// The data directory of the daemon to talk to: the one that was named, else the configured one. Warnings about the
    /// configuration are the daemon's to tell.
    pub(super) fn data_dir(&self, named: Option<PathBuf>) -> Result<PathBuf, CliError> {
        match named {
            Some(dir) => Ok(self.working_dir.join(dir)),
            None => Ok(Config::load(self.request(None, Vec::new()))?.config.data_dir().to_owned()),
        }
    }

    /// Asks for `name` to be typed before `loss` happens.
    pub(super) fn confirm(&mut self, loss: &str, name: &str, assent: Assent) -> Result<(), CliError> {
        if assent == Assent::Given {
            return Ok(());
        }
        writeln!(self.err, "{loss}")?;
        let declined = || CliError::new(Exit::Declined, format!("`{name}` was not confirmed"));
        if self.terminal == Terminal::Script {
            return Err(declined().hint("pass --yes to go on without a question"));
        }
        write!(self.err, "type {name} to go on: ")?;
        self.err.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        if answer.trim() == name { Ok(()) } else { Err(declined()) }
    }

    /// Whether log lines may be coloured.
    pub(super) fn colour(&self) -> Colour {
        match self.env.get("NO_COLOR") {
            Some(value) if !value.is_empty() => Colour::Never,
            _ => Colour::Auto,
        }
    }
}

/// Whether the operator has agreed on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assent {
    /// With `--yes`.
    Given,
    /// Not yet.
    Needed,
}

impl From<bool> for Assent {
    fn from(yes: bool) -> Assent {
        if yes { Assent::Given } else { Assent::Needed }
    }
}

/// This process, as a session.
pub(super) struct Process {
    env: BTreeMap<String, String>,
    out: io::Stdout,
    err: io::Stderr,
    input: io::StdinLock<'static>,
}

impl Process {
    pub(super) fn new() -> Process {
        // Variables that are no text cannot be ours.
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Process { env: env.collect(), out: io::stdout(), err: io::stderr(), input: io::stdin().lock() }
    }

    /// The arguments without the program's name. What is no text is replaced, and then refused where it matters.
    pub(super) fn args(&self) -> Vec<String> {
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    pub(super) fn session(&mut self) -> Session<'_> {
        let is_person = io::stdin().is_terminal() && self.err.is_terminal();
        Session {
            account: account_of_this_process(&self.env),
            env: &self.env,
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            system_dir: PathBuf::from("/etc"),
            out: &mut self.out,
            err: &mut self.err,
            input: &mut self.input,
            terminal: if is_person { Terminal::Person } else { Terminal::Script },
        }
    }
}
