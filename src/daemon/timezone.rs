//! All replicas compute in UTC.
//!
//! SQL may ask for local time, and the C library takes the zone from the environment, once. The environment of a
//! process is safely chosen only before it starts, so a daemon that was started with another zone starts itself anew.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const UTC: &str = "UTC";

/// Returns when this process runs in UTC; otherwise replaces it by itself with the same arguments.
pub(super) fn ensure_utc() -> io::Result<()> {
    if std::env::var_os("TZ").is_some_and(|zone| zone == UTC) {
        return Ok(());
    }
    again().map(|never| match never {})
}

fn again() -> io::Result<Infallible> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "debros".into());
    Err(Command::new(std::env::current_exe()?).arg0(name).args(arguments).env("TZ", UTC).exec())
}
