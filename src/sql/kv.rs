//! Changes of keys, in the open transaction of the file that holds them.
//!
//! A key is a row of `sqlite_debros_kv`. First everything is decided: what is there, whether conditions hold, whether
//! quotas do. Only then is written, so that a refused request has nothing to undo. Time is the entry's; what has expired
//! by it is cleared away before anything else looks at it, a bounded number per entry and each key that is touched.
//!
//! Totals (for quotas) and the number of the newest change live in the file's `applied` row, which is written once per
//! batch. Each change of a key leaves a row in `sqlite_debros_kv_change`, of which the newest
//! [`KV_CHANGES_KEPT`] are kept.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::statement::with_own;
use super::tables::copy_rows;
use crate::types::Stamp;
use crate::types::kv::{Kv, KvChangeKind, KvEffect, KvOp, KvQuotaKind, KvVerdict};
use crate::types::limits::{KV_CHANGES_KEPT, KV_OPS_PER_REQUEST_MAX};

/// Expired keys that an entry clears away beyond one for each of its changes: more than it can add, so that they do not
/// pile up, and few.
const EXPIRED_PER_ENTRY: usize = 8;

/// Expired keys that an entry clears away when its quota is used up: who may store something must not be refused
/// because of what is gone, and a request must not take long because of it either.
const EXPIRED_FOR_ROOM_MAX: usize = 1000;

/// Old changes are removed together, once in so many.
const CHANGES_REMOVED_AT_ONCE: u64 = 256;

/// Changes that one entry may make at most, as a power of two: changes of a namespace are numbered from its first log
/// index times this on, so that no later namespace of that name repeats a number.
const CHANGES_PER_INDEX_BITS: u32 = 20;

/// What has expired, in the order of the key of `sqlite_debros_kv_expiry`, so that nothing is sorted. As many are read as
/// are wanted: a `LIMIT` with a parameter has SQLite compile the statement anew whenever the parameter is bound.
pub(super) const EXPIRED: &str = "/*debros*/ SELECT k.id, k.version, k.expires_unix_ms, \
    length(k.key) + length(k.value), k.content_type, k.key \
    FROM sqlite_debros_kv_expiry e CROSS JOIN sqlite_debros_kv k ON k.id = e.id \
    WHERE e.unix_ms <= ?1 ORDER BY e.unix_ms, e.id";

/// What the keys of a file come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// Number of the newest change.
    pub(super) newest: u64,
}

impl Totals {
    /// Of a namespace without keys that begins at a log index.
    pub(super) fn beginning_at(index: u64) -> Totals {
        Totals { newest: index << CHANGES_PER_INDEX_BITS, ..Totals::default() }
    }
}

/// What is stored under a key.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: i64,
    version: u64,
    bytes: u64,
    expires_unix_ms: Option<i64>,
}

type Found<'a> = HashMap<&'a str, Option<Stored>>;

/// How much a request adds.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    keys: i64,
    bytes: i64,
}

/// One entry's changes.
pub(super) struct KvRun<'a> {
    pub(super) connection: &'a Connection,
    pub(super) index: u64,
    pub(super) stamp: Stamp,
    pub(super) totals: Totals,
}

impl KvRun<'_> {
    /// Makes all changes or none. An error is this machine's, or the page limit's.
    pub(super) fn run(&mut self, kv: &Kv) -> rusqlite::Result<KvVerdict> {
        self.clear_expired(EXPIRED_PER_ENTRY + kv.ops.len().min(KV_OPS_PER_REQUEST_MAX))?;
        let fits = |(position, op): (usize, &KvOp)| op.fits() && position < KV_OPS_PER_REQUEST_MAX;
        if let Some(op) = kv.ops.iter().enumerate().position(|op| !fits(op)) {
            return Ok(KvVerdict::TooLarge { op: op as u32 });
        }
        let mut found = Found::with_capacity(kv.ops.len());
        for op in &kv.ops {
            let key = op.key().as_str();
            if !found.contains_key(key) {
                found.insert(key, self.look_up(key)?);
            }
        }
        let growth = match self.decide(kv, found.clone()) {
            Ok(growth) => growth,
            Err(refused) => return Ok(refused),
        };
        if self.over_quota(kv, growth).is_some() {
            self.clear_expired(EXPIRED_FOR_ROOM_MAX)?;
        }
        if let Some(refused) = self.over_quota(kv, growth) {
            return Ok(refused);
        }
        let effects = kv.ops.iter().map(|op| self.make(op, &mut found)).collect::<rusqlite::Result<_>>()?;
        Ok(KvVerdict::Done(effects))
    }

    /// Goes through the changes without making them.
    fn decide(&self, kv: &Kv, mut found: Found<'_>) -> Result<Growth, KvVerdict> {
        let mut growth = Growth::default();
        for (position, op) in kv.ops.iter().enumerate() {
            let Some(stored) = found.get_mut(op.key().as_str()) else { continue };
            let version = stored.map(|stored| stored.version);
            if !op.condition().holds(version) {
                return Err(KvVerdict::ConditionFailed { op: position as u32, found: version });
            }
            if let Some(before) = stored.take() {
                growth.keys -= 1;
                growth.bytes -= before.bytes as i64;
            }
            if matches!(op, KvOp::Put { .. }) {
                growth.keys += 1;
                growth.bytes += op.bytes() as i64;
                *stored = Some(Stored { id: 0, version: self.index, bytes: op.bytes(), expires_unix_ms: None });
            }
        }
        Ok(growth)
    }

    fn over_quota(&self, kv: &Kv, growth: Growth) -> Option<KvVerdict> {
        let over = |what, before: u64, growth: i64, max: Option<u64>| {
            let (would_be, max) = (before.saturating_add_signed(growth), max?);
            (growth > 0 && would_be > max).then_some(KvVerdict::OverQuota { what, max, would_be })
        };
        over(KvQuotaKind::Keys, self.totals.keys, growth.keys, kv.quota.keys_max)
            .or_else(|| over(KvQuotaKind::Bytes, self.totals.bytes, growth.bytes, kv.quota.bytes_max))
    }

    fn make<'o>(&mut self, op: &'o KvOp, found: &mut Found<'o>) -> rusqlite::Result<KvEffect> {
        let key = op.key().as_str();
        let stored = found.get(key).copied().flatten();
        match op {
            KvOp::Put { .. } => {
                let (effect, now) = match stored {
                    Some(before) => (KvEffect::Replaced { version: self.index }, self.replace(op, before)?),
                    None => (KvEffect::Created { version: self.index }, self.insert(op)?),
                };
                found.insert(key, Some(now));
                self.note_change(key.as_bytes(), KvChangeKind::Put)?;
                Ok(effect)
            }
            KvOp::Delete { .. } => {
                let Some(before) = stored else { return Ok(KvEffect::WasAbsent) };
                self.remove(before)?;
                found.insert(key, None);
                self.note_change(key.as_bytes(), KvChangeKind::Delete)?;
                Ok(KvEffect::Deleted)
            }
        }
    }

    fn insert(&mut self, op: &KvOp) -> rusqlite::Result<Stored> {
        let KvOp::Put { key, value, content_type, expiry, .. } = op else { unreachable!("only puts are inserted") };
        let (now, expires) = (self.stamp.unix_ms, expiry.at(self.stamp.unix_ms));
        let sql = "/*debros*/ INSERT INTO sqlite_debros_kv\
            (key, version, content_type, created_unix_ms, updated_unix_ms, expires_unix_ms, value) \
            VALUES(?1, ?2, ?3, ?4, ?4, ?5, ?6)";
        let values = (key.as_str().as_bytes(), self.index as i64, content_type, now, expires, value);
        let id = with_own(self.connection, sql, |statement| statement.insert(values))?;
        self.expire_at(id, expires)?;
        self.totals.keys += 1;
        self.totals.bytes += op.bytes();
        Ok(Stored { id, version: self.index, bytes: op.bytes(), expires_unix_ms: expires })
    }

    fn replace(&mut self, op: &KvOp, before: Stored) -> rusqlite::Result<Stored> {
        let KvOp::Put { value, content_type, expiry, .. } = op else { unreachable!("only puts replace") };
        let (now, expires) = (self.stamp.unix_ms, expiry.at(self.stamp.unix_ms));
        let sql = "/*debros*/ UPDATE sqlite_debros_kv SET version = ?2, content_type = ?3, updated_unix_ms = ?4, \
            expires_unix_ms = ?5, value = ?6 WHERE id = ?1";
        let values = (before.id, self.index as i64, content_type, now, expires, value);
        with_own(self.connection, sql, |statement| statement.execute(values))?;
        if before.expires_unix_ms != expires {
            self.forget_expiry(before)?;
            self.expire_at(before.id, expires)?;
        }
        self.totals.bytes = self.totals.bytes - before.bytes + op.bytes();
        Ok(Stored { version: self.index, bytes: op.bytes(), expires_unix_ms: expires, ..before })
    }

    fn remove(&mut self, before: Stored) -> rusqlite::Result<()> {
        let sql = "/*debros*/ DELETE FROM sqlite_debros_kv WHERE id = ?1";
        with_own(self.connection, sql, |statement| statement.execute([before.id]))?;
        self.forget_expiry(before)?;
        self.totals.keys -= 1;
        self.totals.bytes -= before.bytes;
        Ok(())
    }

    /// The key as it is at the entry's time: one that has expired by then is cleared away.
    fn look_up(&mut self, key: &str) -> rusqlite::Result<Option<Stored>> {
        // The value's length stands in the row's header: the value itself is not read for it.
        let sql = "/*debros*/ SELECT id, version, expires_unix_ms, \
            length(key) + length(value), content_type \
            FROM sqlite_debros_kv WHERE key = ?1";
        let stored =
            with_own(self.connection, sql, |statement| statement.query_row([key.as_bytes()], read_stored).optional())?;
        match stored {
            Some(stored) if stored.expires_unix_ms.is_some_and(|at| at <= self.stamp.unix_ms) => {
                self.remove(stored)?;
                self.note_change(key.as_bytes(), KvChangeKind::Expire)?;
                Ok(None)
            }
            stored => Ok(stored),
        }
    }

    fn clear_expired(&mut self, keys_max: usize) -> rusqlite::Result<()> {
        let expired: Vec<(Stored, Vec<u8>)> = with_own(self.connection, EXPIRED, |statement| {
            let read = |row: &rusqlite::Row<'_>| Ok((read_stored(row)?, row.get(5)?));
            statement.query_map([self.stamp.unix_ms], read)?.take(keys_max).collect()
        })?;
        for (stored, key) in expired {
            self.remove(stored)?;
            self.note_change(&key, KvChangeKind::Expire)?;
        }
        Ok(())
    }

    fn expire_at(&self, id: i64, at: Option<i64>) -> rusqlite::Result<()> {
        let Some(at) = at else { return Ok(()) };
        let sql = "/*debros*/ INSERT INTO sqlite_debros_kv_expiry(unix_ms, id) VALUES(?1, ?2)";
        with_own(self.connection, sql, |statement| statement.execute((at, id))).map(drop)
    }

    fn forget_expiry(&self, stored: Stored) -> rusqlite::Result<()> {
        let Some(at) = stored.expires_unix_ms else { return Ok(()) };
        let sql = "/*debros*/ DELETE FROM sqlite_debros_kv_expiry WHERE unix_ms = ?1 AND id = ?2";
        with_own(self.connection, sql, |statement| statement.execute((at, stored.id))).map(drop)
    }

    fn note_change(&mut self, key: &[u8], kind: KvChangeKind) -> rusqlite::Result<()> {
        self.totals.newest += 1;
        let sql = "/*debros*/ INSERT INTO sqlite_debros_kv_change(seq, key, kind, version) VALUES(?1, ?2, ?3, ?4)";
        let values = (self.totals.newest as i64, key, kind_number(kind), self.index as i64);
        with_own(self.connection, sql, |statement| statement.execute(values))?;
        if self.totals.newest.is_multiple_of(CHANGES_REMOVED_AT_ONCE) {
            let sql = "/*debros*/ DELETE FROM sqlite_debros_kv_change WHERE seq <= ?1";
            let last = self.totals.newest.saturating_sub(KV_CHANGES_KEPT) as i64;
            with_own(self.connection, sql, |statement| statement.execute([last]))?;
        }
        Ok(())
    }
}

/// A key from its id, version, expiry, the bytes of key and value, and content type. A text counts with its bytes in UTF-8,
/// whatever a loaded file writes it in: as much as was counted when it was stored.
fn read_stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    let content_type = row.get_ref(4)?.as_bytes_or_null()?.map_or(0, <[u8]>::len);
    Ok(Stored {
        id: row.get(0)?,
        version: row.get::<_, i64>(1)? as u64,
        expires_unix_ms: row.get(2)?,
        bytes: row.get::<_, i64>(3)? as u64 + content_type as u64,
    })
}

/// How a kind of change is stored.
pub(super) fn kind_number(kind: KvChangeKind) -> i64 {
    match kind {
        KvChangeKind::Put => 1,
        KvChangeKind::Delete => 2,
        KvChangeKind::Expire => 3,
    }
}

/// Copies keys and their changes from one file to another that has none, in order.
pub(super) fn carry_over(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    for (select, insert) in [
        (
            "SELECT id, key, version, content_type, created_unix_ms, updated_unix_ms, expires_unix_ms, value \
             FROM sqlite_debros_kv ORDER BY id",
            "INSERT INTO sqlite_debros_kv VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        ),
        (
            "SELECT unix_ms, id FROM sqlite_debros_kv_expiry ORDER BY unix_ms, id",
            "INSERT INTO sqlite_debros_kv_expiry VALUES(?, ?)",
        ),
        (
            "SELECT seq, key, kind, version FROM sqlite_debros_kv_change ORDER BY seq",
            "INSERT INTO sqlite_debros_kv_change VALUES(?, ?, ?, ?)",
        ),
    ] {
        copy_rows(from, to, select, insert)?;
    }
    Ok(())
}
