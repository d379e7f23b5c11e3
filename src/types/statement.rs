//! SQL as values: a statement with its parameters, and what running it gave.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One SQLite value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// A signed 64-bit integer, exact.
    Integer(i64),
    /// An IEEE 754 double.
    Real(f64),
    /// Text. Bytes of a stored text that are no UTF-8 are replaced by U+FFFD when read.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One SQL text (usually a single statement; several, separated by `;`, run in order) and its parameters.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Statement {
    /// The SQL text.
    pub sql: String,
    /// Values for `?`, in order.
    pub positional: Vec<Value>,
    /// Values for `:name`, `@name` and `$name`, by bare name.
    pub named: Vec<(String, Value)>,
    /// How many rows it must affect or return; only heeded in a transaction, which it ends when it is not met.
    pub expect: Option<Expect>,
}

/// How many rows a statement must affect (a write) or return (a query).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// At least so many.
    pub min: u64,
    /// At most so many; `None` = any number.
    pub max: Option<u64>,
}

impl Expect {
    /// Exactly so many.
    pub fn exactly(rows: u64) -> Expect {
        Expect { min: rows, max: Some(rows) }
    }

    /// Whether so many rows are what was expected.
    pub fn is_met_by(self, rows: u64) -> bool {
        rows >= self.min && self.max.is_none_or(|max| rows <= max)
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expect { min, max } = *self;
        match max {
            None => write!(f, "at least {min}"),
            Some(max) if max == min => write!(f, "exactly {min}"),
            Some(max) if min == 0 => write!(f, "at most {max}"),
            Some(max) => write!(f, "{min} to {max}"),
        }
    }
}

impl Statement {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Statement {
        Statement { sql: sql.into(), ..Statement::default() }
    }
}

/// The rows that a statement returned.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Rows {
    /// Column names, as SQLite gives them.
    pub columns: Vec<String>,
    /// Declared column types in lower case, empty for an expression.
    pub declared_types: Vec<String>,
    /// The rows; each has as many values as there are columns.
    pub values: Vec<Vec<Value>>,
    /// `table.column` names where they were asked for and known, otherwise empty.
    pub qualified_columns: Vec<String>,
    /// Wall-clock time that the statement took here, in nanoseconds.
    pub elapsed_ns: u64,
}

/// What a write statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Written {
    /// The rowid of the last insert on this database. It keeps its value over statements that insert nothing.
    pub last_insert_id: i64,
    /// Rows changed by the last INSERT, UPDATE or DELETE on this database; it keeps its value over other statements.
    pub rows_affected: i64,
    /// Wall-clock time that the statement took here, in nanoseconds.
    pub elapsed_ns: u64,
}

/// Why a statement failed. The message is SQLite's own where SQLite said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementError {
    /// The text for the caller.
    pub message: String,
    /// What kind of refusal it is.
    pub kind: StatementErrorKind,
}

/// What a caller can do about a failed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatementErrorKind {
    /// SQLite refused it: syntax, a missing table, a constraint. Mend the statement or the data.
    Sqlite,
    /// It is a write and was sent as a query.
    ReadOnly,
    /// The statement is not allowed to tenants (ATTACH, transaction control, a dangerous PRAGMA, internal tables).
    Refused,
    /// It took more time or steps than its caller allowed.
    Timeout,
    /// Its result is larger than its caller or the node allows.
    TooLarge,
    /// Parameters are missing.
    Parameters,
    /// It affected or returned another number of rows than was expected.
    Expectation,
}

/// What one statement of a request gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StatementResult {
    /// It wrote, or was run for its effect.
    Written(Written),
    /// It returned rows.
    Rows(Rows),
    /// It failed and changed nothing.
    Failed(StatementError),
}
