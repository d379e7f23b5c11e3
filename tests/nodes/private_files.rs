//! What a process keeps is nobody else's.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::node::{Launch, root};
use crate::support::{TestCluster, TestNode};

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
    let (cluster_key, identity) = (directory.join("cluster.key"), directory.join("identity.key"));
    for (path, open, closed) in [(&directory, 0o755, 0o700), (&cluster_key, 0o640, 0o600), (&identity, 0o644, 0o600)] {
        chmod(path, open);
        let (status, said) = node.start_refused();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("chmod {closed:o} {}", path.display())), "{said}");
        chmod(path, closed);
    }
    node.start();
}

#[test]
fn everybody_who_was_let_in_shares_the_clusters_key_and_needs_it() {
    let mut cluster = TestCluster::start(2);
    let token = cluster[1].invite("gateway");
    let mut gateway = TestNode::join(Launch::new("gateway"), &token, &cluster.root, "gateway");
    let key = |node: &TestNode| std::fs::read(node.data().join("cluster.key")).expect("a key");
    let secret = key(&cluster[0]);
    assert_eq!(secret.len(), 32);
    assert_eq!((key(&cluster[1]), key(&gateway)), (secret.clone(), secret.clone()));
    assert_ne!(key(&TestNode::bootstrap()), secret, "another cluster has another key");
    for process in [&mut gateway, &mut cluster.nodes[1]] {
        assert_eq!(process.terminate().code(), Some(0));
        let path = process.data().join("cluster.key");
        for bytes in [None, Some(&secret[..31])] {
            match bytes {
                None => std::fs::remove_file(&path).expect("removed"),
                Some(bytes) => {
                    std::fs::write(&path, bytes).expect("written");
                    chmod(&path, 0o600);
                }
            }
            let (status, said) = process.start_refused();
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("cluster.key") && said.contains("another member"), "{said}");
        }
        std::fs::write(&path, &secret).expect("copied from another member");
        process.start();
    }
    let logs = [&cluster[0], &cluster[1], &gateway].map(TestNode::log_text).concat();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!logs.contains(&hex), "the key is in the logs");
}
