//! `debros namespace …`: the tenants of a cluster.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, TIMEOUT_DEFAULT, positive_duration};
use super::output::{self, Format};
use super::session::Assent;
use super::{CliError, Session};
use crate::types::admin::{Done, Namespaces, Request};
use crate::types::{Exit, Namespace};

/// The namespaces of the cluster: each has its own database, keys and topics.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "namespace", example = "debros namespace create chat\ndebros namespace list")]
pub(super) struct NamespaceCommand {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Drop(Drop),
}

/// Make a namespace.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "create", example = "debros namespace create chat\ndebros key create --namespace chat")]
struct Create {
    /// its name: a-z, 0-9, - and _
    #[argh(positional)]
    name: Namespace,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// List the namespaces and the size of their databases on this machine.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "list", example = "debros namespace list\ndebros namespace list --format json")]
struct List {
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Drop a namespace with all its data.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "drop", example = "debros namespace drop chat\ndebros namespace drop chat --yes")]
struct Drop {
    /// its name
    #[argh(positional)]
    name: Namespace,
    /// go on without a question
    #[argh(switch, short = 'y')]
    yes: bool,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

impl NamespaceCommand {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Create(Create { name, data_dir, timeout }) => {
                let request = Request::NamespaceCreate { name: name.clone() };
                let Done {} = admin::ask(session, data_dir, timeout, &request)?;
                writeln!(session.err, "created namespace {name}")?;
            }
            Verb::List(command) => command.run(session)?,
            Verb::Drop(Drop { name, yes, data_dir, timeout }) => {
                let loss = format!("namespace {name} goes with its database, its keys and its values, on every node");
                session.confirm(&loss, name.as_str(), Assent::from(yes))?;
                let request = Request::NamespaceDrop { name: name.clone() };
                let Done {} = admin::ask(session, data_dir, timeout, &request)?;
                writeln!(session.err, "dropped namespace {name}")?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl List {
    fn run(self, session: &mut Session<'_>) -> Result<(), CliError> {
        let mut answer: Namespaces = admin::ask(session, self.data_dir, self.timeout, &Request::NamespaceList)?;
        answer.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        match self.format {
            Format::Json => output::json(session.out, &answer)?,
            Format::Table => {
                let rows = answer.namespaces.iter();
                let rows: Vec<Vec<String>> =
                    rows.map(|report| vec![report.name.to_string(), report.database_bytes.to_string()]).collect();
                output::table(session.out, &["NAMESPACE", "BYTES"], &rows)?;
            }
        }
        Ok(())
    }
}
