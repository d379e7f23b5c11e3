//! What loading promises: precedence, origins, suggestions, warnings, and every problem at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

const PEER: &str = "/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWGqqR8bxgmYsYrGYMKnUWwZUCpioLmA3H37ggRDnAiFa7";

/// A machine with nothing on it but what the test puts there.
struct Machine {
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl Machine {
    fn new() -> Machine {
        Machine { dir: tempfile::tempdir().expect("temp dir"), env: BTreeMap::new() }
    }

    fn with_file(self, name: &str, text: &str) -> Machine {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("creates");
        std::fs::write(path, text).expect("writes");
        self
    }

    fn with_env(mut self, name: &str, value: &str) -> Machine {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self) -> LoadRequest<'_> {
        LoadRequest {
            flags: Vec::new(),
            env: &self.env,
            file: None,
            working_dir: self.path("work"),
            system_dir: self.path("etc"),
            account: Account::User,
        }
    }

    fn load(&self) -> Loaded {
        Config::load(self.request()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problems(&self) -> Vec<String> {
        let root = format!("{}/", self.dir.path().display());
        match Config::load(self.request()) {
            Err(ConfigError::Invalid { problems, .. }) => {
                problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect()
            }
            other => panic!("expected problems, got {other:?}"),
        }
    }
}

fn flag(name: &'static str, key: &'static str, values: &[&str]) -> Flag {
    Flag { name, key, values: values.iter().map(|value| (*value).to_owned()).collect() }
}

#[test]
fn without_anything_the_defaults_hold_and_data_lies_with_the_user() {
    let machine = Machine::new().with_env("HOME", "/home/ada");
    let loaded = machine.load();
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.config.data_dir(), Path::new("/home/ada/.local/share/debros"));
    assert_eq!(loaded.config.key_file(), Path::new("/home/ada/.local/share/debros/identity.key"));
    assert!(loaded.origins.values().all(|origin| *origin == Origin::Default));

    let machine = machine.with_env("XDG_DATA_HOME", "/data");
    assert_eq!(machine.load().config.data_dir(), Path::new("/data/debros"));
    let root = LoadRequest { account: Account::Root, ..machine.request() };
    assert_eq!(Config::load(root).expect("loads").config.data_dir(), Path::new("/var/lib/debros"));
}

#[test]
fn flags_win_over_environment_over_file_over_defaults_and_each_origin_is_kept() {
    let machine = Machine::new()
        .with_file(
            "work/debros.toml",
            "[node]\ndata_dir = 'f'\nmax_connections = 1\n[logging]\nlevel = 'warn'\n[gateway]\nnamespace = 'file'\n",
        )
        .with_env("DEBROS_NODE__DATA_DIR", "e")
        .with_env("DEBROS_LOGGING__LEVEL", "error");
    let flags = vec![
        flag("--data-dir", "node.data_dir", &["x"]),
        flag("--listen", "node.listen_addresses", &["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]),
    ];
    let loaded = Config::load(LoadRequest { flags, ..machine.request() }).expect("loads");
    let file = machine.path("work/debros.toml");
    assert_eq!(loaded.config.data_dir(), machine.path("work/x"));
    assert_eq!(loaded.config.node.listen_addresses.len(), 2);
    assert_eq!(loaded.config.logging.level, "error");
    assert_eq!(loaded.config.gateway.namespace.as_str(), "file");
    assert_eq!(loaded.config.node.max_connections, 1);
    let origin = |key: &str| loaded.origins[key].to_string();
    assert_eq!(origin("node.data_dir"), "flag --data-dir");
    assert_eq!(origin("node.listen_addresses"), "flag --listen");
    assert_eq!(origin("logging.level"), "env DEBROS_LOGGING__LEVEL");
    assert_eq!(origin("gateway.namespace"), format!("file {}", file.display()));
    assert_eq!(origin("database.voters_max"), "default");
    assert_eq!(loaded.file, Some(file));
}

#[test]
fn the_file_is_looked_for_in_the_documented_order() {
    let level = |level: &str| format!("[logging]\nlevel = '{level}'\n");
    let machine = Machine::new().with_file("etc/debros/debros.toml", &level("warn"));
    assert_eq!(machine.load().config.logging.level, "warn");
    let machine = machine.with_file("home/.config/debros/debros.toml", &level("error"));
    let home = machine.path("home").display().to_string();
    let machine = machine.with_env("HOME", &home);
    assert_eq!(machine.load().config.logging.level, "error");
    let machine = machine.with_file("work/debros.toml", &level("debug"));
    assert_eq!(machine.load().config.logging.level, "debug");
    let machine = machine.with_file("work/named.toml", &level("trace")).with_env("DEBROS_CONFIG", "named.toml");
    assert_eq!(machine.load().config.logging.level, "trace");
    let machine = machine.with_file("flag.toml", &level("off"));
    let request = LoadRequest { file: Some(machine.path("flag.toml")), ..machine.request() };
    assert_eq!(Config::load(request).expect("loads").config.logging.level, "off");
}

#[test]
fn a_named_file_must_exist_and_parse() {
    let machine = Machine::new().with_env("DEBROS_CONFIG", "missing.toml");
    let error = Config::load(machine.request()).expect_err("no such file");
    let path = machine.path("work/missing.toml");
    assert_eq!(error.to_string(), format!("cannot read configuration file {}", path.display()));

    let machine = Machine::new().with_file("work/debros.toml", "[node\n");
    let error = Config::load(machine.request()).expect_err("no TOML");
    assert!(matches!(error, ConfigError::Syntax { .. }));
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn yaml_with_the_same_keys_loads_and_its_integers_are_nanoseconds() {
    let machine = Machine::new()
        .with_file(
            "work/node.yaml",
            "node:\n  listen_addresses:\n    - /ip4/0.0.0.0/tcp/4002\ndatabase:\n  rqlite_port: 5003\n\
             discovery:\n  discovery_interval: 30000000000\nlogging:\n  file: ''\nsecurity:\n",
        )
        .with_env("DEBROS_CONFIG", "node.yaml");
    let config = machine.load().config;
    assert_eq!(config.node.listen_addresses[0].port(), 4002);
    assert_eq!(config.database.sql_addr.to_string(), "127.0.0.1:5003");
    assert_eq!(config.discovery.discovery_interval, Duration::from_secs(30));
}

#[test]
fn a_yaml_file_of_the_earlier_gateway_belongs_to_its_section() {
    let text = format!("listen_addr: ':6002'\nclient_namespace: chat\nbootstrap_peers: ['{PEER}']\nrqlite_dsn: x\n");
    let machine = Machine::new().with_file("work/gateway.yaml", &text).with_env("DEBROS_CONFIG", "gateway.yaml");
    let loaded = machine.load();
    assert_eq!(loaded.config.gateway.listen_addr.to_string(), "0.0.0.0:6002");
    assert_eq!(loaded.config.gateway.namespace.as_str(), "chat");
    assert_eq!(loaded.config.gateway.bootstrap_peers.len(), 1);
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion_and_their_place() {
    let machine = Machine::new()
        .with_file("work/debros.toml", "colour = 1\n[node]\ndat_dir = 'x'\n[databse]\nvoters_max = 3\n")
        .with_env("DEBROS_GATEWAY__LISTEN_ADR", "x");
    assert_eq!(
        machine.problems(),
        [
            "colour: unknown key; `debros config init` prints every key (from file work/debros.toml)",
            "databse.voters_max: unknown key; did you mean `database.voters_max`? (from file work/debros.toml)",
            "node.dat_dir: unknown key; did you mean `node.data_dir`? (from file work/debros.toml)",
            "gateway.listen_adr: unknown key; did you mean `gateway.listen_addr`? (from env DEBROS_GATEWAY__LISTEN_ADR)",
        ]
    );
}

#[test]
fn keys_that_lost_their_meaning_give_one_warning_each() {
    let machine = Machine::new().with_file(
        "work/debros.toml",
        "[database]\nshard_count = 16\nrqlite_raft_port = 7001\n[security]\nenable_tls = false\n",
    );
    let loaded = machine.load();
    let file = machine.path("work/debros.toml");
    assert_eq!(
        loaded.warnings,
        [
            format!(
                "database.rqlite_raft_port has no effect: Raft travels over the peer port in `node.listen_addresses` \
                 (from file {})",
                file.display()
            ),
            format!(
                "database.shard_count has no effect: data is divided by namespace, not by shard (from file {})",
                file.display()
            ),
            format!(
                "security.enable_tls has no effect: peers always speak Noise, and HTTP is encrypted by a proxy in front \
                 (from file {})",
                file.display()
            ),
        ]
    );
}

#[test]
fn a_demand_for_tls_is_refused_rather_than_ignored() {
    let machine = Machine::new().with_env("DEBROS_SECURITY__ENABLE_TLS", "true");
    assert_eq!(
        machine.problems(),
        ["security.enable_tls: debros does not end TLS itself; put a TLS proxy in front of gateway.listen_addr and \
          remove this key (from env DEBROS_SECURITY__ENABLE_TLS)"]
    );
}

#[test]
fn wrong_types_and_wrong_values_are_all_named_at_once() {
    let machine = Machine::new()
        .with_file(
            "work/debros.toml",
            "[node]\nlisten_addresses = ['a', '/ip4/0.0.0.0/tcp/1', '/ip4/1.2.3.4/udp/1']\nmax_connections = -1\n\
             [database]\nanonymous = 'always'\nrqlite_port = 70000\nvoters_max = 0\nstatement_timeout = 30\n\
             [gateway]\nrequire_auth = 'maybe'\nnamespace = 'Not Valid'\n",
        )
        .with_env("LOG_LEVEL", "loud");
    let from = "(from file work/debros.toml)";
    let mut problems = machine.problems();
    problems.sort();
    assert_eq!(
        problems,
        [
            format!("database.anonymous: invalid value \"always\"; allowed values: loopback, never {from}"),
            format!("database.rqlite_port: must be between 1 and 65535; got 70000 {from}"),
            format!(
                "database.statement_timeout: `30` is not a duration; write a number with its unit, for example 15s, \
                 1h30m or 250ms {from}"
            ),
            format!("database.voters_max: must be > 0; got 0 {from}"),
            format!(
                "gateway.namespace: `Not Valid` is not a namespace name: use 1 to 63 of a-z, 0-9, `-` and `_`, \
                 beginning with a letter or digit {from}"
            ),
            format!("gateway.require_auth: expected a boolean, got string \"maybe\" {from}"),
            "logging.level: invalid value \"loud\"; allowed values: debug, info, warn, error, trace, off, and \
             module=level separated by commas (from env LOG_LEVEL)"
                .to_owned(),
            format!(
                "node.listen_addresses[0]: invalid multiaddr: `a`; expected /ip{{4,6}}/.../tcp/<port>[/p2p/<peerID>] \
                 or /dns/<name>/tcp/<port> {from}"
            ),
            format!(
                "node.listen_addresses[2]: missing /tcp/<port> component in `/ip4/1.2.3.4/udp/1`; expected \
                 /ip{{4,6}}/.../tcp/<port>, peers speak TCP only {from}"
            ),
            format!("node.max_connections: expected an integer >= 0, got signed int `-1` {from}"),
        ]
    );
}

#[test]
fn only_this_machine_may_do_without_credentials() {
    let open = |addr| Machine::new().with_env("GATEWAY_REQUIRE_AUTH", "Off").with_env("GATEWAY_ADDR", addr);
    for local in ["127.0.0.1:6001", "[::1]:6001", "localhost:6001"] {
        assert!(!open(local).load().config.gateway.require_auth, "{local}");
    }
    for reachable in [":6001", "0.0.0.0:6001", "[::]:6001", "10.0.0.1:6001", "gateway.example:6001"] {
        let problems = open(reachable).problems();
        assert!(problems[0].starts_with("gateway.require_auth: must not be false"), "{reachable}: {problems:?}");
    }
}

#[test]
fn older_variables_work_and_newer_ones_win() {
    let machine = Machine::new()
        .with_env("GATEWAY_ADDR", ":6002")
        .with_env("GATEWAY_NAMESPACE", "chat")
        .with_env("GATEWAY_REQUIRE_AUTH", "On")
        .with_env("GATEWAY_API_KEYS", "one:chat, two:other")
        .with_env("GATEWAY_BOOTSTRAP_PEERS", PEER)
        .with_env("BOOTSTRAP_PEERS", PEER)
        .with_env("LOG_LEVEL", "debug")
        .with_env("NODE_ID", "node-1")
        .with_env("RQLITE_NODES", "http://localhost:5001")
        .with_env("DEBROS_GATEWAY__NAMESPACE", "newer")
        .with_env("DEBROS_DATABASE__VOTERS_MAX", "3")
        .with_env("DEBROS_NODE__SOLANA_WALLET", "");
    let loaded = machine.load();
    let gateway = &loaded.config.gateway;
    assert_eq!(gateway.listen_addr.to_string(), "0.0.0.0:6002");
    assert_eq!(gateway.namespace.as_str(), "newer");
    assert!(gateway.require_auth);
    assert_eq!(gateway.api_keys.iter().map(ConfiguredKey::key).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(gateway.bootstrap_peers.len(), 1);
    assert_eq!(loaded.config.discovery.bootstrap_peers.len(), 1);
    assert_eq!(loaded.config.logging.level, "debug");
    assert_eq!(loaded.config.database.voters_max, 3);
    assert_eq!(loaded.origins["gateway.listen_addr"].to_string(), "env GATEWAY_ADDR");
    assert_eq!(
        loaded.warnings,
        [
            "BOOTSTRAP_PEERS is an older name of DEBROS_DISCOVERY__BOOTSTRAP_PEERS",
            "GATEWAY_ADDR is an older name of DEBROS_GATEWAY__LISTEN_ADDR",
            "GATEWAY_NAMESPACE is an older name of DEBROS_GATEWAY__NAMESPACE",
            "GATEWAY_BOOTSTRAP_PEERS is an older name of DEBROS_GATEWAY__BOOTSTRAP_PEERS",
            "GATEWAY_REQUIRE_AUTH is an older name of DEBROS_GATEWAY__REQUIRE_AUTH",
            "GATEWAY_API_KEYS is an older name of DEBROS_GATEWAY__API_KEYS",
            "NODE_ID has no effect: a node is named by its peer id, which `node.key_file` holds (from env NODE_ID)",
        ]
    );
}

#[test]
fn secrets_may_come_from_a_file_and_are_never_shown() {
    let machine = Machine::new()
        .with_file("work/keys", "sesame:chat\nmellon:other\n")
        .with_env("DEBROS_GATEWAY__API_KEYS_FILE", "keys");
    let loaded = machine.load();
    assert_eq!(loaded.config.gateway.api_keys[0].key(), "sesame");
    let shown = to_toml(&loaded.config, Some(&loaded.origins));
    assert!(
        shown.contains("api_keys = [\"<redacted>:chat\", \"<redacted>:other\"]  # env DEBROS_GATEWAY__API_KEYS_FILE\n"),
        "{shown}"
    );
    assert!(!shown.contains("sesame"));
    assert!(!format!("{loaded:?}").contains("mellon"));
}

#[test]
fn a_wrong_secret_is_not_repeated() {
    for text in ["api_keys = 'sesame'", "api_keys = ['key:sesame!']"] {
        let problems = Machine::new().with_file("work/debros.toml", &format!("[gateway]\n{text}\n")).problems();
        assert!(problems[0].starts_with("gateway.api_keys") && !problems[0].contains("sesame"), "{problems:?}");
    }
}

#[test]
fn what_is_shown_loads_again() {
    let machine = Machine::new().with_env("DEBROS_NODE__DATA_DIR", "/data").with_env("LOG_LEVEL", "warn");
    let shown = to_toml(&machine.load().config, None);
    let again = Machine::new().with_file("work/debros.toml", &shown);
    assert_eq!(again.load().config, machine.load().config);
}

#[test]
fn the_shipped_file_loads_without_a_warning() {
    let loaded = Machine::new().with_file("work/debros.toml", SHIPPED).load();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}
