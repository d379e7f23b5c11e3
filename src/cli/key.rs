//! `debros key …`: the API keys that open a namespace.

use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::admin::{self, TIMEOUT_DEFAULT, positive_duration};
use super::output::{self, Format};
use super::{CliError, Session};
use crate::types::admin::{CreatedKey, Done, Keys, Request};
use crate::types::{Exit, Namespace, Scopes};

/// The API keys that open a namespace.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "key",
    example = "debros key create --namespace chat --expires 30d\ndebros key revoke < key.txt"
)]
pub(super) struct KeyCommand {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key and print it: the only time that it is shown.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "create",
    example = "debros key create --namespace chat\ndebros key create --namespace chat --expires 30d"
)]
struct Create {
    /// what it opens
    #[argh(option, arg_name = "name")]
    namespace: Namespace,
    /// what it may do, as a comma list: sql:read, sql:write, kv:read, kv:write, pubsub:subscribe, pubsub:publish, apps, admin [default: everything]
    #[argh(option, arg_name = "list")]
    scope: Option<Scopes>,
    /// what you call it
    #[argh(option, arg_name = "text", default = "String::new()")]
    label: String,
    /// how long it is good [default: until it is revoked]
    #[argh(option, arg_name = "duration", from_str_fn(positive_duration))]
    expires: Option<Duration>,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// table (the key alone) or json [default: table]
    #[argh(option, short = 'f', default = "Format::Table")]
    format: Format,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

/// List the keys of a namespace, without their text.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "list", example = "debros key list --namespace chat")]
struct List {
    /// which namespace
    #[argh(option, arg_name = "name")]
    namespace: Namespace,
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

/// End a key at once.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "revoke", example = "debros key revoke < key.txt\ndebros key revoke ak_...:chat")]
struct Revoke {
    /// the key [default: a line of standard input, which other users of the machine do not see]
    #[argh(positional)]
    key: Option<String>,
    /// data directory of the daemon to ask
    #[argh(option, arg_name = "dir")]
    data_dir: Option<PathBuf>,
    /// longest wait for the answer [default: 30s]
    #[argh(option, short = 't', default = "TIMEOUT_DEFAULT", from_str_fn(positive_duration))]
    timeout: Duration,
}

impl KeyCommand {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Create(command) => command.run(session),
            Verb::List(command) => command.run(session),
            Verb::Revoke(command) => command.run(session),
        }
    }
}

impl Create {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let request = Request::KeyCreate {
            namespace: self.namespace,
            scopes: self.scope.map(|scopes| scopes.to_string()),
            label: self.label,
            expires_seconds: self.expires.map(admin::seconds),
        };
        let created: CreatedKey = admin::ask(session, self.data_dir, self.timeout, &request)?;
        match self.format {
            Format::Json => output::json(session.out, &created)?,
            Format::Table => writeln!(session.out, "{}", created.key)?,
        }
        Ok(Exit::Ok)
    }
}

impl List {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let request = Request::KeyList { namespace: self.namespace };
        let answer: Keys = admin::ask(session, self.data_dir, self.timeout, &request)?;
        match self.format {
            Format::Json => output::json(session.out, &answer)?,
            Format::Table => {
                let time = |unix_ms: Option<i64>| {
                    let time = unix_ms.and_then(|unix_ms| jiff::Timestamp::from_millisecond(unix_ms).ok());
                    time.map_or_else(|| "never".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
                };
                let rows: Vec<Vec<String>> = answer
                    .keys
                    .into_iter()
                    .map(|key| {
                        let (created, expires) = (time(Some(key.created_unix_ms)), time(key.expires_unix_ms));
                        vec![key.id, key.label, key.scopes, key.created_by, created, expires]
                    })
                    .collect();
                output::table(session.out, &["ID", "LABEL", "SCOPES", "MADE BY", "MADE", "EXPIRES"], &rows)?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl Revoke {
    fn run(self, session: &mut Session<'_>) -> Result<Exit, CliError> {
        let mut key = self.key.unwrap_or_default();
        if key.is_empty() {
            session.input.read_line(&mut key)?;
        }
        let key = key.trim().to_owned();
        if key.is_empty() {
            return Err(CliError::new(Exit::Usage, "the key is empty"));
        }
        let Done {} = admin::ask(session, self.data_dir, self.timeout, &Request::KeyRevoke { key })?;
        writeln!(session.err, "revoked")?;
        Ok(Exit::Ok)
    }
}
