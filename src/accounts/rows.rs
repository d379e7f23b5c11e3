//! Statements with named values, and rows read by column name.

use crate::cluster::ClusterError;
use crate::types::statement::{Rows, StatementResult};
use crate::types::{Statement, Value};

/// A statement with named parameters.
pub(super) fn named<const N: usize>(sql: &str, values: [(&str, Value); N]) -> Statement {
    Statement {
        sql: sql.to_owned(),
        named: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Statement::default()
    }
}

/// A text value.
pub(super) fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// The rows of one query of our own.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Rows,
}

impl Table {
    /// The result of the only statement of a read.
    ///
    /// # Errors
    /// When it failed: our own statements do not, unless the schema is not there.
    pub(super) fn only(results: Vec<StatementResult>) -> Result<Table, ClusterError> {
        match results.into_iter().next() {
            Some(StatementResult::Rows(rows)) => Ok(Table { rows }),
            Some(StatementResult::Failed(error)) => Err(ClusterError::Storage(error.message)),
            Some(StatementResult::Written(_)) | None => Ok(Table::default()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.values.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.values.iter().map(|values| Row { columns: &self.rows.columns, values })
    }

    pub(super) fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    fn value(&self, column: &str) -> &'a Value {
        let at = self.columns.iter().position(|name| name == column);
        at.and_then(|at| self.values.get(at)).unwrap_or(&Value::Null)
    }

    /// A text; empty when it is NULL.
    pub(super) fn text(&self, column: &str) -> &'a str {
        match self.value(column) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// A number; 0 when it is NULL.
    pub(super) fn integer(&self, column: &str) -> i64 {
        self.optional_integer(column).unwrap_or(0)
    }

    /// A number that may be NULL.
    pub(super) fn optional_integer(&self, column: &str) -> Option<i64> {
        match self.value(column) {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Bytes; empty when they are NULL.
    pub(super) fn blob(&self, column: &str) -> &'a [u8] {
        match self.value(column) {
            Value::Blob(bytes) => bytes,
            _ => &[],
        }
    }
}
