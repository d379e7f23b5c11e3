//! Copies of a namespace's database.

/// A file with a consistent copy of a namespace's database; removed when dropped.
#[derive(Debug)]
pub struct BackupFile {
    /// Where it is.
    pub path: std::path::PathBuf,
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "backup file not removed");
        }
    }
}

/// How a backup is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupFormat {
    /// A SQLite file in WAL mode.
    Binary,
    /// A SQLite file in rollback-journal mode.
    DeleteMode,
    /// SQL text; only these tables, or all when empty.
    Sql {
        /// Names of tables.
        tables: Vec<String>,
    },
}
