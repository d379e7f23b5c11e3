//! Which keys exist, which have another name, and which lost their meaning.
//!
//! The known keys are read off the default configuration, so they cannot drift from the structs.

use std::collections::BTreeMap;

use figment::value::Value;

use super::Config;
use super::origin::Origin;
use super::problem::Problem;

/// A key of the earlier system that nothing reads here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) key: &'static str,
    pub(super) why: &'static str,
}

/// Names that other versions of the same key had.
const RENAMED: &[(&str, &str)] = &[
    ("gateway.addr", "gateway.listen_addr"),
    ("gateway.client_namespace", "gateway.namespace"),
    ("logging.file", "logging.output_file"),
];

/// Sets only the port of `database.sql_addr`.
pub(super) const SQL_PORT: &str = "database.rqlite_port";

/// Asks for encryption; ignoring it would be a lie.
pub(super) const ENABLE_TLS: &str = "security.enable_tls";

const LOST: &[Lost] = &[
    Lost { key: "node.id", why: "a node is named by its peer id, which `node.key_file` holds" },
    Lost { key: "node.type", why: "the role is the subcommand: debros bootstrap, debros node or debros gateway" },
    Lost { key: "node.disable_anon_rc", why: "there is no SOCKS proxy to disable" },
    Lost { key: "database.data_dir", why: "everything lives below `node.data_dir`" },
    Lost {
        key: "database.replication_factor",
        why: "every node holds all data; `database.voters_max` bounds the quorum",
    },
    Lost { key: "database.shard_count", why: "data is divided by namespace, not by shard" },
    Lost { key: "database.max_database_size", why: "it was never enforced, and databases are bounded by the disk" },
    Lost { key: "database.backup_interval", why: "backups are taken on request, through GET /db/backup" },
    Lost { key: "database.rqlite_raft_port", why: "Raft travels over the peer port in `node.listen_addresses`" },
    Lost { key: "database.rqlite_join_address", why: "a node joins with a token: debros node --join TOKEN" },
    Lost { key: "database.cluster_sync_interval", why: "membership is part of the replicated log and needs no sync" },
    Lost { key: "database.peer_inactivity_limit", why: "`database.voter_lost_after` decides when a voter is replaced" },
    Lost { key: "database.min_cluster_size", why: "a cluster begins with `debros bootstrap` and grows by tokens" },
    Lost { key: "discovery.bootstrap_port", why: "each entry of `discovery.bootstrap_peers` carries its port" },
    Lost { key: "discovery.http_adv_address", why: "only the peer port is advertised: `node.advertise_addresses`" },
    Lost { key: "discovery.raft_adv_address", why: "only the peer port is advertised: `node.advertise_addresses`" },
    Lost {
        key: "discovery.node_namespace",
        why: "nodes belong to the cluster; `gateway.namespace` is the default tenant",
    },
    Lost { key: "gateway.rqlite_dsn", why: "the database is part of this process" },
    Lost { key: "gateway.enable_https", why: "put a TLS proxy in front of `gateway.listen_addr`" },
    Lost { key: "gateway.domain_name", why: "put a TLS proxy in front of `gateway.listen_addr`" },
    Lost { key: "gateway.tls_cache_dir", why: "put a TLS proxy in front of `gateway.listen_addr`" },
    Lost { key: "gateway.olric_servers", why: "there is no separate cache" },
    Lost { key: "gateway.olric_timeout", why: "there is no separate cache" },
    Lost { key: "gateway.ipfs_cluster_api_url", why: "there is no IPFS backend" },
    Lost { key: "gateway.ipfs_api_url", why: "there is no IPFS backend" },
    Lost { key: "gateway.ipfs_timeout", why: "there is no IPFS backend" },
    Lost { key: "gateway.ipfs_replication_factor", why: "there is no IPFS backend" },
    Lost { key: ENABLE_TLS, why: "peers always speak Noise, and HTTP is encrypted by a proxy in front" },
    Lost { key: "security.private_key_file", why: "peers are known by `node.key_file`, not by a certificate" },
    Lost { key: "security.certificate_file", why: "peers are known by `node.key_file`, not by a certificate" },
    Lost { key: "security.auth_enabled", why: "`gateway.require_auth` and `database.anonymous` decide who may pass" },
];

/// What a key means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This key of [`Config`].
    Key(String),
    /// [`SQL_PORT`].
    SqlPort,
    /// Nothing, any more.
    Lost(&'static Lost),
    /// Nothing, ever.
    Unknown(Option<String>),
}

/// The keys of [`Config`] with their defaults.
#[derive(Debug)]
pub(super) struct Keys {
    defaults: BTreeMap<String, Value>,
}

impl Keys {
    pub(super) fn new() -> Keys {
        let config = Value::serialize(Config::default()).expect("the defaults serialise");
        let sections = config.into_dict().expect("a configuration is a table");
        let mut defaults = BTreeMap::new();
        for (section, keys) in sections {
            for (key, value) in keys.into_dict().expect("a section is a table") {
                defaults.insert(format!("{section}.{key}"), value);
            }
        }
        Keys { defaults }
    }

    /// Every key as `section.key`, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().map(String::as_str)
    }

    pub(super) fn default_of(&self, key: &str) -> Option<&Value> {
        self.defaults.get(key)
    }

    pub(super) fn meaning(&self, key: &str) -> Meaning {
        if self.defaults.contains_key(key) {
            return Meaning::Key(key.to_owned());
        }
        if let Some((_, name)) = RENAMED.iter().find(|(old, _)| *old == key) {
            return Meaning::Key((*name).to_owned());
        }
        if key == SQL_PORT {
            return Meaning::SqlPort;
        }
        match LOST.iter().find(|lost| lost.key == key) {
            Some(lost) => Meaning::Lost(lost),
            None => Meaning::Unknown(self.nearest(key)),
        }
    }

    /// The key that was probably meant: the same name in another section, or the least different one.
    fn nearest(&self, key: &str) -> Option<String> {
        let name = key.rsplit('.').next().unwrap_or(key);
        let elsewhere = self.names().find(|known| known.rsplit('.').next() == Some(name));
        let similar = || {
            let scored = self.names().map(|known| (strsim::normalized_damerau_levenshtein(key, known), known));
            // Two thirds alike: three slips in a short key, nothing that merely begins the same.
            scored.filter(|(score, _)| *score >= 0.66).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
        };
        elsewhere.or_else(similar).map(str::to_owned)
    }
}

impl Lost {
    /// The one line that tells why the key has no effect.
    pub(super) fn warning(&self, origin: &Origin) -> String {
        format!("{} has no effect: {} (from {origin})", self.key, self.why)
    }
}

/// The problem of a key that nobody knows.
pub(super) fn unknown(key: &str, suggestion: Option<String>, origin: &Origin) -> Problem {
    let problem = Problem::new(key, "unknown key").origin(origin.clone());
    match suggestion {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem.hint("`debros config init` prints every key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_get_the_nearest_known_one() {
        let keys = Keys::new();
        for (key, suggestion) in [
            ("node.dat_dir", Some("node.data_dir")),
            ("node.listen_address", Some("node.listen_addresses")),
            ("nod.max_connections", Some("node.max_connections")),
            ("database.hearbeat_interval", Some("database.heartbeat_interval")),
            ("gateway.level", Some("logging.level")),
            ("gateway.zzz", None),
        ] {
            assert_eq!(keys.meaning(key), Meaning::Unknown(suggestion.map(str::to_owned)), "{key}");
        }
    }

    #[test]
    fn a_lost_or_renamed_key_is_not_also_a_known_one() {
        let keys = Keys::new();
        for key in LOST.iter().map(|lost| lost.key).chain(RENAMED.iter().map(|(old, _)| *old)) {
            assert!(keys.default_of(key).is_none(), "{key} is known");
        }
        for (_, name) in RENAMED {
            assert!(keys.default_of(name).is_some(), "{name} is not known");
        }
    }

    #[test]
    fn keys_named_in_explanations_exist() {
        let keys = Keys::new();
        for lost in LOST {
            for name in lost.why.split('`').filter(|part| part.contains('.') && !part.contains(' ')) {
                assert!(keys.default_of(name).is_some(), "{}: {name} does not exist", lost.key);
            }
        }
    }
}
