//! The few calls into SQLite that rusqlite has no safe form of.
//!
//! Each is a small safe function; together with the clock shim this is all the `unsafe` of the crate.

#![allow(unsafe_code, reason = "SQLite is C; each block says why it is sound")]

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};

use rusqlite::functions::Context;
use rusqlite::{Connection, ffi};

use super::admission::{self, Action, Role};

thread_local! {
    /// Why the authorizer said no to the statement being prepared on this thread; the first reason counts.
    static REFUSAL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the tenant fence. rusqlite's own authorizer panics on names that are no UTF-8, which a tenant can produce
/// (`pragma_table_info(CAST(x'ff' AS TEXT))`), and a panic ends the process.
pub(super) fn install_authorizer(connection: &Connection, role: Role) -> Result<(), rusqlite::Error> {
    let role = match role {
        Role::Apply => std::ptr::without_provenance_mut::<c_void>(1),
        Role::Read => std::ptr::null_mut(),
    };
    // SAFETY: the handle is valid while `connection` is borrowed. The callback owns nothing and treats its user data
    // as a number, never as an address, so there is no lifetime to keep.
    let code = unsafe { ffi::sqlite3_set_authorizer(connection.handle(), Some(authorize), role) };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(super::error::from_code(code)) }
}

/// Takes the authorizer's reason for the last refusal on this thread.
pub(super) fn take_refusal() -> Option<String> {
    REFUSAL.take()
}

unsafe extern "C" fn authorize(
    role: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    _accessor: *const c_char,
) -> c_int {
    let role = if role.is_null() { Role::Read } else { Role::Apply };
    // SAFETY: SQLite passes null or C strings that live during this call, which is as long as they are used.
    let (first, second, database) = unsafe { (text(first), text(second), text(database)) };
    let action = Action { code, first: &first, second: &second, database: &database };
    match admission::judge(role, &action) {
        Ok(()) => ffi::SQLITE_OK,
        Err(reason) => {
            REFUSAL.with_borrow_mut(|slot| slot.get_or_insert(reason).len());
            ffi::SQLITE_DENY
        }
    }
}

/// # Safety
/// `text` must be null or a C string that outlives the answer.
unsafe fn text<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: not null; the rest is this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Whether a text ends with the end of a statement, as SQLite's tokenizer sees it.
pub(super) fn is_complete(sql: &CStr) -> bool {
    // SAFETY: the text is a C string that lives during the call, which only reads it.
    unsafe { ffi::sqlite3_complete(sql.as_ptr()) != 0 }
}

/// Sets what `last_insert_rowid()` answers until the next insert.
pub(super) fn set_last_insert_rowid(connection: &Connection, rowid: i64) {
    // SAFETY: the handle is valid while `connection` is borrowed; the call only stores a number in it.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), rowid) }
}

/// Whether the open transaction violates a deferred foreign key, so that its commit would fail.
pub(super) fn has_deferred_violation(connection: &Connection) -> bool {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is valid while `connection` is borrowed; both places are locals.
    let code = unsafe {
        let operation = ffi::SQLITE_DBSTATUS_DEFERRED_FKS;
        ffi::sqlite3_db_status(connection.handle(), operation, &raw mut current, &raw mut highest, 0)
    };
    code == ffi::SQLITE_OK && current > 0
}

/// `sqlite3_total_changes64` of the connection that runs a SQL function.
pub(super) fn total_changes(context: &Context<'_>) -> Result<i64, rusqlite::Error> {
    // SAFETY: the reference stays on this thread and ends with this call.
    let connection = unsafe { context.get_connection()? };
    Ok(i64::try_from(connection.total_changes()).unwrap_or(i64::MAX))
}

/// The text of the connection's newest statement that was compiled from a part of `whole`. Virtual tables compile
/// statements of their own meanwhile, so it need not be the newest of all.
pub(super) fn newest_statement_text(connection: &Connection, whole: &str) -> String {
    // SAFETY: the list belongs to the connection, which is borrowed and used by this thread only, so that no statement
    // is finalised during the walk. Strings are copied before they are given out.
    unsafe {
        let mut statement = ffi::sqlite3_next_stmt(connection.handle(), std::ptr::null_mut());
        while !statement.is_null() {
            let sql = text(ffi::sqlite3_sql(statement));
            if !sql.is_empty() && whole.contains(&*sql) {
                return sql.into_owned();
            }
            statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
        }
    }
    String::new()
}

/// The tables that the result columns of the connection's newest statement with this text come from; `None` for
/// expressions. Empty when there is no such statement.
pub(super) fn column_tables(connection: &Connection, sql: &str) -> Vec<Option<String>> {
    // SAFETY: as in `newest_statement_text`; the statement found is still in the list while its columns are read.
    unsafe {
        let mut statement = ffi::sqlite3_next_stmt(connection.handle(), std::ptr::null_mut());
        while !statement.is_null() && text(ffi::sqlite3_sql(statement)) != sql {
            statement = ffi::sqlite3_next_stmt(connection.handle(), statement);
        }
        if statement.is_null() {
            return Vec::new();
        }
        (0..ffi::sqlite3_column_count(statement))
            .map(|column| {
                let name = ffi::sqlite3_column_table_name(statement, column);
                if name.is_null() { None } else { Some(text(name).into_owned()) }
            })
            .collect()
    }
}
