//! What untrusted SQL may do: the tenant fence, as a pure decision per action that SQLite's compiler announces.
//!
//! Refused is what would reach other files (ATTACH, VACUUM INTO), outlive the request on one connection only
//! (transactions, temporary objects, most PRAGMAs), touch the internal tables, or answer differently on each replica
//! (on connections that apply the log). Limits on sizes and depths are set where a connection is opened.
//!
//! The compiler asks once per statement and the statement is then cached, so a decision may depend on nothing but the
//! action, the connection's role, and the two thread-local switches below.

use std::cell::Cell;
use std::ffi::c_int;

use rusqlite::ffi as codes;

/// The internal tables and indexes begin so. SQLite reserves `sqlite_`: tenants can neither create such names nor
/// rename into them, and every tool hides them.
pub(super) const INTERNAL_PREFIX: &str = "sqlite_debros_";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Applies the log.
    Apply,
    /// Answers reads of this node.
    Read,
}

/// One action, as SQLite's authorizer interface gives it.
pub(super) struct Action<'a> {
    /// `SQLITE_READ`, `SQLITE_PRAGMA`, …
    pub(super) code: c_int,
    /// Usually a table's name.
    pub(super) first: &'a str,
    /// Usually a column's, module's or function's name.
    pub(super) second: &'a str,
    /// `main` or `temp`; empty where it concerns neither.
    pub(super) database: &'a str,
}

thread_local! {
    /// Our own statements are being compiled or run.
    static TRUSTED: Cell<bool> = const { Cell::new(false) };
    /// A tenant's own text is being compiled, in contrast to what FTS5 and the like compile while it runs.
    static COMPILING: Cell<bool> = const { Cell::new(false) };
    /// The statement being compiled reads a table-valued PRAGMA function.
    static READS_PRAGMA: Cell<bool> = const { Cell::new(false) };
    /// Whether something compiled since [`watch_writes`] writes AUTOINCREMENT's counters.
    static WRITES_SEQUENCE: Cell<bool> = const { Cell::new(false) };
}

/// Puts a switch back, also when the code under it panics.
struct Switched(&'static std::thread::LocalKey<Cell<bool>>, bool);

impl Switched {
    fn on(key: &'static std::thread::LocalKey<Cell<bool>>) -> Switched {
        Switched(key, key.replace(true))
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs our own SQL, which may touch everything.
pub(super) fn trusted<T>(run: impl FnOnce() -> T) -> T {
    let _switched = Switched::on(&TRUSTED);
    run()
}

/// Compiles a tenant's text.
pub(super) fn compiling<T>(compile: impl FnOnce() -> T) -> T {
    let _switched = Switched::on(&COMPILING);
    READS_PRAGMA.set(false);
    compile()
}

/// Whether the statement compiled last reads a table-valued PRAGMA function. In a write their answers could differ
/// between replicas (paths, versions, generated column names).
pub(super) fn read_a_pragma_function() -> bool {
    READS_PRAGMA.get()
}

/// Begins to watch for statements that write AUTOINCREMENT's counters in the tenant's own words.
pub(super) fn watch_writes() {
    WRITES_SEQUENCE.set(false);
}

/// Whether something compiled since the watch began, at first or again, does. Such a statement must not be cached: the
/// next run would go unnoticed.
pub(super) fn writes_sequence() -> bool {
    WRITES_SEQUENCE.get()
}

fn is_write(code: i32) -> bool {
    matches!(code, codes::SQLITE_INSERT | codes::SQLITE_UPDATE | codes::SQLITE_DELETE | codes::SQLITE_DROP_TABLE)
}

/// What a connection would keep for itself, and another replica not have.
const TEMPORARY: &str = "temporary objects are not allowed: requests do not share a connection, use an ordinary table";

fn adds(code: i32) -> bool {
    matches!(
        code,
        codes::SQLITE_INSERT
            | codes::SQLITE_CREATE_INDEX
            | codes::SQLITE_CREATE_TABLE
            | codes::SQLITE_CREATE_TRIGGER
            | codes::SQLITE_CREATE_VIEW
            | codes::SQLITE_CREATE_VTABLE
    )
}

/// Allows or refuses one action.
///
/// # Errors
/// What is refused and what to do instead, for the caller.
pub(super) fn judge(role: Role, action: &Action<'_>) -> Result<(), String> {
    if TRUSTED.get() {
        return Ok(());
    }
    // `CREATE TABLE temp.t` is announced as an ordinary table's, in another database; a trigger of that database on an
    // ordinary table only by the row that it gets in its schema.
    if adds(action.code) && action.database.eq_ignore_ascii_case("temp") {
        return Err(TEMPORARY.to_owned());
    }
    match action.code {
        codes::SQLITE_SELECT | codes::SQLITE_RECURSIVE | codes::SQLITE_REINDEX => Ok(()),
        codes::SQLITE_FUNCTION => judge_function(role, action.second),
        codes::SQLITE_PRAGMA => judge_pragma(role, action.first, action.second),
        codes::SQLITE_TRANSACTION | codes::SQLITE_SAVEPOINT => {
            Err("transaction control is not allowed: send the statements in one request with `transaction`".to_owned())
        }
        codes::SQLITE_ATTACH => Err("ATTACH is not allowed: every namespace is one database".to_owned()),
        // Plans decide the order in which rows without ORDER BY are inserted. SQLite keeps statistics in memory and reads
        // them again only at some schema changes, so replicas with other histories would plan differently.
        codes::SQLITE_ANALYZE => Err("ANALYZE is not allowed: replicas could plan differently; use an index hint \
            (INDEXED BY, CROSS JOIN, unary +) where a plan is bad"
            .to_owned()),
        codes::SQLITE_DETACH => Err("DETACH is not allowed: every namespace is one database".to_owned()),
        codes::SQLITE_CREATE_TEMP_INDEX
        | codes::SQLITE_CREATE_TEMP_TABLE
        | codes::SQLITE_CREATE_TEMP_TRIGGER
        | codes::SQLITE_CREATE_TEMP_VIEW => Err(TEMPORARY.to_owned()),
        codes::SQLITE_CREATE_VTABLE => judge_module(action.second),
        codes::SQLITE_READ
        | codes::SQLITE_INSERT
        | codes::SQLITE_UPDATE
        | codes::SQLITE_DELETE
        | codes::SQLITE_ALTER_TABLE
        | codes::SQLITE_CREATE_INDEX
        | codes::SQLITE_CREATE_TABLE
        | codes::SQLITE_CREATE_TRIGGER
        | codes::SQLITE_CREATE_VIEW
        | codes::SQLITE_DROP_INDEX
        | codes::SQLITE_DROP_TABLE
        | codes::SQLITE_DROP_TEMP_INDEX
        | codes::SQLITE_DROP_TEMP_TABLE
        | codes::SQLITE_DROP_TEMP_TRIGGER
        | codes::SQLITE_DROP_TEMP_VIEW
        | codes::SQLITE_DROP_TRIGGER
        | codes::SQLITE_DROP_VIEW
        | codes::SQLITE_DROP_VTABLE => judge_names(action),
        code => Err(format!("this statement is not allowed (action {code})")),
    }
}

fn judge_names(action: &Action<'_>) -> Result<(), String> {
    if has_prefix(action.first, INTERNAL_PREFIX) || has_prefix(action.second, INTERNAL_PREFIX) {
        return Err(format!("`{}` belongs to debros and is not allowed in SQL", action.first));
    }
    if is_write(action.code) {
        if has_prefix(action.first, "sqlite_stat") {
            return Err(format!("`{}` cannot be written: replicas could plan differently", action.first));
        }
        if action.first.eq_ignore_ascii_case("sqlite_sequence") {
            WRITES_SEQUENCE.set(true);
        }
    }
    if action.code == codes::SQLITE_READ {
        if action.first.eq_ignore_ascii_case("dbstat") {
            return Err("reading `dbstat` is not allowed".to_owned());
        }
        if has_prefix(action.first, "pragma_") {
            READS_PRAGMA.set(true);
        }
    }
    Ok(())
}

/// Whether a name begins so, in any case.
pub(super) fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn judge_module(module: &str) -> Result<(), String> {
    const ALLOWED: [&str; 8] = ["fts5", "fts5vocab", "fts4", "fts4aux", "fts3", "rtree", "rtree_i32", "fts3tokenize"];
    if ALLOWED.iter().any(|allowed| module.eq_ignore_ascii_case(allowed)) {
        Ok(())
    } else {
        Err(format!("virtual tables with module `{module}` are not allowed: fts5 and rtree are"))
    }
}

fn judge_function(role: Role, function: &str) -> Result<(), String> {
    const NOWHERE: [&str; 3] = ["load_extension", "fts3_tokenizer", "sqlite_log"];
    const NOT_THROUGH_THE_LOG: [&str; 4] =
        ["sqlite_version", "sqlite_source_id", "sqlite_compileoption_get", "sqlite_compileoption_used"];
    let is = |name: &&str| function.eq_ignore_ascii_case(name);
    if NOWHERE.iter().any(is) {
        Err(format!("function `{function}` is not allowed"))
    } else if role == Role::Apply && NOT_THROUGH_THE_LOG.iter().any(is) {
        Err(format!("function `{function}` is not allowed in a write: its answer may differ between nodes"))
    } else {
        Ok(())
    }
}

/// PRAGMAs that take an argument and change nothing.
const INTROSPECTION: [&str; 14] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "database_list",
    "function_list",
    "module_list",
    "pragma_list",
    "collation_list",
    "compile_options",
];

/// PRAGMAs whose value lives in the file, so that setting them through the log is like any other write.
const STORED: [&str; 2] = ["user_version", "application_id"];

/// PRAGMAs that may be asked for, not set.
const READABLE: [&str; 22] = [
    "schema_version",
    "page_count",
    "page_size",
    "freelist_count",
    "encoding",
    "foreign_keys",
    "defer_foreign_keys",
    "journal_mode",
    "synchronous",
    "auto_vacuum",
    "cache_size",
    "cache_spill",
    "locking_mode",
    "temp_store",
    "wal_autocheckpoint",
    "busy_timeout",
    "max_page_count",
    "mmap_size",
    "read_uncommitted",
    "recursive_triggers",
    "secure_delete",
    "legacy_alter_table",
];

fn judge_pragma(role: Role, name: &str, value: &str) -> Result<(), String> {
    let is = |allowed: &&str| name.eq_ignore_ascii_case(allowed);
    let allowed = if INTROSPECTION.iter().any(is) {
        !has_prefix(value, INTERNAL_PREFIX)
    } else if STORED.iter().any(is) {
        true
    } else if READABLE.iter().any(is) {
        value.is_empty()
    } else if name.eq_ignore_ascii_case("data_version") {
        // FTS5 asks for it while statements run; it counts what this connection happened to see of others.
        role == Role::Read || !COMPILING.get()
    } else {
        role == Role::Read && ["integrity_check", "quick_check"].iter().any(is)
    };
    if allowed {
        Ok(())
    } else if value.is_empty() {
        Err(format!("PRAGMA {name} is not allowed"))
    } else {
        Err(format!("PRAGMA {name} with a value is not allowed: it would change one node's connection only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(role: Role, code: c_int, first: &str, second: &str) -> Result<(), String> {
        judge(role, &Action { code, first, second, database: "main" })
    }

    #[test]
    fn what_outlives_the_request_or_leaves_the_file_is_refused() {
        for (code, first, second) in [
            (codes::SQLITE_TRANSACTION, "BEGIN", ""),
            (codes::SQLITE_SAVEPOINT, "BEGIN", "x"),
            (codes::SQLITE_ATTACH, "/etc/passwd", ""),
            (codes::SQLITE_DETACH, "main", ""),
            (codes::SQLITE_CREATE_TEMP_TABLE, "t", ""),
            (codes::SQLITE_CREATE_VTABLE, "t", "csv"),
            (codes::SQLITE_FUNCTION, "", "LOAD_EXTENSION"),
            (codes::SQLITE_PRAGMA, "foreign_keys", "ON"),
            (codes::SQLITE_PRAGMA, "journal_mode", "delete"),
            (codes::SQLITE_PRAGMA, "wal_checkpoint", ""),
            (codes::SQLITE_PRAGMA, "optimize", ""),
            (codes::SQLITE_PRAGMA, "writable_schema", "ON"),
            (codes::SQLITE_READ, "SQLite_Debros_Applied", "index"),
            (codes::SQLITE_READ, "dbstat", "path"),
            (codes::SQLITE_CREATE_TRIGGER, "t", "sqlite_debros_applied"),
            (9999, "", ""),
        ] {
            for role in [Role::Apply, Role::Read] {
                assert!(verdict(role, code, first, second).is_err(), "{code} {first} {second}");
            }
        }
    }

    #[test]
    fn introspection_is_allowed_everywhere() {
        for (name, value) in
            [("TABLE_INFO", "t"), ("user_version", "7"), ("foreign_keys", ""), ("read_uncommitted", "")]
        {
            for role in [Role::Apply, Role::Read] {
                assert_eq!(verdict(role, codes::SQLITE_PRAGMA, name, value), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn what_differs_between_nodes_is_refused_in_the_log_only() {
        for (code, first, second) in
            [(codes::SQLITE_FUNCTION, "", "sqlite_version"), (codes::SQLITE_PRAGMA, "integrity_check", "")]
        {
            assert!(verdict(Role::Apply, code, first, second).is_err());
            assert!(verdict(Role::Read, code, first, second).is_ok());
        }
    }

    #[test]
    fn our_own_statements_pass() {
        let own = || verdict(Role::Apply, codes::SQLITE_INSERT, "sqlite_debros_applied", "");
        assert!(trusted(own).is_ok());
        assert!(own().is_err());
    }
}
