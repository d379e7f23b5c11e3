//! What tables a file has, for our own walks over all of its content, and how rows get from one file to another.

use rusqlite::Connection;
use rusqlite::types::ToSqlOutput;

/// A table that stores rows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTable {
    pub(super) name: String,
    /// How to ask for its rowid; `None` for WITHOUT ROWID tables and those whose columns took all the names for it.
    pub(super) rowid: Option<&'static str>,
}

/// The tables with rows of their own, by name: ordinary ones, SQLite's, ours, and those below virtual tables.
pub(super) fn stored_tables(connection: &Connection) -> rusqlite::Result<Vec<StoredTable>> {
    let mut listed = connection.prepare(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') \
         AND name NOT IN ('sqlite_schema', 'sqlite_temp_schema') ORDER BY name",
    )?;
    let mut rows = listed.query([])?;
    let mut tables = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let without_rowid: bool = row.get(1)?;
        let rowid = if without_rowid { None } else { rowid_name(connection, &name)? };
        tables.push(StoredTable { name, rowid });
    }
    Ok(tables)
}

fn rowid_name(connection: &Connection, table: &str) -> rusqlite::Result<Option<&'static str>> {
    let mut columns = connection.prepare_cached("SELECT lower(name) FROM pragma_table_xinfo(?1)")?;
    let taken: Vec<String> = columns.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken.iter().any(|column| column == name)))
}

/// A name as an identifier in SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Copies what one statement gives to where the other puts it, row by row: the same rows in the same order give the same
/// file everywhere, also when the files' text encodings differ.
pub(super) fn copy_rows(from: &Connection, to: &Connection, select: &str, insert: &str) -> rusqlite::Result<()> {
    let (mut select, mut insert) = (from.prepare(select)?, to.prepare(insert)?);
    let columns = select.column_count();
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            insert.raw_bind_parameter(column + 1, ToSqlOutput::Borrowed(row.get_ref(column)?))?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}
