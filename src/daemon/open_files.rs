//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer than this and connections are refused before `gateway.connections_max` is reached.
const WANTED: u64 = 20_000;

/// Takes as many as the system allows: shells and service managers begin with 1024 for the sake of programs that use
/// `select`, and leave it to others to ask for more.
pub(super) fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, limit = current, "the limit of open files was not raised");
    } else if maximum.is_some_and(|maximum| maximum < WANTED) {
        tracing::warn!(
            limit = maximum,
            wanted = WANTED,
            "few open files are allowed; raise `ulimit -Hn` or LimitNOFILE"
        );
    }
}
