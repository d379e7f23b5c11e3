//! The paths of a configuration: where they point, and whether they can be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Config;
use super::load::{Account, LoadRequest};
use super::problem::Problem;

/// Where data lies when nobody says: `/var/lib/debros` for root, else `$XDG_DATA_HOME/debros`.
pub fn default_data_dir(request: &LoadRequest<'_>) -> PathBuf {
    let home = || request.variable("HOME").map(|home| Path::new(home).join(".local/share"));
    match (request.account, request.variable("XDG_DATA_HOME").map(PathBuf::from).or_else(home)) {
        (Account::User, Some(dir)) if dir.is_absolute() => dir.join("debros"),
        _ => PathBuf::from("/var/lib/debros"),
    }
}

/// Puts the default data directory in, resolves `~/`, and makes every path absolute.
pub(super) fn make_absolute(config: &mut Config, request: &LoadRequest<'_>) {
    let absolute = |path: &Path| match (path.strip_prefix("~"), request.variable("HOME")) {
        (Ok(below), Some(home)) => Path::new(home).join(below),
        _ => request.working_dir.join(path),
    };
    let data_dir = config.node.data_dir.take();
    config.node.data_dir = Some(data_dir.map_or_else(|| default_data_dir(request), |path| absolute(&path)));
    config.node.key_file = config.node.key_file.as_deref().map(absolute);
    config.logging.output_file = config.logging.output_file.as_deref().map(absolute);
}

/// Everything that stops a daemon from using its paths. It only looks: nothing is created.
pub fn problems_of_paths(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let data_dir = config.data_dir();
    if let Some(message) = directory_problem(data_dir) {
        problems.push(Problem::new("node.data_dir", message).hint("choose another with --data-dir"));
    }
    if let Some(file) = &config.logging.output_file
        && let Some(parent) = file.parent()
        && let Some(message) = directory_problem(parent)
    {
        problems.push(Problem::new("logging.output_file", message));
    }
    let key_file = config.key_file();
    if let Ok(metadata) = fs::metadata(&key_file) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let message = format!("{} can be read by others (mode {mode:04o})", key_file.display());
            problems.push(Problem::new("node.key_file", message).hint(format!("chmod 600 {}", key_file.display())));
        }
    }
    problems
}

/// Why a directory can neither be used nor made. The mode bits say nothing about the superuser or ACLs, so only what
/// is certain is told: a file in the way, a missing or read-only nearest parent.
fn directory_problem(dir: &Path) -> Option<String> {
    match fs::metadata(dir) {
        Ok(metadata) if !metadata.is_dir() => Some(format!("path exists but is not a directory: {}", dir.display())),
        Ok(metadata) if metadata.permissions().readonly() => Some(format!("directory not writable: {}", dir.display())),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = dir.ancestors().skip(1).find(|parent| parent.exists())?;
            let metadata = fs::metadata(parent).ok()?;
            if !metadata.is_dir() {
                Some(format!("path exists but is not a directory: {}", parent.display()))
            } else if metadata.permissions().readonly() {
                Some(format!("parent directory not writable: {}", parent.display()))
            } else {
                None
            }
        }
        Err(error) => Some(format!("cannot look at {}: {error}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_work_are_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
        let mut config = Config::default();
        config.node.data_dir = Some(dir.path().join("new/data"));
        assert_eq!(problems_of_paths(&config), []);
        config.node.data_dir = Some(file.join("data"));
        config.node.key_file = Some(file.clone());
        config.logging.output_file = Some(file.join("log"));
        let paths: Vec<String> = problems_of_paths(&config).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["node.data_dir", "logging.output_file", "node.key_file"]);
    }
}
