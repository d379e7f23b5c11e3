//! The file layer: which file is read, and how its text becomes settings.

use std::path::{Path, PathBuf};

use figment::Provider;
use figment::providers::{Format, Toml, Yaml};
use figment::value::{Dict, Value};

use super::keys::{Keys, Meaning};
use super::load::{ConfigError, LoadRequest, Setting, integer};
use super::origin::Origin;
use super::units;

/// The file to read: the one that was named, else the first that exists of the usual places.
pub(super) fn choose(request: &LoadRequest<'_>) -> Option<PathBuf> {
    let named = request.file.clone().or_else(|| request.variable("DEBROS_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        return Some(request.working_dir.join(path));
    }
    let user_dir = match request.variable("XDG_CONFIG_HOME") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => request.variable("HOME").map(|home| Path::new(home).join(".config")),
    };
    let places = [
        Some(request.working_dir.join("debros.toml")),
        user_dir.map(|dir| dir.join("debros/debros.toml")),
        Some(request.system_dir.join("debros/debros.toml")),
    ];
    places.into_iter().flatten().find(|path| path.is_file())
}

/// Reads a file into settings, in the order of their keys.
pub(super) fn read(path: &Path, keys: &Keys) -> Result<Vec<Setting>, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let syntax = |error: figment::Error| ConfigError::Syntax { path: path.to_owned(), message: error.kind.to_string() };
    let is_yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
    let data = if is_yaml && text.trim().is_empty() {
        Ok(figment::value::Map::new())
    } else if is_yaml {
        Yaml::string(&text).data()
    } else {
        Toml::string(&text).data()
    };
    let document = data.map_err(syntax)?.into_values().next().unwrap_or_default();
    let origin = Origin::File(path.to_owned());
    let mut settings = flatten(document, keys, &origin);
    if is_yaml {
        for setting in &mut settings {
            integer_nanoseconds(setting, keys);
        }
    }
    Ok(settings)
}

/// `section.key` for each value. A file of the earlier gateway has no sections: its keys belong to `[gateway]`.
fn flatten(document: Dict, keys: &Keys, origin: &Origin) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in document {
        match value {
            Value::Dict(_, section) => settings.extend(section.into_iter().map(|(key, value)| Setting {
                key: format!("{name}.{key}"),
                value,
                origin: origin.clone(),
            })),
            // `node:` without a body, as YAML files with everything commented out have it.
            Value::Empty(..) => {}
            value => {
                let in_gateway = format!("gateway.{name}");
                let is_gateways = !matches!(keys.meaning(&in_gateway), Meaning::Unknown(_));
                let key = if is_gateways { in_gateway } else { name };
                settings.push(Setting { key, value, origin: origin.clone() });
            }
        }
    }
    settings
}

/// Upstream's YAML writes durations as integers of nanoseconds. TOML files never did, so there a bare number is an error.
fn integer_nanoseconds(setting: &mut Setting, keys: &Keys) {
    let is_duration = keys
        .default_of(&setting.key)
        .and_then(Value::as_str)
        .is_some_and(|default| units::parse_duration(default).is_ok());
    if let (true, Some(nanos)) = (is_duration, integer(&setting.value)) {
        setting.value = Value::from(format!("{nanos}ns"));
    }
}
