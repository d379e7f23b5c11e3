//! A configuration as TOML, each key on one line, with its origin where that is asked for.
//!
//! Secrets cannot be shown: the types that hold them serialise without them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Config;
use super::origin::Origin;

/// Where each key's value came from, by `section.key`.
pub type Origins = BTreeMap<String, Origin>;

/// The configuration as TOML. With `origins`, each line ends in a comment that says who set it.
pub fn to_toml(config: &Config, origins: Option<&Origins>) -> String {
    let table = toml::Table::try_from(config).expect("every value of a configuration is a TOML value");
    let mut text = String::new();
    for (section, keys) in &table {
        let Some(keys) = keys.as_table() else { continue };
        let separator = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{separator}[{section}]").expect("writing to a String cannot fail");
        for (key, value) in keys {
            let origin = origins.and_then(|origins| origins.get(&format!("{section}.{key}")));
            let comment = origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
            writeln!(text, "{key} = {value}{comment}").expect("writing to a String cannot fail");
        }
    }
    text
}
