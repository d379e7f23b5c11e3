//! `cluster.key`: the cluster's secret in the data directory, 32 raw bytes for its owner only.
//!
//! It is written before the record that says that the directory belongs to a cluster, so a directory that belongs to
//! one has it. A file that others could read is refused: whoever has read it can unseal what the cluster has sealed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::private::{Exposure, exposure};
use crate::types::ClusterSecret;

const FILE: &str = "cluster.key";

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterKeyError {
    #[error(
        "there is no cluster key at {}; copy cluster.key from the data directory of another member of this cluster, \
         or restore it from a backup",
        .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "cluster key {} is damaged ({reason}); copy cluster.key from the data directory of another member of this \
         cluster, or restore it from a backup",
        path.display()
    )]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("cluster key {} {exposure}", path.display())]
    Exposed { path: PathBuf, exposure: Exposure },
    #[error("cluster key {}: {source}; give this user access to it", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Reads the secret of a directory that belongs to a cluster.
pub(super) fn load(directory: &Path) -> Result<ClusterSecret, ClusterKeyError> {
    let path = directory.join(FILE);
    let io = |source| ClusterKeyError::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ClusterKeyError::Missing(path)),
        Err(error) => return Err(io(error)),
    };
    let metadata = file.metadata().map_err(io)?;
    if let Some(exposure) = exposure(&path, metadata.mode(), metadata.uid()) {
        return Err(ClusterKeyError::Exposed { path, exposure });
    }
    // One byte more than a secret shows that the file is too long, however long it is.
    let mut bytes = Vec::with_capacity(ClusterSecret::BYTES + 1);
    file.take(ClusterSecret::BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    match bytes.try_into() {
        Ok(bytes) => Ok(ClusterSecret::from_bytes(bytes)),
        Err(_) => Err(ClusterKeyError::Damaged { path, reason: "it does not have 32 bytes" }),
    }
}

/// Writes the secret, durably. What an interrupted join has left behind is replaced.
pub(super) fn store(directory: &Path, secret: &ClusterSecret) -> Result<(), ClusterKeyError> {
    let path = directory.join(FILE);
    let write = || {
        let temporary = directory.join(format!("{FILE}.new"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| ClusterKeyError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECRET: ClusterSecret = ClusterSecret::from_bytes([5; ClusterSecret::BYTES]);

    fn stored() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        store(directory.path(), &SECRET).expect("stored");
        let path = directory.path().join(FILE);
        (directory, path)
    }

    #[test]
    fn a_secret_is_read_back_and_only_its_owner_may() {
        let (directory, path) = stored();
        assert_eq!(load(directory.path()).expect("loaded"), SECRET);
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        let other = ClusterSecret::from_bytes([6; ClusterSecret::BYTES]);
        store(directory.path(), &other).expect("an interrupted join is begun again");
        assert_eq!(load(directory.path()).expect("loaded"), other);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let (directory, path) = stored();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = load(directory.path()).expect_err("open to others").to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_missing_cut_or_prolonged_secret_is_refused_and_left_alone() {
        let (directory, path) = stored();
        for bytes in [Vec::new(), vec![5; 31], vec![5; 33], vec![5; 1_000_000]] {
            fs::write(&path, &bytes).expect("written");
            let error = load(directory.path()).expect_err("damaged");
            assert!(matches!(error, ClusterKeyError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert_eq!(fs::read(&path).expect("a file"), bytes);
        }
        fs::remove_file(&path).expect("removed");
        let error = load(directory.path()).expect_err("missing");
        assert!(matches!(error, ClusterKeyError::Missing(_)), "{error}");
        assert!(error.to_string().contains("another member"), "{error}");
    }
}
