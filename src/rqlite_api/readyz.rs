//! `/readyz`: whether this node can serve, one line per check. Open to everyone: it is for load balancers.

use std::time::Instant;

use hyper::StatusCode;

use super::Face;
use super::call::after;
use super::counters::Counter;
use super::parameters::{Flag, Parameters};
use super::reply::{self, Reply};

/// Answers `/readyz`: the checks that passed, and 503 at the first that did not.
pub(super) async fn handle(face: &Face, parameters: &Parameters<'_>) -> Reply {
    face.counters.add(Counter::Readyz, 1);
    let mut lines = "[+]node ok".to_owned();
    if parameters.has(Flag::NoLeader) {
        return reply::text(lines);
    }
    if face.cluster.leader().is_none() {
        return not_ready(lines, "[-]leader does not exist");
    }
    lines.push_str("\n[+]leader ok\n[+]store ok");
    if parameters.has(Flag::Sync) {
        match face.cluster.wait_synced(after(Instant::now(), parameters.timeout())).await {
            Ok(_) => lines.push_str("\n[+]sync ok"),
            Err(error) => return not_ready(lines, &format!("[-]sync {error}")),
        }
    }
    lines.push_str("\n[+]db ok");
    reply::text(lines)
}

fn not_ready(lines: String, line: &str) -> Reply {
    let mut answer = reply::text(format!("{lines}\n{line}"));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}
