//! `db/_system.sqlite`: what the cluster knows beside the tenants' data, and how far this replica has applied the log.
//!
//! Everything in it but the `snapshot` row is a function of the log. It is committed last in every batch, after the
//! namespaces' files: whatever it says was applied is at least as new in those. The other way round, `touched` says
//! which index a namespace's file must have reached; a file that is behind lost its tail in a power cut and is replayed.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::codec;
use super::type_config::{LogId, SnapshotMeta, StoredMembership};
use crate::types::command::{MemberRole, Refusal};
use crate::types::{Namespace, NodeId, Outcome, Stamp};

/// The layout of the file, in its `user_version`.
const FORMAT: i64 = 1;

/// Why the file cannot be used. All of them are final for the process.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// SQLite or the operating system failed.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// A record in it cannot be read.
    #[error("{}: {what} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which record.
        what: &'static str,
        /// How it shows.
        reason: String,
    },
    /// A newer build wrote it.
    #[error("{}: format {found} is newer than this build reads ({FORMAT}); upgrade debros", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: i64,
    },
}

/// What the rest of the process may read of the system tables, at any time, without touching the file.
#[derive(Clone, Debug, Default)]
pub struct SystemView {
    /// Every namespace, with the log index that made it.
    pub namespaces: BTreeMap<Namespace, u64>,
    /// Hashes of the secrets of join tokens, used ones too.
    pub invites: HashSet<[u8; 32]>,
    /// Admitted gateways and their addresses.
    pub gateways: BTreeMap<NodeId, Vec<String>>,
}

/// The file's one connection; lives on the apply thread.
pub(super) struct System {
    connection: Connection,
    path: PathBuf,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
    /// Namespaces with the index that made them and the last index that touched their file.
    namespaces: BTreeMap<Namespace, Touched>,
    view: Arc<SystemView>,
    view_changed: bool,
    in_transaction: bool,
    /// While a snapshot is being sent the main file must stand still.
    checkpoints_held: bool,
}

/// A namespace's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) incarnation: u64,
    pub(super) last_index: u64,
}

impl System {
    pub(super) fn open(path: &Path) -> Result<System, SystemError> {
        let connection =
            open_connection(path).map_err(|source| SystemError::Sqlite { path: path.to_owned(), source })?;
        let mut system = System {
            connection,
            path: path.to_owned(),
            applied: None,
            membership: StoredMembership::default(),
            snapshot: None,
            namespaces: BTreeMap::new(),
            view: Arc::default(),
            view_changed: false,
            in_transaction: false,
            checkpoints_held: false,
        };
        system.prepare()?;
        system.load()?;
        Ok(system)
    }

    fn prepare(&self) -> Result<(), SystemError> {
        let found: i64 = self.sqlite(self.connection.pragma_query_value(None, "user_version", |row| row.get(0)))?;
        if found > FORMAT {
            return Err(SystemError::NewerFormat { path: self.path.clone(), found });
        }
        self.sqlite(self.connection.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS namespace (
                 name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, last_index INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS invite (
                 hash BLOB PRIMARY KEY, role TEXT NOT NULL, expires_unix_ms INTEGER NOT NULL,
                 redeemed_by BLOB) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS gateway (node BLOB PRIMARY KEY, addresses TEXT NOT NULL) WITHOUT ROWID;
             PRAGMA user_version = {FORMAT};
             COMMIT;"
        )))
    }

    fn load(&mut self) -> Result<(), SystemError> {
        self.applied = self.record("applied", codec::take_log_id)?;
        if let Some(membership) = self.record("membership", |bytes| codec::take_stored_membership(bytes.clone()))? {
            self.membership = membership;
        }
        self.snapshot = self.record("snapshot", |bytes| {
            let last_log_id = codec::take_option(bytes, codec::take_log_id)?;
            Ok(SnapshotMeta { last_log_id, last_membership: codec::take_stored_membership(bytes.clone())? })
        })?;
        self.namespaces = self
            .rows("SELECT name, incarnation, last_index FROM namespace", |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    Touched { incarnation: row.get::<_, i64>(1)? as u64, last_index: row.get::<_, i64>(2)? as u64 },
                ))
            })?
            .into_iter()
            .map(|(name, touched)| Ok((self.namespace_of(&name)?, touched)))
            .collect::<Result<_, SystemError>>()?;
        self.view = Arc::new(self.read_view()?);
        Ok(())
    }

    fn read_view(&self) -> Result<SystemView, SystemError> {
        let mut view = SystemView {
            namespaces: self.namespaces.iter().map(|(name, touched)| (name.clone(), touched.incarnation)).collect(),
            ..SystemView::default()
        };
        view.invites = self.rows("SELECT hash FROM invite", |row| row.get::<_, [u8; 32]>(0))?.into_iter().collect();
        let gateways = self.rows("SELECT node, addresses FROM gateway", |row| {
            Ok((NodeId::from_public_key(row.get(0)?), row.get::<_, String>(1)?))
        })?;
        for (node, addresses) in gateways {
            view.gateways.insert(node, addresses.lines().map(str::to_owned).collect());
        }
        Ok(view)
    }

    pub(super) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    pub(super) fn applied_index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }

    pub(super) fn membership(&self) -> &StoredMembership {
        &self.membership
    }

    pub(super) fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    pub(super) fn namespaces(&self) -> &BTreeMap<Namespace, Touched> {
        &self.namespaces
    }

    pub(super) fn view(&self) -> Arc<SystemView> {
        self.view.clone()
    }

    /// Opens the batch's transaction, if it is not open.
    fn begin(&mut self) -> Result<(), SystemError> {
        if !self.in_transaction {
            self.sqlite(self.connection.execute_batch("BEGIN IMMEDIATE"))?;
            self.in_transaction = true;
        }
        Ok(())
    }

    pub(super) fn create_namespace(&mut self, namespace: &Namespace, index: u64) -> Result<(), SystemError> {
        self.begin()?;
        self.namespaces.insert(namespace.clone(), Touched { incarnation: index, last_index: index });
        self.view_changed = true;
        self.execute(
            "INSERT INTO namespace (name, incarnation, last_index) VALUES (?1, ?2, ?2)",
            params![namespace.as_str(), index as i64],
        )?;
        Ok(())
    }

    pub(super) fn drop_namespace(&mut self, namespace: &Namespace) -> Result<(), SystemError> {
        self.begin()?;
        self.namespaces.remove(namespace);
        self.view_changed = true;
        self.execute("DELETE FROM namespace WHERE name = ?1", [namespace.as_str()])?;
        Ok(())
    }

    /// Notes that an entry changed the namespace's file.
    pub(super) fn touch(&mut self, namespace: &Namespace, index: u64) -> Result<(), SystemError> {
        self.begin()?;
        if let Some(touched) = self.namespaces.get_mut(namespace) {
            touched.last_index = touched.last_index.max(index);
        }
        self.execute(
            "UPDATE namespace SET last_index = max(last_index, ?2) WHERE name = ?1",
            params![namespace.as_str(), index as i64],
        )?;
        Ok(())
    }

    pub(super) fn create_invite(
        &mut self,
        stamp: Stamp,
        hash: &[u8; 32],
        role: MemberRole,
        expires_unix_ms: i64,
    ) -> Result<Outcome, SystemError> {
        self.begin()?;
        self.view_changed = true;
        self.execute("DELETE FROM invite WHERE expires_unix_ms < ?1", [stamp.unix_ms])?;
        self.execute(
            "INSERT OR IGNORE INTO invite (hash, role, expires_unix_ms) VALUES (?1, ?2, ?3)",
            params![hash, role_text(role), expires_unix_ms],
        )?;
        Ok(Outcome::Done)
    }

    /// A token works once; for the node that used it, again, since its first answer may have been lost.
    pub(super) fn redeem_invite(
        &mut self,
        stamp: Stamp,
        hash: &[u8; 32],
        node: NodeId,
        wanted: MemberRole,
        addresses: &[String],
    ) -> Result<Outcome, SystemError> {
        self.begin()?;
        let invite: Option<(String, Option<[u8; 32]>)> = self.sqlite(
            self.connection
                .query_row(
                    "SELECT role, redeemed_by FROM invite WHERE hash = ?1 AND expires_unix_ms >= ?2",
                    params![hash, stamp.unix_ms],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional(),
        )?;
        let Some((role, redeemed_by)) = invite else { return Ok(Outcome::Refused(Refusal::InvalidInvite)) };
        if redeemed_by.is_some_and(|other| other != *node.public_key()) {
            return Ok(Outcome::Refused(Refusal::InvalidInvite));
        }
        let role = self.role_of(&role)?;
        if role != wanted {
            return Ok(Outcome::Refused(Refusal::InviteForOtherRole(role)));
        }
        self.execute("UPDATE invite SET redeemed_by = ?2 WHERE hash = ?1", params![hash, node.public_key()])?;
        if role == MemberRole::Gateway {
            self.view_changed = true;
            self.execute(
                "INSERT OR REPLACE INTO gateway (node, addresses) VALUES (?1, ?2)",
                params![node.public_key(), addresses.join("\n")],
            )?;
        }
        Ok(Outcome::Admitted)
    }

    pub(super) fn remove_gateway(&mut self, node: NodeId) -> Result<Outcome, SystemError> {
        self.begin()?;
        self.view_changed = true;
        self.execute("DELETE FROM gateway WHERE node = ?1", [node.public_key()])?;
        self.forget_invites_of(node)?;
        Ok(Outcome::Done)
    }

    /// A node that was removed needs a new token: the old one would let it in again until it expires.
    fn forget_invites_of(&mut self, node: NodeId) -> Result<(), SystemError> {
        self.view_changed = true;
        self.execute("DELETE FROM invite WHERE redeemed_by = ?1", [node.public_key()]).map(drop)
    }

    pub(super) fn set_membership(&mut self, membership: StoredMembership) -> Result<(), SystemError> {
        self.begin()?;
        let before: Vec<NodeId> = self.membership.membership().nodes().map(|(node, _)| *node).collect();
        for gone in before.into_iter().filter(|node| membership.membership().get_node(node).is_none()) {
            self.forget_invites_of(gone)?;
        }
        let mut value = Vec::new();
        codec::put_stored_membership(&mut value, &membership);
        self.put_record("membership", &value)?;
        self.membership = membership;
        Ok(())
    }

    /// Ends the batch: everything up to `applied` is in the files.
    pub(super) fn commit(&mut self, applied: LogId) -> Result<(), SystemError> {
        self.begin()?;
        let mut value = Vec::with_capacity(64);
        codec::put_log_id(&mut value, &applied);
        self.put_record("applied", &value)?;
        self.sqlite(self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])))?;
        self.in_transaction = false;
        self.applied = Some(applied);
        if std::mem::take(&mut self.view_changed) {
            self.view = Arc::new(self.read_view()?);
        }
        Ok(())
    }

    /// Notes that a snapshot of everything up to `last_log_id` exists. While a database's lost tail is replayed that is
    /// less than this file has applied.
    pub(super) fn note_snapshot(&mut self, last_log_id: Option<LogId>) -> Result<SnapshotMeta, SystemError> {
        let meta = SnapshotMeta { last_log_id, last_membership: self.membership.clone() };
        let mut value = Vec::new();
        codec::put_option(&mut value, meta.last_log_id.as_ref(), codec::put_log_id);
        codec::put_stored_membership(&mut value, &meta.last_membership);
        self.put_record("snapshot", &value)?;
        self.snapshot = Some(meta.clone());
        Ok(meta)
    }

    /// Makes everything committed durable: in the main file, or, while that must stand still, in the write-ahead log.
    pub(super) fn make_durable(&self) -> Result<(), SystemError> {
        if !self.checkpoints_held {
            return self.checkpoint();
        }
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        super::files::sync_file(Path::new(&wal)).map_err(|error| self.damaged("write-ahead log", error))
    }

    /// Moves the write-ahead log into the file and fsyncs it.
    fn checkpoint(&self) -> Result<(), SystemError> {
        let busy: i64 =
            self.sqlite(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)))?;
        if busy != 0 {
            return Err(SystemError::Damaged {
                path: self.path.clone(),
                what: "write-ahead log",
                reason: "another process holds it open".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn hold_checkpoints(&mut self, hold: bool) -> Result<(), SystemError> {
        self.checkpoints_held = hold;
        let pages: i64 = if hold { 0 } else { 1000 };
        self.sqlite(self.connection.pragma_update(None, "wal_autocheckpoint", pages))
    }

    /// BLAKE3 of everything that must be equal on all nodes at one log index.
    pub(super) fn content_hash(&self) -> Result<[u8; 32], SystemError> {
        let mut hasher = blake3::Hasher::new();
        for query in [
            "SELECT name, incarnation FROM namespace ORDER BY name",
            "SELECT hash, role, expires_unix_ms, redeemed_by FROM invite ORDER BY hash",
            "SELECT node, addresses FROM gateway ORDER BY node",
        ] {
            hasher.update(query.as_bytes());
            let rows = self.rows(query, |row| {
                let columns = row.as_ref().column_count();
                (0..columns).map(|column| Ok(format!("{:?}", row.get_ref(column)?))).collect::<Result<Vec<_>, _>>()
            })?;
            for cell in rows.into_iter().flatten() {
                hasher.update(&(cell.len() as u64).to_le_bytes());
                hasher.update(cell.as_bytes());
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn record<T>(
        &self,
        key: &'static str,
        take: impl FnOnce(&mut Bytes) -> std::io::Result<T>,
    ) -> Result<Option<T>, SystemError> {
        let value: Option<Vec<u8>> = self.sqlite(
            self.connection.query_row("SELECT value FROM record WHERE key = ?1", [key], |row| row.get(0)).optional(),
        )?;
        value.map(|value| take(&mut Bytes::from(value)).map_err(|e| self.damaged(key, e))).transpose()
    }

    fn put_record(&self, key: &str, value: &[u8]) -> Result<(), SystemError> {
        self.execute("INSERT OR REPLACE INTO record (key, value) VALUES (?1, ?2)", params![key, value]).map(|_| ())
    }

    fn execute(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<usize, SystemError> {
        self.sqlite(self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters)))
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, SystemError> {
        self.sqlite(self.connection.prepare(sql).and_then(|mut statement| statement.query_map([], read)?.collect()))
    }

    fn namespace_of(&self, name: &str) -> Result<Namespace, SystemError> {
        Namespace::from_stored(name).map_err(|e| self.damaged("namespace", e))
    }

    fn role_of(&self, text: &str) -> Result<MemberRole, SystemError> {
        match text {
            "node" => Ok(MemberRole::Node),
            "gateway" => Ok(MemberRole::Gateway),
            other => Err(self.damaged("invite", format!("role {other:?}"))),
        }
    }

    fn sqlite<T>(&self, result: rusqlite::Result<T>) -> Result<T, SystemError> {
        result.map_err(|source| SystemError::Sqlite { path: self.path.clone(), source })
    }

    fn damaged(&self, what: &'static str, reason: impl ToString) -> SystemError {
        SystemError::Damaged { path: self.path.clone(), what, reason: reason.to_string() }
    }
}

fn role_text(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Node => "node",
        MemberRole::Gateway => "gateway",
    }
}

fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    crate::sql::prepare_process()?;
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
