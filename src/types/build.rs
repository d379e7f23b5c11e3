//! Which build this is. The release build sets the two variables at compile time.

/// The version in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; empty when unknown.
pub const COMMIT: &str = match option_env!("DEBROS_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// When it was built, as RFC 3339 text; empty when unknown.
pub const BUILD_TIME: &str = match option_env!("DEBROS_BUILD_TIME") {
    Some(time) => time,
    None => "",
};
