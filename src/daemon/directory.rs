//! The data directory: one process at a time, one node for its whole life.
//!
//! `LOCK` is held (`flock`) while the process runs. `cluster.json` says which cluster, which node and which role the
//! directory belongs to; a gateway also keeps there where the cluster's nodes are. `addresses.json` says where the running process serves; it is there only
//! while it does.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private::{Exposure, exposure};
use crate::types::{ClusterId, NodeId, Role};

/// The layout of the directory that this build writes and reads.
const FORMAT: u32 = 1;

const CLUSTER_FILE: &str = "cluster.json";
const ADDRESSES_FILE: &str = "addresses.json";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("data directory {} is in use by another debros process; stop that one, or choose another with --data-dir", .0.display())]
    InUse(PathBuf),
    #[error("data directory {} {exposure}", path.display())]
    Exposed { path: PathBuf, exposure: Exposure },
    #[error("{}: {source}; give this user access, or choose another directory with --data-dir", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: this file is damaged ({reason}); restore it from a backup of this node, or remove the node from the \
         cluster and join again with an empty directory",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{}: format {found} is newer than this build reads ({FORMAT}); start it with a newer debros",
        path.display()
    )]
    NewerFormat { path: PathBuf, found: u32 },
    #[error(
        "data directory {} belongs to node {recorded}, but its identity key is that of {actual}; put the right \
         identity.key back: a directory cannot be copied to another node",
        path.display()
    )]
    OtherNode { path: PathBuf, recorded: NodeId, actual: NodeId },
    #[error("data directory {} belongs to a {recorded}; start it with `debros {recorded}`, or choose another with --data-dir", path.display())]
    OtherRole { path: PathBuf, recorded: Role },
    #[error(
        "data directory {} holds data but no {CLUSTER_FILE}; restore that file, or choose an empty directory",
        .0.display()
    )]
    NoRecord(PathBuf),
}

/// What the directory is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    /// How the directory began. A bootstrap directory is a node's in every other respect.
    pub(super) role: Role,
    /// Whether the node has had a log: then one that is not there any more has been lost.
    #[serde(default)]
    pub(super) has_log: bool,
    /// Members known when it joined; on a node the log knows better once it is there. A gateway keeps it up to date.
    pub(super) members: HashMap<NodeId, Vec<String>>,
}

impl Record {
    pub(super) fn new(cluster: ClusterId, node: NodeId, role: Role, members: HashMap<NodeId, Vec<String>>) -> Record {
        Record { format: FORMAT, cluster, node, role, has_log: false, members }
    }
}

/// Where a process serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    pub(super) node_id: NodeId,
    pub(super) peer: Vec<String>,
    pub(super) sql: Option<String>,
    pub(super) gateway: Option<String>,
}

/// An open, locked directory.
pub(super) struct DataDirectory {
    path: PathBuf,
    /// Dropping it releases the lock.
    _lock: File,
}

/// Whether a directory belongs to a node already.
pub(super) fn has_record(path: &Path) -> bool {
    path.join(CLUSTER_FILE).exists()
}

impl DataDirectory {
    pub(super) fn open(path: &Path) -> Result<DataDirectory, DirectoryError> {
        let io = |path: PathBuf| move |source| DirectoryError::Io { path, source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path.to_owned()))?;
        let metadata = std::fs::metadata(path).map_err(io(path.to_owned()))?;
        if let Some(exposure) = exposure(path, metadata.mode(), metadata.uid()) {
            return Err(DirectoryError::Exposed { path: path.to_owned(), exposure });
        }
        let lock_path = path.join("LOCK");
        let lock = File::options().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io(lock_path.clone()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(DirectoryError::Io { path: lock_path, source }),
        }
        let directory = DataDirectory { path: path.to_owned(), _lock: lock };
        directory.remove_addresses();
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory is for; `None` when it is new.
    pub(super) fn record(&self) -> Result<Option<Record>, DirectoryError> {
        let path = self.path.join(CLUSTER_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let used = ["raft", "db"].iter().any(|name| self.path.join(name).exists());
                return if used { Err(DirectoryError::NoRecord(self.path.clone())) } else { Ok(None) };
            }
            Err(source) => return Err(DirectoryError::Io { path, source }),
        };
        // The format first: a newer record may not parse.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged =
            |error: serde_json::Error| DirectoryError::Damaged { path: path.clone(), reason: error.to_string() };
        let Format { format } = serde_json::from_str(&text).map_err(damaged)?;
        if format > FORMAT {
            return Err(DirectoryError::NewerFormat { path, found: format });
        }
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Checks that the record is of this node and fits the role that is to be started.
    pub(super) fn check(&self, record: &Record, node: NodeId, role: Role) -> Result<(), DirectoryError> {
        let path = self.path.clone();
        if record.node != node {
            return Err(DirectoryError::OtherNode { path, recorded: record.node, actual: node });
        }
        if (record.role == Role::Gateway) != (role == Role::Gateway) {
            let recorded = if record.role == Role::Gateway { Role::Gateway } else { Role::Node };
            return Err(DirectoryError::OtherRole { path, recorded });
        }
        Ok(())
    }

    /// A node without the log that it had could vote twice in one term, or found its cluster a second time.
    pub(super) fn check_log(&self, record: &Record) -> Result<(), DirectoryError> {
        let path = self.path.join("raft").join("log.sqlite");
        if record.has_log && !path.exists() {
            return Err(DirectoryError::Damaged { path, reason: "it is missing".to_owned() });
        }
        Ok(())
    }

    /// Writes the record, durably, in one step.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), DirectoryError> {
        self.write(CLUSTER_FILE, record)
    }

    pub(super) fn write_addresses(&self, addresses: &Addresses) -> Result<(), DirectoryError> {
        self.write(ADDRESSES_FILE, addresses)
    }

    pub(super) fn remove_addresses(&self) {
        let path = self.path.join(ADDRESSES_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "stale file not removed");
            }
            _ => {}
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let write = || {
            let temporary = self.path.join(format!("{name}.new"));
            let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
            serde_json::to_writer_pretty(&mut file, value)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| DirectoryError::Io { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn private_directory() -> tempfile::TempDir {
        let private = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().expect("temp dir")
    }

    fn record(node: NodeId, role: Role) -> Record {
        Record::new(ClusterId::from_bytes([1; 16]), node, role, HashMap::new())
    }

    #[test]
    fn a_directory_belongs_to_one_process_at_a_time() {
        let dir = private_directory();
        let held = DataDirectory::open(dir.path()).expect("opens");
        assert!(matches!(DataDirectory::open(dir.path()), Err(DirectoryError::InUse(_))));
        drop(held);
        DataDirectory::open(dir.path()).expect("opens again");
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused_with_the_command_that_mends_it() {
        let dir = private_directory();
        for mode in [0o750, 0o705, 0o711] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).expect("chmod");
            let error = DataDirectory::open(dir.path()).err().expect("open to others").to_string();
            assert!(error.contains(&format!("chmod 700 {}", dir.path().display())), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing was made there");
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        DataDirectory::open(dir.path()).expect("opens");
    }

    #[test]
    fn a_record_is_read_back_and_checked() {
        let dir = private_directory();
        let directory = DataDirectory::open(dir.path()).expect("opens");
        assert_eq!(directory.record().expect("reads"), None);
        let written = record(NodeId::from(1), Role::Bootstrap);
        directory.write_record(&written).expect("writes");
        let read = directory.record().expect("reads").expect("is there");
        assert_eq!(read, written);
        directory.check(&read, NodeId::from(1), Role::Node).expect("a bootstrapped directory is a node's");
        assert!(matches!(directory.check(&read, NodeId::from(2), Role::Node), Err(DirectoryError::OtherNode { .. })));
        assert!(matches!(
            directory.check(&read, NodeId::from(1), Role::Gateway),
            Err(DirectoryError::OtherRole { .. })
        ));
    }

    #[test]
    fn a_damaged_newer_or_missing_record_is_refused_by_name() {
        let dir = private_directory();
        let directory = DataDirectory::open(dir.path()).expect("opens");
        let path = dir.path().join(CLUSTER_FILE);
        std::fs::write(&path, "{\"format\": 1").expect("writes");
        let error = directory.record().expect_err("damaged");
        assert!(error.to_string().contains("cluster.json"), "{error}");
        std::fs::write(&path, "{\"format\": 99, \"new\": true}").expect("writes");
        assert!(matches!(directory.record(), Err(DirectoryError::NewerFormat { found: 99, .. })));
        std::fs::remove_file(&path).expect("removes");
        std::fs::create_dir(dir.path().join("raft")).expect("creates");
        assert!(matches!(directory.record(), Err(DirectoryError::NoRecord(_))));
    }
}
