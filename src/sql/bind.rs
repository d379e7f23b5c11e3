//! How parameters reach a statement: by name where there is a value of that name, else in order.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::error::failure;
use super::statement::Trouble;
use crate::types::statement::{Statement, StatementError, StatementErrorKind, Value};

struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Binds the parameters of one piece. Each piece takes its own number of positional values off the list (`taken` are
/// gone); named values go to all pieces. A named parameter without a value of its name takes a positional one.
pub(super) fn bind(
    prepared: &mut rusqlite::Statement<'_>,
    statement: &Statement,
    taken: &mut usize,
) -> Result<(), Trouble> {
    let wanted = prepared.parameter_count();
    for index in 1..=wanted {
        let value = match named_value(prepared, index, &statement.named) {
            Some(value) => value,
            None => {
                let Some(value) = statement.positional.get(*taken) else {
                    return Err(Trouble::Failed(too_few(wanted, statement)));
                };
                *taken += 1;
                value
            }
        };
        prepared.raw_bind_parameter(index, Parameter(value))?;
    }
    Ok(())
}

fn named_value<'v>(
    prepared: &rusqlite::Statement<'_>,
    index: usize,
    named: &'v [(String, Value)],
) -> Option<&'v Value> {
    if named.is_empty() {
        return None;
    }
    let name = prepared.parameter_name(index)?.trim_start_matches([':', '@', '$']);
    named.iter().rev().find(|(key, _)| key.trim_start_matches([':', '@', '$']) == name).map(|(_, value)| value)
}

/// go-sqlite3's words, which rqlite's clients match on.
fn too_few(wanted: usize, statement: &Statement) -> StatementError {
    let got = statement.positional.len() + statement.named.len();
    failure(StatementErrorKind::Parameters, format!("not enough args to execute query: want {wanted} got {got}"))
}
