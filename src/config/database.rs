//! `[database]`: the SQL listener, the Raft group, and what one statement may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::HostPort;
use super::problem::{Problem, Problems};
use super::units;
use crate::types::limits;

/// Shortest heartbeat: below it the timers of a busy machine alone cause elections.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Smallest log that is worth a snapshot.
const SNAPSHOT_LOG_BYTES_MIN: u64 = 1024 * 1024;

/// Who may use the SQL listener without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Processes on this machine, and only for the namespace `default`.
    #[default]
    Loopback,
    /// Nobody.
    Never,
}

/// What becomes of the statements of one batch of queued writes when one of them fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueuedWrites {
    /// The others take effect.
    #[default]
    Separate,
    /// None takes effect.
    Transaction,
}

/// The SQL listener, the Raft group, and limits of statements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Where rqlite's clients connect. Loopback, because it speaks plain HTTP; 5001 is the port that upstream gave
    /// rqlite. `rqlite_port` sets the port alone. Port 0 lets the system choose.
    pub sql_addr: HostPort,
    /// Who may use that listener without Basic auth. Local tools work out of the box, and only for `default`.
    pub anonymous: Anonymous,
    /// Most voters; further nodes follow as learners and take over for lost voters. Five survive two failures, more
    /// only slow each write.
    pub voters_max: usize,
    /// How often the leader tells that it lives. Costs one small message per follower; a third of the shortest
    /// election timeout, so that two may be lost.
    #[serde(with = "units::duration")]
    pub heartbeat_interval: Duration,
    /// Least silence after which a follower asks for votes. With the maximum below, the first write after the death
    /// of a leader succeeds within 1.5 s; raise both on links slower than some 50 ms a round trip.
    #[serde(with = "units::duration")]
    pub election_timeout_min: Duration,
    /// Most silence; each follower draws a time between the two, so that seldom two ask at once.
    #[serde(with = "units::duration")]
    pub election_timeout_max: Duration,
    /// How long a voter may be away before a learner takes its place: longer than a restart or an upgrade of the
    /// machine, short enough that a second loss rarely comes first. `0s` never replaces one.
    #[serde(with = "units::duration")]
    pub voter_lost_after: Duration,
    /// Size of the log that triggers a snapshot, after which the log is cut. Bounds the disk used and the replay
    /// at start: 64 MiB replay in a few seconds.
    #[serde(with = "units::size")]
    pub snapshot_log_bytes: u64,
    /// How often that size is looked at. Reading it is cheap, and at full speed the log grows by some 10 MB/s.
    #[serde(with = "units::duration")]
    pub snapshot_interval: Duration,
    /// Entries kept in the log behind a snapshot, so that a follower that was away shortly needs no snapshot.
    pub snapshot_trailing_entries: u64,
    /// Longest a read may run when its caller names no deadline.
    #[serde(with = "units::duration")]
    pub statement_timeout: Duration,
    /// Most rows that one statement may return; beyond it the statement fails rather than cut its answer.
    pub result_rows_max: usize,
    /// Most bytes that the results of one request may hold in memory.
    #[serde(with = "units::size")]
    pub result_bytes_max: u64,
    /// Queued writes that may wait; beyond it the listener answers "overloaded". rqlite's number.
    pub write_queue_capacity: usize,
    /// Statements of queued writes that go into the log together. rqlite's number.
    pub write_queue_batch: usize,
    /// Longest a queued write waits for company. rqlite's number: not felt by a person, long enough for a batch.
    #[serde(with = "units::duration")]
    pub write_queue_timeout: Duration,
    /// Whether a batch is one transaction. Separate, as in rqlite: one bad statement spoils no stranger's write.
    pub write_queue_mode: QueuedWrites,
}

impl Default for DatabaseConfig {
    fn default() -> DatabaseConfig {
        DatabaseConfig {
            sql_addr: HostPort::new("127.0.0.1", 5001),
            anonymous: Anonymous::Loopback,
            voters_max: limits::VOTERS_MAX_DEFAULT,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(600),
            voter_lost_after: Duration::from_secs(10 * 60),
            snapshot_log_bytes: 64 * 1024 * 1024,
            snapshot_interval: Duration::from_secs(10),
            snapshot_trailing_entries: 10_240,
            statement_timeout: limits::READ_DEADLINE_DEFAULT,
            result_rows_max: limits::RESULT_ROWS_MAX,
            result_bytes_max: limits::RESULT_BYTES_MAX as u64,
            write_queue_capacity: 1024,
            write_queue_batch: 128,
            write_queue_timeout: Duration::from_millis(50),
            write_queue_mode: QueuedWrites::Separate,
        }
    }
}

impl DatabaseConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        problems.positive("database.voters_max", self.voters_max > 0, self.voters_max);
        self.check_timers(problems);
        if self.snapshot_log_bytes < SNAPSHOT_LOG_BYTES_MIN {
            let got = units::format_size(self.snapshot_log_bytes);
            problems.add(Problem::new("database.snapshot_log_bytes", format!("must be >= 1MiB; got {got}")));
        }
        for (path, duration) in [
            ("database.snapshot_interval", self.snapshot_interval),
            ("database.statement_timeout", self.statement_timeout),
            ("database.write_queue_timeout", self.write_queue_timeout),
        ] {
            problems.positive(path, !duration.is_zero(), units::format_duration(duration));
        }
        problems.positive("database.result_rows_max", self.result_rows_max > 0, self.result_rows_max);
        problems.positive("database.result_bytes_max", self.result_bytes_max > 0, self.result_bytes_max);
        problems.positive("database.write_queue_capacity", self.write_queue_capacity > 0, self.write_queue_capacity);
        problems.positive("database.write_queue_batch", self.write_queue_batch > 0, self.write_queue_batch);
    }

    fn check_timers(&self, problems: &mut Problems) {
        let text = units::format_duration;
        if self.heartbeat_interval < HEARTBEAT_INTERVAL_MIN {
            let message = format!("must be >= 10ms; got {}", text(self.heartbeat_interval));
            problems.add(Problem::new("database.heartbeat_interval", message));
        }
        let least = self.heartbeat_interval * 2;
        if self.election_timeout_min < least {
            let got = text(self.election_timeout_min);
            let message = format!("must be >= twice database.heartbeat_interval ({}); got {got}", text(least));
            problems.add(
                Problem::new("database.election_timeout_min", message)
                    .hint("three times the heartbeat lets two heartbeats be lost"),
            );
        }
        if self.election_timeout_max <= self.election_timeout_min {
            let (min, got) = (text(self.election_timeout_min), text(self.election_timeout_max));
            let message = format!("must be > database.election_timeout_min ({min}); got {got}");
            problems
                .add(Problem::new("database.election_timeout_max", message).hint("twice the minimum is a good choice"));
        }
        if !self.voter_lost_after.is_zero() && self.voter_lost_after < self.election_timeout_max * 10 {
            let least = text(self.election_timeout_max * 10);
            let got = text(self.voter_lost_after);
            let message = format!("must be 0s or >= ten times database.election_timeout_max ({least}); got {got}");
            problems.add(Problem::new("database.voter_lost_after", message));
        }
    }
}
