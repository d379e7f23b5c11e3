//! Functions of SQL that are slow on large values, with the same answers in linear time.
//!
//! SQLite's `trim`, `instr`, `replace`, `unhex` and `json_patch` compare every place of one argument with all of
//! another: megabytes against megabytes take minutes inside one VM step, where no budget and no deadline stops them.
//! These here are linear, count their work with the [meter], and answer what SQLite answers, also to text that is not
//! UTF-8. They depend on their arguments alone and may stand in indexes, checks and generated columns.
//!
//! Two things are refused that SQLite would do: a set of characters to trim beyond [`TRIM_SET_BYTES_MAX`], and a
//! `json_patch` of two documents with very many members each.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use memchr::memmem;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ffi};

use super::scalar::{Answer, Arguments, Scalar};
use super::{error, meter, scalar};
use crate::types::limits::SQL_VALUE_BYTES_MAX;

/// Longest set of characters that `trim` takes; each place of the other argument is compared with it.
const TRIM_SET_BYTES_MAX: usize = 4096;

/// Most pairs of members that `json_patch` compares, about 50 ms.
const PATCH_PAIRS_MAX: u64 = 16_000_000;

/// Bytes of work that count as one VM step.
const BYTES_PER_STEP: usize = 32;

/// Pairs of members compared that count as one VM step.
const PAIRS_PER_STEP: u64 = 8;

static FUNCTIONS: [Scalar; 9] = [
    Scalar { name: c"trim", arguments: 1, run: |a| trim(a, Ends::Both) },
    Scalar { name: c"trim", arguments: 2, run: |a| trim(a, Ends::Both) },
    Scalar { name: c"ltrim", arguments: 1, run: |a| trim(a, Ends::Left) },
    Scalar { name: c"ltrim", arguments: 2, run: |a| trim(a, Ends::Left) },
    Scalar { name: c"rtrim", arguments: 1, run: |a| trim(a, Ends::Right) },
    Scalar { name: c"rtrim", arguments: 2, run: |a| trim(a, Ends::Right) },
    Scalar { name: c"instr", arguments: 2, run: instr },
    Scalar { name: c"replace", arguments: 3, run: replace },
    Scalar { name: c"unhex", arguments: 2, run: unhex },
];

static JSON_FUNCTIONS: [Scalar; 2] = [
    Scalar { name: c"json_patch", arguments: 2, run: json_patch },
    Scalar { name: c"jsonb_patch", arguments: 2, run: jsonb_patch },
];

/// Replaces the functions on one connection.
///
/// # Errors
/// When SQLite has no memory for them.
pub(super) fn register(connection: &Connection) -> Result<(), rusqlite::Error> {
    scalar::install(connection, &FUNCTIONS, 0)?;
    scalar::install(connection, &JSON_FUNCTIONS, ffi::SQLITE_RESULT_SUBTYPE)
}

/// Counts work on so many bytes; `false` when the statement must end.
fn charge(bytes: usize) -> bool {
    meter::charge((bytes / BYTES_PER_STEP) as u64)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Left,
    Right,
    Both,
}

fn trim<'a>(arguments: &Arguments<'a>, ends: Ends) -> Answer<'a> {
    let Some(text) = arguments.bytes(0) else { return Answer::Null };
    let set = if arguments.count() == 1 { Some(&b" "[..]) } else { arguments.bytes(1) };
    let Some(set) = set else { return Answer::Null };
    let set = until_nul(set);
    if set.len() > TRIM_SET_BYTES_MAX {
        return Answer::Failed(format!(
            "trim() of a set of {} bytes of characters: at most {TRIM_SET_BYTES_MAX} are allowed",
            set.len()
        ));
    }
    if !charge(text.len() + set.len()) {
        return Answer::Interrupted;
    }
    let set = CharacterSet::of(set);
    let mut rest = text;
    if ends != Ends::Right {
        while let Some(bytes) = set.at_start(rest) {
            rest = &rest[bytes..];
        }
    }
    if ends != Ends::Left {
        while let Some(bytes) = set.at_end(rest) {
            rest = &rest[..rest.len() - bytes];
        }
    }
    Answer::Text(Cow::Borrowed(rest))
}

/// SQLite takes a NUL for the end of many a text.
fn until_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The characters of a text as SQLite cuts it: a byte from 0xc0 on takes all continuation bytes after it, any other
/// stands alone. Where several fit, the first counts.
struct CharacterSet<'a> {
    /// Place of each single byte in the set.
    single: [Option<u32>; 256],
    /// Places of longer characters.
    longer: HashMap<&'a [u8], u32>,
    /// Their lengths, ascending.
    lengths: Vec<usize>,
}

impl<'a> CharacterSet<'a> {
    fn of(text: &'a [u8]) -> CharacterSet<'a> {
        let mut set = CharacterSet { single: [None; 256], longer: HashMap::new(), lengths: Vec::new() };
        let (mut rest, mut place) = (text, 0);
        while let Some((&first, after)) = rest.split_first() {
            let more = if first >= 0xc0 { after.iter().take_while(|byte| continues(**byte)).count() } else { 0 };
            let (character, after) = rest.split_at(1 + more);
            match character {
                [byte] => _ = set.single[usize::from(*byte)].get_or_insert(place),
                longer => _ = set.longer.entry(longer).or_insert(place),
            }
            (rest, place) = (after, place + 1);
        }
        set.lengths = set.longer.keys().map(|character| character.len()).collect();
        set.lengths.sort_unstable();
        set.lengths.dedup();
        set
    }

    /// Length of the character that `text` begins with.
    fn at_start(&self, text: &[u8]) -> Option<usize> {
        let first = *text.first()?;
        let mut best = self.single[usize::from(first)].map(|place| (place, 1));
        if first >= 0xc0 && !self.lengths.is_empty() {
            let run = 1 + text[1..].iter().take(TRIM_SET_BYTES_MAX).take_while(|byte| continues(**byte)).count();
            for &length in self.lengths.iter().take_while(|length| **length <= run) {
                if let Some(&place) = self.longer.get(&text[..length])
                    && best.is_none_or(|(other, _)| place < other)
                {
                    best = Some((place, length));
                }
            }
        }
        best.map(|(_, length)| length)
    }

    /// Length of the character that `text` ends with.
    fn at_end(&self, text: &[u8]) -> Option<usize> {
        let last = *text.last()?;
        let mut best = self.single[usize::from(last)].map(|place| (place, 1));
        for &length in self.lengths.iter().take_while(|length| **length <= text.len()) {
            // What is longer contains a continuation byte more; where there is none, nothing longer fits.
            if !continues(text[text.len() - (length - 1)]) {
                break;
            }
            let character = &text[text.len() - length..];
            // Only one of the lengths begins where a character does; the others need no look.
            if character[0] >= 0xc0
                && let Some(&place) = self.longer.get(character)
                && best.is_none_or(|(other, _)| place < other)
            {
                best = Some((place, length));
            }
        }
        best.map(|(_, length)| length)
    }
}

fn instr<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let (Some(haystack), Some(needle)) = (arguments.bytes(0), arguments.bytes(1)) else { return Answer::Null };
    if !charge(haystack.len() + needle.len()) {
        return Answer::Interrupted;
    }
    let Some(&first) = needle.first() else { return Answer::Integer(1) };
    let in_bytes = arguments.is_blob(0) && arguments.is_blob(1);
    let found = if !in_bytes && continues(first) {
        // Text is looked at where characters begin, and at its first byte whatever that is.
        haystack.starts_with(needle).then_some(0)
    } else {
        memmem::find(haystack, needle)
    };
    let Some(at) = found else { return Answer::Integer(0) };
    let before =
        if in_bytes || at == 0 { at } else { 1 + haystack[1..at].iter().filter(|byte| !continues(**byte)).count() };
    Answer::Integer(before as i64 + 1)
}

fn replace<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let (Some(text), Some(pattern)) = (arguments.bytes(0), arguments.bytes(1)) else { return Answer::Null };
    if pattern.first().is_none_or(|first| *first == 0) {
        return Answer::Text(Cow::Borrowed(text));
    }
    let Some(by) = arguments.bytes(2) else { return Answer::Null };
    if !charge(text.len() + pattern.len()) {
        return Answer::Interrupted;
    }
    let finder = memmem::Finder::new(pattern);
    let count = finder.find_iter(text).count();
    let length = text.len() - count * pattern.len() + count * by.len();
    if length > text.len() && length > arguments.bytes_max() {
        return Answer::TooBig;
    }
    if !charge(length) {
        return Answer::Interrupted;
    }
    let mut replaced = Vec::with_capacity(length);
    let mut from = 0;
    for at in finder.find_iter(text) {
        replaced.extend_from_slice(&text[from..at]);
        replaced.extend_from_slice(by);
        from = at + pattern.len();
    }
    replaced.extend_from_slice(&text[from..]);
    Answer::Text(Cow::Owned(replaced))
}

fn unhex<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let (Some(text), Some(skipped)) = (arguments.bytes(0), arguments.bytes(1)) else { return Answer::Null };
    if !charge(text.len() + skipped.len()) {
        return Answer::Interrupted;
    }
    let skipped: HashSet<u32> = Characters(skipped).collect();
    let mut digits = Characters(until_nul(text));
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let nibble = |character: u32| char::from_u32(character).and_then(|c| c.to_digit(16));
    while let Some(character) = digits.next() {
        if let Some(high) = nibble(character) {
            let Some(low) = digits.next().and_then(nibble) else { return Answer::Null };
            bytes.push((high << 4 | low) as u8);
        } else if !skipped.contains(&character) {
            return Answer::Null;
        }
    }
    Answer::Blob(bytes)
}

/// Code points as SQLite reads them: leniently, with U+FFFD for what cannot be one.
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (&first, mut rest) = self.0.split_first()?;
        let mut code = match first {
            0xc0..=0xdf => u32::from(first & 0x1f),
            0xe0..=0xef => u32::from(first & 0x0f),
            0xf0..=0xf7 => u32::from(first & 0x07),
            0xf8..=0xfb => u32::from(first & 0x03),
            0xfc | 0xfd => u32::from(first & 0x01),
            0xfe | 0xff => 0,
            _ => {
                self.0 = rest;
                return Some(u32::from(first));
            }
        };
        while let Some((&byte, after)) = rest.split_first()
            && continues(byte)
        {
            code = code << 6 | u32::from(byte & 0x3f);
            rest = after;
        }
        self.0 = rest;
        let impossible = code < 0x80 || code & 0xffff_f800 == 0xd800 || code & 0xffff_fffe == 0xfffe;
        Some(if impossible { 0xfffd } else { code })
    }
}

fn json_patch<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    patch(arguments, "SELECT json_patch(?1, ?2)")
}

fn jsonb_patch<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    patch(arguments, "SELECT jsonb_patch(?1, ?2)")
}

thread_local! {
    /// A connection that has SQLite's own functions.
    static ORIGINAL: OnceCell<Connection> = const { OnceCell::new() };
}

/// SQLite's own answer, unless it would take too long: it looks for every member of one document among all of the other.
fn patch<'a>(arguments: &Arguments<'a>, sql: &str) -> Answer<'a> {
    let (Some(target), Some(patch)) = (arguments.bytes(0), arguments.bytes(1)) else { return Answer::Null };
    let members = |at: usize, document: &[u8]| match arguments.is_blob(at) {
        // Each member of a binary document has two headers of a byte at least.
        true => document.len() as u64 / 2,
        false => memchr::memchr_iter(b':', document).count() as u64,
    };
    let pairs = members(0, target) * members(1, patch);
    if pairs > PATCH_PAIRS_MAX {
        return Answer::Failed("json_patch() of two documents with so many members is not allowed".to_owned());
    }
    if !charge(target.len() + patch.len()) || !meter::charge(pairs / PAIRS_PER_STEP) {
        return Answer::Interrupted;
    }
    let value = |at: usize, bytes: &'a [u8]| match arguments.is_blob(at) {
        true => ValueRef::Blob(bytes),
        false => ValueRef::Text(bytes),
    };
    ORIGINAL.with(|slot| {
        original(slot)
            .and_then(|connection| {
                let mut statement = connection.prepare_cached(sql)?;
                let parameters = [Borrowed(value(0, target)), Borrowed(value(1, patch))];
                statement.query_row(parameters, |row| {
                    Ok(match row.get_ref(0)? {
                        ValueRef::Text(text) => Answer::Json(text.to_vec()),
                        ValueRef::Blob(bytes) => Answer::Blob(bytes.to_vec()),
                        _ => Answer::Null,
                    })
                })
            })
            .unwrap_or_else(|failed| match error::primary_code(&failed) {
                ffi::SQLITE_TOOBIG => Answer::TooBig,
                _ => Answer::Failed(error::message(&failed)),
            })
    })
}

fn original(slot: &OnceCell<Connection>) -> rusqlite::Result<&Connection> {
    if slot.get().is_none() {
        let connection = Connection::open_in_memory()?;
        let bytes_max = i32::try_from(SQL_VALUE_BYTES_MAX).unwrap_or(i32::MAX);
        connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, bytes_max)?;
        let _ = slot.set(connection);
    }
    Ok(slot.get().expect("it was just set"))
}

struct Borrowed<'a>(ValueRef<'a>);

impl rusqlite::ToSql for Borrowed<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(self.0))
    }
}
