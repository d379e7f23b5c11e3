//! What a directory holds, to tell whether something touched it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file below `directory` with its bytes, except what each start renews: the lock and where it last served.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(directory, &mut found);
    found
}

fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        let renewed = ["LOCK", "addresses.json", "admin.sock"].iter().any(|name| entry.file_name() == *name);
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if kind.is_file() && !renewed {
            found.insert(entry.path(), std::fs::read(entry.path()).expect("a readable file"));
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

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new directory");
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
