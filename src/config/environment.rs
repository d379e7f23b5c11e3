//! The environment layer: `DEBROS_SECTION__KEY`, and the names that variables had in the earlier system.
//!
//! A variable is read as what its key's default is: lists are separated by commas, booleans are the usual words. An
//! empty variable counts as unset, because compose files pass empty ones. `DEBROS_SECTION__KEY_FILE` names a file that
//! holds the value, so that secrets stay out of the environment.

use figment::value::Value;

use super::keys::{Keys, Meaning};
use super::load::{ConfigError, LoadRequest, Setting};
use super::origin::Origin;

const PREFIX: &str = "DEBROS_";

/// Older names. `LOG_LEVEL` is the one that everybody knows, so it is not deprecated. `RQLITE_NODES` is not here: it
/// tells clients where the database is.
const ALIASES: &[(&str, &str, Standing)] = &[
    ("LOG_LEVEL", "logging.level", Standing::Good),
    ("BOOTSTRAP_PEERS", "discovery.bootstrap_peers", Standing::Deprecated),
    ("DEBROS_BOOTSTRAP_PEERS", "discovery.bootstrap_peers", Standing::Deprecated),
    ("GATEWAY_ADDR", "gateway.listen_addr", Standing::Deprecated),
    ("GATEWAY_NAMESPACE", "gateway.namespace", Standing::Deprecated),
    ("GATEWAY_BOOTSTRAP_PEERS", "gateway.bootstrap_peers", Standing::Deprecated),
    ("GATEWAY_REQUIRE_AUTH", "gateway.require_auth", Standing::Deprecated),
    ("GATEWAY_API_KEYS", "gateway.api_keys", Standing::Deprecated),
];

/// Variables without a meaning here, and why.
const LOST: &[(&str, &str)] = &[
    ("NODE_ID", "a node is named by its peer id, which `node.key_file` holds"),
    ("NETWORK_DEV_LOCAL", "`debros dev` runs a local cluster"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Deprecated,
}

/// What the environment sets: older names first, so that the new ones win. Warnings go to `warnings`.
pub(super) fn read(
    request: &LoadRequest<'_>,
    keys: &Keys,
    warnings: &mut Vec<String>,
) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (name, key, standing) in ALIASES {
        let Some(text) = request.variable(name) else { continue };
        if *standing == Standing::Deprecated {
            warnings.push(format!("{name} is an older name of {}", variable_of(key)));
        }
        settings.push(setting(name, key, text, keys));
    }
    for (name, why) in LOST {
        if request.variable(name).is_some() {
            warnings.push(format!("{name} has no effect: {why} (from env {name})"));
        }
    }
    for (name, text) in request.env {
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")) else { continue };
        if text.is_empty() {
            continue;
        }
        let key = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
        match key.strip_suffix("_file") {
            Some(stem) if names_no_key(keys, &key) && !names_no_key(keys, stem) => {
                let path = request.working_dir.join(text);
                let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::UnreadableValue {
                    name: name.clone(),
                    path,
                    source,
                })?;
                settings.push(setting(name, stem, text.trim_end(), keys));
            }
            _ => settings.push(setting(name, &key, text, keys)),
        }
    }
    Ok(settings)
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replacen('.', "__", 1).to_ascii_uppercase())
}

fn names_no_key(keys: &Keys, key: &str) -> bool {
    matches!(keys.meaning(key), Meaning::Unknown(_))
}

fn setting(name: &str, key: &str, text: &str, keys: &Keys) -> Setting {
    Setting { key: key.to_owned(), value: typed(text, key, keys), origin: Origin::Env(name.to_owned()) }
}

/// A text as what the key's default is. What does not fit stays text, and its type is then refused by name.
pub(super) fn typed(text: &str, key: &str, keys: &Keys) -> Value {
    let key = match keys.meaning(key) {
        Meaning::Key(key) => key,
        _ => return Value::from(text),
    };
    match keys.default_of(&key) {
        Some(Value::Array(..)) => {
            let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.collect::<Vec<_>>())
        }
        Some(Value::Bool(..)) => boolean(text).map_or_else(|| Value::from(text), Value::from),
        Some(Value::Num(..)) => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Some(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}
