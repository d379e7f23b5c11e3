//! Changes of durable topics, in the open transaction of the file that holds them.
//!
//! A durable topic is a row of `sqlite_debros_topic`, a message one of `sqlite_debros_message`. As with keys, first
//! everything is decided and only then is written, so that a refused request has nothing to undo. Time is the entry's.
//!
//! A message makes room before it is stored: what is over the topic's bounds goes, the oldest first, at most
//! [`DROPPED_PER_ENTRY_MAX`] in one entry beyond what the entry adds. A topic whose bounds were lowered by far shrinks
//! over several entries. A topic to which nobody publishes is not looked at.
//!
//! Who reads must learn when something is missing. So each topic knows the number of the newest message that it has
//! dropped, and a topic that is removed leaves that number in `sqlite_debros_topic_removed`. Of these the newest
//! [`REMOVED_TOPICS_KEPT`] are kept; [`Totals::forgotten`] is the largest number of those that were not, and stands for
//! every topic that is not known.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row};

use super::statement::with_own;
use super::tables::copy_rows;
use crate::types::durable::{MessageId, Retain, TopicChange, TopicEffect, TopicOp, TopicVerdict};
use crate::types::limits::{MESSAGE_ROW_BYTES, REMOVED_TOPICS_KEPT, TOPIC_OPS_PER_REQUEST_MAX};
use crate::types::{Stamp, Topic};

/// Messages that an entry drops beyond those that it adds: a few megabytes' worth at most times.
const DROPPED_PER_ENTRY_MAX: usize = 256;

/// As for changes of keys: numbers begin at a namespace's first log index times this power of two, so that no later
/// namespace of that name repeats one.
const CHANGES_PER_INDEX_BITS: u32 = 20;

/// What the durable topics of a file come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Number of the newest message, or change of the set of topics.
    pub(super) newest: u64,
    /// Number of the newest message that a topic dropped of which nothing is known any more.
    pub(super) forgotten: u64,
}

impl Totals {
    /// Of a namespace without topics that begins at a log index.
    pub(super) fn beginning_at(index: u64) -> Totals {
        Totals { newest: index << CHANGES_PER_INDEX_BITS, forgotten: 0 }
    }
}

/// A durable topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    /// The number of the change that made it durable.
    id: u64,
    retain: Retain,
    messages: u64,
    bytes: u64,
    /// Number of the newest message that is gone.
    dropped: u64,
}

/// In the order of names: what is written at the end must be written in the same order everywhere.
type Found<'a> = BTreeMap<&'a str, Option<Stored>>;

/// The oldest message of a topic.
struct Oldest {
    seq: u64,
    unix_ms: i64,
    bytes: u64,
}

/// One entry's changes.
pub(super) struct TopicRun<'a> {
    connection: &'a Connection,
    stamp: Stamp,
    pub(super) totals: Totals,
    /// Messages that may still be dropped.
    droppable: usize,
}

impl<'a> TopicRun<'a> {
    pub(super) fn new(connection: &'a Connection, stamp: Stamp, totals: Totals) -> TopicRun<'a> {
        TopicRun { connection, stamp, totals, droppable: DROPPED_PER_ENTRY_MAX }
    }

    /// Makes all changes or none. An error is this machine's, or the page limit's.
    pub(super) fn run(&mut self, change: &TopicChange) -> rusqlite::Result<TopicVerdict> {
        if let Some(refused) = unfit(&change.ops) {
            return Ok(refused);
        }
        let mut found = Found::new();
        for op in &change.ops {
            let topic = op.topic().as_str();
            if !found.contains_key(topic) {
                found.insert(topic, self.look_up(topic)?);
            }
        }
        if let Some(refused) =
            decide(change, &found, self.count("/*debros*/ SELECT count(*) FROM sqlite_debros_topic")?)
        {
            return Ok(refused);
        }
        let before = found.clone();
        let effects = change.ops.iter().map(|op| self.make(op, &mut found)).collect::<rusqlite::Result<_>>()?;
        for (topic, stored) in found.iter().filter(|(topic, stored)| before.get(*topic) != Some(stored)) {
            if let Some(stored) = stored {
                self.store(topic, stored)?;
            }
        }
        Ok(TopicVerdict::Done(effects))
    }

    fn make<'o>(&mut self, op: &'o TopicOp, found: &mut Found<'o>) -> rusqlite::Result<TopicEffect> {
        let stored = found.get_mut(op.topic().as_str()).expect("every topic was looked up");
        match (op, stored.as_mut()) {
            (TopicOp::Configure { retain, .. }, Some(there)) => {
                if there.retain == *retain {
                    return Ok(TopicEffect::Unchanged);
                }
                there.retain = *retain;
                self.totals.newest += 1;
                self.make_room(there, None)?;
                Ok(TopicEffect::Changed)
            }
            (TopicOp::Configure { topic, retain }, None) => {
                self.totals.newest += 1;
                let dropped = self.take_removed(topic)?.unwrap_or(self.totals.forgotten);
                *stored = Some(Stored { id: self.totals.newest, retain: *retain, messages: 0, bytes: 0, dropped });
                Ok(TopicEffect::Created)
            }
            (TopicOp::Remove { topic }, Some(there)) => {
                self.totals.newest += 1;
                self.remove(topic, there)?;
                *stored = None;
                Ok(TopicEffect::Removed)
            }
            (TopicOp::Remove { .. }, None) => Ok(TopicEffect::WasAbsent),
            (TopicOp::Publish { .. }, there) => self.publish(op, there.expect("decided: the topic is durable")),
        }
    }

    fn publish(&mut self, op: &TopicOp, stored: &mut Stored) -> rusqlite::Result<TopicEffect> {
        let TopicOp::Publish { publisher, message_id, data, .. } = op else {
            unreachable!("only messages are published")
        };
        if let Some(seq) = self.seq_of(stored.id, *message_id)? {
            return Ok(TopicEffect::AlreadyPublished { seq });
        }
        self.droppable += 1;
        self.make_room(stored, Some(op.stored_bytes()))?;
        self.totals.newest += 1;
        let seq = self.totals.newest;
        let sql = "/*debros*/ INSERT INTO sqlite_debros_message(seq, topic, unix_ms, message_id, publisher, data) \
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        let id = message_id.as_bytes().as_slice();
        let values = (seq as i64, stored.id as i64, self.stamp.unix_ms, id, publisher.as_bytes(), data);
        with_own(self.connection, sql, |statement| statement.execute(values))?;
        stored.messages += 1;
        stored.bytes += op.stored_bytes();
        Ok(TopicEffect::Published { seq })
    }

    /// Drops what is over the topic's bounds, or would be with one more message of so many bytes. The newest message
    /// stays, whatever its size.
    fn make_room(&mut self, stored: &mut Stored, adding: Option<u64>) -> rusqlite::Result<()> {
        let added = adding.map_or(0, |_| 1);
        while self.droppable > 0 {
            let Some(oldest) = self.oldest(stored.id)? else { break };
            let messages = stored.messages + added;
            let too_many = messages > stored.retain.messages_max();
            let too_large = messages > 1 && stored.bytes + adding.unwrap_or(0) > stored.retain.bytes_max();
            let age = self.stamp.unix_ms.saturating_sub(oldest.unix_ms);
            let too_old = u64::try_from(age).is_ok_and(|age| age > stored.retain.age_ms_max());
            if !(too_many || too_large || too_old) {
                break;
            }
            let sql = "/*debros*/ DELETE FROM sqlite_debros_message WHERE seq = ?1";
            with_own(self.connection, sql, |statement| statement.execute([oldest.seq as i64]))?;
            stored.messages -= 1;
            stored.bytes -= oldest.bytes;
            stored.dropped = oldest.seq;
            self.droppable -= 1;
        }
        Ok(())
    }

    fn remove(&mut self, topic: &Topic, stored: &Stored) -> rusqlite::Result<()> {
        let id = stored.id as i64;
        let sql = "/*debros*/ SELECT max(seq) FROM sqlite_debros_message WHERE topic = ?1";
        let last: Option<i64> =
            with_own(self.connection, sql, |statement| statement.query_row([id], |row| row.get(0)))?;
        let sql = "/*debros*/ DELETE FROM sqlite_debros_message WHERE topic = ?1";
        with_own(self.connection, sql, |statement| statement.execute([id]))?;
        let sql = "/*debros*/ DELETE FROM sqlite_debros_topic WHERE id = ?1";
        with_own(self.connection, sql, |statement| statement.execute([id]))?;
        let dropped = last.map_or(stored.dropped, |last| last as u64);
        if dropped > self.totals.forgotten { self.remember_removed(topic, dropped) } else { Ok(()) }
    }

    fn remember_removed(&mut self, topic: &Topic, dropped: u64) -> rusqlite::Result<()> {
        let sql = "/*debros*/ INSERT INTO sqlite_debros_topic_removed(dropped, topic) VALUES(?1, ?2)";
        let values = (dropped as i64, topic.as_str().as_bytes());
        with_own(self.connection, sql, |statement| statement.execute(values))?;
        if self.count("/*debros*/ SELECT count(*) FROM sqlite_debros_topic_removed")? > REMOVED_TOPICS_KEPT {
            let sql = "/*debros*/ SELECT min(dropped) FROM sqlite_debros_topic_removed";
            let least: i64 = with_own(self.connection, sql, |statement| statement.query_row([], |row| row.get(0)))?;
            let sql = "/*debros*/ DELETE FROM sqlite_debros_topic_removed WHERE dropped = ?1";
            with_own(self.connection, sql, |statement| statement.execute([least]))?;
            self.totals.forgotten = least as u64;
        }
        Ok(())
    }

    /// What is known of a topic that was removed; from now on its row says it.
    fn take_removed(&self, topic: &Topic) -> rusqlite::Result<Option<u64>> {
        let sql = "/*debros*/ DELETE FROM sqlite_debros_topic_removed WHERE topic = ?1 RETURNING dropped";
        with_own(self.connection, sql, |statement| {
            let dropped = statement.query_map([topic.as_str().as_bytes()], |row| number(row, 0))?;
            // To its end: a statement that is left halfway changes nothing for sure.
            Ok(dropped.collect::<rusqlite::Result<Vec<u64>>>()?.pop())
        })
    }

    fn look_up(&self, topic: &str) -> rusqlite::Result<Option<Stored>> {
        let sql = "/*debros*/ SELECT id, count_max, age_ms_max, bytes_max, messages, bytes, dropped \
            FROM sqlite_debros_topic WHERE topic = ?1";
        with_own(self.connection, sql, |statement| {
            let read = |row: &Row<'_>| {
                Ok(Stored {
                    id: number(row, 0)?,
                    retain: retain_of(row, 1)?,
                    messages: number(row, 4)?,
                    bytes: number(row, 5)?,
                    dropped: number(row, 6)?,
                })
            };
            statement.query_row([topic.as_bytes()], read).optional()
        })
    }

    fn store(&self, topic: &str, stored: &Stored) -> rusqlite::Result<()> {
        let sql = "/*debros*/ INSERT INTO sqlite_debros_topic\
            (id, topic, count_max, age_ms_max, bytes_max, messages, bytes, dropped) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
            ON CONFLICT(id) DO UPDATE SET count_max = ?3, age_ms_max = ?4, bytes_max = ?5, messages = ?6, bytes = ?7, \
            dropped = ?8";
        let Stored { id, retain: Retain { count, age, bytes }, .. } = *stored;
        let signed = |number: u64| number as i64;
        let values = (
            signed(id),
            topic.as_bytes(),
            count.map(signed),
            age.map(signed),
            bytes.map(signed),
            signed(stored.messages),
            signed(stored.bytes),
            signed(stored.dropped),
        );
        with_own(self.connection, sql, |statement| statement.execute(values)).map(drop)
    }

    fn oldest(&self, id: u64) -> rusqlite::Result<Option<Oldest>> {
        // Lengths stand in the row's header: the message itself is not read for them.
        let sql = "/*debros*/ SELECT seq, unix_ms, length(publisher) + length(data) FROM sqlite_debros_message \
            WHERE topic = ?1 ORDER BY seq";
        with_own(self.connection, sql, |statement| {
            let read = |row: &Row<'_>| {
                Ok(Oldest { seq: number(row, 0)?, unix_ms: row.get(1)?, bytes: number(row, 2)? + MESSAGE_ROW_BYTES })
            };
            statement.query_row([id as i64], read).optional()
        })
    }

    fn seq_of(&self, id: u64, message: MessageId) -> rusqlite::Result<Option<u64>> {
        let sql = "/*debros*/ SELECT seq FROM sqlite_debros_message WHERE topic = ?1 AND message_id = ?2";
        with_own(self.connection, sql, |statement| {
            let asked = (id as i64, message.as_bytes().as_slice());
            statement.query_row(asked, |row| number(row, 0)).optional()
        })
    }

    fn count(&self, sql: &'static str) -> rusqlite::Result<u64> {
        with_own(self.connection, sql, |statement| statement.query_row([], |row| number(row, 0)))
    }
}

/// What is wrong with changes whatever is stored.
fn unfit(ops: &[TopicOp]) -> Option<TopicVerdict> {
    ops.iter().enumerate().find_map(|(position, op)| {
        let at = position as u32;
        if position >= TOPIC_OPS_PER_REQUEST_MAX || !op.fits() {
            return Some(TopicVerdict::TooLarge { op: at });
        }
        let TopicOp::Configure { retain, .. } = op else { return None };
        retain.check().err().map(|reason| TopicVerdict::InvalidRetain { op: at, reason })
    })
}

/// Goes through the changes without making them; the verdict if they are not to be made.
fn decide(change: &TopicChange, found: &Found<'_>, mut topics: u64) -> Option<TopicVerdict> {
    let mut durable: BTreeMap<&str, bool> = found.iter().map(|(topic, stored)| (*topic, stored.is_some())).collect();
    for (position, op) in change.ops.iter().enumerate() {
        let durable = durable.get_mut(op.topic().as_str())?;
        match op {
            TopicOp::Configure { .. } if !*durable => {
                topics += 1;
                if topics > change.topics_max {
                    return Some(TopicVerdict::TooManyTopics { topics_max: change.topics_max });
                }
                *durable = true;
            }
            TopicOp::Remove { .. } if *durable => {
                topics -= 1;
                *durable = false;
            }
            TopicOp::Publish { .. } if !*durable => return Some(TopicVerdict::NotDurable { op: position as u32 }),
            _ => {}
        }
    }
    None
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

/// The bounds in three columns from this one on.
pub(super) fn retain_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Retain> {
    let bound = |at: usize| row.get::<_, Option<i64>>(column + at).map(|bound| bound.map(|bound| bound as u64));
    Ok(Retain { count: bound(0)?, age: bound(1)?, bytes: bound(2)? })
}

/// Copies durable topics and their messages from one file to another that has none, in order.
pub(super) fn carry_over(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    for (select, insert) in [
        (
            "SELECT id, topic, count_max, age_ms_max, bytes_max, messages, bytes, dropped FROM sqlite_debros_topic \
             ORDER BY id",
            "INSERT INTO sqlite_debros_topic VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        ),
        (
            "SELECT dropped, topic FROM sqlite_debros_topic_removed ORDER BY dropped",
            "INSERT INTO sqlite_debros_topic_removed VALUES(?, ?)",
        ),
        (
            "SELECT seq, topic, unix_ms, message_id, publisher, data FROM sqlite_debros_message ORDER BY seq",
            "INSERT INTO sqlite_debros_message VALUES(?, ?, ?, ?, ?, ?)",
        ),
    ] {
        copy_rows(from, to, select, insert)?;
    }
    Ok(())
}
