//! `/debug/vars`: counters in the layout of Go's `expvar`.

use hyper::header::HeaderValue;

use super::call::Call;
use super::counters::NAMES;
use super::failure::Failure;
use super::go_number::write_unsigned;
use super::go_string::write_string;
use super::reply::{self, Reply};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Groups that rqlite's own test suite looks at. debros has none of what they count.
const ALWAYS_ZERO: [(&str, &[&str]); 4] = [
    ("cluster", &["num_client_force_new_conn", "num_join_req"]),
    ("snapshot", &["upgrade_ok"]),
    (
        "store",
        &[
            "num_ignored_joins",
            "num_removed_before_joins",
            "num_restores",
            "num_restores_start",
            "num_restores_start_skipped",
            "num_snapshots",
        ],
    ),
    ("uploader", &["num_uploads_fail", "num_uploads_ok", "num_uploads_skipped", "num_uploads_skipped_id"]),
];

/// Answers `/debug/vars`; `key` picks one group.
pub(super) fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let key = call.parameters.key.as_deref();
    let mut groups: Vec<(&str, Vec<u8>)> = Vec::new();
    groups.push(("cmdline", b"[\"debros\"]".to_vec()));
    let counters = &call.face.counters;
    groups.push(("http", group(NAMES.iter().map(|(name, counter)| (*name, counter.map_or(0, |c| counters.get(c)))))));
    groups.extend(ALWAYS_ZERO.iter().map(|(name, names)| (*name, group(names.iter().map(|name| (*name, 0))))));
    groups.sort_by_key(|(name, _)| *name);
    let mut out = b"{\n".to_vec();
    let mut first = true;
    for (name, body) in groups.iter().filter(|(name, _)| key.is_none_or(|key| key == *name)) {
        if !std::mem::take(&mut first) {
            out.extend_from_slice(b",\n");
        }
        write_string(&mut out, name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(body);
    }
    out.extend_from_slice(b"\n}\n");
    Ok(reply::typed(JSON, out))
}

fn group<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Vec<u8> {
    let mut out = b"{".to_vec();
    for (at, (name, count)) in counts.enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        write_string(&mut out, name);
        out.extend_from_slice(b": ");
        write_unsigned(&mut out, count);
    }
    out.push(b'}');
    out
}
