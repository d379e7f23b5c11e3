//! What the key-value store promises, on one file.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::StatementStatus;

use super::database::{BatchEntry, Change, Database};
use super::readers::Readers;
use super::testing::*;
use crate::types::Namespace;
use crate::types::command::{IdempotencyKey, Outcome, Refusal, Replayed, Stamp};
use crate::types::kv::{
    Condition, Expiry, Key, Kv, KvChangeKind, KvEffect, KvEntry, KvFound, KvOp, KvQuery, KvQuota, KvQuotaKind,
    KvValues, KvVerdict,
};
use crate::types::limits::{KV_CHANGES_KEPT, KV_VALUE_BYTES_MAX};
use crate::types::statement::StatementErrorKind;

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn put(text: &str, value: &[u8]) -> KvOp {
    put_if(text, value, Condition::Always, Expiry::Never)
}

fn put_if(text: &str, value: &[u8], condition: Condition, expiry: Expiry) -> KvOp {
    KvOp::Put { key: key(text), value: value.to_vec(), content_type: None, condition, expiry }
}

fn delete(text: &str) -> KvOp {
    KvOp::Delete { key: key(text), condition: Condition::Always }
}

fn kv(ops: Vec<KvOp>) -> Kv {
    Kv::new(Namespace::default_namespace(), ops)
}

fn get(keys: &[&str]) -> KvQuery {
    KvQuery::Get { keys: keys.iter().map(|text| key(text)).collect(), values: KvValues::Included }
}

fn list(prefix: &str, after: Option<&str>, keys_max: u32) -> KvQuery {
    KvQuery::List { prefix: prefix.to_owned(), after: after.map(key), keys_max, values: KvValues::Omitted }
}

fn changes(prefix: &str, after: u64, changes_max: u32) -> KvQuery {
    KvQuery::Changes { prefix: prefix.to_owned(), after, changes_max }
}

impl Fixture {
    fn change(&mut self, ops: Vec<KvOp>) -> KvVerdict {
        self.change_keys(&kv(ops)).verdict
    }

    fn entries(&self, keys: &[&str]) -> Vec<Option<KvEntry>> {
        match self.ask_keys(&get(keys)) {
            KvFound::Entries(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    fn value(&self, text: &str) -> Option<Vec<u8>> {
        self.entries(&[text]).pop().expect("an answer").and_then(|entry| entry.value)
    }

    fn listed(&self, query: &KvQuery) -> (Vec<String>, Option<Key>) {
        match self.ask_keys(query) {
            KvFound::Page { entries, more_after } => {
                (entries.iter().map(|entry| entry.key.to_string()).collect(), more_after)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_value_comes_back_with_what_is_known_of_it() {
    let mut fixture = Fixture::new();
    let op = KvOp::Put {
        key: key("a\0b"),
        value: vec![0, 255],
        content_type: Some("text/é".to_owned()),
        condition: Condition::Always,
        expiry: Expiry::AfterMs(5_000),
    };
    assert_eq!(fixture.change(vec![op]), KvVerdict::Done(vec![KvEffect::Created { version: 1 }]));
    let written = stamp(1).unix_ms;
    let entry = KvEntry {
        key: key("a\0b"),
        version: 1,
        value: Some(vec![0, 255]),
        value_bytes: 2,
        content_type: Some("text/é".to_owned()),
        created_unix_ms: written,
        updated_unix_ms: written,
        expires_unix_ms: Some(written + 5_000),
    };
    assert_eq!(fixture.entries(&["a\0b", "a", "a\0"]), [Some(entry.clone()), None, None]);
    let stat = KvQuery::Get { keys: vec![key("a\0b")], values: KvValues::Omitted };
    assert_eq!(fixture.ask_keys(&stat), KvFound::Entries(vec![Some(KvEntry { value: None, ..entry })]));
    assert_eq!(fixture.change(vec![put("a\0b", b"")]), KvVerdict::Done(vec![KvEffect::Replaced { version: 2 }]));
    let again = fixture.entries(&["a\0b"]).pop().flatten().expect("there");
    assert_eq!((again.version, again.created_unix_ms, again.updated_unix_ms), (2, written, stamp(2).unix_ms));
    assert_eq!((again.content_type, again.expires_unix_ms, again.value), (None, None, Some(Vec::new())));
}

#[test]
fn a_failed_condition_leaves_a_batch_undone_and_says_which_and_what_is_there() {
    let mut fixture = Fixture::new();
    fixture.change(vec![put("a", b"1")]);
    let batch = vec![put("b", b"2"), delete("a"), put_if("b", b"3", Condition::IfAbsent, Expiry::Never)];
    assert_eq!(fixture.change(batch), KvVerdict::ConditionFailed { op: 2, found: Some(2) });
    assert_eq!((fixture.value("a"), fixture.value("b")), (Some(b"1".to_vec()), None));
    for (condition, found) in [(Condition::IfVersion(2), Some(1)), (Condition::IfAbsent, Some(1))] {
        let refused = fixture.change(vec![KvOp::Delete { key: key("a"), condition }]);
        assert_eq!(refused, KvVerdict::ConditionFailed { op: 0, found });
    }
    for condition in [Condition::IfVersion(1), Condition::IfPresent] {
        let refused = fixture.change(vec![KvOp::Delete { key: key("none"), condition }]);
        assert_eq!(refused, KvVerdict::ConditionFailed { op: 0, found: None });
    }
    let swap = put_if("a", b"9", Condition::IfVersion(1), Expiry::Never);
    let batch = vec![swap, put("c", b""), delete("c"), delete("c"), put("a", b"10")];
    let version = fixture.index + 1;
    assert_eq!(
        fixture.change(batch),
        KvVerdict::Done(vec![
            KvEffect::Replaced { version },
            KvEffect::Created { version },
            KvEffect::Deleted,
            KvEffect::WasAbsent,
            KvEffect::Replaced { version },
        ])
    );
    assert_eq!(fixture.value("a"), Some(b"10".to_vec()));
}

#[test]
fn what_has_expired_is_hidden_at_once_and_cleared_away_by_later_entries() {
    let mut fixture = Fixture::new();
    for number in 0..30 {
        fixture.change(vec![put_if(&format!("k{number}"), b"v", Condition::Always, Expiry::AfterMs(100_000))]);
    }
    fixture.change(vec![put("stays", b"v")]);
    let late = Stamp { unix_ms: stamp(1).unix_ms + 1_000_000, seed: 0 };
    let KvFound::Page { entries, .. } = fixture.ask_keys_at(late.unix_ms, &list("", None, 100)) else { panic!() };
    assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["stays"]);
    assert_eq!(fixture.ask_keys_at(late.unix_ms, &get(&["k3"])), KvFound::Entries(vec![None]));
    // A key that is touched is gone first; a bounded number of others goes with it.
    fixture.index += 1;
    let created = fixture.change_keys_at(late, &kv(vec![put_if("k29", b"w", Condition::IfAbsent, Expiry::Never)]));
    assert_eq!(created.verdict, KvVerdict::Done(vec![KvEffect::Created { version: fixture.index }]));
    assert_eq!(fixture.database.kv_totals().keys, 31 - 9);
    while fixture.database.kv_totals().keys > 2 {
        fixture.index += 1;
        fixture.change_keys_at(late, &kv(vec![delete("none")]));
    }
    let KvFound::Changes { changes, .. } = fixture.ask_keys(&changes("k", 0, 1000)) else { panic!() };
    assert_eq!(changes.iter().filter(|change| change.kind == KvChangeKind::Expire).count(), 30);
}

#[test]
fn quotas_bound_what_grows_and_let_shrink() {
    let mut fixture = Fixture::new();
    let quota = KvQuota { keys_max: Some(2), bytes_max: Some(100) };
    let limited = |ops| Kv { quota, ..kv(ops) };
    assert!(matches!(fixture.change_keys(&limited(vec![put("a", b"1"), put("b", b"2")])).verdict, KvVerdict::Done(_)));
    let over = |what, max, would_be| KvVerdict::OverQuota { what, max, would_be };
    assert_eq!(fixture.change_keys(&limited(vec![put("c", b"3")])).verdict, over(KvQuotaKind::Keys, 2, 3));
    let large = limited(vec![put("b", &[0; 99])]);
    assert_eq!(fixture.change_keys(&large).verdict, over(KvQuotaKind::Bytes, 100, 102));
    assert!(matches!(fixture.change_keys(&limited(vec![delete("a"), put("c", b"3")])).verdict, KvVerdict::Done(_)));
    // Without a quota it may become larger, and then with one it may only become smaller.
    fixture.change(vec![put("d", &[0; 300]), put("e", &[0; 300])]);
    assert_eq!(fixture.change_keys(&limited(vec![put("c", b"33")])).verdict, over(KvQuotaKind::Bytes, 100, 607));
    assert!(matches!(fixture.change_keys(&limited(vec![put("d", b"")])).verdict, KvVerdict::Done(_)));
    assert!(matches!(fixture.change_keys(&limited(vec![delete("e")])).verdict, KvVerdict::Done(_)));
    assert_eq!(fixture.database.kv_totals().keys, 3);
}

#[test]
fn what_has_expired_makes_room() {
    let mut fixture = Fixture::new();
    let ops = (0..500).map(|n| put_if(&format!("{n}"), b"", Condition::Always, Expiry::AfterMs(1)));
    fixture.change(ops.collect());
    let quota = KvQuota { keys_max: Some(500), bytes_max: None };
    let many = (0..400).map(|n| put(&format!("new{n}"), b"")).collect();
    assert!(matches!(fixture.change_keys(&Kv { quota, ..kv(many) }).verdict, KvVerdict::Done(_)));
}

#[test]
fn a_value_that_is_too_large_is_refused_by_the_log_itself() {
    let mut fixture = Fixture::new();
    let batch = vec![put("a", &vec![0; KV_VALUE_BYTES_MAX]), put("b", &vec![0; KV_VALUE_BYTES_MAX + 1])];
    assert_eq!(fixture.change(batch), KvVerdict::TooLarge { op: 1 });
    assert!(matches!(fixture.change(vec![put("a", &vec![0; KV_VALUE_BYTES_MAX])]), KvVerdict::Done(_)));
}

#[test]
fn a_repeated_request_has_its_first_outcome() {
    let mut fixture = Fixture::new();
    let keyed = |ops, print| Kv {
        idempotency: Some(IdempotencyKey { key: "once".to_owned(), fingerprint: [print; 32] }),
        ..kv(ops)
    };
    let first = fixture.change_keys(&keyed(vec![put("a", b"1")], 1));
    fixture.change(vec![put("a", b"2")]);
    let second = fixture.change_keys(&keyed(vec![put("a", b"1")], 1));
    assert_eq!((first.replayed, second.replayed, &first.verdict), (Replayed::No, Replayed::Yes, &second.verdict));
    assert_eq!(fixture.value("a"), Some(b"2".to_vec()));
    let other = keyed(vec![delete("a")], 2);
    let entry = BatchEntry { index: 9, stamp: stamp(9), change: Change::Kv(&other) };
    let refused = fixture.database.apply(&[entry]).expect("applies");
    assert_eq!(refused, [Outcome::Refused(Refusal::IdempotencyMismatch("once".to_owned()))]);
}

#[test]
fn prefixes_are_literal_and_pages_follow_each_other() {
    let mut fixture = Fixture::new();
    let names =
        ["%", "%a", "_", "a", "a%", "a/b", "a/c", "a\0", "é", "e\u{301}", "\u{10ffff}", "\u{10ffff}x", "A", "*"];
    fixture.change(names.iter().map(|name| put(name, b"v")).collect());
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(fixture.listed(&list("", None, 100)), (sorted.to_vec(), None));
    for prefix in ["", "%", "a", "a/", "\u{10ffff}", "é", "a/b/c/longer than any", "none"] {
        let wanted: Vec<&String> = sorted.iter().filter(|name| name.starts_with(prefix)).collect();
        let (mut got, mut after) = (Vec::new(), None::<Key>);
        loop {
            let (page, more) = fixture.listed(&list(prefix, after.as_ref().map(Key::as_str), 2));
            got.extend(page);
            after = more;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(got.iter().collect::<Vec<_>>(), wanted, "{prefix:?}");
    }
    assert_eq!(fixture.listed(&list("a", Some("b"), 9)), (Vec::new(), None));
    assert_eq!(fixture.listed(&list("a/", Some("%"), 9)).0, ["a/b", "a/c"]);
}

#[test]
fn an_answer_is_bounded_in_bytes() {
    let mut fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        fixture.change(vec![put(name, &vec![1; 600 * 1024])]);
    }
    assert_eq!(fixture.ask_keys(&get(&["a", "b"])), KvFound::TooLarge { bytes_max: 1024 * 1024 });
    let all = KvQuery::List { prefix: String::new(), after: None, keys_max: 9, values: KvValues::Included };
    let KvFound::Page { entries, more_after } = fixture.ask_keys(&all) else { panic!() };
    assert_eq!((entries.len(), more_after), (1, Some(key("a"))));
}

#[test]
fn changes_are_told_in_order_and_said_to_be_gone_when_they_are() {
    let mut fixture = Fixture::new();
    fixture.change(vec![put("a", b""), put("b", b"")]);
    fixture.change(vec![delete("a"), delete("a"), put("b", b"1")]);
    let KvFound::Changes { changes: got, next_after, newest } = fixture.ask_keys(&changes("", 0, 10)) else { panic!() };
    let told: Vec<_> =
        got.iter().map(|change| (change.seq, change.key.as_str(), change.kind, change.version)).collect();
    use KvChangeKind::{Delete, Put};
    assert_eq!(told, [(1, "a", Put, 1), (2, "b", Put, 1), (3, "a", Delete, 2), (4, "b", Put, 2)]);
    assert_eq!((next_after, newest), (4, 4));
    let KvFound::Changes { changes: got, next_after, .. } = fixture.ask_keys(&changes("b", 1, 1)) else { panic!() };
    assert_eq!((got.len(), got[0].seq, next_after), (1, 2, 2));
    let none = KvFound::Changes { changes: Vec::new(), next_after: 4, newest: 4 };
    assert_eq!(fixture.ask_keys(&changes("zz", 1, 5)), none);
    for round in 0..KV_CHANGES_KEPT / 500 + 1 {
        fixture.change((0..500).map(|n| put(&format!("k{n}"), &round.to_be_bytes())).collect());
    }
    let newest = fixture.database.newest_kv_change();
    assert_eq!(fixture.ask_keys(&changes("", 3, 5)), KvFound::ChangesGone { newest });
    assert!(matches!(fixture.ask_keys(&changes("", newest - KV_CHANGES_KEPT, 5)), KvFound::Changes { .. }));
}

#[test]
fn a_namespace_that_comes_again_repeats_no_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("again.sqlite");
    let mut database = Database::create(&path, 7).expect("creates");
    let change = kv(vec![put("a", b"")]);
    database.apply(&[BatchEntry { index: 8, stamp: stamp(8), change: Change::Kv(&change) }]).expect("applies");
    assert!(
        database.newest_kv_change()
            < Database::create(&folder.path().join("b"), 9).expect("creates").newest_kv_change()
    );
}

#[test]
fn keys_are_part_of_the_content_and_no_part_of_the_sql_database() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let hash = |fixture: &Fixture| fixture.readers.snapshot().expect("snapshot").content_hash().expect("hashes");
    fixture.change(vec![put("secret key", b"secret value")]);
    let before = hash(&fixture);
    fixture.index += 1;
    let path = fixture.folder.path().join("copy.sqlite");
    for sql in [
        "SELECT * FROM sqlite_debros_kv",
        "INSERT INTO sqlite_debros_kv(key, version, created_unix_ms, updated_unix_ms, value) VALUES('a', 1, 1, 1, '')",
        "DELETE FROM sqlite_debros_kv_change",
    ] {
        assert_failed(&fixture.run(&[sql])[0], StatementErrorKind::Refused, "belongs to debros");
    }
    let mut dump = Vec::new();
    fixture.readers.dump_sql(&[], &mut dump).expect("dumps");
    assert!(!String::from_utf8_lossy(&dump).contains("secret"));
    fixture.readers.backup(&path, super::BackupOptions::default()).expect("backs up");
    let bytes = std::fs::read(&path).expect("reads");
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    assert_ne!(hash(&fixture), before);
}

#[test]
fn keys_stay_when_another_sql_database_is_loaded() {
    let mut fixture = Fixture::new();
    fixture.change(vec![put("a", b"1"), put("gone", b"")]);
    fixture.change(vec![delete("gone"), put_if("b", b"2", Condition::Always, Expiry::AfterMs(1_000_000))]);
    let mut typed = put("c", b"3");
    if let KvOp::Put { content_type, .. } = &mut typed {
        *content_type = Some("text/plain".to_owned());
    }
    fixture.change(vec![typed]);
    let totals = fixture.database.kv_totals();
    let asked = [get(&["a", "b", "c", "gone"]), list("", None, 9), changes("", 0, 99)];
    let before: Vec<KvFound> = asked.iter().map(|query| fixture.ask_keys(query)).collect();
    for encoding in ["UTF-8", "UTF-16le"] {
        let loaded = fixture.folder.path().join(format!("{encoding}.sqlite"));
        let connection = rusqlite::Connection::open(&loaded).expect("opens");
        connection.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE new(a)")).expect("runs");
        connection.close().expect("closes");
        let copy = fixture.folder.path().join("copy.sqlite");
        std::fs::copy(&loaded, &copy).expect("copies");
        super::adopt(&loaded, 50, Some(&fixture.database)).expect("adopts");
        super::adopt(&copy, 50, Some(&fixture.database)).expect("adopts");
        assert!(std::fs::read(&loaded).expect("reads") == std::fs::read(&copy).expect("reads"));
        let database = Database::open(&loaded).expect("opens");
        assert_eq!((database.applied_index(), database.kv_totals()), (50, totals));
        let readers = Readers::open(&loaded).expect("opens");
        let mut other = Fixture { database, readers, index: 60, folder: tempfile::tempdir().expect("a folder") };
        assert_eq!(asked.iter().map(|query| other.ask_keys(query)).collect::<Vec<_>>(), before);
        assert_eq!(other.rows("SELECT count(*) FROM new"), ["0"]);
        other.change(vec![delete("c")]);
        let left = totals.bytes - "c3text/plain".len() as u64;
        assert_eq!(other.database.kv_totals().bytes, left, "{encoding}: as much as it took");
    }
}

/// A key in the model: value, version, expiry.
type Model = BTreeMap<String, (Vec<u8>, u64, Option<i64>)>;

fn model_apply(model: &mut Model, index: u64, now: i64, ops: &[KvOp]) -> Result<(), (u32, Option<u64>)> {
    model.retain(|_, (_, _, expires)| expires.is_none_or(|at| at > now));
    let mut next = model.clone();
    for (position, op) in ops.iter().enumerate() {
        let name = op.key().to_string();
        let found = next.get(&name).map(|(_, version, _)| *version);
        if !op.condition().holds(found) {
            return Err((position as u32, found));
        }
        match op {
            KvOp::Put { value, expiry, .. } => drop(next.insert(name, (value.clone(), index, expiry.at(now)))),
            KvOp::Delete { .. } => drop(next.remove(&name)),
        }
    }
    *model = next;
    Ok(())
}

fn op() -> impl Strategy<Value = KvOp> {
    let condition = prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::IfAbsent),
        1 => Just(Condition::IfPresent),
        2 => (1_u64..40).prop_map(Condition::IfVersion),
    ];
    let expiry = prop_oneof![2 => Just(Expiry::Never), 1 => (0_u64..9_000).prop_map(Expiry::AfterMs)];
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    ("[ab%é]{1,2}", any::<bool>(), value, condition, expiry).prop_map(|(name, deletes, value, condition, expiry)| {
        if deletes {
            KvOp::Delete { key: key(&name), condition }
        } else {
            KvOp::Put { key: key(&name), value, content_type: None, condition, expiry }
        }
    })
}

#[test]
fn looking_for_what_has_expired_compiles_nothing_anew() {
    let mut fixture = Fixture::new();
    for number in 0..10 {
        fixture.change(vec![put_if(&format!("k{number}"), b"v", Condition::Always, Expiry::AfterMs(1))]);
    }
    let connection = &fixture.database.connection;
    let compiled_anew = super::admission::trusted(|| {
        let statement = connection.prepare_cached(super::kv::EXPIRED).expect("compiles");
        (statement.get_status(StatementStatus::Run), statement.get_status(StatementStatus::RePrepare))
    });
    assert_eq!(compiled_anew, (10, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_as_an_ordered_map_with_expiry(batches in proptest::collection::vec(proptest::collection::vec(op(), 1..5), 1..40)) {
        let mut fixture = Fixture::new();
        let mut model = Model::new();
        for ops in &batches {
            let verdict = fixture.change(ops.clone());
            let now = stamp(fixture.index).unix_ms;
            match (verdict, model_apply(&mut model, fixture.index, now, ops)) {
                (KvVerdict::Done(effects), Ok(())) => prop_assert_eq!(effects.len(), ops.len()),
                (KvVerdict::ConditionFailed { op, found }, Err(expected)) => prop_assert_eq!((op, found), expected),
                (verdict, expected) => prop_assert!(false, "{verdict:?} against {expected:?}"),
            }
            model.retain(|_, (_, _, expires)| expires.is_none_or(|at| at > now));
            let all = KvQuery::List { prefix: String::new(), after: None, keys_max: 999, values: KvValues::Included };
            let KvFound::Page { entries, .. } = fixture.ask_keys(&all) else { panic!() };
            let got: Model = entries
                .into_iter()
                .map(|entry| (entry.key.to_string(), (entry.value.expect("asked"), entry.version, entry.expires_unix_ms)))
                .collect();
            prop_assert_eq!(&got, &model);
        }
        let stored = "SELECT count(*) || ' ' || coalesce(sum(length(key) + length(value)), 0) FROM sqlite_debros_kv";
        let stored: String = super::admission::trusted(|| fixture.database.connection.query_row(stored, [], |row| row.get(0))).expect("reads");
        let totals = fixture.database.kv_totals();
        prop_assert_eq!(stored, format!("{} {}", totals.keys, totals.bytes));
    }
}
