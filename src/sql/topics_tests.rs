//! What durable topics promise, on one file.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::database::Database;
use super::readers::Readers;
use super::testing::*;
use crate::types::command::{IdempotencyKey, Outcome, Refusal, Replayed};
use crate::types::durable::{
    InvalidRetain, MessageId, OnGap, Retain, StoredMessage, TopicChange, TopicEffect, TopicFound, TopicOp, TopicQuery,
    TopicVerdict,
};
use crate::types::limits::{MESSAGE_BYTES_MAX, MESSAGE_ROW_BYTES, REMOVED_TOPICS_KEPT};
use crate::types::statement::StatementErrorKind;
use crate::types::{Namespace, Topic};

/// When the tests' entries happen, unless they say otherwise.
const NOW: i64 = 1_700_000_000_000;

fn topic(text: &str) -> Topic {
    text.parse().expect("a topic")
}

fn configure(text: &str, retain: Retain) -> TopicOp {
    TopicOp::Configure { topic: topic(text), retain }
}

fn remove(text: &str) -> TopicOp {
    TopicOp::Remove { topic: topic(text) }
}

fn publish(text: &str, id: u32, data: &[u8]) -> TopicOp {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&id.to_be_bytes());
    TopicOp::Publish {
        topic: topic(text),
        publisher: "somebody".to_owned(),
        message_id: MessageId::from_bytes(bytes),
        data: data.to_vec(),
    }
}

fn change(ops: Vec<TopicOp>) -> TopicChange {
    TopicChange::new(Namespace::default_namespace(), ops)
}

fn ask(filter: &str, after: u64, on_gap: OnGap) -> TopicQuery {
    let filter = filter.parse().expect("a filter");
    TopicQuery::Messages { filter, after, on_gap, count_max: 1000, bytes_max: u64::MAX }
}

impl Fixture {
    fn topics(&mut self, ops: Vec<TopicOp>) -> TopicVerdict {
        self.change_topics_at(NOW, &change(ops)).verdict
    }

    fn effects(&mut self, ops: Vec<TopicOp>) -> Vec<TopicEffect> {
        match self.topics(ops) {
            TopicVerdict::Done(effects) => effects,
            other => panic!("{other:?}"),
        }
    }

    /// The number of one message that is published.
    fn seq(&mut self, text: &str, id: u32) -> u64 {
        match self.effects(vec![publish(text, id, b"data")])[..] {
            [TopicEffect::Published { seq }] => seq,
            ref other => panic!("{other:?}"),
        }
    }

    /// Messages of a filter, whatever is missing.
    fn stored(&self, filter: &str) -> Vec<StoredMessage> {
        match self.ask_topics(&ask(filter, 0, OnGap::Skip)) {
            TopicFound::Messages { messages, .. } => messages,
            other => panic!("{other:?}"),
        }
    }

    fn seqs(&self, filter: &str) -> Vec<u64> {
        self.stored(filter).iter().map(|message| message.seq).collect()
    }

    /// Where to go on, when messages behind `after` are gone.
    fn gone(&self, filter: &str, after: u64) -> Option<u64> {
        match self.ask_topics(&ask(filter, after, OnGap::Tell)) {
            TopicFound::Gone { resume_after, .. } => Some(resume_after),
            TopicFound::Messages { .. } => None,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_come_back_in_order_under_one_cursor_for_all_topics() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("a.x", Retain::newest(10)), configure("a.y", Retain::newest(10))]);
    let first = fixture.effects(vec![publish("a.x", 1, b"one"), publish("a.y", 1, b"two"), publish("a.x", 2, &[])]);
    let [
        TopicEffect::Published { seq: one },
        TopicEffect::Published { seq: two },
        TopicEffect::Published { seq: three },
    ] = first[..]
    else {
        panic!("{first:?}")
    };
    assert!(one < two && two < three);
    let stored = fixture.stored("a.*");
    assert_eq!(stored.iter().map(|message| message.seq).collect::<Vec<_>>(), [one, two, three]);
    let [TopicOp::Publish { message_id, .. }] = &[publish("a.x", 1, b"")] else { panic!() };
    let message = StoredMessage {
        seq: one,
        topic: topic("a.x"),
        unix_ms: NOW,
        publisher: "somebody".to_owned(),
        message_id: *message_id,
        data: b"one".to_vec(),
    };
    assert_eq!(stored[0], message);
    assert_eq!(fixture.seqs("a.x"), [one, three]);
    assert_eq!((fixture.seqs("a.y"), fixture.seqs("other"), fixture.seqs("b.>")), (vec![two], vec![], vec![]));
    let newest = three;
    let rest = fixture.ask_topics(&ask("a.x", one, OnGap::Tell));
    let TopicFound::Messages { messages, next_after, newest: told, oldest_kept } = rest else { panic!("{rest:?}") };
    assert_eq!((messages.len(), next_after, told, oldest_kept), (1, newest, newest, Some(one)));
    assert_eq!(fixture.ask_topics(&TopicQuery::Newest), TopicFound::Newest(newest));
    assert_eq!(fixture.database.newest_topic_change(), newest);
}

#[test]
fn pages_are_bounded_in_count_and_bytes_and_follow_each_other() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(100)), configure("u", Retain::newest(100))]);
    for id in 0..10 {
        fixture.effects(vec![publish("t", id, &[0; 500]), publish("u", id, &[1; 500])]);
    }
    let message_bytes = 500 + "somebody".len() as u64 + MESSAGE_ROW_BYTES;
    for (filter, wanted) in [("t", 10), ("*", 20)] {
        for (count_max, bytes_max) in [(3, u64::MAX), (1000, 2 * message_bytes), (1000, 1)] {
            let (mut after, mut got) = (0, Vec::new());
            loop {
                let filter = filter.parse().expect("a filter");
                let query = TopicQuery::Messages { filter, after, on_gap: OnGap::Tell, count_max, bytes_max };
                let found = fixture.ask_topics(&query);
                let TopicFound::Messages { messages, next_after, newest, .. } = found else { panic!("{found:?}") };
                assert!(messages.len() <= count_max as usize && next_after >= after);
                assert!(messages.len() <= 1 || messages.len() as u64 * message_bytes <= bytes_max);
                got.extend(messages.iter().map(|message| message.seq));
                after = next_after;
                if after == newest {
                    break;
                }
                assert!(!messages.is_empty(), "it goes on");
            }
            assert_eq!(got, fixture.seqs(filter));
            assert_eq!(got.len(), wanted);
        }
    }
    let none = TopicQuery::Messages {
        filter: ">".parse().expect("a filter"),
        after: 0,
        on_gap: OnGap::Tell,
        count_max: 0,
        bytes_max: 9,
    };
    let TopicFound::Messages { messages, next_after, .. } = fixture.ask_topics(&none) else { panic!() };
    assert_eq!((messages.len(), next_after), (0, 0));
}

#[test]
fn a_pattern_gets_past_many_messages_of_other_topics() {
    let mut fixture = Fixture::new();
    let names = ["quiet.a", "quiet.b", "loud"];
    fixture.effects(names.iter().map(|name| configure(name, Retain::newest(100_000))).collect());
    for round in 0..21 {
        fixture.effects((0..1000).map(|id| publish("loud", round * 1000 + id, b"")).collect());
    }
    let last = fixture.seq("quiet.b", 1);
    let (mut after, mut got, mut asked) = (0, Vec::new(), 0);
    while after < last {
        let found = fixture.ask_topics(&ask("quiet.*", after, OnGap::Tell));
        let TopicFound::Messages { messages, next_after, .. } = found else { panic!("{found:?}") };
        assert!(next_after > after);
        got.extend(messages.iter().map(|message| message.seq));
        (after, asked) = (next_after, asked + 1);
    }
    assert_eq!((got, asked), (vec![last], 3));
}

#[test]
fn a_message_that_is_sent_again_is_stored_once() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(2)), configure("u", Retain::newest(2))]);
    let seq = fixture.seq("t", 1);
    let newest = fixture.database.newest_topic_change();
    let again = vec![publish("t", 1, b"data"), publish("t", 1, b"other data")];
    assert_eq!(fixture.effects(again), [TopicEffect::AlreadyPublished { seq }; 2]);
    assert_eq!(fixture.database.newest_topic_change(), newest, "nothing to be woken for");
    assert_eq!(fixture.stored("t")[0].data, b"data");
    assert!(matches!(fixture.effects(vec![publish("u", 1, b"")])[..], [TopicEffect::Published { .. }]));
    // Once it is no longer kept, nobody remembers it.
    fixture.seq("t", 2);
    fixture.seq("t", 3);
    assert!(matches!(fixture.effects(vec![publish("t", 1, b"")])[..], [TopicEffect::Published { .. }]));
}

#[test]
fn what_may_not_be_leaves_a_batch_undone() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(2))]);
    let newest = fixture.database.newest_topic_change();
    let refused = fixture.topics(vec![publish("t", 1, b""), publish("none", 1, b"")]);
    assert_eq!(refused, TopicVerdict::NotDurable { op: 1 });
    let refused = fixture.topics(vec![publish("t", 1, b""), remove("t"), publish("t", 2, b"")]);
    assert_eq!(refused, TopicVerdict::NotDurable { op: 2 });
    let reason = InvalidRetain::Unbounded;
    let refused = fixture.topics(vec![remove("t"), configure("u", Retain::default())]);
    assert_eq!(refused, TopicVerdict::InvalidRetain { op: 1, reason });
    let large = vec![0; MESSAGE_BYTES_MAX + 1];
    let refused = fixture.topics(vec![publish("t", 1, &large[1..]), publish("t", 2, &large)]);
    assert_eq!(refused, TopicVerdict::TooLarge { op: 1 });
    let limited = |ops| TopicChange { topics_max: 2, ..change(ops) };
    let two = limited(vec![configure("u", Retain::newest(1)), configure("v", Retain::newest(1))]);
    assert_eq!(fixture.change_topics_at(NOW, &two).verdict, TopicVerdict::TooManyTopics { topics_max: 2 });
    assert_eq!(fixture.database.newest_topic_change(), newest);
    assert!(fixture.stored(">").is_empty());
    let instead = limited(vec![remove("t"), configure("u", Retain::newest(1)), configure("v", Retain::newest(1))]);
    assert!(matches!(fixture.change_topics_at(NOW, &instead).verdict, TopicVerdict::Done(_)));
    let smaller =
        TopicChange { topics_max: 1, ..change(vec![configure("u", Retain::newest(9)), publish("v", 1, b"")]) };
    assert!(
        matches!(fixture.change_topics_at(NOW, &smaller).verdict, TopicVerdict::Done(_)),
        "only growth is measured"
    );
}

#[test]
fn a_topic_keeps_its_newest_messages_by_count_bytes_and_age() {
    let mut fixture = Fixture::new();
    let message_bytes = 4 + "somebody".len() as u64 + MESSAGE_ROW_BYTES;
    fixture.effects(vec![
        configure("count", Retain::newest(3)),
        configure("bytes", Retain { bytes: Some(2 * message_bytes + 1), ..Retain::default() }),
        configure("age", Retain { age: Some(10_000), ..Retain::default() }),
    ]);
    for name in ["count", "bytes"] {
        let seqs: Vec<u64> = (0..5).map(|id| fixture.seq(name, id)).collect();
        let kept = if name == "count" { 3 } else { 2 };
        assert_eq!(fixture.seqs(name), seqs[5 - kept..]);
        let TopicFound::Configured { topics, .. } = fixture.ask_topics(&TopicQuery::Configured) else { panic!() };
        let told = topics.iter().find(|found| found.topic == topic(name)).expect("there");
        assert_eq!((told.messages, told.bytes), (kept as u64, kept as u64 * message_bytes));
        assert_eq!((told.first_seq, told.last_seq), (Some(seqs[5 - kept]), Some(seqs[4])));
    }
    // The newest one stays, however large.
    fixture.effects(vec![publish("bytes", 9, &[0; 1000])]);
    assert_eq!(fixture.stored("bytes").len(), 1);
    for (id, after_ms) in [(0, 0), (1, 6_000), (2, 10_000), (3, 10_001)] {
        fixture.change_topics_at(NOW + after_ms, &change(vec![publish("age", id, b"data")]));
        assert_eq!(fixture.stored("age").len(), [1, 2, 3, 3][id as usize]);
    }
    // A clock that went back harms nobody.
    fixture.change_topics_at(NOW - 1_000_000, &change(vec![publish("age", 4, b"data")]));
    assert_eq!(fixture.stored("age").len(), 4);
}

#[test]
fn a_topic_that_is_to_keep_less_shrinks_little_by_little() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(2000))]);
    fixture.effects((0..1000).map(|id| publish("t", id, b"")).collect());
    assert_eq!(fixture.effects(vec![configure("t", Retain::newest(2))]), [TopicEffect::Changed]);
    assert_eq!(fixture.effects(vec![configure("t", Retain::newest(2))]), [TopicEffect::Unchanged]);
    let mut left = fixture.stored("t").len();
    assert_eq!(left, 1000 - 256);
    let mut id = 1000;
    while left > 2 {
        fixture.effects(vec![publish("t", id, b"")]);
        let now = fixture.stored("t").len();
        assert!(now < left && left - now <= 256);
        (left, id) = (now, id + 1);
    }
    assert_eq!(fixture.gone("t", 0), Some(fixture.seqs("t")[0] - 1));
}

#[test]
fn a_cursor_is_a_gap_exactly_when_something_behind_it_was_dropped() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("busy", Retain::newest(2)), configure("calm", Retain::newest(9))]);
    let calm = fixture.seq("calm", 1);
    let busy: Vec<u64> = (0..5).map(|id| fixture.seq("busy", id)).collect();
    assert_eq!(fixture.gone("calm", 0), None, "nothing of it was dropped");
    let dropped = busy[2];
    for after in [0, calm, busy[1]] {
        assert_eq!((fixture.gone("busy", after), fixture.gone("*", after)), (Some(dropped), Some(dropped)));
    }
    assert_eq!((fixture.gone("busy", dropped), fixture.gone(">", dropped)), (None, None));
    assert_eq!(fixture.gone("other.*", 0), None);
    // Who does not mind what is gone gets what is there.
    assert_eq!(fixture.seqs("*"), [calm, busy[3], busy[4]]);
}

#[test]
fn a_topic_that_comes_again_has_new_messages_and_an_old_gap() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.effects(vec![configure("t", Retain::newest(9))]), [TopicEffect::Created]);
    let (first, last) = (fixture.seq("t", 1), fixture.seq("t", 2));
    let before = fixture.database.newest_topic_change();
    assert_eq!(fixture.effects(vec![remove("t"), remove("t")]), [TopicEffect::Removed, TopicEffect::WasAbsent]);
    assert!(fixture.database.newest_topic_change() > before, "watchers are woken");
    assert_eq!(fixture.topics(vec![publish("t", 3, b"")]), TopicVerdict::NotDurable { op: 0 });
    for filter in ["t", "*"] {
        assert_eq!((fixture.gone(filter, first), fixture.gone(filter, last)), (Some(last), None));
        assert!(fixture.stored(filter).is_empty());
    }
    fixture.effects(vec![configure("t", Retain::newest(9))]);
    let again = fixture.seq("t", 1);
    assert!(again > last, "the message of that name was dropped with the topic");
    assert_eq!(fixture.seqs("t"), [again]);
    assert_eq!((fixture.gone("t", first), fixture.gone("t", last)), (Some(last), None));
    // All in one request, and without a message.
    let at_once = vec![remove("t"), configure("t", Retain::newest(1)), publish("t", 1, b""), remove("t"), remove("u")];
    fixture.effects(at_once);
    assert!(fixture.stored(">").is_empty() && fixture.gone("t", again).is_some());
}

#[test]
fn of_removed_topics_only_so_many_are_remembered_and_the_others_count_as_gaps() {
    let mut fixture = Fixture::new();
    let first = {
        fixture.effects(vec![configure("first", Retain::newest(1)), publish("first", 1, b""), remove("first")]);
        fixture.gone("first", 0).expect("dropped")
    };
    assert_eq!(fixture.gone("never", 0), None);
    for number in 0..REMOVED_TOPICS_KEPT {
        let name = format!("gone.{number}");
        fixture.effects(vec![configure(&name, Retain::newest(1)), publish(&name, 1, b""), remove(&name)]);
    }
    let known = "SELECT count(*) FROM sqlite_debros_topic_removed";
    let known: i64 = super::admission::trusted(|| fixture.database.connection.query_row(known, [], |row| row.get(0)))
        .expect("counts");
    assert_eq!(known as u64, REMOVED_TOPICS_KEPT);
    assert_eq!(fixture.gone("first", first - 1), Some(first));
    assert_eq!(fixture.gone("never", first - 1), Some(first), "it may have been forgotten");
    assert_eq!((fixture.gone("first", first), fixture.gone("never", first)), (None, None));
    assert!(fixture.gone("gone.*", first).is_some());
    fixture.effects(vec![configure("first", Retain::newest(1))]);
    assert_eq!(fixture.gone("first", first - 1), Some(first));
}

#[test]
fn a_full_database_refuses_messages_and_still_takes_a_topic_away() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(1000))]);
    let limited = |ops| TopicChange { database_bytes_max: Some(400_000), ..change(ops) };
    let mut id = 0;
    let refused = loop {
        match fixture.change_topics_at(NOW, &limited(vec![publish("t", id, &[0; 10_000])])).verdict {
            TopicVerdict::Done(_) => id += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, TopicVerdict::DatabaseFull { bytes_max: 400_000 });
    assert!((10..40).contains(&id), "{id} fitted");
    assert_eq!(fixture.stored("t").len(), id as usize);
    assert_eq!(
        fixture.change_topics_at(NOW, &limited(vec![remove("t")])).verdict,
        TopicVerdict::Done(vec![TopicEffect::Removed])
    );
    let again = limited(vec![configure("t", Retain::newest(1000)), publish("t", 0, &[0; 10_000])]);
    assert!(matches!(fixture.change_topics_at(NOW, &again).verdict, TopicVerdict::Done(_)));
}

#[test]
fn a_repeated_request_has_its_first_outcome() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(9))]);
    let keyed = |ops, print| TopicChange {
        idempotency: Some(IdempotencyKey { key: "once".to_owned(), fingerprint: [print; 32] }),
        ..change(ops)
    };
    let first = fixture.change_topics_at(NOW, &keyed(vec![publish("t", 1, b"")], 1));
    let second = fixture.change_topics_at(NOW, &keyed(vec![publish("t", 1, b"")], 1));
    assert_eq!((first.replayed, second.replayed, &first.verdict), (Replayed::No, Replayed::Yes, &second.verdict));
    let other = keyed(vec![remove("t")], 2);
    fixture.index += 1;
    let entry = super::BatchEntry { index: fixture.index, stamp: stamp(9), change: super::Change::Topics(&other) };
    let refused = fixture.database.apply(&[entry]).expect("applies");
    assert_eq!(refused, [Outcome::Refused(Refusal::IdempotencyMismatch("once".to_owned()))]);
}

#[test]
fn a_namespace_that_comes_again_repeats_no_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let create = |name: &str, index| Database::create(&folder.path().join(name), index).expect("creates");
    let mut database = create("a", 7);
    let publish = change(vec![configure("t", Retain::newest(1)), publish("t", 1, b"")]);
    let entry = super::BatchEntry { index: 8, stamp: stamp(8), change: super::Change::Topics(&publish) };
    database.apply(&[entry]).expect("applies");
    assert!(database.newest_topic_change() < create("b", 9).newest_topic_change());
}

#[test]
fn topics_are_part_of_the_content_and_no_part_of_the_sql_database() {
    let mut fixture = Fixture::new();
    fixture.run(&["CREATE TABLE t(a)"]);
    let hash = |fixture: &Fixture| fixture.readers.snapshot().expect("snapshot").content_hash().expect("hashes");
    fixture.effects(vec![configure("secret.topic", Retain::newest(5))]);
    let before = hash(&fixture);
    fixture.effects(vec![publish("secret.topic", 1, b"secret data")]);
    assert_ne!(hash(&fixture), before);
    for sql in [
        "SELECT * FROM sqlite_debros_message",
        "SELECT * FROM sqlite_debros_topic",
        "DELETE FROM sqlite_debros_topic_removed",
        "UPDATE sqlite_debros_message SET data = ''",
    ] {
        assert_failed(&fixture.run(&[sql])[0], StatementErrorKind::Refused, "belongs to debros");
    }
    let mut dump = Vec::new();
    fixture.readers.dump_sql(&[], &mut dump).expect("dumps");
    assert!(!String::from_utf8_lossy(&dump).contains("secret"));
    let path = fixture.folder.path().join("copy.sqlite");
    fixture.readers.backup(&path, super::BackupOptions::default()).expect("backs up");
    let bytes = std::fs::read(&path).expect("reads");
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

#[test]
fn topics_stay_when_another_sql_database_is_loaded() {
    let mut fixture = Fixture::new();
    fixture.effects(vec![configure("t", Retain::newest(2)), configure("u", Retain::newest(2)), publish("u", 1, b"")]);
    for id in 0..4 {
        fixture.seq("t", id);
    }
    fixture.effects(vec![remove("u")]);
    let asked = [
        TopicQuery::Configured,
        TopicQuery::Newest,
        ask(">", 0, OnGap::Skip),
        ask("t", 0, OnGap::Tell),
        ask("u", 0, OnGap::Tell),
    ];
    let before: Vec<TopicFound> = asked.iter().map(|query| fixture.ask_topics(query)).collect();
    for encoding in ["UTF-8", "UTF-16le"] {
        let loaded = fixture.folder.path().join(format!("{encoding}.sqlite"));
        let connection = rusqlite::Connection::open(&loaded).expect("opens");
        connection.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE new(a)")).expect("runs");
        connection.close().expect("closes");
        super::adopt(&loaded, 50, Some(&fixture.database)).expect("adopts");
        let database = Database::open(&loaded).expect("opens");
        let readers = Readers::open(&loaded).expect("opens");
        let mut other = Fixture { database, readers, index: 50, folder: tempfile::tempdir().expect("a folder") };
        assert_eq!(asked.iter().map(|query| other.ask_topics(query)).collect::<Vec<_>>(), before);
        other.seq("t", 9);
        assert_eq!(other.stored("t").len(), 2);
    }
}

/// A topic in the model: how many it keeps, and its messages with their names.
type Model = BTreeMap<String, (u64, Vec<(u64, MessageId)>)>;

/// What is left in the model after a change that was made with these effects.
fn model_apply(model: &mut Model, ops: &[TopicOp], effects: &[TopicEffect]) {
    for (op, effect) in ops.iter().zip(effects) {
        let name = op.topic().to_string();
        match op {
            TopicOp::Configure { retain, .. } => {
                let (count, messages) = model.entry(name).or_default();
                *count = retain.messages_max();
                messages.drain(..messages.len().saturating_sub(*count as usize));
            }
            TopicOp::Remove { .. } => assert_eq!(model.remove(&name).is_some(), *effect == TopicEffect::Removed),
            TopicOp::Publish { message_id, .. } => {
                let (count, messages) = model.get_mut(&name).expect("durable");
                match (effect, messages.iter().find(|(_, id)| id == message_id)) {
                    (TopicEffect::AlreadyPublished { seq }, Some((known, _))) => assert_eq!(seq, known),
                    (TopicEffect::Published { seq }, None) => {
                        messages.push((*seq, *message_id));
                        messages.drain(..messages.len().saturating_sub(*count as usize));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

fn op() -> impl Strategy<Value = TopicOp> {
    ("[ab][.][cd]", 0_u8..8, 1_u64..5, 0_u32..30).prop_map(|(name, kind, count, id)| match kind {
        0 => remove(&name),
        1 | 2 => configure(&name, Retain::newest(count)),
        _ => publish(&name, id, b"data"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_as_lists_of_the_newest_messages(batches in proptest::collection::vec(proptest::collection::vec(op(), 1..5), 1..60)) {
        let mut fixture = Fixture::new();
        let (mut model, mut published) = (Model::new(), Vec::<(u64, Topic)>::new());
        fixture.effects(vec![configure("a.c", Retain::newest(2))]);
        model.insert("a.c".to_owned(), (2, Vec::new()));
        for ops in &batches {
            match fixture.topics(ops.clone()) {
                TopicVerdict::Done(effects) => {
                    model_apply(&mut model, ops, &effects);
                    for (op, effect) in ops.iter().zip(effects) {
                        if let TopicEffect::Published { seq } = effect {
                            published.push((seq, op.topic().clone()));
                        }
                    }
                }
                TopicVerdict::NotDurable { op } => {
                    let publishes = matches!(ops[op as usize], TopicOp::Publish { .. });
                    prop_assert!(publishes);
                }
                other => prop_assert!(false, "{other:?}"),
            }
            for filter in ["a.c", "b.d", "a.*", "*.c", ">"] {
                let wanted: crate::types::TopicFilter = filter.parse().expect("a filter");
                let mut kept: Vec<u64> = model
                    .iter()
                    .filter(|(name, _)| wanted.matches(&topic(name)))
                    .flat_map(|(_, (_, messages))| messages.iter().map(|(seq, _)| *seq))
                    .collect();
                kept.sort_unstable();
                prop_assert_eq!(&fixture.seqs(filter), &kept);
                // A gap is exactly what was published, asked for, and is not kept.
                let lost = published.iter().filter(|(seq, topic)| wanted.matches(topic) && !kept.contains(seq));
                let lost = lost.map(|(seq, _)| *seq).max();
                prop_assert_eq!(fixture.gone(filter, 0), lost);
                if let Some(lost) = lost {
                    prop_assert_eq!(fixture.gone(filter, lost - 1), Some(lost));
                    prop_assert_eq!(fixture.gone(filter, lost), None);
                }
            }
        }
    }
}
