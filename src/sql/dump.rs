//! A database as SQL text, in the form that `sqlite3 .dump` and rqlite give it.
//!
//! Where that form could not be loaded again without rewriting the schema table, ours differs: virtual tables are
//! created by their own statement and filled by INSERT, and tables with generated columns name the columns that they
//! fill.

use std::io::{self, Write};
use std::path::PathBuf;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::connection;
use super::error::SqlError;
use super::readers::Readers;
use super::tables::quoted;
use super::text;

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The database cannot be read.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The receiver of the text failed.
    #[error("writing the dump of {} failed", path.display())]
    Write {
        /// Whose dump.
        path: PathBuf,
        /// What the receiver said.
        #[source]
        source: io::Error,
    },
}

/// Either side of a dump can fail.
enum Failure {
    Read(rusqlite::Error),
    Write(io::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Read(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Write(error)
    }
}

impl Readers {
    /// Writes one state of the database as SQL; of the named tables with their indexes and triggers, or of everything
    /// when `tables` is empty. Row by row: give it a buffered writer.
    ///
    /// # Errors
    /// When the database cannot be read or `out` fails.
    pub fn dump_sql(&self, tables: &[String], out: &mut dyn Write) -> Result<(), DumpError> {
        let connection = connection::open_read_plain(self.path()).map_err(SqlError::open(self.path()))?;
        Dump { connection: &connection, tables, out }.run().map_err(|failure| match failure {
            Failure::Read(error) => SqlError::storage(self.path())(error).into(),
            Failure::Write(source) => DumpError::Write { path: self.path().to_owned(), source },
        })
    }
}

/// A dump's text without the statements around it (`PRAGMA foreign_keys=OFF; BEGIN TRANSACTION; … COMMIT;`), which
/// admission refuses: the rest is to be run as one text in a transaction.
pub fn without_frame(dump: &str) -> &str {
    let mut body = text::skip_blank(dump);
    for opening in ["PRAGMA foreign_keys=OFF;", "BEGIN TRANSACTION;", "BEGIN;"] {
        if let Some(start) = body.get(..opening.len())
            && start.eq_ignore_ascii_case(opening)
        {
            body = text::skip_blank(&body[opening.len()..]);
        }
    }
    let end = body.trim_end();
    let start_of_commit = end.len().saturating_sub("COMMIT;".len());
    match end.get(start_of_commit..) {
        Some(last) if last.eq_ignore_ascii_case("COMMIT;") => &end[..start_of_commit],
        _ => body,
    }
}

/// One object of the schema.
struct Object {
    name: String,
    table: String,
    sql: String,
}

struct Dump<'a> {
    connection: &'a Connection,
    tables: &'a [String],
    out: &'a mut dyn Write,
}

impl Dump<'_> {
    fn run(mut self) -> Result<(), Failure> {
        self.connection.execute_batch("BEGIN")?;
        self.out.write_all(b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")?;
        for table in self.objects(
            "type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN \
                                   (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')",
        )? {
            self.write_table(&table)?;
        }
        self.write_sequences()?;
        for object in self.objects("type IN ('index', 'trigger', 'view')")? {
            writeln!(self.out, "{};", object.sql)?;
        }
        self.out.write_all(b"COMMIT;\n")?;
        Ok(())
    }

    fn objects(&self, condition: &str) -> rusqlite::Result<Vec<Object>> {
        let order = if condition.starts_with("type = 'table'") { "name" } else { "rowid" };
        let sql = format!(
            "SELECT name, tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL AND {condition} ORDER BY {order}"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let read = |row: &rusqlite::Row<'_>| Ok(Object { name: row.get(0)?, table: row.get(1)?, sql: row.get(2)? });
        let all = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(all.into_iter().filter(|object| self.is_wanted(&object.table)).collect())
    }

    fn is_wanted(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(table))
    }

    fn write_table(&mut self, table: &Object) -> Result<(), Failure> {
        writeln!(self.out, "{};", table.sql)?;
        let (virtual_table, without_content) =
            (text::mentions(&table.sql, "create virtual table"), text::mentions(&table.sql, "content="));
        if virtual_table && without_content {
            // The rows are elsewhere, or nowhere.
            if !text::mentions(&table.sql, "content=''") && !text::mentions(&table.sql, "content=\"\"") {
                let name = quoted(&table.name);
                writeln!(self.out, "INSERT INTO {name}({name}) VALUES('rebuild');")?;
            }
            return Ok(());
        }
        if text::mentions(&table.sql, "fts5vocab") {
            return Ok(());
        }
        let full_text = virtual_table && text::mentions(&table.sql, "fts");
        self.write_rows(&table.name, full_text)
    }

    fn write_rows(&mut self, table: &str, full_text: bool) -> Result<(), Failure> {
        let mut listed = self.connection.prepare("SELECT name, hidden FROM pragma_table_xinfo(?1)")?;
        let columns: Vec<(String, i64)> =
            listed.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        let mut stored: Vec<String> =
            columns.iter().filter(|(_, hidden)| *hidden == 0).map(|(name, _)| quoted(name)).collect();
        if full_text {
            stored.insert(0, "rowid".to_owned());
        }
        let named =
            if stored.len() == columns.len() && !full_text { String::new() } else { format!("({})", stored.join(",")) };
        let head = format!("INSERT INTO {}{named} VALUES(", quoted(table));
        let mut select = self.connection.prepare(&format!("SELECT {} FROM {}", stored.join(","), quoted(table)))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            self.out.write_all(head.as_bytes())?;
            for column in 0..stored.len() {
                if column > 0 {
                    self.out.write_all(b",")?;
                }
                write_value(self.out, row.get_ref(column)?)?;
            }
            self.out.write_all(b");\n")?;
        }
        Ok(())
    }

    /// After the rows, whose inserts count the sequences up.
    fn write_sequences(&mut self) -> Result<(), Failure> {
        let there = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'";
        if self.connection.query_row(there, [], |_| Ok(())).optional()?.is_none() {
            return Ok(());
        }
        let mut select = self.connection.prepare(
            "SELECT name, seq FROM sqlite_sequence WHERE name IN (SELECT name FROM sqlite_schema) ORDER BY rowid",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if self.is_wanted(&name) {
                let name = name.replace('\'', "''");
                writeln!(self.out, "DELETE FROM \"sqlite_sequence\" WHERE name='{name}';")?;
                write!(self.out, "INSERT INTO \"sqlite_sequence\" VALUES('{name}',")?;
                write_value(self.out, row.get_ref(1)?)?;
                self.out.write_all(b");\n")?;
            }
        }
        Ok(())
    }
}

fn write_value(out: &mut dyn Write, value: ValueRef<'_>) -> io::Result<()> {
    match value {
        ValueRef::Null => out.write_all(b"NULL"),
        ValueRef::Integer(number) => write!(out, "{number}"),
        ValueRef::Real(number) if number.is_infinite() => {
            out.write_all(if number > 0.0 { b"9.0e+999" } else { b"-9.0e+999" })
        }
        // The shortest text that reads back as the same number.
        ValueRef::Real(number) => write!(out, "{number:?}"),
        ValueRef::Text(bytes) if bytes.contains(&0) || std::str::from_utf8(bytes).is_err() => {
            out.write_all(b"CAST(")?;
            write_hex(out, bytes)?;
            out.write_all(b" AS TEXT)")
        }
        ValueRef::Text(bytes) => {
            out.write_all(b"'")?;
            for (position, part) in bytes.split(|byte| *byte == b'\'').enumerate() {
                if position > 0 {
                    out.write_all(b"''")?;
                }
                out.write_all(part)?;
            }
            out.write_all(b"'")
        }
        ValueRef::Blob(bytes) => write_hex(out, bytes),
    }
}

fn write_hex(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(b"X'")?;
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    out.write_all(b"'")
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn dump(fixture: &Fixture, tables: &[&str]) -> String {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        let mut out = Vec::new();
        fixture.readers.dump_sql(&tables, &mut out).expect("dumps");
        String::from_utf8(out).expect("text")
    }

    const SCHEMA: [&str; 10] = [
        "CREATE TABLE b(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)",
        "INSERT INTO b(name) VALUES('it''s'),(NULL),(x'00ff'),(1.5),(1e300),(9e999),(CAST(x'410042' AS TEXT))",
        "DELETE FROM b WHERE id = 2",
        "CREATE TABLE \"a \"\"q\"(x, y AS (x + 1), \"z'\")",
        "INSERT INTO \"a \"\"q\"(x, \"z'\") VALUES(1, 'ü;')",
        "CREATE INDEX i ON b(name)",
        "CREATE VIEW v AS SELECT * FROM b",
        "CREATE TRIGGER tr AFTER INSERT ON b BEGIN DELETE FROM b WHERE id > 100; END",
        "CREATE VIRTUAL TABLE f USING fts5(body)",
        "INSERT INTO f(rowid, body) VALUES(7, 'hello world')",
    ];

    #[test]
    fn one_table_is_dumped_as_rqlite_dumps_it() {
        let mut fixture = Fixture::new();
        fixture.run(&[
            "CREATE TABLE bar (id INTEGER PRIMARY KEY, name TEXT)",
            "CREATE TABLE x(a)",
            "INSERT INTO bar VALUES(1,'upd'),(2,NULL)",
        ]);
        assert_eq!(
            dump(&fixture, &["bar"]),
            "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE bar (id INTEGER PRIMARY KEY, name TEXT);\n\
             INSERT INTO \"bar\" VALUES(1,'upd');\nINSERT INTO \"bar\" VALUES(2,NULL);\nCOMMIT;\n"
        );
    }

    #[test]
    fn a_dump_loads_into_an_equal_database() {
        let mut fixture = Fixture::new();
        fixture.run(&SCHEMA);
        let first = dump(&fixture, &[]);
        assert!(!first.contains("sqlite_debros"), "{first}");
        let mut other = Fixture::new();
        let loaded = other.run_entry(transaction(&[without_frame(&first)]));
        assert!(matches!(loaded[..], [crate::types::StatementResult::Written(_)]), "{loaded:?}");
        assert_eq!(dump(&other, &[]), first);
        assert_eq!(other.rows("SELECT rowid FROM f WHERE f MATCH 'world'"), ["7"]);
        assert_eq!(other.rows("SELECT typeof(name), name FROM b WHERE id IN (3, 6)"), ["blob|x'[00, ff]'", "text|Inf"]);
    }

    #[test]
    fn only_a_dumps_own_frame_is_taken_off() {
        assert_eq!(without_frame("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nSELECT 1;\nCOMMIT;\n"), "SELECT 1;\n");
        assert_eq!(without_frame("begin;INSERT INTO t VALUES('COMMIT;')"), "INSERT INTO t VALUES('COMMIT;')");
        assert_eq!(without_frame("SELECT 1"), "SELECT 1");
    }
}
