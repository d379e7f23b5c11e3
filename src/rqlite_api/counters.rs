//! What this listener has counted since it started, under the names that rqlite's `/debug/vars` has.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter. `Snapshots` stays last: it gives their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    AuthFail,
    AuthOk,
    Backups,
    Boot,
    ExecuteStatements,
    Executions,
    LeaderNotFound,
    Loads,
    Readyz,
    Status,
    Queries,
    QueryStatements,
    QueuedExecutions,
    QueuedExecutionsWait,
    RequestStatements,
    Requests,
    SqlAnalyze,
    Reaps,
    Snapshots,
}

/// Names in the order that they are printed, each with what counts there; `None` is never counted here.
pub(super) const NAMES: [(&str, Option<Counter>); 30] = [
    ("auth_fail", Some(Counter::AuthFail)),
    ("auth_ok", Some(Counter::AuthOk)),
    ("backups", Some(Counter::Backups)),
    ("boot", Some(Counter::Boot)),
    ("execute_stmts_rx", Some(Counter::ExecuteStatements)),
    ("executions", Some(Counter::Executions)),
    ("leader_not_found", Some(Counter::LeaderNotFound)),
    ("loads", Some(Counter::Loads)),
    ("num_readyz", Some(Counter::Readyz)),
    ("num_status", Some(Counter::Status)),
    ("queries", Some(Counter::Queries)),
    ("query_stmts_rx", Some(Counter::QueryStatements)),
    ("queued_executions", Some(Counter::QueuedExecutions)),
    ("queued_executions_failed", None),
    ("queued_executions_leadership_lost", None),
    ("queued_executions_no_leader", None),
    ("queued_executions_not_leader", None),
    ("queued_executions_num_stmts_rx", None),
    ("queued_executions_num_stmts_tx", None),
    ("queued_executions_ok", None),
    ("queued_executions_unknown_error", None),
    ("queued_executions_wait", Some(Counter::QueuedExecutionsWait)),
    ("queued_executions_wait_timeout", None),
    ("request_stmts_rx", Some(Counter::RequestStatements)),
    ("requests", Some(Counter::Requests)),
    ("sql_analyze", Some(Counter::SqlAnalyze)),
    ("tls_cert_fetched", None),
    ("ui", None),
    ("user_reaps", Some(Counter::Reaps)),
    ("user_snapshots", Some(Counter::Snapshots)),
];

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    values: [AtomicU64; Counter::Snapshots as usize + 1],
}

impl Counters {
    /// Counts.
    pub(super) fn add(&self, counter: Counter, amount: u64) {
        self.values[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// The count so far.
    pub(super) fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }
}
