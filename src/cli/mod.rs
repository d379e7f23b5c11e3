//! The command line: one file per noun. Here is what an operator types and reads; nothing is decided.
//!
//! Data goes to standard output, talk to standard error. Every failure ends in an [`Exit`] of the published list and,
//! where there is one, in a next step.

mod admin;
mod argv;
mod auth;
mod bench;
mod cluster;
mod config;
mod dev;
mod failure;
mod health;
mod help;
mod key;
mod namespace;
mod output;
mod roles;
mod session;

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

pub use failure::CliError;
pub use session::{Session, Terminal};

use crate::types::Exit;

/// Replicated SQLite, key-value, pub/sub and an HTTP gateway in one binary.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    example = "debros bootstrap\ndebros cluster invite\ndebros node --join TOKEN",
    note = "`debros help exit-codes` lists what the exit codes mean."
)]
struct Debros {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Command {
    Bootstrap(roles::Bootstrap),
    Node(roles::Node),
    Gateway(roles::Gateway),
    Dev(dev::Dev),
    Bench(bench::Bench),
    Cluster(cluster::Cluster),
    Namespace(namespace::NamespaceCommand),
    Key(key::KeyCommand),
    Auth(auth::Auth),
    Config(config::ConfigCommand),
    Health(health::Health),
    Version(help::Version),
}

/// The `debros` command of this process.
pub fn main() -> ExitCode {
    let mut process = session::Process::new();
    run(&process.args(), &mut process.session()).into()
}

/// Runs one command line (without the program's name).
pub fn run(args: &[String], session: &mut Session<'_>) -> Exit {
    let result = match args.split_first() {
        Some((first, topic)) if first == "help" => help::help(topic, session),
        _ => argv::normalise(args, &Debros::get_args_info()).and_then(|args| parse_and_run(&args, session)),
    };
    match result {
        Ok(exit) => exit,
        Err(error) => error.report(output::wanted(args), session),
    }
}

fn parse_and_run(args: &[String], session: &mut Session<'_>) -> Result<Exit, CliError> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match Debros::from_args(&["debros"], &words) {
        Ok(debros) => debros.command.run(session),
        Err(argh::EarlyExit { output, status: Ok(()) }) => {
            session.out.write_all(output.as_bytes())?;
            Ok(Exit::Ok)
        }
        Err(argh::EarlyExit { output, status: Err(()) }) => Err(argv::refused(&output, args, &Debros::get_args_info())),
    }
}

impl Command {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self {
            Command::Bootstrap(command) => command.run(session),
            Command::Node(command) => command.run(session),
            Command::Gateway(command) => command.run(session),
            Command::Dev(command) => command.run(session),
            Command::Bench(command) => command.run(session),
            Command::Cluster(command) => command.run(session),
            Command::Namespace(command) => command.run(session),
            Command::Key(command) => command.run(session),
            Command::Auth(command) => command.run(session),
            Command::Config(command) => command.run(session),
            Command::Health(command) => command.run(session),
            Command::Version(command) => command.run(session),
        }
    }
}

#[cfg(test)]
mod tests;
