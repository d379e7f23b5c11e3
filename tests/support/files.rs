//! What a directory holds, to tell whether something touched it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file below `directory` with its bytes, except what each start renews: the lock, where it last served, and what
/// SQLite keeps beside an open database as long as that holds nothing.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(directory, &mut found);
    found
}

fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        let name = entry.file_name().into_string().expect("text");
        let renewed = ["LOCK", "addresses.json", "admin.sock"].contains(&name.as_str()) || name.ends_with("-shm");
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if kind.is_file() && !renewed {
            let bytes = std::fs::read(entry.path()).expect("a readable file");
            if !(name.ends_with("-wal") && bytes.is_empty()) {
                found.insert(entry.path(), bytes);
            }
        }
    }
}

/// The names of files that differ between two looks at a directory.
pub(crate) fn changed(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<PathBuf> = names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    changed.sort();
    changed.dedup();
    changed
}

/// Changes one bit of a file.
pub(crate) fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("a readable file");
    bytes[offset] ^= 0x10;
    std::fs::write(path, bytes).expect("a writable file");
}

/// Changes one bit of every copy of a text in a file: SQLite leaves old ones lying where nobody reads them.
pub(crate) fn flip_everywhere(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).expect("a readable file");
    let places: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, window)| *window == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{text} is not in {}", path.display());
    for place in places {
        bytes[place] ^= 0x10;
    }
    std::fs::write(path, bytes).expect("a writable file");
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
    let permissions = std::fs::metadata(from).expect("a directory").permissions();
    std::fs::set_permissions(to, permissions).expect("the same mode");
    for entry in std::fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
