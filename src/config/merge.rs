//! Merging settings over the defaults, with every wrong type found at once.

use std::collections::BTreeMap;

use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;
use super::keys::Keys;
use super::load::Setting;
use super::origin::Origin;
use super::problem::Problem;
use super::show::Origins;

/// The key that holds secrets.
const SECRETS: &str = "gateway.api_keys";

/// Merges the settings over the defaults. A value of the wrong type becomes a problem and is taken out, until the rest
/// makes a configuration: that is how every problem is found at once.
pub(super) fn merge(mut settings: Vec<Setting>, keys: &Keys, problems: &mut Vec<Problem>) -> (Config, Origins) {
    let mut taken_out: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        for setting in &settings {
            figment = figment.merge(setting);
        }
        let error = match figment.extract::<Config>() {
            Ok(config) => {
                let origin_of = |key: &str| figment.find_metadata(key).map_or(Origin::Default, Origin::from_metadata);
                return (config, keys.names().map(|key| (key.to_owned(), origin_of(key))).collect());
            }
            Err(error) => error,
        };
        let key = error.path.iter().take(2).cloned().collect::<Vec<_>>().join(".");
        let Some(position) = settings.iter().rposition(|setting| setting.key == key) else {
            problems.push(Problem::new(key, error.kind.to_string()));
            return (Config::default(), Origins::new());
        };
        let mut path = key.clone();
        let item = error.path.get(2).and_then(|item| item.parse::<usize>().ok());
        match (item, &mut settings[position].value) {
            (Some(item), Value::Array(_, items)) if item < items.len() => {
                let earlier = taken_out.entry(key).or_default();
                path = format!("{path}[{}]", item + *earlier);
                *earlier += 1;
                problems.push(wrong_type(path, &error.kind, &settings[position].origin));
                take_item(&mut settings[position].value, item);
            }
            _ => {
                problems.push(wrong_type(path, &error.kind, &settings[position].origin));
                settings.remove(position);
            }
        }
    }
}

fn take_item(value: &mut Value, item: usize) {
    if let Value::Array(_, items) = value {
        items.remove(item);
    }
}

fn wrong_type(path: String, kind: &Kind, origin: &Origin) -> Problem {
    let expected_of = |expected: &str| match expected {
        "u16" | "u32" | "u64" | "usize" => "an integer >= 0".to_owned(),
        other => other.to_owned(),
    };
    let problem = match kind {
        // What stands there may be a key: it is not repeated.
        Kind::InvalidType(..) if path.starts_with(SECRETS) => Problem::new(path, "expected a list of KEY:NAMESPACE"),
        Kind::UnknownVariant(got, allowed) => Problem::new(path, format!("invalid value \"{got}\""))
            .hint(format!("allowed values: {}", allowed.join(", "))),
        Kind::InvalidType(got, expected) | Kind::InvalidValue(got, expected) => {
            Problem::new(path, format!("expected {}, got {got}", expected_of(expected)))
        }
        other => Problem::new(path, other.to_string()),
    };
    problem.origin(origin.clone())
}

/// A setting is a figment provider of one value, so that figment carries its origin through the merge.
impl Provider for &Setting {
    fn metadata(&self) -> Metadata {
        self.origin.to_metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let (section, key) = self.key.split_once('.').expect("an understood key has a section");
        let keys = Dict::from([(key.to_owned(), self.value.clone())]);
        Ok(Profile::Default.collect(Dict::from([(section.to_owned(), Value::from(keys))])))
    }
}
