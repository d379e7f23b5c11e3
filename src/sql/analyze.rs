//! ANALYZE through the log: the planner's statistics are content, and every replica must plan by the same ones.
//!
//! Which rows an `INSERT … SELECT` without ORDER BY inserts first is up to the plan. So the statistics that SQLite
//! holds in memory must be those in the file at the beginning of each entry, as they are after a restart. They are not
//! when a tenant writes `sqlite_stat1` himself, or when an ANALYZE is rolled back: then they are read anew.

use rusqlite::Connection;

use super::admission::{has_prefix, trusted};
use super::statement::{run_own, with_own};
use super::tables::{quoted, stored_tables};
use super::text;

/// Whether a statement is an ANALYZE of the whole database.
pub(super) fn is_of_everything(sql: &str) -> bool {
    if !text::begins_with(sql, &["ANALYZE"]) {
        return false;
    }
    let target = text::skip_blank(&text::skip_blank(sql)["ANALYZE".len()..]);
    let end =
        target.find(|c: char| c.is_ascii_whitespace() || c == ';' || c == '/' || c == '-').unwrap_or(target.len());
    let name = target[..end].trim_matches(['"', '\'', '`', '[', ']']);
    (name.is_empty() || name.eq_ignore_ascii_case("main")) && text::skip_blank(&target[end..]).is_empty()
}

/// The statements that together analyze the whole database, in one order everywhere.
pub(super) fn of_each_table(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let tables = trusted(|| stored_tables(connection))?;
    let names = tables.iter().map(|table| &table.name).filter(|name| !has_prefix(name, "sqlite_"));
    Ok(names.map(|name| format!("ANALYZE main.{}", quoted(name))).collect())
}

/// Makes SQLite read the statistics in the file again.
pub(super) fn reload(connection: &Connection) -> rusqlite::Result<()> {
    let there = "/*debros*/ SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'sqlite_stat1'";
    if with_own(connection, there, |statement| statement.query_row([], |row| row.get(0)))? {
        run_own(connection, "/*debros*/ ANALYZE sqlite_schema")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analyze_of_everything_is_recognised_in_every_spelling() {
        for sql in [
            "ANALYZE",
            "analyze;",
            " /* x */ ANALYZE -- y",
            "ANALYZE main",
            "ANALYZE \"MAIN\" ; ",
            "ANALYZE [main]/**/",
        ] {
            assert!(is_of_everything(sql), "{sql}");
        }
        for sql in
            ["ANALYZE t", "ANALYZE main.t", "ANALYZE \"main\".\"t\"", "ANALYZE sqlite_schema", "SELECT 1", "ANALYZER"]
        {
            assert!(!is_of_everything(sql), "{sql}");
        }
    }
}
