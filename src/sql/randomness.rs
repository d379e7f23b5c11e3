//! The functions of SQL whose answers would differ between replicas, made to depend on the entry alone.
//!
//! `random()` and `randomblob()` draw from splitmix64, seeded by the entry. `total_changes()` counts from the entry's
//! beginning. State is thread-local: functions run on the thread that applies. They are registered once per
//! connection, because a new registration expires every cached statement.

use std::cell::Cell;

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;

use super::ffi;
use crate::types::limits::SQL_VALUE_BYTES_MAX;

thread_local! {
    static GENERATOR: Cell<u64> = const { Cell::new(0) };
    static CHANGES_BASE: Cell<i64> = const { Cell::new(0) };
}

/// The generator's state; a failed statement gives back what it drew.
#[derive(Clone, Copy)]
pub(super) struct GeneratorState(u64);

/// Starts an entry's random numbers.
pub(super) fn seed(seed: u64) {
    GENERATOR.set(seed);
}

/// Where the generator stands.
pub(super) fn state() -> GeneratorState {
    GeneratorState(GENERATOR.get())
}

/// Puts the generator back.
pub(super) fn restore(state: GeneratorState) {
    GENERATOR.set(state.0);
}

/// Makes `total_changes()` count from here.
pub(super) fn count_changes_from(connection: &Connection) {
    CHANGES_BASE.set(i64::try_from(connection.total_changes()).unwrap_or(i64::MAX));
}

/// Splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn next() -> u64 {
    let state = GENERATOR.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    GENERATOR.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Replaces the functions on one connection.
///
/// # Errors
/// When SQLite has no memory for them.
pub(super) fn register(connection: &Connection) -> Result<(), rusqlite::Error> {
    // Innocuous: the built-in ones are, and defaults and triggers may only use such with trusted_schema off. Not
    // deterministic: an index on them would be nonsense.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("random", 0, flags, |_| Ok(random()))?;
    connection.create_scalar_function("randomblob", 1, flags, |context| random_blob(context))?;
    connection.create_scalar_function("total_changes", 0, flags, |context| {
        Ok(ffi::total_changes(context)?.saturating_sub(CHANGES_BASE.get()))
    })
}

/// As SQLite's own never gives `i64::MIN`, so that `abs(random())` cannot fail.
fn random() -> i64 {
    let number = next() as i64;
    if number < 0 { -(number & i64::MAX) } else { number }
}

fn random_blob(context: &Context<'_>) -> Result<Vec<u8>, rusqlite::Error> {
    let bytes = usize::try_from(integer(context.get_raw(0)).max(1)).unwrap_or(usize::MAX);
    if bytes > SQL_VALUE_BYTES_MAX {
        return Err(rusqlite::Error::UserFunctionError("string or blob too big".into()));
    }
    let mut blob = Vec::with_capacity(bytes + 7);
    while blob.len() < bytes {
        blob.extend_from_slice(&next().to_le_bytes());
    }
    blob.truncate(bytes);
    Ok(blob)
}

/// SQLite's conversion of any value to an integer.
fn integer(value: ValueRef<'_>) -> i64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(number) => number,
        ValueRef::Real(number) => number as i64,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => leading_integer(bytes),
    }
}

fn leading_integer(bytes: &[u8]) -> i64 {
    let text = bytes.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let magnitude = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_i64, |number, digit| number.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if negative { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(connection: &Connection, sql: &str) -> String {
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        super::super::prepare_process().expect("first");
        let connection = Connection::open_in_memory().expect("opens");
        register(&connection).expect("registers");
        let sql =
            "SELECT random() || ' ' || hex(randomblob(20)) || ' ' || hex(randomblob('3')) || hex(randomblob(NULL))";
        seed(7);
        let first = draw(&connection, sql);
        let second = draw(&connection, sql);
        seed(7);
        assert_eq!(draw(&connection, sql), first);
        assert_eq!(draw(&connection, sql), second);
        assert_ne!(first, second);
        seed(8);
        assert_ne!(draw(&connection, sql), first);
    }

    #[test]
    fn a_blob_has_the_length_that_sqlite_would_give_it() {
        super::super::prepare_process().expect("first");
        let connection = Connection::open_in_memory().expect("opens");
        register(&connection).expect("registers");
        for (argument, bytes) in [("16", 16), ("-3", 1), ("0", 1), ("NULL", 1), ("'12abc'", 12), ("2.9", 2)] {
            let length: i64 = connection
                .query_row(&format!("SELECT length(randomblob({argument}))"), [], |row| row.get(0))
                .expect("runs");
            assert_eq!(length, bytes, "{argument}");
        }
        assert!(connection.query_row("SELECT randomblob(1e12)", [], |_| Ok(())).is_err());
    }
}
