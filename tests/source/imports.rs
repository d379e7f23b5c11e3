//! Imports go one way: down. What is named here is the whole order; a new module gets its place in it.

use std::path::{Path, PathBuf};

/// Modules from the bottom up; those of one row know nothing of each other.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["tasks", "telemetry"],
    &["sql", "mesh", "auth", "client"],
    &["raft"],
    &["cluster"],
    &["kv", "accounts", "pubsub", "http"],
    &["bench"],
    &["gateway", "rqlite_api"],
    &["config"],
    &["daemon"],
    &["cli"],
];

/// What a module may use besides `types`, where that is less than everything below it.
const ONLY: &[(&str, &[&str])] = &[
    ("client", &[]),
    ("bench", &["tasks", "http"]),
    ("sql", &[]),
    // Pure decisions over values.
    ("auth", &[]),
    ("http", &["tasks"]),
    // HTTP never reaches below the cluster.
    ("gateway", &["tasks", "cluster", "kv", "accounts", "pubsub", "http", "auth"]),
    ("rqlite_api", &["tasks", "cluster", "accounts", "http", "auth"]),
    ("config", &["telemetry"]),
    ("cli", &["daemon", "config", "telemetry", "bench"]),
];

/// Libraries that only these modules name: whoever replaces one has to look nowhere else.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("libp2p::", &["mesh"]),
    ("openraft::", &["raft"]),
    ("rusqlite::", &["sql", "raft"]),
    ("jsonwebtoken::", &["auth"]),
    ("secp256k1::", &["auth"]),
    ("chacha20poly1305::", &["auth"]),
    ("hyper::", &["http", "gateway", "rqlite_api", "client"]),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every line of code with the module it is in and where it stands.
fn lines() -> Vec<(String, String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut lines = Vec::new();
    for path in all {
        let inside = path.strip_prefix(&source).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str().to_str().expect("text");
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "main" || module == "lib" {
            continue;
        }
        for (number, line) in std::fs::read_to_string(&path).expect("text").lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // What stands between quotes is no code; good enough for lines that import something.
            let code: String = code.split('"').step_by(2).collect();
            lines.push((
                module.clone(),
                format!("src/{}:{}: {}", inside.display(), number + 1, line.trim()),
                code.to_owned(),
            ));
        }
    }
    lines
}

/// The modules that a line names after `crate::`.
fn named(code: &str) -> Vec<&str> {
    let after = code.split("crate::").skip(1);
    let ends = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    after.map(|text| &text[..ends(text)]).filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for (module, place, code) in lines() {
        let Some(own) = layer(&module) else {
            panic!("{place}\n  module `{module}` has no place in the order");
        };
        for name in named(&code).into_iter().filter(|name| *name != module) {
            // `tasks` and `telemetry` may be used from anywhere.
            let below = layer(name).is_some_and(|other| other < own) || ["tasks", "telemetry"].contains(&name);
            let only = ONLY.iter().find(|(limited, _)| *limited == module);
            let allowed = only.is_none_or(|(_, allowed)| name == "types" || allowed.contains(&name));
            if !below || !allowed {
                wrong.push(format!("{place}\n  `{module}` may not use `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_library_is_named_only_where_it_is_wrapped() {
    let mut wrong = Vec::new();
    for (module, place, code) in lines() {
        for (library, homes) in LIBRARIES {
            let named = code.match_indices(library).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            });
            if named && !homes.contains(&module.as_str()) {
                wrong.push(format!("{place}\n  `{library}` belongs to {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
