//! The query parameters, read once and checked on every path, as rqlite does.
//!
//! Flags count by presence: `queue=false` is `queue`. Of a repeated parameter the first counts. Names are case-sensitive.

use std::borrow::Cow;
use std::time::Duration;

use super::json::{BlobForm, Layout, Operation, RowForm, Style, Timings};
use crate::cluster::{Freshness, Level};
use crate::http::go_duration;

/// Parameters that are there or not. rqlite's `noparse`, `norwrandom`, `norwtime` and `bypass` change nothing here: no
/// SQL is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Pretty,
    Timings,
    Transaction,
    Associative,
    BlobArray,
    QualifyColumns,
    Redirect,
    RaftIndex,
    Queue,
    Wait,
    NoLeader,
    Vacuum,
    Compress,
    Sync,
    NonVoters,
}

const FLAGS: [(&str, Flag); 15] = [
    ("pretty", Flag::Pretty),
    ("timings", Flag::Timings),
    ("transaction", Flag::Transaction),
    ("associative", Flag::Associative),
    ("blob_array", Flag::BlobArray),
    ("qualify_columns", Flag::QualifyColumns),
    ("redirect", Flag::Redirect),
    ("raft_index", Flag::RaftIndex),
    ("queue", Flag::Queue),
    ("wait", Flag::Wait),
    ("noleader", Flag::NoLeader),
    ("vacuum", Flag::Vacuum),
    ("compress", Flag::Compress),
    ("sync", Flag::Sync),
    ("nonvoters", Flag::NonVoters),
];

/// How long rqlite waits when the caller does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The query parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a> {
    flags: u32,
    level: Option<Cow<'a, str>>,
    freshness: Option<Duration>,
    freshness_strict: bool,
    timeout: Option<Duration>,
    /// Longest time for one statement.
    pub(super) db_timeout: Option<Duration>,
    /// Longest wait for a linearizable read to begin.
    pub(super) linearizable_timeout: Option<Duration>,
    /// A read waits until this log index is applied.
    pub(super) min_index: Option<u64>,
    /// Log entries to keep behind a snapshot.
    pub(super) trailing_logs: Option<u64>,
    /// A statement.
    pub(super) q: Option<Cow<'a, str>>,
    /// Format of a backup.
    pub(super) fmt: Option<Cow<'a, str>>,
    /// Tables of a backup, separated by commas.
    pub(super) tables: Option<Cow<'a, str>>,
    /// Dotted path into a status.
    pub(super) key: Option<Cow<'a, str>>,
    /// Version of the form of `/nodes`.
    pub(super) ver: Option<Cow<'a, str>>,
}

/// Parameters that no request may carry. The texts are rqlite's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParameterError {
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    #[error("invalid semicolon separator in query")]
    Semicolon,
    #[error("{0} is not a valid duration")]
    Duration(&'static str),
    #[error("{0} is not a valid integer")]
    Integer(&'static str),
    #[error("freshness_strict requires freshness")]
    StrictWithoutFreshness,
    #[error("query parameter not set")]
    EmptyQuery,
}

impl<'a> Parameters<'a> {
    /// Reads a query string.
    ///
    /// # Errors
    /// [`ParameterError`], whose text is the body of a 400.
    pub(super) fn parse(query: &'a str) -> Result<Parameters<'a>, ParameterError> {
        let mut found = Parameters::default();
        if query.is_empty() {
            return Ok(found);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pair.contains(';') {
                return Err(ParameterError::Semicolon);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            found.take(&unescape(name)?, unescape(value)?)?;
        }
        if found.freshness_strict && found.freshness.is_none() {
            return Err(ParameterError::StrictWithoutFreshness);
        }
        if found.q.as_ref().is_some_and(|q| q.is_empty()) {
            return Err(ParameterError::EmptyQuery);
        }
        Ok(found)
    }

    fn take(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), ParameterError> {
        match name {
            "level" => set(&mut self.level, value),
            "q" => set(&mut self.q, value),
            "fmt" => set(&mut self.fmt, value),
            "tables" => set(&mut self.tables, value),
            "key" => set(&mut self.key, value),
            "ver" => set(&mut self.ver, value),
            "timeout" => set(&mut self.timeout, duration("timeout", &value)?),
            "freshness" => set(&mut self.freshness, duration("freshness", &value)?),
            "freshness_strict" => self.freshness_strict = true,
            "db_timeout" => set(&mut self.db_timeout, duration("db_timeout", &value)?),
            "linearizable_timeout" => {
                set(&mut self.linearizable_timeout, duration("linearizable_timeout", &value)?);
            }
            "retries" => drop(integer("retries", &value)?),
            "trailing_logs" => set(&mut self.trailing_logs, integer("trailing_logs", &value)?),
            "min_index" => set(&mut self.min_index, integer("min_index", &value)?),
            _ => {
                if let Some((_, flag)) = FLAGS.iter().find(|(flag_name, _)| *flag_name == name) {
                    self.flags |= 1 << *flag as u32;
                }
            }
        }
        Ok(())
    }

    /// Whether a flag is there.
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.flags & (1 << flag as u32) != 0
    }

    /// The read level; rqlite takes an unknown name for `weak`.
    pub(super) fn level(&self) -> Level {
        const LEVELS: [(&str, Level); 4] = [
            ("none", Level::None),
            ("linearizable", Level::Linearizable),
            ("strong", Level::Strong),
            ("auto", Level::Auto),
        ];
        let name = self.level.as_deref().unwrap_or("weak");
        LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(Level::Weak, |(_, level)| *level)
    }

    /// The bound on staleness.
    pub(super) fn freshness(&self) -> Option<Freshness> {
        let max_age = self.freshness.filter(|age| !age.is_zero())?;
        Some(Freshness { max_age, strict: self.freshness_strict })
    }

    /// How long the whole request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT_DEFAULT)
    }

    /// The form of the answer.
    pub(super) fn style(&self, operation: Operation) -> Style {
        let rows = if self.has(Flag::Associative) { RowForm::Objects } else { RowForm::Arrays };
        let blobs = if self.has(Flag::BlobArray) { BlobForm::Integers } else { BlobForm::Base64 };
        let timings = if self.has(Flag::Timings) { Timings::Shown } else { Timings::Hidden };
        let layout = if self.has(Flag::Pretty) { Layout::Indented } else { Layout::Compact };
        Style { operation, rows, blobs, timings, layout }
    }
}

fn set<T>(slot: &mut Option<T>, value: T) {
    if slot.is_none() {
        *slot = Some(value);
    }
}

fn duration(name: &'static str, value: &str) -> Result<Duration, ParameterError> {
    go_duration::parse(value).ok_or(ParameterError::Duration(name))
}

fn integer(name: &'static str, value: &str) -> Result<u64, ParameterError> {
    value.parse().map_err(|_| ParameterError::Integer(name))
}

/// Undoes `%xx` and `+`. Bytes that are no UTF-8 become U+FFFD.
fn unescape(text: &str) -> Result<Cow<'_, str>, ParameterError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = tail;
            }
            (b'%', _) => {
                let wrong = [b"%", &tail[..tail.len().min(2)]].concat();
                return Err(ParameterError::Escape(String::from_utf8_lossy(&wrong).into_owned()));
            }
            (other, _) => bytes.push(other),
        }
    }
    Ok(Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())))
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        letter => letter.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(query: &str) -> String {
        Parameters::parse(query).expect_err("a wrong query").to_string()
    }

    #[test]
    fn what_is_wrong_is_refused_in_rqlites_words() {
        assert_eq!(error("q=%zz"), "invalid URL escape \"%zz\"");
        assert_eq!(error("q=a%4"), "invalid URL escape \"%4\"");
        assert_eq!(error("level=none&freshness_strict"), "freshness_strict requires freshness");
        assert_eq!(error("timeout=5"), "timeout is not a valid duration");
        assert_eq!(error("db_timeout="), "db_timeout is not a valid duration");
        assert_eq!(error("linearizable_timeout=x"), "linearizable_timeout is not a valid duration");
        assert_eq!(error("retries=many"), "retries is not a valid integer");
        assert_eq!(error("trailing_logs=1.5"), "trailing_logs is not a valid integer");
        assert_eq!(error("q="), "query parameter not set");
        assert_eq!(error("a;b"), "invalid semicolon separator in query");
    }

    #[test]
    fn flags_count_by_presence() {
        let found = Parameters::parse("queue=false&&wait=&pretty&Timings").expect("valid");
        assert!(found.has(Flag::Queue) && found.has(Flag::Wait) && found.has(Flag::Pretty));
        assert!(!found.has(Flag::Timings) && !found.has(Flag::Transaction));
    }

    #[test]
    fn of_a_repeated_parameter_the_first_counts() {
        let found = Parameters::parse("q=SELECT+%27a%20b%27&q=other&level=StRoNg&timeout=2s").expect("valid");
        assert_eq!(found.q.as_deref(), Some("SELECT 'a b'"));
        assert_eq!(found.level(), Level::Strong);
        assert_eq!(found.timeout(), Duration::from_secs(2));
    }

    #[test]
    fn an_unknown_level_is_weak() {
        assert_eq!(Parameters::parse("level=stronger").expect("valid").level(), Level::Weak);
        assert_eq!(Parameters::default().level(), Level::Weak);
    }

    #[test]
    fn freshness_zero_is_no_bound() {
        assert_eq!(Parameters::parse("freshness=0&freshness_strict").expect("valid").freshness(), None);
        let bound = Freshness { max_age: Duration::from_secs(5), strict: true };
        assert_eq!(Parameters::parse("freshness=5s&freshness_strict=false").expect("valid").freshness(), Some(bound));
    }
}
