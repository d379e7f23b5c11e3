//! `debros namespace …`: the tenants of a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, TIMEOUT_DEFAULT, positive_duration};
use super::output::{self, Format};
use super::session::Assent;
use super::{CliError, Session};
use crate::types::admin::{Done, Migrated, Namespaces, Request, SqlFile};
use crate::types::{AccessRole, Exit, Namespace};

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
    Member(SetMember),
    Migrate(Migrate),
    Drop(Drop),
}

/// Make a namespace.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "create", example = "debros namespace create chat\ndebros key create --namespace chat")]
struct Create {
    /// its name: a-z, 0-9, - and _
    #[argh(positional)]
    name: Namespace,
    /// the wallet that owns it (0x… or a Solana address) [default: nobody but the operator]
    #[argh(option, arg_name = "wallet")]
    owner: Option<String>,
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

/// Take a wallet into a namespace, or change what it may do there.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "member",
    example = "debros namespace member chat 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 --role writer"
)]
struct SetMember {
    /// the namespace
    #[argh(positional)]
    name: Namespace,
    /// the wallet: 0x… or a Solana address
    #[argh(positional)]
    wallet: String,
    /// owner, admin, writer or reader
    #[argh(option, arg_name = "role")]
    role: AccessRole,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// Bring a namespace's schema up to date: apply the files NNN_name.sql of a directory that are not applied yet, each as
/// one transaction. `schema_migrations` in the database keeps what was.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "migrate", example = "debros namespace migrate chat migrations/")]
struct Migrate {
    /// the namespace
    #[argh(positional)]
    name: Namespace,
    /// where the files are
    #[argh(positional)]
    directory: PathBuf,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
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
            Verb::Create(Create { name, owner, data_dir, timeout }) => {
                let request = Request::NamespaceCreate { name: name.clone(), owner };
                let Done {} = admin::ask(session, data_dir, timeout, &request)?;
                writeln!(session.err, "created namespace {name}")?;
            }
            Verb::List(command) => command.run(session)?,
            Verb::Member(SetMember { name, wallet, role, data_dir, timeout }) => {
                let request = Request::MemberSet { namespace: name.clone(), wallet, role: role.to_string() };
                let Done {} = admin::ask(session, data_dir, timeout, &request)?;
                writeln!(session.err, "{role} of namespace {name}")?;
            }
            Verb::Migrate(command) => command.run(session)?,
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

impl Migrate {
    fn run(self, session: &mut Session<'_>) -> Result<(), CliError> {
        let files = sql_files(&self.directory)?;
        if files.is_empty() {
            let message = format!("{} has no file that ends in .sql", self.directory.display());
            return Err(CliError::new(Exit::Usage, message));
        }
        let request = Request::NamespaceMigrate { name: self.name, files };
        let Migrated { applied } = admin::ask(session, self.data_dir, self.timeout, &request)?;
        for file in &applied {
            writeln!(session.out, "{file}")?;
        }
        if applied.is_empty() {
            writeln!(session.err, "nothing to do")?;
        }
        Ok(())
    }
}

/// The files of a directory that end in `.sql`, in the order of their names.
fn sql_files(directory: &Path) -> Result<Vec<SqlFile>, CliError> {
    let failed =
        |path: &Path, error: std::io::Error| CliError::new(Exit::Failed, format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push(SqlFile { name, sql: std::fs::read_to_string(&path).map_err(|error| failed(&path, error))? });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
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
