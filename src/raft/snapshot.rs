//! Snapshots without a copy: a set of main database files that stand still while they are read.
//!
//! In WAL mode a main file changes only at a checkpoint. So a snapshot is: checkpoint everything (a pause of
//! milliseconds), hold further checkpoints back, read the files at leisure while writes go on into the write-ahead
//! logs, let go. What openraft calls building a snapshot is only the first step: after it everything up to the
//! snapshot's index is fsynced in the files, so the log may be cut; files are read when a follower needs them.
//!
//! The receiver fills `snapshots/incoming`, keeps it over a broken transfer, checks every file's hash, fsyncs, renames
//! it to `snapshots/ready` and swaps it for `db`. Every step can be interrupted: see [`recover_directories`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::apply::{ApplyThread, Directories, Work};
use super::files;
use super::type_config::SnapshotMeta;

const INCOMING: &str = "incoming";
const READY: &str = "ready";
const REPLACED: &str = "replaced-db";

/// What openraft passes around as the data of a snapshot.
pub(super) enum SnapshotData {
    /// This node's own state; read it through a [`Fence`].
    Local(ApplyThread),
    /// A received and checked directory of database files.
    Received(PathBuf),
}

/// A main file that stands still.
pub(super) struct FencedFile {
    pub(super) name: String,
    pub(super) file: File,
    pub(super) bytes: u64,
}

impl FencedFile {
    pub(super) fn open(name: &str, path: &Path) -> io::Result<FencedFile> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(FencedFile { name: name.to_owned(), file, bytes })
    }
}

/// The files of one snapshot, as the apply thread hands them out.
pub(super) struct FencedSnapshot {
    pub(super) meta: SnapshotMeta,
    /// Set when the fence had to be let go early: the files may have changed.
    pub(super) broken: Arc<AtomicBool>,
    pub(super) files: Vec<FencedFile>,
}

/// Holds checkpoints back; dropping it lets go.
pub(super) struct Fence {
    apply: ApplyThread,
    pub(super) snapshot: FencedSnapshot,
}

impl Fence {
    pub(super) async fn raise(apply: &ApplyThread) -> io::Result<Fence> {
        let snapshot = apply.ask(|reply| Work::Fence { reply }).await?;
        Ok(Fence { apply: apply.clone(), snapshot })
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.apply.unfence(self.snapshot.broken.clone());
    }
}

/// Where a transfer collects its files; kept when the transfer breaks.
pub(super) fn incoming_directory(directories: &Directories) -> PathBuf {
    directories.snapshots.join(INCOMING)
}

/// Makes a checked `incoming` durable and gives it the name under which it may be installed.
pub(super) fn make_ready(directories: &Directories) -> io::Result<PathBuf> {
    let incoming = incoming_directory(directories);
    for file in std::fs::read_dir(&incoming)? {
        files::sync_file(&file?.path())?;
    }
    files::sync_directory(&incoming)?;
    let ready = directories.snapshots.join(READY);
    files::remove_directory(&ready)?;
    std::fs::rename(&incoming, &ready)?;
    files::sync_directory(&directories.snapshots)?;
    Ok(ready)
}

/// Puts a ready directory in the place of the databases, which are closed.
pub(super) fn swap_in(directories: &Directories, ready: &Path) -> io::Result<()> {
    let replaced = directories.scratch.join(REPLACED);
    files::remove_directory(&replaced)?;
    std::fs::rename(&directories.databases, &replaced)?;
    std::fs::rename(ready, &directories.databases)?;
    if let Some(parent) = directories.databases.parent() {
        files::sync_directory(parent)?;
    }
    files::remove_directory(&replaced)
}

/// Finishes or forgets what a crash interrupted, and makes the directories exist.
///
/// If `db` is missing while `ready` is there, the crash came between the two renames of [`swap_in`]: the swap is
/// finished. A `ready` beside a `db` was not yet wanted by anybody and is removed; the leader sends it again.
pub(super) fn recover_directories(directories: &Directories) -> io::Result<()> {
    let ready = directories.snapshots.join(READY);
    if !directories.databases.exists() && ready.exists() {
        std::fs::rename(&ready, &directories.databases)?;
    }
    files::remove_directory(&ready)?;
    files::remove_directory(&directories.scratch)?;
    for directory in [&directories.databases, &directories.snapshots, &directories.scratch] {
        std::fs::create_dir_all(directory)?;
    }
    if let Some(parent) = directories.databases.parent() {
        files::sync_directory(parent)?;
    }
    Ok(())
}

/// Copies a fenced snapshot into `incoming`, as a transfer would.
pub(super) fn copy_locally(directories: &Directories, snapshot: &mut FencedSnapshot) -> io::Result<()> {
    let incoming = incoming_directory(directories);
    files::remove_directory(&incoming)?;
    std::fs::create_dir_all(&incoming)?;
    for fenced in &mut snapshot.files {
        let mut copy = File::create(incoming.join(&fenced.name))?;
        io::copy(&mut fenced.file, &mut copy)?;
    }
    Ok(())
}
