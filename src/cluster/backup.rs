//! Copies of a namespace's database.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Cluster;
use super::error::ClusterError;
use super::read::storage;
use crate::sql::Readers;
use crate::sql::backup::{BackupOptions, Journal, Vacuum};
use crate::types::Namespace;

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

/// Numbers scratch files of this process.
static SCRATCH: AtomicU64 = AtomicU64::new(0);

impl Cluster {
    /// A consistent copy of a namespace's database, from this node.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchNamespace`], or [`ClusterError::Storage`] when reading or writing fails.
    pub async fn backup(
        &self,
        namespace: &Namespace,
        format: BackupFormat,
        vacuum: bool,
    ) -> Result<BackupFile, ClusterError> {
        let readers = self.readers_of(namespace)?;
        let number = SCRATCH.fetch_add(1, Ordering::Relaxed);
        let path = self.raft().scratch_directory().join(format!("backup-{namespace}-{number}"));
        let file = BackupFile { path };
        let copy = move || {
            write_backup(&readers, &file.path, &format, vacuum)?;
            Ok::<_, ClusterError>(file)
        };
        tokio::task::spawn_blocking(copy).await.map_err(storage)?
    }
}

fn write_backup(readers: &Readers, path: &Path, format: &BackupFormat, vacuum: bool) -> Result<(), ClusterError> {
    let journal = match format {
        BackupFormat::Sql { tables } => {
            let mut out = BufWriter::new(File::create(path).map_err(storage)?);
            readers.dump_sql(tables, &mut out).map_err(storage)?;
            return out.flush().map_err(storage);
        }
        BackupFormat::Binary => Journal::Wal,
        BackupFormat::DeleteMode => Journal::Delete,
    };
    let vacuum = if vacuum { Vacuum::Yes } else { Vacuum::No };
    readers.backup(path, BackupOptions { vacuum, journal }).map_err(storage)
}
