//! Putting the layers together: defaults, file, environment, flags.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use figment::value::Value;

use super::keys::{ENABLE_TLS, Keys, Meaning, SQL_PORT};
use super::origin::Origin;
use super::problem::Problem;
use super::show::Origins;
use super::{Config, HostPort, environment, file, keys, merge, paths};

/// Whose process this is: decides where data lies by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The superuser: data lies in `/var/lib/debros`.
    Root,
    /// Anybody else: data lies in the home directory.
    User,
}

/// A flag of the command line that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// The key, as `section.key`.
    pub key: &'static str,
    /// The values given; more than one only for keys that hold lists.
    pub values: Vec<String>,
}

/// Everything that loading looks at.
#[derive(Clone, Debug)]
pub struct LoadRequest<'a> {
    /// Flags that were given.
    pub flags: Vec<Flag>,
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// What relative paths are relative to.
    pub working_dir: PathBuf,
    /// Where `debros/debros.toml` of the machine is: `/etc`.
    pub system_dir: PathBuf,
    /// Whose process this is.
    pub account: Account,
}

impl LoadRequest<'_> {
    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A configuration and its story.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Valid, with absolute paths.
    pub config: Config,
    /// Where each key's value came from, by `section.key`.
    pub origins: Origins,
    /// What the operator should know: keys without effect, older names.
    pub warnings: Vec<String>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A variable names a file that cannot be read.
    #[error("cannot read {}, which {name} names", path.display())]
    UnreadableValue {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is neither TOML nor YAML.
    #[error("{} cannot be parsed: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// Values are wrong; every one of them is named.
    #[error("the configuration is not valid:{}", list(problems))]
    Invalid {
        /// All of them.
        problems: Vec<Problem>,
        /// What else the operator should know.
        warnings: Vec<String>,
    },
}

/// One line for each, indented.
fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// One value from one place.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Config {
    /// Loads the configuration: flags over environment over file over defaults.
    ///
    /// # Errors
    /// [`ConfigError`]; `Invalid` names every problem, not only the first.
    pub fn load(request: LoadRequest<'_>) -> Result<Loaded, ConfigError> {
        let keys = Keys::new();
        let mut warnings = Vec::new();
        let path = file::choose(&request);
        let mut settings = match &path {
            Some(path) => file::read(path, &keys)?,
            None => Vec::new(),
        };
        settings.extend(environment::read(&request, &keys, &mut warnings)?);
        settings.extend(request.flags.iter().map(|flag| from_flag(flag, &keys)));

        let mut problems = Vec::new();
        let settings = understand(settings, &keys, &mut problems, &mut warnings);
        let (mut config, origins) = merge::merge(settings, &keys, &mut problems);
        let refused: BTreeSet<String> = problems.iter().map(|problem| problem.key().to_owned()).collect();
        for problem in config.validate() {
            // The default that stands in for a refused value is not the operator's fault.
            if !refused.contains(problem.key()) {
                let origin = origins.get(problem.key()).cloned().unwrap_or(Origin::Default);
                problems.push(problem.origin(origin));
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError::Invalid { problems, warnings });
        }
        paths::make_absolute(&mut config, &request);
        Ok(Loaded { config, origins, warnings, file: path })
    }
}

fn from_flag(flag: &Flag, keys: &Keys) -> Setting {
    let origin = Origin::Flag(flag.name.to_owned());
    let value = match (keys.default_of(flag.key), flag.values.as_slice()) {
        (Some(Value::Array(..)), values) => Value::from(values.to_vec()),
        (_, [.., last]) => environment::typed(last, flag.key, keys),
        (_, []) => Value::from(""),
    };
    Setting { key: flag.key.to_owned(), value, origin }
}

/// Turns other names into the keys of [`Config`]; what cannot be turned becomes a problem or a warning.
fn understand(
    settings: Vec<Setting>,
    keys: &Keys,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Setting> {
    let mut understood: Vec<Setting> = Vec::new();
    for setting in settings {
        match keys.meaning(&setting.key) {
            Meaning::Key(key) => understood.push(Setting { key, ..setting }),
            Meaning::SqlPort => match with_sql_port(&setting, &understood) {
                Ok(address) => understood.push(address),
                Err(problem) => problems.push(problem),
            },
            Meaning::Lost(lost) if lost.key == ENABLE_TLS && setting.value.to_bool_lossy() == Some(true) => {
                let problem = Problem::new(ENABLE_TLS, "debros does not end TLS itself");
                problems.push(
                    problem
                        .hint("put a TLS proxy in front of gateway.listen_addr and remove this key")
                        .origin(setting.origin),
                );
            }
            Meaning::Lost(lost) => warnings.push(lost.warning(&setting.origin)),
            Meaning::Unknown(suggestion) => problems.push(keys::unknown(&setting.key, suggestion, &setting.origin)),
        }
    }
    understood
}

/// `rqlite_port = N` is the SQL address set so far with another port. `sql_addr` in the same place wins: it comes later.
fn with_sql_port(setting: &Setting, understood: &[Setting]) -> Result<Setting, Problem> {
    let port = match &setting.value {
        Value::String(_, text) => text.parse::<u16>().ok(),
        value => integer(value).and_then(|number| u16::try_from(number).ok()),
    };
    let Some(port) = port.filter(|port| *port != 0) else {
        let got = plain(&setting.value);
        let problem = Problem::new(SQL_PORT, format!("must be between 1 and 65535; got {got}"));
        return Err(problem.origin(setting.origin.clone()));
    };
    let set_so_far = understood.iter().rev().find(|earlier| earlier.key == "database.sql_addr");
    let address = set_so_far
        .and_then(|earlier| earlier.value.as_str()?.parse::<HostPort>().ok())
        .unwrap_or_else(|| Config::default().database.sql_addr);
    let address = HostPort::new(address.host(), port);
    Ok(Setting {
        key: "database.sql_addr".to_owned(),
        value: Value::from(address.to_string()),
        origin: setting.origin.clone(),
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{text}\""),
        value => integer(value).map_or_else(|| value.to_actual().to_string(), |number| number.to_string()),
    }
}

/// The integer in a value; TOML's are signed, YAML's are not.
pub(super) fn integer(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| i128::try_from(value.to_u128()?).ok())
}

/// Asks the system whose process this is; without `/proc` the environment has to tell.
pub fn account_of_this_process(env: &BTreeMap<String, String>) -> Account {
    use std::os::unix::fs::MetadataExt;
    let is_root = match std::fs::metadata(Path::new("/proc/self")) {
        Ok(process) => process.uid() == 0,
        Err(_) => env.get("USER").is_some_and(|user| user == "root"),
    };
    if is_root { Account::Root } else { Account::User }
}
