//! What SQLite takes from the environment of the process: the time zone, where it puts temporary files, and who may
//! read them.
//!
//! All replicas compute in UTC, since SQL may ask for local time. Large sorts spill into the node's own `tmp`, since a
//! full or missing `/tmp` would stop it. The environment of a process is safely chosen only before it starts, so a
//! daemon that was started with another one starts itself anew, once, as the same process.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;

/// Returns when this process runs as all daemons do; otherwise replaces it by itself with the same arguments.
pub(super) fn ensure(data_dir: &Path) -> io::Result<()> {
    // SQLite makes its files with the mode that the umask leaves; what lies in the data directory is nobody else's.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let wanted: [(&str, OsString); 2] = [("TZ", "UTC".into()), ("SQLITE_TMPDIR", data_dir.join("tmp").into())];
    if wanted.iter().all(|(name, value)| std::env::var_os(name).as_ref() == Some(value)) {
        return Ok(());
    }
    again(wanted).map(|never| match never {})
}

fn again(environment: [(&str, OsString); 2]) -> io::Result<Infallible> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "debros".into());
    Err(Command::new(std::env::current_exe()?).arg0(name).args(arguments).envs(environment).exec())
}
