//! How much memory one statement may hold: SQLite's allocator with a budget per thread.
//!
//! SQLite bounds single values, not their number: `SELECT x, x, x, …` holds a copy per column, JSON functions build
//! texts of two gigabytes before they find them too long, and one request would end the process. So its allocator is
//! wrapped, once per process, before anything else uses SQLite. A statement that runs out gets "no memory" and fails.
//!
//! Counted is only what is [large](LARGE_BYTES): values, records, texts being built. What is smaller differs between
//! replicas (page caches, parsed schemas) and adds up to little, since caches have bounds of their own.

#![allow(unsafe_code, reason = "SQLite's allocator is a method table in C; nothing safer reaches it")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

use crate::types::limits::SQL_MEMORY_BYTES_MAX;

/// Allocations from this size on are counted: above the largest database page.
const LARGE_BYTES: c_int = 128 * 1024;

thread_local! {
    /// Bytes that this thread's statement may still take; `None` outside of tenants' statements.
    static LEFT: Cell<Option<i64>> = const { Cell::new(None) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Bounds what SQLite takes on this thread until [`disarm`].
pub(super) fn arm() {
    LEFT.set(Some(SQL_MEMORY_BYTES_MAX as i64));
    REFUSED.set(false);
}

/// Lifts the bound.
pub(super) fn disarm() {
    LEFT.set(None);
}

/// Whether an allocation was refused since the bound was set, or last asked for.
pub(super) fn take_refusal() -> bool {
    REFUSED.replace(false)
}

struct Platform {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static PLATFORM: OnceLock<Platform> = OnceLock::new();

fn platform() -> &'static Platform {
    PLATFORM.get().expect("the wrapper is only installed once the platform's methods are known")
}

/// Installs the wrapper, once per process; must come before any other use of SQLite.
///
/// # Errors
/// SQLite's result code; `SQLITE_MISUSE` when SQLite was used before.
pub(super) fn install() -> Result<(), c_int> {
    static INSTALLED: OnceLock<Result<(), c_int>> = OnceLock::new();
    *INSTALLED.get_or_init(install_once)
}

fn install_once() -> Result<(), c_int> {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: std::ptr::null_mut(),
    };
    // SAFETY: this option takes one pointer to a method table and fills the table.
    done(unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) })?;
    let (Some(malloc), Some(free), Some(realloc), Some(size)) =
        (methods.xMalloc, methods.xFree, methods.xRealloc, methods.xSize)
    else {
        return Err(ffi::SQLITE_ERROR);
    };
    PLATFORM.get_or_init(|| Platform { malloc, free, realloc, size });
    methods.xMalloc = Some(counted_malloc);
    methods.xFree = Some(counted_free);
    methods.xRealloc = Some(counted_realloc);
    // SAFETY: this option takes one pointer to a method table and copies the table; its methods live for ever.
    done(unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) })?;
    // SQLite's own count of its memory is asked for nowhere, and is behind one lock that every allocation of every thread
    // takes: a slow read that loses its core while holding it would hold up everybody.
    // SAFETY: this option takes one number.
    done(unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) })
}

fn done(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

fn large(bytes: c_int) -> i64 {
    if bytes >= LARGE_BYTES { i64::from(bytes) } else { 0 }
}

/// Takes bytes off the budget, or gives back a negative number of them; `false` when there are not so many.
fn take(bytes: i64) -> bool {
    let Some(left) = LEFT.get() else { return true };
    if bytes > left {
        REFUSED.set(true);
        return false;
    }
    LEFT.set(Some((left - bytes).min(SQL_MEMORY_BYTES_MAX as i64)));
    true
}

unsafe extern "C" fn counted_malloc(bytes: c_int) -> *mut c_void {
    if !take(large(bytes)) {
        return std::ptr::null_mut();
    }
    // SAFETY: the platform's method with SQLite's own argument.
    unsafe { (platform().malloc)(bytes) }
}

unsafe extern "C" fn counted_free(memory: *mut c_void) {
    // SAFETY: SQLite frees what the platform's methods gave it, and never null through this table.
    unsafe {
        take(-large((platform().size)(memory)));
        (platform().free)(memory);
    }
}

unsafe extern "C" fn counted_realloc(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: as in `counted_free`.
    let before = large(unsafe { (platform().size)(memory) });
    if !take(large(bytes) - before) {
        return std::ptr::null_mut();
    }
    // SAFETY: the platform's method with SQLite's own arguments.
    unsafe { (platform().realloc)(memory, bytes) }
}
