//! How many one-statement entries and single puts per second one namespace's writer applies, by batch size, and how
//! many point reads one thread answers. Prints figures; asserts nothing.

use std::time::{Duration, Instant};

use debros::sql::{BatchEntry, Change, Database, ReadOptions, Readers, Work};
use debros::types::command::{Execute, Stamp};
use debros::types::kv::{Condition, Expiry, Kv, KvOp};
use debros::types::{Namespace, Statement, Value};

const ENTRIES_PER_SIZE: u64 = 200_000;
const READ_TIME: Duration = Duration::from_secs(2);

fn insert(number: u64) -> Execute {
    let statement = Statement {
        positional: vec![Value::Integer(number as i64), Value::Text(format!("some text of a usual length {number}"))],
        ..Statement::new("INSERT INTO t(a, b) VALUES(?, ?)")
    };
    Execute::new(Namespace::default_namespace(), vec![statement])
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = Database::open(&folder.path().join("bench.sqlite")).expect("opens");
    let create = "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT)";
    let create = Execute::new(Namespace::default_namespace(), vec![Statement::new(create)]);
    let stamp = Stamp { unix_ms: 1_700_000_000_000, seed: 1 };
    database.apply(&[BatchEntry { index: 1, stamp, change: Change::Execute(&create) }]).expect("applies");

    for size in [1, 16, 64, 256, 1024] {
        let rate = apply_rate(&mut database, size);
        println!("apply, batches of {size:4}: {rate:8.0} entries/s");
    }
    for size in [1, 16, 64, 256, 1024] {
        let rate = put_rate(&mut database, size);
        println!("puts,  batches of {size:4}: {rate:8.0} entries/s");
    }
    let readers = Readers::open(database.path()).expect("opens");
    println!("point reads, one thread: {:8.0} reads/s", read_rate(&readers));
}

fn apply_rate(database: &mut Database, size: u64) -> f64 {
    let entries = if size == 1 { ENTRIES_PER_SIZE / 4 } else { ENTRIES_PER_SIZE };
    let executes: Vec<Execute> = (0..entries).map(insert).collect();
    let first = database.applied_index() + 1;
    let entries: Vec<BatchEntry<'_>> = (first..)
        .zip(&executes)
        .map(|(index, execute)| BatchEntry {
            index,
            stamp: Stamp { unix_ms: 1_700_000_000_000, seed: index },
            change: Change::Execute(execute),
        })
        .collect();
    let start = Instant::now();
    for batch in entries.chunks(size as usize) {
        database.apply(batch).expect("applies");
    }
    entries.len() as f64 / start.elapsed().as_secs_f64()
}

/// Ten thousand keys in a scattered order, 100 bytes each: most puts replace.
fn put_rate(database: &mut Database, size: u64) -> f64 {
    let entries = if size == 1 { ENTRIES_PER_SIZE / 4 } else { ENTRIES_PER_SIZE };
    let puts: Vec<Kv> = (0..entries)
        .map(|number| {
            let op = KvOp::Put {
                key: format!("user/{:05}", number * 7_919 % 10_000).parse().expect("a key"),
                value: vec![number as u8; 100],
                content_type: None,
                condition: Condition::Always,
                expiry: Expiry::Never,
            };
            Kv::new(Namespace::default_namespace(), vec![op])
        })
        .collect();
    let first = database.applied_index() + 1;
    let entries: Vec<BatchEntry<'_>> = (first..)
        .zip(&puts)
        .map(|(index, kv)| BatchEntry {
            index,
            stamp: Stamp { unix_ms: 1_700_000_000_000, seed: index },
            change: Change::Kv(kv),
        })
        .collect();
    let start = Instant::now();
    for batch in entries.chunks(size as usize) {
        database.apply(batch).expect("applies");
    }
    entries.len() as f64 / start.elapsed().as_secs_f64()
}

fn read_rate(readers: &Readers) -> f64 {
    let mut reads = 0_u64;
    let start = Instant::now();
    while start.elapsed() < READ_TIME {
        for id in 1..=1_000 {
            let statement = Statement {
                positional: vec![Value::Integer(id * 7)],
                ..Statement::new("SELECT id, a, b FROM t WHERE id = ?")
            };
            let options = ReadOptions { work: Work::Quick, ..ReadOptions::default() };
            readers.query(&[statement], &options).expect("answers");
            reads += 1;
        }
    }
    reads as f64 / start.elapsed().as_secs_f64()
}
