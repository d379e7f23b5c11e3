//! What the tests of this module share: databases in temporary folders and entries made of text.

use std::path::PathBuf;

use tempfile::TempDir;

use super::database::{BatchEntry, Change, Database};
use super::kv_read::KvReadOptions;
use super::readers::{ReadOptions, Readers, Work};
use super::topic_read::TopicReadOptions;
use crate::types::Namespace;
use crate::types::command::{Atomicity, Execute, Outcome, RowsWanted, Stamp};
use crate::types::durable::{TopicChange, TopicFound, TopicOutcome, TopicQuery};
use crate::types::kv::{Kv, KvFound, KvOutcome, KvQuery};
use crate::types::statement::{Statement, StatementErrorKind, StatementResult, Value, Written};

/// A database with the log that was sent to it.
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) readers: Readers,
    pub(super) index: u64,
    pub(super) folder: TempDir,
}

pub(super) fn execute(statements: &[&str]) -> Execute {
    Execute::new(Namespace::default_namespace(), statements.iter().map(|sql| Statement::new(*sql)).collect())
}

pub(super) fn transaction(statements: &[&str]) -> Execute {
    Execute { atomicity: Atomicity::Transaction, ..execute(statements) }
}

pub(super) fn with_rows(statements: &[&str]) -> Execute {
    Execute { rows: RowsWanted::FromAll, ..execute(statements) }
}

pub(super) fn stamp(index: u64) -> Stamp {
    Stamp { unix_ms: 1_700_000_000_000 + index as i64 * 1_001, seed: index.wrapping_mul(77) }
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&folder.path().join("ns.sqlite")).expect("opens");
        let readers = Readers::open(database.path()).expect("opens");
        Fixture { database, readers, index: 0, folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.database.path().to_owned()
    }

    pub(super) fn apply(&mut self, executes: &[Execute]) -> Vec<Outcome> {
        let first = self.index + 1;
        self.index += executes.len() as u64;
        let batch: Vec<_> = (first..)
            .zip(executes)
            .map(|(index, execute)| BatchEntry { index, stamp: stamp(index), change: Change::Execute(execute) })
            .collect();
        self.database.apply(&batch).expect("applies")
    }

    /// One entry that changes keys.
    pub(super) fn change_keys(&mut self, kv: &Kv) -> KvOutcome {
        self.index += 1;
        self.change_keys_at(stamp(self.index), kv)
    }

    /// As the entry that `index` names already, at a time of its own.
    pub(super) fn change_keys_at(&mut self, stamp: Stamp, kv: &Kv) -> KvOutcome {
        let entry = BatchEntry { index: self.index, stamp, change: Change::Kv(kv) };
        match self.database.apply(&[entry]).expect("applies").pop() {
            Some(Outcome::Kv(outcome)) => outcome,
            other => panic!("no outcome for keys: {other:?}"),
        }
    }

    /// A question about keys at the time of the newest entry.
    pub(super) fn ask_keys(&self, query: &KvQuery) -> KvFound {
        self.ask_keys_at(stamp(self.index).unix_ms, query)
    }

    pub(super) fn ask_keys_at(&self, now_unix_ms: i64, query: &KvQuery) -> KvFound {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let options = KvReadOptions { now_unix_ms, deadline, bytes_max: 1024 * 1024, work: Work::Unbounded };
        self.readers.kv(query, &options).expect("answers")
    }

    /// One entry that changes durable topics, at a time of its own.
    pub(super) fn change_topics_at(&mut self, unix_ms: i64, change: &TopicChange) -> TopicOutcome {
        self.index += 1;
        let stamp = Stamp { unix_ms, ..stamp(self.index) };
        let entry = BatchEntry { index: self.index, stamp, change: Change::Topics(change) };
        match self.database.apply(&[entry]).expect("applies").pop() {
            Some(Outcome::Topics(outcome)) => outcome,
            other => panic!("no outcome for topics: {other:?}"),
        }
    }

    /// A question about durable topics.
    pub(super) fn ask_topics(&self, query: &TopicQuery) -> TopicFound {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let options = TopicReadOptions { deadline, bytes_max: 1024 * 1024, work: Work::Unbounded };
        self.readers.topics(query, &options).expect("answers")
    }

    /// The results of one entry, without durations.
    pub(super) fn run_entry(&mut self, execute: Execute) -> Vec<StatementResult> {
        results(&self.apply(&[execute])[0])
    }

    /// Statements in one entry each for itself.
    pub(super) fn run(&mut self, statements: &[&str]) -> Vec<StatementResult> {
        self.run_entry(execute(statements))
    }

    /// The values of a query, one text per row.
    pub(super) fn rows(&self, sql: &str) -> Vec<String> {
        match &self.query(&[sql])[0] {
            StatementResult::Rows(rows) => rows.values.iter().map(|row| show_row(row)).collect(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    pub(super) fn query(&self, statements: &[&str]) -> Vec<StatementResult> {
        let statements: Vec<_> = statements.iter().map(|sql| Statement::new(*sql)).collect();
        self.readers.query(&statements, &ReadOptions::default()).expect("answers")
    }
}

pub(super) fn results(outcome: &Outcome) -> Vec<StatementResult> {
    match outcome {
        Outcome::Executed(executed) => executed.results.iter().cloned().map(timeless).collect(),
        other => panic!("not executed: {other:?}"),
    }
}

pub(super) fn timeless(result: StatementResult) -> StatementResult {
    match result {
        StatementResult::Written(written) => StatementResult::Written(Written { elapsed_ns: 0, ..written }),
        StatementResult::Rows(mut rows) => {
            rows.elapsed_ns = 0;
            StatementResult::Rows(rows)
        }
        failed @ StatementResult::Failed(_) => failed,
    }
}

pub(super) fn show_row(row: &[Value]) -> String {
    row.iter().map(show).collect::<Vec<_>>().join("|")
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("x'{bytes:02x?}'"),
    }
}

pub(super) fn written(last_insert_id: i64, rows_affected: i64) -> StatementResult {
    StatementResult::Written(Written { last_insert_id, rows_affected, elapsed_ns: 0 })
}

#[track_caller]
pub(super) fn assert_failed(result: &StatementResult, kind: StatementErrorKind, part: &str) {
    match result {
        StatementResult::Failed(error) => {
            assert_eq!(error.kind, kind, "{}", error.message);
            assert!(error.message.contains(part), "`{}` lacks `{part}`", error.message);
        }
        other => panic!("did not fail with `{part}`: {other:?}"),
    }
}
