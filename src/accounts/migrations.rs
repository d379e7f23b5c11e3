//! Schemas by numbered files: each is applied through the log, once in the whole cluster, as one transaction.
//!
//! A file `NNN_name.sql` has the version `NNN`. It is cut into statements by SQLite's own rules; `BEGIN`, `COMMIT` and
//! `END` around them are left out, since a file is one transaction anyway. `schema_migrations` keeps what was applied
//! with a checksum of the file's text. The row is written in the file's own transaction and only after its predecessor's,
//! so two nodes that try at once apply it once, and a file that fails leaves nothing.

use std::time::Instant;

use super::rows::{Table, named};
use crate::cluster::{AnyCluster, ClusterError, Level, Read};
use crate::sql::script::{self, NulInScript, Piece};
use crate::types::command::{Atomicity, Execute};
use crate::types::statement::{Expect, StatementErrorKind, StatementResult};
use crate::types::{Command, Namespace, Outcome, Statement, Value};

/// A file with a part of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationFile {
    /// Its name, which begins with its version.
    pub name: String,
    /// Its text.
    pub sql: String,
}

/// The accounts' own schema.
pub(super) fn own() -> Vec<MigrationFile> {
    [
        ("001_initial.sql", include_str!("../../migrations/001_initial.sql")),
        ("002_core.sql", include_str!("../../migrations/002_core.sql")),
        ("003_socket_tickets.sql", include_str!("../../migrations/003_socket_tickets.sql")),
    ]
    .map(|(name, sql)| MigrationFile { name: name.to_owned(), sql: sql.to_owned() })
    .into()
}

/// Why a schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A file's name has no version.
    #[error("`{file}` is no migration: its name must begin with a version from 1 up, as in `001_initial.sql`")]
    Name {
        /// The file.
        file: String,
    },
    /// Two files have one version.
    #[error("`{first}` and `{second}` both have version {version}: give one of them the next free number")]
    Repeated {
        /// The version.
        version: u32,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A file was changed after it had been applied.
    #[error("`{file}` was changed after it was applied as version {version}: put its old text back and add a new file")]
    Edited {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// A file comes before one that has been applied.
    #[error("`{file}` was not applied, but version {applied} was: give it a number above {applied}")]
    OutOfOrder {
        /// The file.
        file: String,
        /// The highest version applied.
        applied: u32,
    },
    /// A file controls transactions by itself.
    #[error("`{file}`, line {line}: {keyword} is not allowed: each file is one transaction")]
    Transaction {
        /// The file.
        file: String,
        /// Where.
        line: usize,
        /// What.
        keyword: String,
    },
    /// A file has a NUL character.
    #[error("`{file}`: {source}")]
    Nul {
        /// The file.
        file: String,
        /// Where.
        source: NulInScript,
    },
    /// A statement failed; nothing of its file was done.
    #[error("`{file}`, statement {statement} at line {line}: {message}")]
    Failed {
        /// The file.
        file: String,
        /// Which statement of it, counted from 1.
        statement: usize,
        /// Where it begins, counted from 1.
        line: usize,
        /// Why, in SQLite's words.
        message: String,
    },
    /// The cluster could not be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// What `schema_migrations` says of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    version: u32,
    checksum: String,
}

/// A file with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbered<'a> {
    version: u32,
    file: &'a MigrationFile,
}

impl MigrationFile {
    fn version(&self) -> Result<u32, MigrationError> {
        let digits: String = self.name.chars().take_while(char::is_ascii_digit).collect();
        let version = digits.parse().ok().filter(|version| *version > 0);
        version.ok_or_else(|| MigrationError::Name { file: self.name.clone() })
    }

    fn checksum(&self) -> String {
        blake3::hash(self.sql.as_bytes()).to_hex().to_string()
    }

    /// The statements, without those that only wrap the file in a transaction.
    fn pieces(&self) -> Result<Vec<Piece<'_>>, MigrationError> {
        let file = || self.name.clone();
        let pieces = script::split(&self.sql).map_err(|source| MigrationError::Nul { file: file(), source })?;
        let mut kept = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece.keyword().as_str() {
                "BEGIN" | "COMMIT" | "END" => {}
                keyword @ ("ROLLBACK" | "SAVEPOINT" | "RELEASE") => {
                    let keyword = keyword.to_owned();
                    return Err(MigrationError::Transaction { file: file(), line: piece.line, keyword });
                }
                _ => kept.push(piece),
            }
        }
        Ok(kept)
    }
}

/// Decides which files are still to be applied, in order.
fn pending<'a>(recorded: &[Recorded], files: &'a [MigrationFile]) -> Result<Vec<Numbered<'a>>, MigrationError> {
    let mut numbered = files
        .iter()
        .map(|file| Ok(Numbered { version: file.version()?, file }))
        .collect::<Result<Vec<_>, MigrationError>>()?;
    numbered.sort_by_key(|numbered| numbered.version);
    if let Some(pair) = numbered.windows(2).find(|pair| pair[0].version == pair[1].version) {
        let [first, second] = [&pair[0], &pair[1]].map(|numbered| numbered.file.name.clone());
        return Err(MigrationError::Repeated { version: pair[0].version, first, second });
    }
    let highest = recorded.iter().map(|recorded| recorded.version).max().unwrap_or(0);
    let mut pending = Vec::new();
    for Numbered { version, file } in numbered {
        match recorded.iter().find(|recorded| recorded.version == version) {
            Some(known) if known.checksum == file.checksum() => {}
            Some(_) => return Err(MigrationError::Edited { file: file.name.clone(), version }),
            None if version < highest => {
                return Err(MigrationError::OutOfOrder { file: file.name.clone(), applied: highest });
            }
            None => pending.push(Numbered { version, file }),
        }
    }
    Ok(pending)
}

/// Brings a namespace's schema up to date; the names of the files that this call applied.
///
/// # Errors
/// [`MigrationError`]. Files before the one that failed are applied.
pub async fn migrate(
    cluster: &AnyCluster,
    namespace: &Namespace,
    files: &[MigrationFile],
    deadline: Instant,
) -> Result<Vec<String>, MigrationError> {
    let mut applied = Vec::new();
    loop {
        let recorded = recorded(cluster, namespace, deadline).await?;
        let pending = pending(&recorded, files)?;
        let Some(next) = pending.first() else { return Ok(applied) };
        let after = recorded.iter().map(|recorded| recorded.version).max().unwrap_or(0);
        if apply(cluster, namespace, next, after, deadline).await? {
            tracing::info!(%namespace, file = next.file.name, "schema migrated");
            applied.push(next.file.name.clone());
        }
    }
}

async fn recorded(
    cluster: &AnyCluster,
    namespace: &Namespace,
    deadline: Instant,
) -> Result<Vec<Recorded>, MigrationError> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'";
    if read(cluster, namespace, exists, deadline).await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows = read(cluster, namespace, "SELECT version, checksum FROM schema_migrations", deadline).await?;
    Ok(rows
        .iter()
        .map(|row| Recorded {
            version: u32::try_from(row.integer("version")).unwrap_or(u32::MAX),
            checksum: row.text("checksum").to_owned(),
        })
        .collect())
}

async fn read(
    cluster: &AnyCluster,
    namespace: &Namespace,
    sql: &str,
    deadline: Instant,
) -> Result<Table, ClusterError> {
    let read = Read::new(namespace.clone(), vec![Statement::new(sql)], Level::Linearizable);
    let answer = cluster.read(read, deadline).await?;
    Table::only(answer.results)
}

/// Applies one file; `false` when another node was first.
async fn apply(
    cluster: &AnyCluster,
    namespace: &Namespace,
    migration: &Numbered<'_>,
    after: u32,
    deadline: Instant,
) -> Result<bool, MigrationError> {
    /// Statements of ours before the file's.
    const OURS: usize = 2;
    let Numbered { version, file } = migration;
    let pieces = file.pieces()?;
    let mut statements = vec![
        Statement::new(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, \
             checksum TEXT NOT NULL, applied_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))",
        ),
        Statement {
            expect: Some(Expect::exactly(1)),
            ..named(
                "INSERT INTO schema_migrations (version, name, checksum) SELECT :version, :name, :checksum \
                 WHERE coalesce((SELECT max(version) FROM schema_migrations), 0) = :after",
                [
                    ("version", Value::Integer(i64::from(*version))),
                    ("name", Value::Text(file.name.clone())),
                    ("checksum", Value::Text(file.checksum())),
                    ("after", Value::Integer(i64::from(after))),
                ],
            )
        },
    ];
    statements.extend(pieces.iter().map(|piece| Statement::new(piece.sql)));
    let mut execute = Execute::new(namespace.clone(), statements);
    execute.atomicity = Atomicity::Transaction;
    let applied = cluster.submit(Command::Execute(execute), deadline).await?;
    let Outcome::Executed(executed) = applied.outcome else {
        return Err(ClusterError::Storage("a migration gave no result".to_owned()).into());
    };
    let Some(StatementResult::Failed(error)) = executed.results.last() else { return Ok(true) };
    let position = executed.results.len() - 1;
    if position + 1 == OURS && error.kind == StatementErrorKind::Expectation {
        return Ok(false);
    }
    let statement = position.checked_sub(OURS);
    Err(MigrationError::Failed {
        file: file.name.clone(),
        statement: statement.map_or(0, |statement| statement + 1),
        line: statement.and_then(|statement| pieces.get(statement)).map_or(0, |piece| piece.line),
        message: error.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, sql: &str) -> MigrationFile {
        MigrationFile { name: name.to_owned(), sql: sql.to_owned() }
    }

    fn recorded(version: u32, file: &MigrationFile) -> Recorded {
        Recorded { version, checksum: file.checksum() }
    }

    #[test]
    fn files_are_applied_in_the_order_of_their_numbers_and_once() {
        let files = [file("10_c.sql", "c"), file("1_a.sql", "a"), file("002_b.sql", "b")];
        let names = |pending: Vec<Numbered<'_>>| -> Vec<u32> { pending.iter().map(|n| n.version).collect() };
        assert_eq!(names(pending(&[], &files).expect("plans")), [1, 2, 10]);
        assert_eq!(names(pending(&[recorded(1, &files[1])], &files).expect("plans")), [2, 10]);
        let newer = Recorded { version: 11, checksum: String::new() };
        let all = [recorded(1, &files[1]), recorded(2, &files[2]), recorded(10, &files[0]), newer];
        assert_eq!(names(pending(&all, &files).expect("a newer build's files stay")), [0; 0]);
    }

    #[test]
    fn history_cannot_be_edited() {
        let [a, b] = [file("1_a.sql", "a"), file("2_b.sql", "b")];
        let edited = pending(&[recorded(1, &b)], std::slice::from_ref(&a));
        assert!(matches!(edited, Err(MigrationError::Edited { version: 1, .. })), "{edited:?}");
        let both = [a.clone(), b.clone()];
        let late = pending(&[recorded(2, &b)], &both);
        assert!(matches!(late, Err(MigrationError::OutOfOrder { applied: 2, .. })), "{late:?}");
        let repeated = [a, file("01_x.sql", "x")];
        let twice = pending(&[], &repeated);
        assert!(matches!(twice, Err(MigrationError::Repeated { version: 1, .. })), "{twice:?}");
        for name in ["a.sql", "0_a.sql", "-1_a.sql", "99999999999_a.sql", ""] {
            assert!(matches!(pending(&[], &[file(name, "")]), Err(MigrationError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn a_file_may_be_wrapped_in_a_transaction_but_not_control_one() {
        let wrapped = file("1_a.sql", "BEGIN TRANSACTION;\nCREATE TABLE t(a);\nEND TRANSACTION;");
        let pieces = wrapped.pieces().expect("splits");
        assert_eq!(pieces, [Piece { sql: "CREATE TABLE t(a);", line: 2 }]);
        let controlling = file("1_a.sql", "CREATE TABLE t(a);\n\nrollback;");
        let refused = controlling.pieces();
        assert!(matches!(&refused, Err(MigrationError::Transaction { line: 3, .. })), "{refused:?}");
    }

    #[test]
    fn the_accounts_schema_is_whole() {
        let own = own();
        assert_eq!(pending(&[], &own).expect("plans").len(), own.len());
        assert!(own.iter().all(|file| file.pieces().is_ok_and(|pieces| !pieces.is_empty())));
    }
}
