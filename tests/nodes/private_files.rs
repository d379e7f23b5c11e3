//! What a process keeps is nobody else's.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::node::{Launch, root};
use crate::support::TestNode;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Everything below a directory, itself included, with its mode.
fn modes(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let metadata = std::fs::symlink_metadata(path).expect("it is there");
    found.push((path.to_owned(), metadata.mode() & 0o777));
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).expect("a readable directory") {
            modes(&entry.expect("an entry").path(), found);
        }
    } else {
        assert!(metadata.is_file() || metadata.file_type().is_socket(), "{}", path.display());
    }
}

#[test]
fn files_are_private_whatever_the_umask() {
    let mut node = TestNode::new(Launch { umask: Some("000"), ..Launch::new("bootstrap") }, &root(), "node");
    node.start();
    node.sql().execute("CREATE TABLE t (x)");
    node.cli_ok(&["namespace", "create", "acme"]);
    let mut found = Vec::new();
    modes(node.data(), &mut found);
    assert!(found.len() > 8, "{found:?}");
    for (path, mode) in found {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{} has mode {mode:03o}", path.display());
    }
}

#[test]
fn a_directory_or_key_that_others_can_read_is_refused_until_it_is_mended() {
    let mut node = TestNode::bootstrap();
    assert_eq!(node.terminate().code(), Some(0));
    let directory = node.data().to_owned();
    let identity = directory.join("identity.key");
    for (path, open, closed) in [(&directory, 0o755, 0o700), (&identity, 0o644, 0o600)] {
        chmod(path, open);
        let (status, said) = node.start_refused();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("chmod {closed:o} {}", path.display())), "{said}");
        chmod(path, closed);
    }
    node.start();
}
