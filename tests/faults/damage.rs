//! Damaged, missing and foreign files: whatever a node may have promised to keep is told by name and left as it is;
//! only what nobody was told about disappears silently.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::files::{changed, contents, copy, flip, flip_everywhere};
use crate::support::node::{Launch, root};
use crate::support::{TestCluster, TestNode, soon};

const ROWS: usize = 60;

/// A text that is in the log entry and in the row of one insert, and nowhere else.
fn needle(row: usize) -> String {
    format!("needle-{row:04}-in-the-haystack")
}

fn fill(node: &TestNode) {
    let mut sql = node.sql();
    sql.execute("CREATE TABLE t (text TEXT)");
    for row in 0..ROWS {
        sql.execute(&format!("INSERT INTO t VALUES ('{}')", needle(row)));
    }
}

/// A stopped node with rows; everything is in the main files.
fn stopped() -> TestNode {
    let mut node = TestNode::bootstrap();
    fill(&node);
    assert_eq!(node.terminate().code(), Some(0));
    node
}

/// A killed node with rows; the newest are in write-ahead logs.
fn killed() -> TestNode {
    let mut node = TestNode::bootstrap();
    fill(&node);
    node.kill9();
    node
}

fn position(file: &Path, text: &str) -> usize {
    let bytes = std::fs::read(file).expect("a readable file");
    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
    found.unwrap_or_else(|| panic!("{text} is not in {}", file.display()))
}

/// The node must not start, say each of `names`, and leave every byte as it was.
fn assert_refused(node: &mut TestNode, names: &[&str]) {
    let before = contents(node.data());
    let (status, said) = node.start_refused();
    assert_eq!(status.code(), Some(1), "{said}");
    for name in names {
        assert!(said.contains(name), "{name:?} is not in: {said}");
    }
    assert_eq!(changed(&before, &contents(node.data())), Vec::<PathBuf>::new(), "these files were changed; {said}");
}

fn assert_all_rows(node: &TestNode) {
    let rows = node.sql().query("SELECT count(DISTINCT text) FROM t", "level=linearizable");
    assert_eq!(rows, Ok(vec![json!([ROWS])]));
}

#[test]
fn a_flipped_bit_in_a_log_entry_is_refused_with_its_index() {
    let mut node = stopped();
    let log = node.data().join("raft/log.sqlite");
    flip_everywhere(&log, &needle(ROWS / 2));
    assert_refused(&mut node, &["log.sqlite", "log entry at ", "is damaged", "refusing to start"]);
}

#[test]
fn a_flipped_bit_in_a_log_entry_of_a_killed_node_is_refused_without_a_change() {
    let mut node = killed();
    // The next start moves the write-ahead log into the main file; what is written then does not touch old pages.
    node.start();
    assert_all_rows(&node);
    node.kill9();
    let log = node.data().join("raft/log.sqlite");
    flip_everywhere(&log, &needle(1));
    assert_refused(&mut node, &["log.sqlite", "log entry at ", "is damaged"]);
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_logs_wal_is_refused_with_its_offset() {
    let mut node = killed();
    let wal = node.data().join("raft/log.sqlite-wal");
    flip(&wal, position(&wal, &needle(1)));
    assert_refused(&mut node, &["log.sqlite-wal", "offset ", "is damaged"]);
}

/// Where the frames of the current generation end, and how long a frame is.
fn end_of_wal(wal: &Path) -> (u64, u64) {
    let bytes = std::fs::read(wal).expect("a readable file");
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let frame = 24 + word(8);
    let mut end = 32;
    while end + frame <= bytes.len() && bytes[end + 8..end + 16] == bytes[16..24] {
        end += frame;
    }
    (end as u64, frame as u64)
}

#[test]
fn a_torn_write_at_the_end_of_the_log_is_dropped_and_the_node_starts() {
    for torn_part in [40, 3000, 4120] {
        let mut node = killed();
        let wal = node.data().join("raft/log.sqlite-wal");
        let (end, frame) = end_of_wal(&wal);
        // As if the machine had stopped while the next entry was written: a frame that begins well and ends as before.
        let last = &std::fs::read(&wal).expect("a readable file")[(end - frame) as usize..end as usize];
        let mut torn = last[..torn_part.min(last.len())].to_vec();
        torn[20] ^= 1;
        let mut file = std::fs::File::options().write(true).open(&wal).expect("a writable file");
        file.seek(SeekFrom::Start(end)).expect("a position");
        file.write_all(&torn).expect("written");
        drop(file);
        node.start();
        assert_all_rows(&node);
    }
}

#[test]
fn a_missing_log_beside_data_is_refused() {
    let mut node = stopped();
    std::fs::remove_dir_all(node.data().join("raft")).expect("removed");
    assert_refused(&mut node, &["log.sqlite"]);
}

#[test]
fn an_emptied_log_beside_data_is_refused() {
    let mut node = stopped();
    for entry in std::fs::read_dir(node.data().join("raft")).expect("the log's directory") {
        std::fs::write(entry.expect("an entry").path(), "").expect("emptied");
    }
    assert_refused(&mut node, &["log.sqlite"]);
}

#[test]
fn a_missing_entry_in_the_middle_of_the_log_is_refused_with_its_index() {
    let mut node = stopped();
    edit_log(&node, "DELETE FROM log WHERE position = 20");
    assert_refused(&mut node, &["log.sqlite", "log entry at 20"]);
}

#[test]
fn entries_that_the_log_lost_after_they_were_applied_are_not_missed() {
    let mut node = stopped();
    edit_log(&node, "DELETE FROM log WHERE position > 20");
    node.start();
    assert_all_rows(&node);
    node.sql().execute("INSERT INTO t VALUES ('one more')");
    node.kill9();
    node.start();
    assert_eq!(node.sql().number("SELECT count(*) FROM t"), ROWS as i64 + 1);
}

#[test]
fn a_flipped_bit_in_the_vote_is_refused() {
    let mut node = stopped();
    let flipped = "UPDATE state SET record = CAST(substr(record, 1, 8) || x'5a' || substr(record, 10) AS BLOB) \
                   WHERE key = 'vote'";
    edit_log(&node, flipped);
    assert_refused(&mut node, &["log.sqlite", "vote", "is damaged"]);
}

#[test]
fn a_missing_vote_beside_a_log_is_refused() {
    let mut node = stopped();
    edit_log(&node, "DELETE FROM state WHERE key = 'vote'");
    assert_refused(&mut node, &["log.sqlite", "vote"]);
}

/// Changes the log as only damage could, and leaves it as a clean stop would.
fn edit_log(node: &TestNode, sql: &str) {
    let log = rusqlite::Connection::open(node.data().join("raft/log.sqlite")).expect("opens");
    let changed = log.execute(sql, []).expect(sql);
    assert_ne!(changed, 0, "{sql} changed nothing");
    log.close().expect("closes");
}

#[test]
fn a_torn_wal_of_a_database_is_replayed_from_the_log() {
    let mut node = killed();
    let wal = node.data().join("db/default.sqlite-wal");
    let length = std::fs::metadata(&wal).expect("a write-ahead log").len();
    std::fs::File::options().write(true).open(&wal).expect("opens").set_len(length / 2).expect("cut");
    node.start();
    assert_all_rows(&node);
    assert!(node.log_text().contains("database lost its tail; replaying"), "it is told");
}

#[test]
fn a_lost_wal_of_the_system_database_is_replayed_from_the_log() {
    let mut node = killed();
    for name in ["_system.sqlite-wal", "_system.sqlite-shm"] {
        std::fs::remove_file(node.data().join("db").join(name)).expect("removed");
    }
    node.start();
    assert_all_rows(&node);
}

#[test]
fn a_damaged_database_page_is_never_answered_from() {
    let mut node = stopped();
    let database = node.data().join("db/default.sqlite");
    let page = position(&database, &needle(ROWS / 2)) / 4096;
    let mut file = std::fs::File::options().write(true).open(&database).expect("opens");
    file.seek(SeekFrom::Start(page as u64 * 4096)).expect("a position");
    file.write_all(&[0xa5; 4096]).expect("written");
    drop(file);
    node.spawn();
    let refused = soon("it ends or serves", || {
        (!node.is_running()).then_some(true).or_else(|| node.data().join("addresses.json").exists().then_some(false))
    });
    if !refused {
        node.wait_ready();
        let rows = node.sql().query("SELECT count(DISTINCT text) FROM t", "");
        assert!(rows != Ok(vec![json!([0])]), "damage is not answered as absence");
        if let Ok(rows) = rows {
            assert_eq!(rows, [json!([ROWS])], "neither is it answered in part");
        }
    }
}

#[test]
fn a_damaged_record_of_the_cluster_is_refused() {
    let mut node = stopped();
    let path = node.data().join("cluster.json");
    let text = std::fs::read_to_string(&path).expect("the record");
    for damaged in ["", "{\"format\": 1", &text[..text.len() / 2], "{}"] {
        std::fs::write(&path, damaged).expect("written");
        assert_refused(&mut node, &["cluster.json", "damaged"]);
    }
    std::fs::remove_file(&path).expect("removed");
    assert_refused(&mut node, &["cluster.json"]);
    std::fs::write(&path, text).expect("written");
    node.start();
    assert_all_rows(&node);
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    let mut node = stopped();
    let path = node.data().join("cluster.json");
    let text = std::fs::read_to_string(&path).expect("the record");
    let mut record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    record["format"] = json!(99);
    std::fs::write(&path, record.to_string()).expect("written");
    assert_refused(&mut node, &["cluster.json", "format 99", "newer"]);
    std::fs::write(&path, text).expect("written");
    let system = rusqlite::Connection::open(node.data().join("db/_system.sqlite")).expect("opens");
    system.pragma_update(None, "user_version", 99).expect("set");
    system.close().expect("closes");
    let databases = node.data().join("db");
    let before = contents(&databases);
    let (status, said) = node.start_refused();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("_system.sqlite: format 99 is newer"), "{said}");
    assert_eq!(changed(&before, &contents(&databases)), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_missing_or_open_identity_is_refused_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut node = stopped();
    let path = node.data().join("identity.key");
    let key = std::fs::read(&path).expect("the key");
    for damaged in [&key[..10], &[], &[&key[..20], &[key[20] ^ 1], &key[21..]].concat()] {
        std::fs::write(&path, damaged).expect("written");
        assert_refused(&mut node, &["identity.key", "damaged"]);
    }
    std::fs::write(&path, &key).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    assert_refused(&mut node, &["identity.key", "chmod 600"]);
    std::fs::remove_file(&path).expect("removed");
    assert_refused(&mut node, &["identity.key"]);
    std::fs::write(&path, &key).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    node.start();
    assert_all_rows(&node);
}

#[test]
fn a_directory_copied_to_another_node_is_refused() {
    let root = root();
    let mut nodes = ["one", "two"].map(|name| TestNode::new(Launch::new("bootstrap"), &root, name));
    for node in &mut nodes {
        node.start();
        fill(node);
        assert_eq!(node.terminate().code(), Some(0));
    }
    let [one, two] = &nodes;
    let mut three = TestNode::new(Launch::new("node"), &root, "three");
    copy(one.data(), three.data());
    std::fs::copy(two.data().join("identity.key"), three.data().join("identity.key")).expect("copied");
    assert_refused(&mut three, &["belongs to node", "identity.key"]);
}

#[test]
fn a_damaged_follower_stops_alone_and_comes_back_as_a_new_one() {
    let mut cluster = TestCluster::start(3);
    fill(&cluster[0]);
    let damaged = cluster.follower();
    assert_eq!(cluster[damaged].terminate().code(), Some(0));
    let log = cluster[damaged].data().join("raft/log.sqlite");
    flip_everywhere(&log, &needle(ROWS / 2));
    let (status, said) = cluster[damaged].start_refused();
    assert_eq!(status.code(), Some(1), "{said}");
    let leader = cluster.leader();
    cluster[leader].sql().execute("INSERT INTO t VALUES ('meanwhile')");
    // What the message says to do.
    cluster[leader].cli_ok(&["cluster", "remove", &cluster[damaged].id().to_string(), "--yes"]);
    let token = cluster[leader].invite("node");
    let root = cluster.root.clone();
    cluster.nodes[damaged] = TestNode::join(Launch::new("node"), &token, &root, "replacement");
    cluster.wait_voters(3);
    cluster.verify();
    assert_eq!(cluster[damaged].sql().number("SELECT count(*) FROM t"), ROWS as i64 + 1);
}
