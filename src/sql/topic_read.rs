//! Questions about durable topics, on the read connections.
//!
//! What is stored is told, over its age or not. All parts of an answer are of one state of the file.

use std::collections::HashMap;
use std::time::Instant;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{ReadError, damaged};
use super::readers::{Readers, Work, at_once};
use super::statement::with_own;
use super::topics::{number, retain_of};
use crate::types::durable::{ConfiguredTopic, MessageId, OnGap, StoredMessage, TopicFound, TopicQuery};
use crate::types::limits::MESSAGE_ROW_BYTES;
use crate::types::{Topic, TopicFilter};

/// Messages of other topics that a question for a pattern passes by before it says how far it has come: some
/// milliseconds' worth.
const PASSED_BY_MAX: usize = 10_000;

/// What a question may cost.
#[derive(Clone, Copy, Debug)]
pub struct TopicReadOptions {
    /// When it must be answered.
    pub deadline: Instant,
    /// Most bytes of messages in the answer.
    pub bytes_max: u64,
    /// How much may be done here.
    pub work: Work,
}

impl Readers {
    /// Answers a question about durable topics.
    ///
    /// # Errors
    /// [`ReadError`] when there is no answer.
    pub fn topics(&self, query: &TopicQuery, options: &TopicReadOptions) -> Result<TopicFound, ReadError> {
        self.ask(options.work, options.deadline, |connection| match query {
            TopicQuery::Configured => at_once(connection, || configured(connection)),
            TopicQuery::Newest => Ok(TopicFound::Newest(Known::of(connection)?.newest)),
            TopicQuery::Messages { filter, after, on_gap, count_max, bytes_max } => {
                let room = Room { count: *count_max as usize, bytes: options.bytes_max.min(*bytes_max) };
                at_once(connection, || messages(connection, filter, *after, *on_gap, room))
            }
        })
    }
}

/// What the file knows of all its topics.
struct Known {
    newest: u64,
    /// See [`super::topics::Totals`].
    forgotten: u64,
}

impl Known {
    fn of(connection: &Connection) -> rusqlite::Result<Known> {
        let sql = "/*debros*/ SELECT CAST(topics_newest AS INTEGER), CAST(topics_forgotten AS INTEGER) \
            FROM sqlite_debros_applied";
        with_own(connection, sql, |statement| {
            statement.query_row([], |row| Ok(Known { newest: number(row, 0)?, forgotten: number(row, 1)? }))
        })
    }
}

/// How much an answer may still hold.
struct Room {
    count: usize,
    bytes: u64,
}

impl Room {
    /// Takes a message in, if it may be. The first one may, whatever its size: a reader could not get past it.
    fn take(&mut self, message: &StoredMessage, first: bool) -> bool {
        let bytes = (message.publisher.len() + message.data.len()) as u64 + MESSAGE_ROW_BYTES;
        if !first && bytes > self.bytes {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.count -= 1;
        true
    }
}

fn configured(connection: &Connection) -> rusqlite::Result<TopicFound> {
    let sql = "/*debros*/ SELECT topic, count_max, age_ms_max, bytes_max, messages, bytes, \
        (SELECT min(seq) FROM sqlite_debros_message m WHERE m.topic = t.id), \
        (SELECT max(seq) FROM sqlite_debros_message m WHERE m.topic = t.id) \
        FROM sqlite_debros_topic t ORDER BY topic";
    let topics = with_own(connection, sql, |statement| {
        let read = |row: &Row<'_>| {
            Ok(ConfiguredTopic {
                topic: topic_of(row, 0)?,
                retain: retain_of(row, 1)?,
                messages: number(row, 4)?,
                bytes: number(row, 5)?,
                first_seq: optional_number(row, 6)?,
                last_seq: optional_number(row, 7)?,
            })
        };
        statement.query_map([], read)?.collect()
    })?;
    Ok(TopicFound::Configured { topics, newest: Known::of(connection)?.newest })
}

/// The topics that a filter asks for.
struct Asked {
    /// Those that are durable, by their ids.
    durable: HashMap<i64, Topic>,
    /// Number of the newest message that is gone.
    dropped: u64,
    /// Number of the oldest message that is kept.
    oldest: Option<u64>,
}

impl Asked {
    fn of(connection: &Connection, filter: &TopicFilter, known: &Known) -> rusqlite::Result<Asked> {
        match filter {
            TopicFilter::One(topic) => Asked::of_one(connection, topic, known),
            TopicFilter::Pattern(_) => Asked::of_all_that_match(connection, filter, known),
        }
    }

    fn of_one(connection: &Connection, topic: &Topic, known: &Known) -> rusqlite::Result<Asked> {
        let sql = "/*debros*/ SELECT id, dropped, (SELECT min(seq) FROM sqlite_debros_message m WHERE m.topic = t.id) \
            FROM sqlite_debros_topic t WHERE topic = ?1";
        let name = topic.as_str().as_bytes();
        let found = with_own(connection, sql, |statement| {
            let read = |row: &Row<'_>| {
                let durable = HashMap::from([(row.get(0)?, topic.clone())]);
                Ok(Asked { durable, dropped: number(row, 1)?, oldest: optional_number(row, 2)? })
            };
            statement.query_row([name], read).optional()
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
        let sql = "/*debros*/ SELECT dropped FROM sqlite_debros_topic_removed WHERE topic = ?1";
        let dropped =
            with_own(connection, sql, |statement| statement.query_row([name], |row| number(row, 0)).optional())?;
        Ok(Asked { durable: HashMap::new(), dropped: dropped.unwrap_or(known.forgotten), oldest: None })
    }

    fn of_all_that_match(connection: &Connection, filter: &TopicFilter, known: &Known) -> rusqlite::Result<Asked> {
        // Those that are forgotten may have matched.
        let mut asked = Asked { durable: HashMap::new(), dropped: known.forgotten, oldest: None };
        let sql = "/*debros*/ SELECT topic, id, dropped, \
            (SELECT min(seq) FROM sqlite_debros_message m WHERE m.topic = t.id) FROM sqlite_debros_topic t";
        with_own(connection, sql, |statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let topic = topic_of(row, 0)?;
                if filter.matches(&topic) {
                    asked.durable.insert(row.get(1)?, topic);
                    asked.dropped = asked.dropped.max(number(row, 2)?);
                    asked.oldest = asked.oldest.into_iter().chain(optional_number(row, 3)?).min();
                }
            }
            Ok(())
        })?;
        let sql = "/*debros*/ SELECT topic, dropped FROM sqlite_debros_topic_removed";
        with_own(connection, sql, |statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if filter.matches(&topic_of(row, 0)?) {
                    asked.dropped = asked.dropped.max(number(row, 1)?);
                }
            }
            Ok(())
        })?;
        Ok(asked)
    }
}

fn messages(
    connection: &Connection,
    filter: &TopicFilter,
    after: u64,
    on_gap: OnGap,
    room: Room,
) -> rusqlite::Result<TopicFound> {
    let known = Known::of(connection)?;
    let asked = Asked::of(connection, filter, &known)?;
    if on_gap == OnGap::Tell && after < asked.dropped {
        return Ok(TopicFound::Gone { resume_after: asked.dropped, newest: known.newest });
    }
    let from = i64::try_from(after).unwrap_or(i64::MAX);
    let Gathered { messages, end } = match asked.durable.keys().next() {
        None => Gathered { messages: Vec::new(), end: None },
        Some(id) if asked.durable.len() == 1 => {
            let sql = "/*debros*/ SELECT topic, seq, unix_ms, message_id, publisher, data FROM sqlite_debros_message \
                WHERE topic = ?2 AND seq > ?1 ORDER BY seq";
            with_own(connection, sql, |statement| gather(statement.query((from, id))?, &asked.durable, after, room))?
        }
        Some(_) => {
            let sql = "/*debros*/ SELECT topic, seq, unix_ms, message_id, publisher, data FROM sqlite_debros_message \
                WHERE seq > ?1 ORDER BY seq";
            with_own(connection, sql, |statement| gather(statement.query([from])?, &asked.durable, after, room))?
        }
    };
    let next_after = end.unwrap_or(known.newest.max(after));
    Ok(TopicFound::Messages { messages, next_after, newest: known.newest, oldest_kept: asked.oldest })
}

struct Gathered {
    messages: Vec<StoredMessage>,
    /// How far was looked, if not at everything.
    end: Option<u64>,
}

fn gather(
    mut rows: rusqlite::Rows<'_>,
    wanted: &HashMap<i64, Topic>,
    after: u64,
    mut room: Room,
) -> rusqlite::Result<Gathered> {
    let (mut messages, mut end, mut passed_by) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        if let Some(topic) = wanted.get(&row.get(0)?) {
            if room.count == 0 {
                return Ok(Gathered { messages, end: Some(end) });
            }
            let message = message_of(row, topic)?;
            if !room.take(&message, messages.is_empty()) {
                return Ok(Gathered { messages, end: Some(end) });
            }
            messages.push(message);
        } else if passed_by == PASSED_BY_MAX {
            return Ok(Gathered { messages, end: Some(end) });
        } else {
            passed_by += 1;
        }
        end = number(row, 1)?;
    }
    Ok(Gathered { messages, end: None })
}

fn message_of(row: &Row<'_>, topic: &Topic) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        seq: number(row, 1)?,
        topic: topic.clone(),
        unix_ms: row.get(2)?,
        message_id: MessageId::from_bytes(row.get(3)?),
        publisher: String::from_utf8(row.get(4)?).map_err(|_| damaged())?,
        data: row.get(5)?,
    })
}

fn optional_number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column).map(|number| number.map(|number| number as u64))
}

fn topic_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Topic> {
    let text = match row.get_ref(column)? {
        ValueRef::Blob(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    text.and_then(|text| text.parse().ok()).ok_or_else(damaged)
}
