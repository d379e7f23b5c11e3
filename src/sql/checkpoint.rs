//! When the WAL goes back into the main file: when it has grown, unless a snapshot streams that file.
//!
//! In WAL mode the main file changes at checkpoints only, so holding them back makes it readable at leisure.

use std::sync::atomic::Ordering;

use rusqlite::ffi as codes;

use super::database::Database;
use super::error::{SqlError, primary_code};

/// WAL frames between two checkpoints: SQLite's own 1000 costs an fsync per 4 MB, and the apply thread waits for it.
const FRAMES_PER_CHECKPOINT: u32 = 4_000;

/// Bytes that a WAL frame adds to its page.
const FRAME_HEADER_BYTES: u64 = 24;

/// What a checkpoint achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Everything committed is in the main file and fsynced; the WAL is empty.
    Complete,
    /// A reader still needs the WAL; what it left free was written back. Try again later.
    Blocked,
    /// Checkpoints are held back; nothing was done.
    Held,
}

impl Database {
    /// Writes the WAL back into the main file, fsyncs both, and empties the WAL. Does not wait for readers.
    ///
    /// # Errors
    /// When this machine fails; the WAL is then still whole.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, SqlError> {
        if self.checkpoints_held {
            return Ok(Checkpoint::Held);
        }
        let checkpoint = self.run_checkpoint("TRUNCATE")?;
        if checkpoint == Checkpoint::Complete {
            self.wal_frames.store(0, Ordering::Relaxed);
            self.checkpoint_tried_at = 0;
        }
        Ok(checkpoint)
    }

    /// Holds checkpoints back, or lets them happen again. The WAL grows meanwhile: see [`Database::wal_bytes`].
    pub fn hold_checkpoints(&mut self, hold: bool) {
        self.checkpoints_held = hold;
    }

    /// How much of the WAL is in use.
    pub fn wal_bytes(&self) -> u64 {
        u64::from(self.wal_frames.load(Ordering::Relaxed)) * (self.page_bytes + FRAME_HEADER_BYTES)
    }

    /// The hook tells the WAL's length with the first commit; until then what an earlier process left counts.
    pub(super) fn count_wal_of_last_time(&self) {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        let bytes = std::fs::metadata(name).map_or(0, |file| file.len());
        let frames = bytes / (self.page_bytes + FRAME_HEADER_BYTES);
        self.wal_frames.store(u32::try_from(frames).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Called after each batch.
    pub(super) fn checkpoint_when_due(&mut self) -> Result<(), SqlError> {
        let frames = self.wal_frames.load(Ordering::Relaxed);
        if frames < self.checkpoint_tried_at {
            // SQLite has begun the WAL anew.
            self.checkpoint_tried_at = 0;
        }
        if self.checkpoints_held || frames < self.checkpoint_tried_at.saturating_add(FRAMES_PER_CHECKPOINT) {
            return Ok(());
        }
        self.checkpoint_tried_at = frames;
        self.run_checkpoint("PASSIVE").map(drop)
    }

    fn run_checkpoint(&self, mode: &str) -> Result<Checkpoint, SqlError> {
        let failed = SqlError::storage(&self.path);
        let done = self.without_waiting(|| {
            let sql = format!("PRAGMA main.wal_checkpoint({mode})");
            super::admission::trusted(|| {
                self.connection.query_row(&sql, [], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
            })
        });
        match done {
            Ok((0, log, written)) if log == written => Ok(Checkpoint::Complete),
            Ok(_) => Ok(Checkpoint::Blocked),
            Err(error) if primary_code(&error) == codes::SQLITE_BUSY => Ok(Checkpoint::Blocked),
            Err(error) => Err(failed(error)),
        }
    }

    /// The busy handler would have the apply thread wait for the longest reader.
    fn without_waiting<T>(&self, run: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.connection.busy_timeout(std::time::Duration::ZERO)?;
        let done = run();
        self.connection.busy_timeout(super::connection::BUSY_TIMEOUT)?;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_checkpoint_is_complete_blocked_or_held() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1)"]);
        assert!(fixture.database.wal_bytes() > 4096);
        let snapshot = fixture.readers.snapshot().expect("snapshot");
        fixture.run(&["INSERT INTO t VALUES(2)"]);
        assert_eq!(fixture.database.checkpoint().expect("checkpoints"), Checkpoint::Blocked);
        drop(snapshot);
        fixture.database.hold_checkpoints(true);
        assert_eq!(fixture.database.checkpoint().expect("checkpoints"), Checkpoint::Held);
        fixture.database.hold_checkpoints(false);
        assert_eq!(fixture.database.checkpoint().expect("checkpoints"), Checkpoint::Complete);
        assert_eq!(fixture.database.wal_bytes(), 0);
    }

    #[test]
    fn the_main_file_stands_still_while_checkpoints_are_held() {
        let mut fixture = Fixture::new();
        fixture.run(&["CREATE TABLE t(a)"]);
        fixture.database.checkpoint().expect("checkpoints");
        fixture.database.hold_checkpoints(true);
        let before = std::fs::read(fixture.path()).expect("reads");
        let fill = "INSERT INTO t SELECT zeroblob(3000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT i FROM n)";
        fixture.run(&[fill]);
        assert!(std::fs::read(fixture.path()).expect("reads") == before);
        assert!(fixture.database.wal_bytes() > 15_000_000);
        fixture.database.hold_checkpoints(false);
        fixture.run(&["INSERT INTO t VALUES(1)"]);
        assert!(std::fs::metadata(fixture.path()).expect("is there").len() > 15_000_000);
    }
}
