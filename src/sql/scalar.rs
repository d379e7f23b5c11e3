//! SQL functions of our own, as SQLite calls them: from its values to a plain function of Rust and back.
//!
//! rusqlite's way cannot say "too big" or "interrupted", and gives numbers not as the text that SQLite makes of them.

#![allow(unsafe_code, reason = "SQLite is C; each block says why it is sound")]

use std::borrow::Cow;
use std::ffi::{CStr, c_int};

use rusqlite::{Connection, ffi};

/// A function that depends on nothing but its arguments.
pub(super) struct Scalar {
    pub(super) name: &'static CStr,
    pub(super) arguments: c_int,
    pub(super) run: for<'a> fn(&Arguments<'a>) -> Answer<'a>,
}

/// What it gives.
pub(super) enum Answer<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, [u8]>),
    Blob(Vec<u8>),
    /// Text that JSON functions take for JSON.
    Json(Vec<u8>),
    Failed(String),
    /// The value would be longer than SQLite's limit.
    TooBig,
    /// The meter says that the statement has to end.
    Interrupted,
}

/// The arguments of one call.
pub(super) struct Arguments<'a> {
    context: *mut ffi::sqlite3_context,
    values: &'a [*mut ffi::sqlite3_value],
}

impl<'a> Arguments<'a> {
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_blob(&self, at: usize) -> bool {
        // SAFETY: SQLite's own value, during its call.
        unsafe { ffi::sqlite3_value_type(self.values[at]) == ffi::SQLITE_BLOB }
    }

    /// The bytes of a blob, or of any other value as text; `None` for NULL.
    pub(super) fn bytes(&self, at: usize) -> Option<&'a [u8]> {
        let value = self.values[at];
        // SAFETY: SQLite's own value, during its call. The pointer is good until the value is converted again, which
        // the same question does not do; its length is asked for afterwards, as SQLite demands.
        unsafe {
            let start = match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_NULL => return None,
                ffi::SQLITE_BLOB => ffi::sqlite3_value_blob(value).cast::<u8>(),
                _ => ffi::sqlite3_value_text(value),
            };
            let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
            if start.is_null() || length == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(start, length))
        }
    }

    /// The longest value that this connection may make.
    pub(super) fn bytes_max(&self) -> usize {
        // SAFETY: a context has a connection; asking for a limit changes nothing.
        let limit =
            unsafe { ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(self.context), ffi::SQLITE_LIMIT_LENGTH, -1) };
        usize::try_from(limit).unwrap_or(0)
    }
}

/// Subtype under which SQLite's JSON functions know each other's text.
const JSON_SUBTYPE: u32 = b'J' as u32;

/// Puts functions of ours in the place of SQLite's own; `flags` are added to those that all have.
///
/// # Errors
/// When SQLite has no memory for them.
pub(super) fn install(
    connection: &Connection,
    functions: &'static [Scalar],
    flags: c_int,
) -> Result<(), rusqlite::Error> {
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS | flags;
    for function in functions {
        // SAFETY: the handle is valid while `connection` is borrowed; name and user data are static, and the callback
        // only reads them.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                connection.handle(),
                function.name.as_ptr(),
                function.arguments,
                flags,
                std::ptr::from_ref(function).cast_mut().cast(),
                Some(call),
                None,
                None,
                None,
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(super::error::from_code(code));
        }
    }
    Ok(())
}

unsafe extern "C" fn call(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: the user data is the static that `install` gave; SQLite passes as many values as it says, for the length
    // of this call. Results are copied by SQLite before the call returns.
    unsafe {
        let function = &*ffi::sqlite3_user_data(context).cast::<Scalar>();
        let values = std::slice::from_raw_parts(values, usize::try_from(count).unwrap_or(0));
        let answer = (function.run)(&Arguments { context, values });
        match answer {
            Answer::Null => ffi::sqlite3_result_null(context),
            Answer::Integer(number) => ffi::sqlite3_result_int64(context, number),
            Answer::Text(text) => give_text(context, &text),
            Answer::Json(text) => {
                give_text(context, &text);
                ffi::sqlite3_result_subtype(context, JSON_SUBTYPE);
            }
            Answer::Blob(bytes) => {
                ffi::sqlite3_result_blob64(context, bytes.as_ptr().cast(), bytes.len() as u64, ffi::SQLITE_TRANSIENT());
            }
            Answer::Failed(message) => {
                let length = c_int::try_from(message.len()).unwrap_or(c_int::MAX);
                ffi::sqlite3_result_error(context, message.as_ptr().cast(), length);
            }
            Answer::TooBig => ffi::sqlite3_result_error_toobig(context),
            Answer::Interrupted => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
        }
    }
}

/// # Safety
/// `context` is that of the running call.
unsafe fn give_text(context: *mut ffi::sqlite3_context, text: &[u8]) {
    // SAFETY: SQLite copies the bytes at once.
    unsafe {
        ffi::sqlite3_result_text64(
            context,
            text.as_ptr().cast(),
            text.len() as u64,
            ffi::SQLITE_TRANSIENT(),
            ffi::SQLITE_UTF8 as u8,
        );
    }
}
