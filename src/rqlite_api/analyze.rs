//! `/db/sql`: what rqlite would make of a statement. debros rewrites nothing, so it is what was sent: functions of time
//! and chance give the same value on every replica because the log entry fixes the clock and the seed.

use super::call::Call;
use super::counters::Counter;
use super::failure::Failure;
use super::go_string::write_string;
use super::indent;
use super::parameters::Flag;
use super::reply::{self, Reply};
use crate::types::Statement;

/// Answers `/db/sql`.
pub(super) fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let statements = match (call.method == hyper::Method::GET, &call.parameters.q) {
        (true, Some(sql)) => vec![Statement::new(sql.as_ref())],
        (true, None) => Vec::new(),
        (false, _) => call.statements_or_text()?,
    };
    call.face.counters.add(Counter::SqlAnalyze, 1);
    let mut out = b"{\"results\":[".to_vec();
    for (at, statement) in statements.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"original\":" } else { b",{\"original\":" });
        write_string(&mut out, &statement.sql);
        out.extend_from_slice(b",\"rewritten\":");
        write_string(&mut out, &statement.sql);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(reply::json(if call.parameters.has(Flag::Pretty) { indent::indented(&out) } else { out }))
}
