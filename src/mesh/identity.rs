//! A node's key pair and the file that keeps it.
//!
//! The file is the raw libp2p protobuf of an Ed25519 private key: `08 01 12 40 ‖ seed (32) ‖ public key (32)`, no text, no
//! newline. A node id names data that exists once, so a file that cannot be read is never replaced by a fresh key: the
//! node would come back as somebody else with somebody's data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libp2p::identity::Keypair;

use super::peer_id;
use crate::types::NodeId;

/// Length of an Ed25519 private key in libp2p's protobuf form.
const FILE_BYTES: usize = 68;
/// Key type Ed25519 (field 1), then 64 bytes of data (field 2).
const FILE_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x40];

/// An Ed25519 key pair. Its public half is the node's id.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    node_id: NodeId,
}

/// Why an identity could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no such file (only [`Identity::load`] says so).
    #[error("there is no identity at {}: start the node once to make one, or name the right data directory", .0.display())]
    Missing(PathBuf),
    /// The file is not a libp2p Ed25519 key.
    #[error(
        "identity file {} is damaged ({reason}): restore it from a backup; deleting it makes this node a new one that must join again with an empty data directory",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Others than the owner may read or write the file.
    #[error("identity file {} is open to others (mode {mode:03o}): run `chmod 600 {}`", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file system said no.
    #[error("cannot {action} identity file {}: check that the directory exists and belongs to this user", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Identity {
    /// A fresh key pair that is kept nowhere: for clients and tests.
    pub fn ephemeral() -> Identity {
        let keypair = Keypair::generate_ed25519();
        let node_id = peer_id::to_node_id(&keypair.public().to_peer_id()).expect("the key is Ed25519");
        Identity { keypair, node_id }
    }

    /// Reads the key pair at `path`, or makes one there: mode 0600, durable before this returns.
    ///
    /// # Errors
    /// [`IdentityError`] for a damaged file (it is left as it is), one that others may read, or a failing file system.
    pub fn load_or_create(path: &Path) -> Result<Identity, IdentityError> {
        match Identity::load(path) {
            Err(IdentityError::Missing(_)) => {}
            loaded_or_refused => return loaded_or_refused,
        }
        let identity = Identity::ephemeral();
        match identity.store_new(path) {
            Ok(()) => Ok(identity),
            // Another process made one in between: that one is it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Identity::load(path),
            Err(source) => Err(IdentityError::Io { action: "create", path: path.to_owned(), source }),
        }
    }

    /// Reads the key pair at `path`.
    ///
    /// # Errors
    /// As [`Identity::load_or_create`], and [`IdentityError::Missing`] when there is no file.
    pub fn load(path: &Path) -> Result<Identity, IdentityError> {
        let read_error = |source| IdentityError::Io { action: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing(path.to_owned()));
            }
            Err(error) => return Err(read_error(error)),
        };
        let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Permissions { path: path.to_owned(), mode });
        }
        // One byte more than a key shows that the file is too long, however long it is.
        let mut bytes = Vec::with_capacity(FILE_BYTES + 1);
        file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(read_error)?;
        Identity::decode(&bytes).map_err(|reason| IdentityError::Damaged { path: path.to_owned(), reason })
    }

    /// The node that holds this key.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(super) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    fn decode(bytes: &[u8]) -> Result<Identity, &'static str> {
        if bytes.len() != FILE_BYTES {
            return Err("it does not have 68 bytes");
        }
        let Some(pair) = bytes.strip_prefix(&FILE_PREFIX) else {
            return Err("it does not begin as a libp2p Ed25519 key");
        };
        // The public half is derived from the seed, and must be the one that is written.
        let keypair = Keypair::ed25519_from_bytes(pair[..32].to_vec()).map_err(|_| "its seed is not a key")?;
        let node_id = peer_id::to_node_id(&keypair.public().to_peer_id()).expect("the key is Ed25519");
        if node_id.public_key()[..] != pair[32..] {
            return Err("its two halves do not belong together");
        }
        Ok(Identity { keypair, node_id })
    }

    /// Writes a temporary file beside `path`, makes it durable, and gives it its name unless that is taken.
    fn store_new(&self, path: &Path) -> io::Result<()> {
        let bytes = self.keypair.to_protobuf_encoding().map_err(io::Error::other)?;
        assert!(bytes.len() == FILE_BYTES && bytes.starts_with(&FILE_PREFIX), "libp2p wrote another key format");
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = directory.join(name);
        let _ = fs::remove_file(&temporary);
        let stored = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            // A hard link instead of a rename: it fails when the name is taken, a rename would replace a key.
            fs::hard_link(&temporary, path)
        })();
        let _ = fs::remove_file(&temporary);
        stored?;
        File::open(directory)?.sync_all()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity.key");
        (directory, path)
    }

    #[test]
    fn a_key_survives_a_restart_in_the_format_of_libp2p() {
        let (directory, path) = path();
        let made = Identity::load_or_create(&path).expect("made");
        let bytes = fs::read(&path).expect("file");
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(bytes[..4], FILE_PREFIX);
        assert_eq!(&bytes[36..], made.node_id().public_key());
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("directory").count(), 1, "no temporary file stays");
        assert_eq!(Identity::load_or_create(&path).expect("read").node_id(), made.node_id());
        assert_eq!(Identity::load(&path).expect("read").node_id(), made.node_id());
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        let (_directory, path) = path();
        Identity::load_or_create(&path).expect("made");
        let good = fs::read(&path).expect("file");
        let mut other_half = good.clone();
        other_half[40] ^= 1;
        let mut other_type = good.clone();
        other_type[1] = 2;
        for bad in [Vec::new(), good[..67].to_vec(), [&good[..], b"\n"].concat(), other_half, other_type] {
            fs::write(&path, &bad).expect("written");
            let error = Identity::load_or_create(&path).expect_err("damaged");
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("backup"), "{error}");
            assert_eq!(fs::read(&path).expect("file"), bad);
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let (_directory, path) = path();
        Identity::load_or_create(&path).expect("made");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let error = Identity::load(&path).expect_err("open to others").to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_where_none_may_be_made() {
        let (_directory, path) = path();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Missing(_))));
        assert!(!path.exists());
        let error = Identity::load_or_create(&path.join("no/such/directory")).expect_err("no directory");
        assert!(matches!(error, IdentityError::Io { .. }));
    }
}
