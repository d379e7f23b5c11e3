//! A directory for the time of a run.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::BenchError;

/// An empty directory, removed with all its content when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn create(parent: &Path) -> Result<Scratch, BenchError> {
        let path = parent.join(format!("debros-bench-{}", std::process::id()));
        let failed = |source| BenchError::Disk { path: path.clone(), source };
        fs::create_dir_all(parent).map_err(failed)?;
        // Not `_all`: what is there already is not ours to remove.
        fs::create_dir(&path).map_err(failed)?;
        Ok(Scratch { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "temporary directory not removed");
        }
    }
}
