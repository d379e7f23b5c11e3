//! A disk that takes no more: the node acknowledges nothing more, ends, and says which file it was.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::TestNode;
use crate::support::http::NotWritten;
use crate::support::node::{Launch, root};

/// Larger than the log's write-ahead log, which is made in full at the start.
const FILE_KIB_MAX: u64 = 14 * 1024;

/// Writes until the node gives up; how many were acknowledged.
fn write_until_it_ends(node: &mut TestNode) -> u64 {
    let mut sql = node.sql();
    sql.execute("CREATE TABLE big (n INTEGER, bytes BLOB)");
    for n in 0..1000 {
        match sql.write(&json!([["INSERT INTO big VALUES (?, randomblob(100000))", n]]), &[]) {
            Ok(_) => {}
            Err(NotWritten::Refused(reason)) => panic!("a full disk is not the statement's fault: {reason}"),
            Err(_) => return n,
        }
    }
    panic!("the disk never filled");
}

fn assert_ended_with_a_reason(node: &mut TestNode) {
    let status = node.wait_end();
    assert!(status.code().is_some_and(|code| code != 0), "it ended with {status}");
    let said = node.log_text();
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
    let named = errors.iter().any(|line| line.contains(&node.data().display().to_string()) && line.contains(".sqlite"));
    assert!(named, "no file is named in {errors:#?}");
}

fn assert_kept(node: &TestNode, acknowledged: u64) {
    let kept = node.sql().number("SELECT count(DISTINCT n) FROM big") as u64;
    assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} of {acknowledged} acknowledged writes are there");
    // The node has just begun to lead: its first answer has all that its log had.
    assert_eq!(node.sql().number("SELECT count(*) FROM big") as u64, kept, "none is there twice or came later");
    node.sql().execute("INSERT INTO big VALUES (-1, NULL)");
}

#[test]
fn a_node_that_cannot_write_ends_and_comes_back_with_all_it_acknowledged() {
    let root = root();
    let mut node = TestNode::new(Launch::new("bootstrap"), &root, "node");
    node.launch_mut().file_kib_max = Some(FILE_KIB_MAX);
    node.start();
    let acknowledged = write_until_it_ends(&mut node);
    assert!(acknowledged > 0);
    assert_ended_with_a_reason(&mut node);
    node.launch_mut().file_kib_max = None;
    node.start();
    assert_kept(&node, acknowledged);
}

#[test]
fn a_follower_that_cannot_write_ends_alone() {
    let mut cluster = crate::support::TestCluster::start(3);
    let full = cluster.follower();
    assert_eq!(cluster[full].terminate().code(), Some(0));
    cluster[full].launch_mut().file_kib_max = Some(FILE_KIB_MAX);
    cluster[full].start();
    let leader = cluster.leader();
    let mut sql = cluster[leader].sql();
    sql.execute("CREATE TABLE big (n INTEGER, bytes BLOB)");
    for n in 0..250 {
        sql.execute(&format!("INSERT INTO big VALUES ({n}, randomblob(100000))"));
    }
    assert_ended_with_a_reason(&mut cluster[full]);
    cluster[full].launch_mut().file_kib_max = None;
    cluster[full].start();
    cluster.verify();
    assert_eq!(cluster[full].sql().number("SELECT count(*) FROM big"), 250);
}

/// A small file system in memory; unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// `None` where file systems cannot be mounted.
    fn mount(path: &Path, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).expect("a directory");
        let options = format!("size={size},mode=700");
        let mounted = crate::support::process::command("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk { path: path.to_owned() })
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let done = crate::support::process::command("mount").args(["-o", &options]).arg(&self.path).status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The node may still be ending.
        let _ = crate::support::process::command("umount").arg("--lazy").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_ends_the_node_and_more_space_brings_everything_back() {
    let root = root();
    let data = root.path().join("node");
    // Mounting is for root only; elsewhere the tests above stand for this one.
    let Some(disk) = SmallDisk::mount(&data, "48m") else {
        println!("no file system can be mounted here");
        return;
    };
    let mut node = TestNode::new(Launch::new("bootstrap"), &root, "node");
    node.start();
    let acknowledged = write_until_it_ends(&mut node);
    assert!(acknowledged > 0);
    assert_ended_with_a_reason(&mut node);
    disk.resize("256m");
    node.start();
    assert_kept(&node, acknowledged);
    node.kill9();
}
