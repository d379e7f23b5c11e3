//! The promise that everything else rests on: the same log gives the same content, however it is cut into batches,
//! whatever is cached, and wherever the process stopped, was killed, or lost the tail of its WAL.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::admission::trusted;
use super::connection::open_read_plain;
use super::database::{BatchEntry, Change, Database};
use super::readers::Readers;
use super::tables::{StoredTable, quoted, stored_tables};
use super::testing::{execute, stamp, timeless};
use crate::types::Topic;
use crate::types::command::{Atomicity, Execute, Executed, IdempotencyKey, Outcome, RowsWanted};
use crate::types::durable::{MessageId, Retain, TopicChange, TopicOp};
use crate::types::kv::{Condition, Expiry, Kv, KvOp, KvQuota};
use crate::types::statement::{Expect, Statement, Value};

const SCHEMA: [&str; 15] = [
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b TEXT DEFAULT CURRENT_TIMESTAMP, c DEFAULT (random()), \
     d AS (coalesce(a, 0) + 1) STORED)",
    "CREATE TABLE seq(id INTEGER PRIMARY KEY AUTOINCREMENT, v, at DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')))",
    "CREATE TABLE w(k PRIMARY KEY, v, n DEFAULT 0) WITHOUT ROWID",
    "CREATE TABLE log(what, n, at DEFAULT (unixepoch('subsec')))",
    "CREATE INDEX log_what ON log(what, n)",
    "CREATE VIEW clock AS SELECT datetime('now','subsec') AS now, random() AS r, hex(randomblob(4)) AS h",
    "CREATE TRIGGER t_insert AFTER INSERT ON t BEGIN INSERT INTO log(what, n) VALUES('t', random()), ('c', changes()); END",
    "CREATE TRIGGER t_insert_too AFTER INSERT ON t BEGIN INSERT INTO log(what) VALUES('too'); END",
    "CREATE TRIGGER t_stop BEFORE INSERT ON t WHEN new.a = 13 BEGIN SELECT RAISE(ROLLBACK, 'thirteen'); END",
    "CREATE TRIGGER t_fail BEFORE INSERT ON t WHEN new.a = 14 BEGIN SELECT RAISE(FAIL, 'fourteen'); END",
    "CREATE VIRTUAL TABLE ft USING fts5(body, tokenize='porter')",
    "CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1, +note)",
    "CREATE TABLE j(doc)",
    "CREATE TABLE p(id INTEGER PRIMARY KEY)",
    "CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
];

/// Statements with at most one `?`, chosen for what could differ between replicas.
const POOL: [&str; 60] = [
    "INSERT INTO t(a) VALUES(?)",
    "INSERT INTO t(a) VALUES(?) ON CONFLICT(a) DO UPDATE SET b = CURRENT_TIME || random(), c = excluded.c RETURNING *",
    "INSERT OR ROLLBACK INTO t(a) VALUES(?)",
    "INSERT OR FAIL INTO t(a) VALUES(100 + random() % 20),(?),(101)",
    "INSERT OR IGNORE INTO t(a) VALUES(?)",
    "INSERT OR REPLACE INTO t(a) VALUES(?)",
    "INSERT INTO t(a) VALUES(13)",
    "INSERT INTO t(a) VALUES(200),(14),(201)",
    "INSERT INTO t(id, a) VALUES(9223372036854775807, ?)",
    "INSERT INTO t(id, a) VALUES(9223372036854775806 - ?, random())",
    "INSERT INTO t(id, a) VALUES(0, ?)",
    "UPDATE t SET b = datetime('now','subsec'), a = a WHERE id % 3 = ? % 3",
    "DELETE FROM t WHERE id % 5 = ? % 5 RETURNING id, random()",
    "DELETE FROM t",
    "INSERT INTO seq(v) VALUES(hex(randomblob(? % 20)))",
    "UPDATE sqlite_sequence SET seq = seq + ?",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "DELETE FROM seq WHERE id < ?",
    "INSERT INTO w(k, v) VALUES(? % 10, randomblob(9)) ON CONFLICT DO UPDATE SET n = n + 1, v = randomblob(n)",
    "WITH r(x) AS (SELECT random() UNION ALL SELECT random() FROM r LIMIT 5) INSERT INTO log(what, n) SELECT 'cte', x FROM r",
    "INSERT INTO log(what, n) SELECT 'order', id FROM t ORDER BY random() LIMIT 3",
    "INSERT INTO log(what, n) SELECT now || h, r FROM clock",
    "INSERT INTO log(what, n) VALUES(changes(), total_changes())",
    "INSERT INTO log(what, n) VALUES('rowid', last_insert_rowid())",
    "INSERT INTO log(what, n) VALUES(julianday(), unixepoch('now') + ?)",
    "INSERT INTO log(what) SELECT datetime(?, 'unixepoch', 'localtime')",
    "INSERT INTO log(what, n) SELECT what, count(*) FROM log GROUP BY what",
    "DELETE FROM log WHERE rowid % 7 = ? % 7",
    "INSERT INTO ft(body) VALUES('some words ' || random() || ' and ' || ?)",
    "INSERT INTO ft(rowid, body) SELECT max(rowid) + 1, CURRENT_TIMESTAMP FROM ft",
    "DELETE FROM ft WHERE rowid IN (SELECT rowid FROM ft WHERE ft MATCH 'word' LIMIT 2)",
    "INSERT INTO ft(ft) VALUES('optimize')",
    "INSERT INTO ft(ft, rank) VALUES('merge', 5)",
    "INSERT INTO ft(ft, rank) VALUES('automerge', 2)",
    "INSERT INTO rt(x0, x1, note) VALUES(? % 50, 60 + random() % 10, 'n')",
    "DELETE FROM rt WHERE x0 < ? % 20",
    "INSERT INTO rt(x0, x1) VALUES(5, 1)",
    "INSERT INTO j VALUES(json_object('at', datetime('now'), 'n', ?, 'r', random()))",
    "UPDATE j SET doc = json_set(doc, '$.u', CURRENT_TIMESTAMP) WHERE doc ->> 'n' = ?",
    "INSERT INTO log(what, n) SELECT key, value FROM j, json_each(j.doc) LIMIT 9",
    "INSERT INTO c VALUES(?)",
    "INSERT INTO p VALUES(? % 1000)",
    "CREATE TABLE IF NOT EXISTS made AS SELECT random() AS r, id FROM t LIMIT 4",
    "CREATE TABLE dup AS SELECT 1 a, 2 a, 3 a, 4 a, 5 a, 6 a, 7 a",
    "DROP TABLE IF EXISTS made",
    "CREATE INDEX IF NOT EXISTS t_b ON t(b, c)",
    "DROP INDEX IF EXISTS t_b",
    "ANALYZE",
    "ALTER TABLE log ADD COLUMN extra DEFAULT 7",
    "INSERT INTO t(a) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1000 + i FROM n",
    "nonsense",
    "INSERT INTO log(what, n) SELECT what || 'x', random() FROM log LIMIT 3; DELETE FROM log WHERE n % 11 = 0; SELECT 1",
    "PRAGMA user_version = 3",
    "SELECT count(*), random() FROM t",
    "INSERT INTO sqlite_stat1 VALUES('t', 'sqlite_autoindex_t_1', ? || '000 1')",
    "DELETE FROM sqlite_stat1 WHERE rowid % 3 = ? % 3",
    "ANALYZE log; INSERT OR ROLLBACK INTO t(a) VALUES(13)",
    "INSERT INTO log(what, n) SELECT x.a, y.n FROM t x JOIN log y ON y.n % 10 = x.id % 10 WHERE x.c > 0 LIMIT 6",
    "REINDEX",
    "INSERT INTO log(what, n) SELECT ft.rowid, rt.note FROM ft, rt WHERE ft MATCH 'words' AND rt.x0 > ? LIMIT 3",
];

/// SQLite's default.
const PAGE_BYTES: usize = 4096;

#[derive(Clone, Debug)]
struct Step {
    batch: usize,
    disturbance: Disturbance,
}

#[derive(Clone, Debug)]
enum Disturbance {
    None,
    Close,
    /// The files as they are, opened elsewhere, with this part of the WAL's bytes lost.
    Kill {
        lost_per_mille: u64,
    },
    Checkpoint,
    SmallCache,
}

/// One entry of a log.
#[derive(Clone, Debug)]
enum Entry {
    Sql(Execute),
    Keys(Kv),
    Topics(TopicChange),
}

impl Entry {
    fn change(&self) -> Change<'_> {
        match self {
            Entry::Sql(execute) => Change::Execute(execute),
            Entry::Keys(kv) => Change::Kv(kv),
            Entry::Topics(change) => Change::Topics(change),
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = prop_oneof![
        2 => sql_entry().prop_map(Entry::Sql),
        1 => keys_entry().prop_map(Entry::Keys),
        1 => topics_entry().prop_map(Entry::Topics),
    ];
    proptest::collection::vec(entry, 1..60)
}

fn idempotency(key: u8) -> Option<IdempotencyKey> {
    (key < 6).then(|| IdempotencyKey { key: format!("key {}", key % 3), fingerprint: [key / 3; 32] })
}

/// Sizes around that of the file that the schema makes, so that some statements no longer fit.
fn database_bytes_max() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => (40_u64..70).prop_map(|pages| Some(pages * 4096))]
}

fn sql_entry() -> impl Strategy<Value = Execute> {
    let expect = prop_oneof![
        4 => Just(None),
        1 => (0_u64..3, 0_u64..4).prop_map(|(min, more)| Some(Expect { min, max: (more > 0).then(|| min + more) })),
    ];
    let statement = (0..POOL.len(), 0_i64..40, expect).prop_map(|(which, value, expect)| Statement {
        positional: if POOL[which].contains('?') { vec![Value::Integer(value)] } else { Vec::new() },
        expect,
        ..Statement::new(POOL[which])
    });
    let statements = proptest::collection::vec(statement, 1..5);
    let entry = (statements, any::<bool>(), any::<bool>(), 0_u8..30, database_bytes_max());
    entry.prop_map(|(statements, transaction, all_rows, key, database_bytes_max)| Execute {
        statements,
        atomicity: if transaction { Atomicity::Transaction } else { Atomicity::EachStatement },
        rows: if all_rows { RowsWanted::FromAll } else { RowsWanted::FromReturning },
        steps_max: 30_000,
        database_bytes_max,
        idempotency: idempotency(key),
        ..execute(&[])
    })
}

fn keys_entry() -> impl Strategy<Value = Kv> {
    let condition = prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::IfAbsent),
        1 => Just(Condition::IfPresent),
        1 => (1_u64..60).prop_map(Condition::IfVersion),
    ];
    let expiry = prop_oneof![
        1 => Just(Expiry::Never),
        2 => (0_u64..9_000).prop_map(Expiry::AfterMs),
        1 => (0_u64..60).prop_map(|index| Expiry::AtUnixMs(stamp(index).unix_ms)),
    ];
    let bytes = prop_oneof![4 => 0_usize..300, 1 => Just(9_000_usize)];
    let op = (0_u8..12, any::<bool>(), bytes, condition, expiry).prop_map(|(key, delete, bytes, condition, expiry)| {
        let key = format!("key {key}").parse().expect("a key");
        if delete {
            KvOp::Delete { key, condition }
        } else {
            let content_type = (bytes % 3 == 0).then(|| "text/plain".to_owned());
            KvOp::Put { key, value: vec![bytes as u8; bytes], content_type, condition, expiry }
        }
    });
    let quota = (proptest::option::of(2_u64..9), proptest::option::of(200_u64..20_000))
        .prop_map(|(keys_max, bytes_max)| KvQuota { keys_max, bytes_max });
    let entry = (proptest::collection::vec(op, 1..6), quota, database_bytes_max(), 0_u8..30);
    entry.prop_map(|(ops, quota, database_bytes_max, key)| Kv {
        quota,
        database_bytes_max,
        idempotency: idempotency(key),
        ..Kv::new(crate::types::Namespace::default_namespace(), ops)
    })
}

/// Makes the topics durable to which entries publish; these may change them again.
fn topics_to_begin_with() -> TopicChange {
    let bounds = [
        Retain::newest(2),
        Retain { age: Some(3_000), ..Retain::default() },
        Retain { bytes: Some(1_000), ..Retain::default() },
    ];
    let ops = (0..).zip(bounds).map(|(number, retain)| TopicOp::Configure { topic: topic(number), retain });
    TopicChange::new(crate::types::Namespace::default_namespace(), ops.collect())
}

fn topic(number: u8) -> Topic {
    format!("topic.{number}").parse().expect("a topic")
}

fn topics_entry() -> impl Strategy<Value = TopicChange> {
    let bound = |max: u64| proptest::option::of(1..max);
    let retain = (bound(6), bound(20_000), bound(20_000)).prop_map(|(count, age, bytes)| Retain { count, age, bytes });
    let bytes = prop_oneof![4 => 0_usize..300, 1 => Just(9_000_usize)];
    let op = (0_u8..3, 0_u8..20, 0_u8..20, retain, bytes).prop_map(|(number, kind, id, retain, bytes)| {
        let topic = topic(number);
        match kind {
            0 => TopicOp::Remove { topic },
            1..=3 => TopicOp::Configure { topic, retain },
            _ => TopicOp::Publish {
                topic,
                publisher: "p".repeat(bytes % 7),
                message_id: MessageId::from_bytes([id; 16]),
                data: vec![bytes as u8; bytes],
            },
        }
    });
    let entry = (proptest::collection::vec(op, 1..4), 2_u64..5, database_bytes_max(), 0_u8..30);
    entry.prop_map(|(ops, topics_max, database_bytes_max, key)| TopicChange {
        topics_max,
        database_bytes_max,
        idempotency: idempotency(key),
        ..TopicChange::new(crate::types::Namespace::default_namespace(), ops)
    })
}

fn plan() -> impl Strategy<Value = Vec<Step>> {
    let disturbance = prop_oneof![
        4 => Just(Disturbance::None),
        1 => Just(Disturbance::Close),
        2 => (0_u64..1_000).prop_map(|lost_per_mille| Disturbance::Kill { lost_per_mille }),
        1 => Just(Disturbance::Checkpoint),
        1 => Just(Disturbance::SmallCache),
    ];
    let step = (1_usize..20, disturbance).prop_map(|(batch, disturbance)| Step { batch, disturbance });
    proptest::collection::vec(step, 1..8)
}

/// What a replica ends with.
#[derive(PartialEq)]
struct End {
    outcomes: Vec<Outcome>,
    dump: String,
    /// Every row of every table, the internal ones and those below virtual tables included.
    rows: Vec<String>,
    hash: [u8; 32],
    file: Vec<u8>,
}

fn run(entries: &[Entry], plan: &[Step]) -> End {
    let folder = tempfile::tempdir().expect("a folder");
    let mut path = folder.path().join("0.sqlite");
    let mut database = Database::open(&path).expect("opens");
    let mut outcomes = vec![Outcome::None; entries.len()];
    let mut steps = plan.iter().cycle().enumerate();
    let mut kills = 0;
    while database.applied_index() < entries.len() as u64 {
        let (position, step) = steps.next().expect("a cycle has no end");
        let from = database.applied_index() as usize;
        let to = entries.len().min(from + step.batch);
        let batch: Vec<_> = (from..to)
            .map(|at| BatchEntry { index: at as u64 + 1, stamp: stamp(at as u64 + 1), change: entries[at].change() })
            .collect();
        for (at, outcome) in (from..to).zip(database.apply(&batch).expect("applies")) {
            let outcome = without_times(outcome);
            assert!(
                outcomes[at] == Outcome::None || outcomes[at] == outcome,
                "entry {at} answered otherwise when replayed"
            );
            outcomes[at] = outcome;
        }
        match step.disturbance {
            Disturbance::None => {}
            Disturbance::Checkpoint => drop(database.checkpoint().expect("checkpoints")),
            Disturbance::SmallCache => {
                trusted(|| database.connection.pragma_update(None, "cache_size", 2)).expect("sets")
            }
            Disturbance::Close => {
                database.close().expect("closes");
                database = Database::open(&path).expect("opens");
            }
            Disturbance::Kill { lost_per_mille } => {
                kills += 1;
                let lost = if kills < 5 { lost_per_mille } else { 0 };
                path = copy_files(&path, &folder.path().join(format!("{}.sqlite", position + 1)), lost);
                database = Database::open(&path).expect("opens");
            }
        }
    }
    database.checkpoint().expect("checkpoints");
    let readers = Readers::open(&path).expect("opens");
    let mut dump = Vec::new();
    readers.dump_sql(&[], &mut dump).expect("dumps");
    let hash = readers.snapshot().expect("snapshot").content_hash().expect("hashes");
    let rows = all_rows(&path);
    End {
        outcomes,
        dump: String::from_utf8(dump).expect("text"),
        rows,
        hash,
        file: std::fs::read(&path).expect("reads"),
    }
}

fn all_rows(path: &Path) -> Vec<String> {
    let connection = open_read_plain(path).expect("opens");
    let mut lines = Vec::new();
    for StoredTable { name, rowid } in stored_tables(&connection).expect("lists") {
        let sql = format!("SELECT {}, * FROM {} NOT INDEXED", rowid.unwrap_or("NULL"), quoted(&name));
        let mut statement = connection.prepare(&sql).expect("compiles");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("runs");
        while let Some(row) = rows.next().expect("reads") {
            let values: Vec<_> =
                (0..columns).map(|column| format!("{:?}", row.get_ref(column).expect("reads"))).collect();
            lines.push(format!("{name}: {}", values.join(" ")));
        }
    }
    lines
}

fn copy_files(from: &Path, to: &Path, lost_per_mille: u64) -> PathBuf {
    std::fs::copy(from, to).expect("copies");
    let wal = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if wal(from).exists() {
        let bytes = std::fs::copy(wal(from), wal(to)).expect("copies");
        let file = std::fs::OpenOptions::new().write(true).open(wal(to)).expect("opens");
        file.set_len(bytes - bytes * lost_per_mille / 1_000).expect("cuts");
    }
    to.to_owned()
}

fn without_times(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Executed(executed) => {
            Outcome::Executed(Executed { results: executed.results.into_iter().map(timeless).collect(), ..executed })
        }
        other => other,
    }
}

/// The pages that are in use, byte by byte. File change counters count transactions, which batches change. What a free
/// page last held is nobody's content: it depends on whether it was ever written before it was freed.
fn same_pages(left: &[u8], right: &[u8]) -> bool {
    const VOLATILE_HEADER: [std::ops::Range<usize>; 2] = [24..28, 92..96];
    let mask = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        VOLATILE_HEADER.into_iter().for_each(|range| bytes[range].fill(0));
        for page in free_leaves(&bytes) {
            bytes[(page - 1) * PAGE_BYTES..page * PAGE_BYTES].fill(0);
        }
        bytes
    };
    let (l, r) = (mask(left), mask(right));
    l == r
}

/// Numbers of the free pages that hold nothing, not even numbers of other free pages.
fn free_leaves(bytes: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let (mut leaves, mut trunk) = (Vec::new(), number(32));
    while trunk != 0 {
        let start = (trunk - 1) * PAGE_BYTES;
        leaves.extend((0..number(start + 4)).map(|leaf| number(start + 8 + 4 * leaf)));
        trunk = number(start);
    }
    leaves
}

#[test]
fn the_same_log_gives_the_same_content_however_it_is_applied() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let cases = from_environment("DEBROS_REPLAY_CASES").unwrap_or(16);
    let seed = from_environment("DEBROS_REPLAY_SEED").unwrap_or_else(std::process::id);
    let mut seed_bytes = [0; 32];
    seed_bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes));
    let outcome = runner.run(&(entries(), plan(), plan()), |(mut entries, first, second)| {
        entries.insert(0, Entry::Sql(execute(&SCHEMA)));
        entries.insert(1, Entry::Topics(topics_to_begin_with()));
        let (left, right) = (run(&entries, &first), run(&entries, &second));
        for (at, (l, r)) in left.outcomes.iter().zip(&right.outcomes).enumerate() {
            prop_assert_eq!(l, r, "outcome of entry {}", at + 1);
        }
        prop_assert_eq!(&left.dump, &right.dump);
        for (l, r) in left.rows.iter().zip(&right.rows) {
            prop_assert_eq!(l, r);
        }
        prop_assert_eq!(left.rows.len(), right.rows.len());
        prop_assert!(left.hash == right.hash, "hashes differ");
        prop_assert!(same_pages(&left.file, &right.file), "pages differ");
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}\nrun again with DEBROS_REPLAY_SEED={seed} DEBROS_REPLAY_CASES={cases}");
    }
}
