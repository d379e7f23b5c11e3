//! The namespaces' database files: one writer each on the apply thread, readers for everybody.
//!
//! A file is `db/<namespace>.sqlite`. Which namespaces exist is `_system`'s word; a file without its row is left over
//! from a crash and is removed, a file older than its namespace's incarnation is a dropped namesake's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::system::Touched;
use crate::sql::{Checkpoint, Database, Readers, SqlError};
use crate::types::Namespace;
use crate::types::limits::OPEN_NAMESPACES_MAX;

/// A prepared file that is about to take the place of a namespace's: `<namespace>.staged` beside it.
const STAGED_EXTENSION: &str = "staged";

/// The writers; lives on the apply thread.
pub(super) struct Databases {
    directory: PathBuf,
    open: HashMap<Namespace, Open>,
    shared: SharedReaders,
    clock: u64,
    hold_checkpoints: bool,
}

struct Open {
    database: Database,
    last_used: u64,
    /// Written since its last checkpoint.
    dirty: bool,
}

impl Databases {
    pub(super) fn new(directory: &Path, shared: SharedReaders) -> Databases {
        Databases { directory: directory.to_owned(), open: HashMap::new(), shared, clock: 0, hold_checkpoints: false }
    }

    /// The namespace's writer, opened when needed.
    ///
    /// A file that is missing, or belongs to an earlier namespace of that name, begins empty at `incarnation`.
    pub(super) fn writer(&mut self, namespace: &Namespace, incarnation: u64) -> Result<&mut Database, SqlError> {
        self.clock += 1;
        if !self.open.contains_key(namespace) {
            self.close_least_recently_used()?;
            let path = self.path(namespace);
            let mut database = Database::open(&path)?;
            if database.applied_index() < incarnation {
                database.close()?;
                self.remove_files(namespace)?;
                database = Database::create(&path, incarnation)?;
            }
            database.hold_checkpoints(self.hold_checkpoints);
            self.open.insert(namespace.clone(), Open { database, last_used: 0, dirty: true });
        }
        let open = self.open.get_mut(namespace).expect("inserted above");
        open.last_used = self.clock;
        open.dirty = true;
        Ok(&mut open.database)
    }

    /// How far the namespace's file has come, without marking it as written.
    pub(super) fn applied_index(&mut self, namespace: &Namespace, touched: Touched) -> Result<u64, SqlError> {
        self.writer(namespace, touched.incarnation).map(|database| database.applied_index())
    }

    /// Closes the namespace's file and removes it.
    pub(super) fn remove(&mut self, namespace: &Namespace) -> Result<(), SqlError> {
        self.close(namespace)?;
        self.shared.clone().replacing(namespace, || self.remove_files(namespace))
    }

    /// Puts a prepared file in the place of the namespace's.
    pub(super) fn replace(&mut self, namespace: &Namespace, with: &Path) -> Result<(), SqlError> {
        self.close(namespace)?;
        let path = self.path(namespace);
        // First it gets a durable name beside the old file: from then on a crash is finished by the next start.
        let staged = path.with_extension(STAGED_EXTENSION);
        std::fs::rename(with, &staged)
            .and_then(|()| super::files::sync_directory(&self.directory))
            .map_err(|source| SqlError::File { path: staged.clone(), source })?;
        self.shared.clone().replacing(namespace, || {
            self.remove_write_ahead_log(namespace)?;
            std::fs::rename(&staged, &path)
                .and_then(|()| super::files::sync_directory(&self.directory))
                .map_err(|source| SqlError::File { path: path.clone(), source })
        })
    }

    /// Finishes replacements that a crash interrupted.
    pub(super) fn finish_replacements(&self) -> std::io::Result<()> {
        for file in std::fs::read_dir(&self.directory)? {
            let staged = file?.path();
            if staged.extension().is_some_and(|extension| extension == STAGED_EXTENSION) {
                let path = staged.with_extension("sqlite");
                for suffix in ["-wal", "-shm"] {
                    let mut file = path.clone().into_os_string();
                    file.push(suffix);
                    if Path::new(&file).exists() {
                        std::fs::remove_file(&file)?;
                    }
                }
                std::fs::rename(&staged, &path)?;
                super::files::sync_directory(&self.directory)?;
            }
        }
        Ok(())
    }

    /// Makes everything written durable; the number of files that had something to do.
    pub(super) fn make_durable(&mut self) -> Result<u64, SqlError> {
        let mut count = 0;
        for open in self.open.values_mut().filter(|open| open.dirty) {
            count += u64::from(open.database.wal_bytes() > 0);
            make_durable(&mut open.database)?;
            open.dirty = false;
        }
        Ok(count)
    }

    /// While held, main files do not change: writes stay in the write-ahead logs.
    pub(super) fn hold_checkpoints(&mut self, hold: bool) {
        self.hold_checkpoints = hold;
        for open in self.open.values_mut() {
            open.database.hold_checkpoints(hold);
        }
    }

    /// Bytes in all write-ahead logs.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.open.values().map(|open| open.database.wal_bytes()).sum()
    }

    pub(super) fn close_all(&mut self) -> Result<(), SqlError> {
        self.shared.clear();
        for (_, open) in self.open.drain() {
            open.database.close()?;
        }
        Ok(())
    }

    /// Removes files of namespaces that `_system` does not know.
    pub(super) fn remove_strangers(&self, known: impl Fn(&str) -> bool) -> std::io::Result<()> {
        for file in std::fs::read_dir(&self.directory)? {
            let file = file?;
            let name = file.file_name();
            let stem = name.to_str().and_then(|name| name.split(".sqlite").next()).unwrap_or_default();
            if stem != "_system" && !known(stem) {
                tracing::info!(file = %file.path().display(), "removing the database of a namespace that does not exist");
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, namespace: &Namespace) -> PathBuf {
        self.directory.join(format!("{namespace}.sqlite"))
    }

    fn close(&mut self, namespace: &Namespace) -> Result<(), SqlError> {
        match self.open.remove(namespace) {
            Some(open) => open.database.close(),
            None => Ok(()),
        }
    }

    fn close_least_recently_used(&mut self) -> Result<(), SqlError> {
        // While checkpoints are held nothing is closed: closing the last connection would checkpoint.
        if self.open.len() < OPEN_NAMESPACES_MAX || self.hold_checkpoints {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.last_used).map(|(name, _)| name.clone());
        match oldest {
            Some(namespace) => {
                // A closed file can no longer be checkpointed by the next snapshot, so it is made durable now.
                if let Some(open) = self.open.get_mut(&namespace) {
                    make_durable(&mut open.database)?;
                }
                self.close(&namespace)
            }
            None => Ok(()),
        }
    }

    fn remove_files(&self, namespace: &Namespace) -> Result<(), SqlError> {
        // The write-ahead log goes first: a main file without it is merely older, the reverse would be corrupt.
        self.remove_write_ahead_log(namespace)?;
        self.remove_suffixed(namespace, &[""])
    }

    fn remove_write_ahead_log(&self, namespace: &Namespace) -> Result<(), SqlError> {
        self.remove_suffixed(namespace, &["-wal", "-shm"])
    }

    fn remove_suffixed(&self, namespace: &Namespace, suffixes: &[&str]) -> Result<(), SqlError> {
        let path = self.path(namespace);
        for suffix in suffixes {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SqlError::File { path: file.into(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Checkpoints, or, where a reader or a snapshot being sent forbids it, at least fsyncs the write-ahead log: either
/// way a power cut takes nothing away.
fn make_durable(database: &mut Database) -> Result<(), SqlError> {
    if database.checkpoint()? == Checkpoint::Complete {
        return Ok(());
    }
    let mut wal = database.path().as_os_str().to_owned();
    wal.push("-wal");
    match super::files::sync_file(Path::new(&wal)) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SqlError::File { path: wal.into(), source })
        }
        _ => Ok(()),
    }
}

/// Read-only connections by namespace, shared by all threads.
#[derive(Clone)]
pub struct SharedReaders {
    directory: Arc<PathBuf>,
    open: Arc<RwLock<HashMap<Namespace, Arc<Pool>>>>,
    clock: Arc<AtomicU64>,
}

struct Pool {
    readers: Readers,
    last_used: AtomicU64,
}

impl SharedReaders {
    pub(super) fn new(directory: &Path) -> SharedReaders {
        SharedReaders { directory: Arc::new(directory.to_owned()), open: Arc::default(), clock: Arc::default() }
    }

    /// The namespace's readers. The caller knows that the namespace exists.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn get(&self, namespace: &Namespace) -> Result<Readers, SqlError> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(pool) = self.open.read().expect("no reader panics").get(namespace) {
            pool.last_used.store(now, Ordering::Relaxed);
            return Ok(pool.readers.clone());
        }
        let mut open = self.open.write().expect("no writer panics");
        if let Some(pool) = open.get(namespace) {
            return Ok(pool.readers.clone());
        }
        if open.len() >= OPEN_NAMESPACES_MAX {
            let oldest = open.iter().min_by_key(|(_, pool)| pool.last_used.load(Ordering::Relaxed));
            if let Some(namespace) = oldest.map(|(name, _)| name.clone()) {
                open.remove(&namespace);
            }
        }
        let readers = Readers::open(&self.path(namespace))?;
        let pool = Pool { readers: readers.clone(), last_used: AtomicU64::new(now) };
        open.insert(namespace.clone(), Arc::new(pool));
        Ok(readers)
    }

    /// Where the namespace's file is.
    pub fn path(&self, namespace: &Namespace) -> PathBuf {
        self.directory.join(format!("{namespace}.sqlite"))
    }

    /// Runs `swap` while nobody can open the namespace's file; readers opened before keep the old one.
    fn replacing<T>(&self, namespace: &Namespace, swap: impl FnOnce() -> T) -> T {
        let mut open = self.open.write().expect("no writer panics");
        open.remove(namespace);
        swap()
    }

    pub(super) fn clear(&self) {
        self.open.write().expect("no writer panics").clear();
    }
}
