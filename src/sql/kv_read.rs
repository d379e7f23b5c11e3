//! Questions about keys, on the read connections.
//!
//! Prefixes are literal: a range of bytes, in the order in which keys are stored. What has expired at the time given is
//! not there, whether it has been cleared away or not. All parts of an answer are of one state of the file.

use std::time::Instant;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::{ReadError, damaged};
use super::kv::kind_number;
use super::readers::{Readers, Work, at_once};
use super::statement::with_own;
use crate::types::Key;
use crate::types::kv::{KvChange, KvChangeKind, KvEntry, KvFound, KvQuery, KvValues};

/// What a question may cost.
#[derive(Clone, Copy, Debug)]
pub struct KvReadOptions {
    /// The time by which keys have expired or not, in milliseconds since 1970.
    pub now_unix_ms: i64,
    /// When it must be answered.
    pub deadline: Instant,
    /// Most bytes of keys and values in the answer.
    pub bytes_max: u64,
    /// How much may be done here.
    pub work: Work,
}

impl Readers {
    /// Answers a question about keys.
    ///
    /// # Errors
    /// [`ReadError`] when there is no answer.
    pub fn kv(&self, query: &KvQuery, options: &KvReadOptions) -> Result<KvFound, ReadError> {
        self.ask(options.work, options.deadline, |connection| {
            let asked = Asked { connection, options };
            match query {
                KvQuery::Get { keys, values } if keys.len() == 1 => asked.get(keys, *values),
                KvQuery::Get { keys, values } => at_once(connection, || asked.get(keys, *values)),
                KvQuery::List { prefix, after, keys_max, values } => {
                    asked.list(prefix.as_bytes(), after.as_ref(), *keys_max, *values)
                }
                KvQuery::Changes { prefix, after, changes_max } => {
                    at_once(connection, || asked.changes(prefix.as_bytes(), *after, *changes_max))
                }
            }
        })
    }
}

struct Asked<'a> {
    connection: &'a Connection,
    options: &'a KvReadOptions,
}

/// The columns that [`entry_of`] reads.
macro_rules! entry_columns {
    () => {
        "key, version, length(value), content_type, created_unix_ms, updated_unix_ms, expires_unix_ms, \
         iif(?1, value, NULL)"
    };
}

impl Asked<'_> {
    fn get(&self, keys: &[Key], values: KvValues) -> rusqlite::Result<KvFound> {
        let sql = concat!(
            "/*debros*/ SELECT ",
            entry_columns!(),
            " FROM sqlite_debros_kv WHERE key = ?2 AND (expires_unix_ms IS NULL OR expires_unix_ms > ?3)"
        );
        let mut left = self.options.bytes_max;
        let mut entries = Vec::with_capacity(keys.len());
        with_own(self.connection, sql, |statement| {
            for key in keys {
                let asked = (values == KvValues::Included, key.as_str().as_bytes(), self.options.now_unix_ms);
                let entry = statement.query_row(asked, entry_of).optional()?;
                let bytes = entry.as_ref().map_or(0, bytes_of);
                match left.checked_sub(bytes) {
                    Some(rest) => left = rest,
                    None => return Ok(KvFound::TooLarge { bytes_max: self.options.bytes_max }),
                }
                entries.push(entry);
            }
            Ok(KvFound::Entries(entries))
        })
    }

    fn list(&self, prefix: &[u8], after: Option<&Key>, keys_max: u32, values: KvValues) -> rusqlite::Result<KvFound> {
        let sql = concat!(
            "/*debros*/ SELECT ",
            entry_columns!(),
            " FROM sqlite_debros_kv WHERE key >= ?2 AND key < ?3 \
             AND (expires_unix_ms IS NULL OR expires_unix_ms > ?4) ORDER BY key"
        );
        let from = match after {
            // The least that is greater than the key.
            Some(key) if key.as_str().as_bytes() >= prefix => [key.as_str().as_bytes(), &[0]].concat(),
            _ => prefix.to_vec(),
        };
        let (mut left, mut entries) = (self.options.bytes_max, Vec::new());
        let more = with_own(self.connection, sql, |statement| {
            let asked = (values == KvValues::Included, from, end_of(prefix), self.options.now_unix_ms);
            let mut rows = statement.query(asked)?;
            while let Some(row) = rows.next()? {
                if entries.len() >= keys_max as usize {
                    return Ok(true);
                }
                let entry = entry_of(row)?;
                // One entry always fits, or a list could not get past it.
                match left.checked_sub(bytes_of(&entry)) {
                    Some(rest) => left = rest,
                    None if entries.is_empty() => left = 0,
                    None => return Ok(true),
                }
                entries.push(entry);
            }
            Ok(false)
        })?;
        let more_after = entries.last().filter(|_| more).map(|last| last.key.clone());
        Ok(KvFound::Page { entries, more_after })
    }

    fn changes(&self, prefix: &[u8], after: u64, changes_max: u32) -> rusqlite::Result<KvFound> {
        let newest = "/*debros*/ SELECT CAST(kv_newest AS INTEGER), \
            (SELECT min(seq) FROM sqlite_debros_kv_change) FROM sqlite_debros_applied";
        let (newest, oldest) = with_own(self.connection, newest, |statement| {
            statement.query_row([], |row| Ok((number(row, 0)?, row.get::<_, Option<i64>>(1)?.map(|seq| seq as u64))))
        })?;
        // Numbers follow each other without gaps. Where none is kept none was ever made, in this namespace.
        let oldest = oldest.unwrap_or(newest + 1);
        if changes_max > 0 && after.saturating_add(1) < oldest {
            return Ok(KvFound::ChangesGone { newest });
        }
        let sql = "/*debros*/ SELECT seq, key, kind, version FROM sqlite_debros_kv_change \
            WHERE seq > ?1 AND key >= ?2 AND key < ?3 ORDER BY seq";
        let changes: Vec<KvChange> = with_own(self.connection, sql, |statement| {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            // No `LIMIT`: see `super::kv::EXPIRED`.
            statement.query_map((after, prefix, end_of(prefix)), change_of)?.take(changes_max as usize).collect()
        })?;
        let next_after = match changes.last() {
            Some(last) if changes.len() == changes_max as usize => last.seq,
            _ => newest.max(after),
        };
        Ok(KvFound::Changes { changes, next_after, newest })
    }
}

/// The least bytes that are greater than all keys with this prefix. UTF-8 has no byte 0xff, so the last byte can always
/// be counted up.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0xff),
    }
    end
}

fn bytes_of(entry: &KvEntry) -> u64 {
    (entry.key.as_str().len() + entry.value.as_ref().map_or(0, Vec::len)) as u64
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

fn key_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    let text = match row.get_ref(column)? {
        ValueRef::Blob(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    text.and_then(|text| text.parse().ok()).ok_or_else(damaged)
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<KvEntry> {
    Ok(KvEntry {
        key: key_of(row, 0)?,
        version: number(row, 1)?,
        value_bytes: number(row, 2)?,
        content_type: row.get(3)?,
        created_unix_ms: row.get(4)?,
        updated_unix_ms: row.get(5)?,
        expires_unix_ms: row.get(6)?,
        value: row.get(7)?,
    })
}

fn change_of(row: &Row<'_>) -> rusqlite::Result<KvChange> {
    let kind: i64 = row.get(2)?;
    let kinds = [KvChangeKind::Put, KvChangeKind::Delete, KvChangeKind::Expire];
    let kind = kinds.into_iter().find(|known| kind_number(*known) == kind).ok_or_else(damaged)?;
    Ok(KvChange { seq: number(row, 0)?, key: key_of(row, 1)?, kind, version: number(row, 3)? })
}
