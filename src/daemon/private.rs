//! Whether a file or directory is its owner's alone.

use std::fmt;
use std::path::{Path, PathBuf};

/// How others can reach something that should be the daemon's alone. The text is the end of a sentence, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Its mode lets others read, write or enter it.
    Mode { path: PathBuf, mode: u32, wanted: u32 },
    /// Another user owns it, who can change its mode at will.
    Owner { path: PathBuf, owner: u32, own: u32 },
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exposure::Mode { path, mode, wanted } => {
                write!(f, "is open to others (mode {mode:03o}): run `chmod {wanted:o} {}`", path.display())
            }
            Exposure::Owner { path, owner, own } => {
                let path = path.display();
                write!(
                    f,
                    "belongs to user {owner}, but this process runs as user {own}: run it as that user, or `chown {own} {path}`"
                )
            }
        }
    }
}

/// How a file or directory with this `st_mode` and owner is open to others; `None` when it is not.
pub(super) fn exposure(path: &Path, st_mode: u32, owner: u32) -> Option<Exposure> {
    judge(path, st_mode, owner, rustix::process::geteuid().as_raw())
}

fn judge(path: &Path, st_mode: u32, owner: u32, own: u32) -> Option<Exposure> {
    const KIND: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    let (path, mode) = (path.to_owned(), st_mode & 0o777);
    if owner != own {
        return Some(Exposure::Owner { path, owner, own });
    }
    let wanted = if st_mode & KIND == DIRECTORY { 0o700 } else { 0o600 };
    (mode & 0o077 != 0).then_some(Exposure::Mode { path, mode, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(st_mode: u32, owner: u32) -> Option<String> {
        judge(Path::new("/data/x"), st_mode, owner, 1000).map(|exposure| exposure.to_string())
    }

    #[test]
    fn what_only_its_owner_can_reach_is_private() {
        for st_mode in [0o100_600, 0o100_400, 0o040_700, 0o040_500] {
            assert_eq!(said(st_mode, 1000), None);
        }
    }

    #[test]
    fn what_others_can_reach_is_named_with_the_remedy() {
        for bits in [0o040, 0o020, 0o010, 0o004, 0o002, 0o001] {
            assert!(said(0o100_600 | bits, 1000).expect("open").contains("`chmod 600 /data/x`"));
            assert!(said(0o040_700 | bits, 1000).expect("open").contains("`chmod 700 /data/x`"));
        }
        let owned = said(0o100_600, 1001).expect("somebody else's");
        assert!(owned.contains("user 1001") && owned.contains("`chown 1000 /data/x`"), "{owned}");
    }
}
