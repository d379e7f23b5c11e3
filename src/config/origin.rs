//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use figment::{Metadata, Source};

/// The layer that set a value; a later variant wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
    /// A flag on the command line, by its name with the dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Origin {
    /// How figment carries the origin through a merge.
    pub(super) fn to_metadata(&self) -> Metadata {
        match self {
            Origin::Default => Metadata::named("default"),
            Origin::File(path) => Metadata::named("file").source(Source::File(path.clone())),
            Origin::Env(name) => Metadata::named("env").source(Source::Custom(name.clone())),
            Origin::Flag(name) => Metadata::named("flag").source(Source::Custom(name.clone())),
        }
    }

    pub(super) fn from_metadata(metadata: &Metadata) -> Origin {
        match (&*metadata.name, &metadata.source) {
            ("file", Some(Source::File(path))) => Origin::File(path.clone()),
            ("env", Some(Source::Custom(name))) => Origin::Env(name.clone()),
            ("flag", Some(Source::Custom(name))) => Origin::Flag(name.clone()),
            _ => Origin::Default,
        }
    }
}
