//! What time SQL sees while an entry is applied: the entry's, on every replica. And whether the platform had no room for
//! what was written meanwhile.
//!
//! SQLite asks its VFS for the time, whichever way SQL asked for it (`datetime('now')`, `CURRENT_TIMESTAMP` in a
//! default, a trigger, a bound `'now'`). This VFS is the platform's default one with its two clock methods replaced;
//! only connections that apply the log are opened with it. Its files are the platform's, with one method replaced: the
//! one that writes notes when the platform says "disk full", which SQLite also says of its own page limit. Everything
//! else about files is the platform's.
//!
//! The time is a thread-local: SQLite calls its VFS on the thread that runs the statement. Without a time set the
//! platform's clock answers.
//!
//! `localtime` and `utc` are not the VFS's business: SQLite asks libc, which asks `TZ`. The process must run with
//! `TZ=UTC`; the daemon sees to that.

#![allow(unsafe_code, reason = "SQLite's clock is a method table in C; nothing safer reaches it")]

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use rusqlite::ffi;

/// The name that apply connections open their files with.
pub(super) const VFS_NAME: &CStr = c"debros-entry-clock";

/// 1970-01-01 as SQLite counts time: milliseconds since noon of November 24, 4714 BC.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

/// SQLite's dates end with the year 9999; times beyond are no times to it.
const JULIAN_MS_MAX: i64 = 464_269_060_799_999;

thread_local! {
    static ENTRY_JULIAN_MS: Cell<Option<i64>> = const { Cell::new(None) };
    static DISK_WAS_FULL: Cell<bool> = const { Cell::new(false) };
}

/// Whether a write of this thread met a full disk since [`forget_full_disk`].
pub(super) fn disk_was_full() -> bool {
    DISK_WAS_FULL.get()
}

/// Begins to watch for a full disk on this thread.
pub(super) fn forget_full_disk() {
    DISK_WAS_FULL.set(false);
}

/// A method table of the platform's files with its write method replaced. A file finds the original through its own
/// pointer to the table, which is this structure's first field.
#[repr(C)]
struct Watched {
    methods: ffi::sqlite3_io_methods,
    platform_write: Write,
}

type Write = unsafe extern "C" fn(*mut ffi::sqlite3_file, *const c_void, c_int, ffi::sqlite3_int64) -> c_int;

/// One table for each of the platform's (it has one per locking style), made when the first file of that kind is
/// opened and kept for ever.
static WATCHED: Mutex<Vec<(usize, &'static Watched)>> = Mutex::new(Vec::new());

fn watched(platform: &ffi::sqlite3_io_methods) -> Option<&'static Watched> {
    let platform_write = platform.xWrite?;
    // Whoever panicked in between left a valid list: each change is one push.
    let mut tables = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let address = std::ptr::from_ref(platform).addr();
    if let Some((_, watched)) = tables.iter().find(|(known, _)| *known == address) {
        return Some(watched);
    }
    let methods = ffi::sqlite3_io_methods { xWrite: Some(write), ..*platform };
    let watched: &'static Watched = Box::leak(Box::new(Watched { methods, platform_write }));
    tables.push((address, watched));
    Some(watched)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: as in `register_once`: the default VFS is static and its method is the platform's own.
    let platform_open = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_ref() }.and_then(|vfs| vfs.xOpen);
    let Some(platform_open) = platform_open else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite's own arguments, passed on; the platform finds what it needs in the copied `pAppData`.
    let code = unsafe { platform_open(vfs, name, file, flags, out_flags) };
    // SAFETY: after a successful open the file is valid, and its method table is one of the platform's static ones.
    if code == ffi::SQLITE_OK
        && let Some(methods) = unsafe { (*file).pMethods.as_ref() }
        && let Some(watched) = watched(methods)
    {
        // SAFETY: as above. The new table lives for ever, and all methods but one are the platform's, which take the
        // file for what they have opened, whatever table it points to.
        unsafe { (*file).pMethods = &raw const watched.methods };
    }
    code
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: this method is only in tables that are the first field of a `Watched`, which lives for ever.
    let watched = unsafe { &*(*file).pMethods.cast::<Watched>() };
    #[cfg(test)]
    if tests::DISK_IS_FULL.get() {
        DISK_WAS_FULL.set(true);
        return ffi::SQLITE_FULL;
    }
    // SAFETY: the platform's own method for this file, with SQLite's own arguments.
    let code = unsafe { (watched.platform_write)(file, bytes, count, offset) };
    if code == ffi::SQLITE_FULL {
        DISK_WAS_FULL.set(true);
    }
    code
}

/// Sets the time that SQL on this thread sees; `None` gives the platform's clock back.
pub(super) fn set_time(unix_ms: Option<i64>) {
    let julian = unix_ms.map(|ms| ms.saturating_add(UNIX_EPOCH_JULIAN_MS).clamp(1, JULIAN_MS_MAX));
    ENTRY_JULIAN_MS.set(julian);
}

/// Makes the VFS known to SQLite, once per process.
///
/// # Errors
/// SQLite's result code when the platform has no default VFS or registration fails.
pub(super) fn register() -> Result<(), c_int> {
    static REGISTERED: OnceLock<Result<(), c_int>> = OnceLock::new();
    *REGISTERED.get_or_init(register_once)
}

fn register_once() -> Result<(), c_int> {
    super::heap::install()?;
    // SAFETY: a null name asks for the default VFS. `sqlite3_vfs_find` initialises the library itself; the structure
    // that it returns is static and is only read here.
    let platform = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()).as_ref() }.ok_or(ffi::SQLITE_ERROR)?;
    if platform.iVersion < 2 || platform.xCurrentTimeInt64.is_none() || platform.xCurrentTime.is_none() {
        return Err(ffi::SQLITE_ERROR);
    }
    let mut shim = *platform;
    shim.zName = VFS_NAME.as_ptr();
    shim.pNext = std::ptr::null_mut();
    shim.xOpen = Some(open);
    shim.xCurrentTime = Some(current_time);
    shim.xCurrentTimeInt64 = Some(current_time_int64);
    let shim: *mut ffi::sqlite3_vfs = Box::leak(Box::new(shim));
    // SAFETY: the structure and its name live for ever (leaked, static), `pNext` belongs to SQLite from here on, and
    // every method is either ours or the platform's, which find what they need in the copied `pAppData`.
    match unsafe { ffi::sqlite3_vfs_register(shim, 0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

/// Milliseconds since the Julian epoch.
unsafe extern "C" fn current_time_int64(_vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    match ENTRY_JULIAN_MS.get() {
        Some(julian_ms) => {
            // SAFETY: SQLite passes a valid place for the answer.
            unsafe { *out = julian_ms };
            ffi::SQLITE_OK
        }
        // SAFETY: `out` is SQLite's own argument, passed on.
        None => unsafe { platform_time(out) },
    }
}

/// Days since the Julian epoch.
unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    let mut julian_ms = 0;
    // SAFETY: the place for the answer is a local; the VFS pointer is not used.
    let code = unsafe { current_time_int64(vfs, &raw mut julian_ms) };
    // SAFETY: SQLite passes a valid place for the answer.
    unsafe { *out = julian_ms as f64 / 86_400_000.0 };
    code
}

/// # Safety
/// `out` must be valid for writing.
unsafe fn platform_time(out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: as in `register_once`: the default VFS is static.
    let platform = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    if platform.is_null() {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: not null, and never freed.
    match unsafe { (*platform).xCurrentTimeInt64 } {
        // SAFETY: the platform's own method with its own structure; `out` is valid by this function's contract.
        Some(clock) => unsafe { clock(platform, out) },
        None => ffi::SQLITE_ERROR,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    thread_local! {
        /// Makes writes of this thread fail as they do on a full disk.
        pub(in crate::sql) static DISK_IS_FULL: Cell<bool> = const { Cell::new(false) };
    }

    fn connection() -> Connection {
        register().expect("registers");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Connection::open_with_flags_and_vfs(":memory:", flags, VFS_NAME).expect("opens")
    }

    fn text(connection: &Connection, sql: &str) -> String {
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    #[test]
    fn every_way_to_ask_for_the_time_gives_the_entry_time() {
        let connection = connection();
        set_time(Some(1_700_000_000_123));
        for sql in [
            "SELECT strftime('%Y-%m-%d %H:%M:%f','now')",
            "SELECT strftime('%Y-%m-%d %H:%M:%f')",
            "SELECT datetime('now','subsec')",
            "SELECT datetime('subsec')",
            "SELECT strftime('%Y-%m-%d %H:%M:%f', julianday())",
        ] {
            assert_eq!(text(&connection, sql), "2023-11-14 22:13:20.123", "{sql}");
        }
        assert_eq!(text(&connection, "SELECT CURRENT_TIMESTAMP"), "2023-11-14 22:13:20");
        assert_eq!(text(&connection, "SELECT CAST(unixepoch('subsec') AS TEXT)"), "1700000000.123");
        set_time(Some(0));
        assert_eq!(text(&connection, "SELECT CURRENT_DATE || ' ' || CURRENT_TIME"), "1970-01-01 00:00:00");
        set_time(None);
        assert!(text(&connection, "SELECT CURRENT_DATE").as_str() > "2024");
    }

    #[test]
    fn times_outside_of_sqlites_calendar_stay_inside_it() {
        let connection = connection();
        set_time(Some(i64::MAX));
        assert_eq!(text(&connection, "SELECT CURRENT_DATE"), "9999-12-31");
        set_time(Some(i64::MIN));
        assert_eq!(text(&connection, "SELECT CURRENT_DATE"), "-4713-11-24");
        set_time(None);
    }

    /// `localtime` is libc's: this holds because the test runner's machine or `TZ` is UTC, as the daemon makes it.
    #[test]
    fn localtime_is_utc_where_the_process_runs_in_utc() {
        let in_utc = jiff::Zoned::now().offset().is_zero();
        let connection = connection();
        set_time(Some(1_700_000_000_000));
        let local = text(&connection, "SELECT datetime('now','localtime')");
        assert_eq!(local == "2023-11-14 22:13:20", in_utc, "{local}");
        set_time(None);
    }
}
