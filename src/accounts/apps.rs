//! Registered applications of a namespace.

use std::time::Instant;

use super::namespaces::expecting_one;
use super::rows::{Row, named, text};
use super::{AccountError, Accounts, Actor, Transacted, audit, random};
use crate::cluster::Level;
use crate::types::statement::StatementResult;
use crate::types::{Namespace, Statement, Value, limits};

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// `app_…`.
    pub app_id: String,
    /// What its maker calls it.
    pub name: String,
    /// A key of its own, as its maker gave it.
    pub public_key: String,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: i64,
}

const COLUMNS: &str = "a.app_id, a.name, a.public_key, a.created_unix_ms";

/// A new application's id.
pub(super) fn new_app_id() -> Result<String, AccountError> {
    use base64::Engine as _;
    Ok(format!("app_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<12>()?)))
}

/// Stores an application unless there are as many as there may be.
pub(super) fn insert(namespace: &Namespace, app_id: &str, name: &str, public_key: &str, actor: &str) -> Statement {
    expecting_one(named(
        "INSERT INTO apps (app_id, namespace_id, name, public_key, created_by) \
         SELECT :app_id, n.id, :name, :public_key, :actor FROM namespaces n WHERE n.name = :namespace \
         AND (SELECT count(*) FROM apps a WHERE a.namespace_id = n.id) < :max",
        [
            ("app_id", text(app_id)),
            ("name", text(name)),
            ("public_key", text(public_key)),
            ("actor", text(actor)),
            ("namespace", text(namespace.as_str())),
            ("max", Value::Integer(limits::APPS_PER_NAMESPACE_MAX)),
        ],
    ))
}

impl Accounts {
    /// Registers an application; its id.
    ///
    /// # Errors
    /// [`AccountError::TooMany`], or the cluster's.
    pub async fn create_app(
        &self,
        namespace: &Namespace,
        name: &str,
        public_key: &str,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<String, AccountError> {
        let app_id = new_app_id()?;
        let statements = vec![
            insert(namespace, &app_id, name, public_key, actor.name()),
            audit(namespace, actor.name(), "app.create", &app_id),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(app_id),
            Transacted::Unmet(..) => Err(AccountError::TooMany { what: "apps", max: limits::APPS_PER_NAMESPACE_MAX }),
        }
    }

    /// The applications of a namespace, newest first.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn list_apps(&self, namespace: &Namespace, deadline: Instant) -> Result<Vec<App>, AccountError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM apps a JOIN namespaces n ON n.id = a.namespace_id WHERE n.name = :namespace \
             ORDER BY a.created_unix_ms DESC, a.app_id"
        );
        let statement = named(&sql, [("namespace", text(namespace.as_str()))]);
        Ok(self.query(statement, Level::Linearizable, deadline).await?.iter().map(app).collect())
    }

    /// One application.
    ///
    /// # Errors
    /// [`AccountError::NoSuchApp`], or the cluster's.
    pub async fn app(&self, namespace: &Namespace, app_id: &str, deadline: Instant) -> Result<App, AccountError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM apps a JOIN namespaces n ON n.id = a.namespace_id \
             WHERE n.name = :namespace AND a.app_id = :app_id"
        );
        let statement = named(&sql, [("namespace", text(namespace.as_str())), ("app_id", text(app_id))]);
        let rows = self.query(statement, Level::Linearizable, deadline).await?;
        rows.first().map(app).ok_or(AccountError::NoSuchApp)
    }

    /// Changes what is given of an application.
    ///
    /// # Errors
    /// [`AccountError::NoSuchApp`], or the cluster's.
    pub async fn update_app(
        &self,
        namespace: &Namespace,
        app_id: &str,
        (name, public_key): (Option<&str>, Option<&str>),
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let or_null = |value: Option<&str>| value.map_or(Value::Null, text);
        let change = named(
            "UPDATE apps SET name = coalesce(:name, name), public_key = coalesce(:public_key, public_key) \
             WHERE app_id = :app_id AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace)",
            [
                ("name", or_null(name)),
                ("public_key", or_null(public_key)),
                ("app_id", text(app_id)),
                ("namespace", text(namespace.as_str())),
            ],
        );
        self.change_app(change, namespace, app_id, "app.update", actor, deadline).await
    }

    /// Removes an application.
    ///
    /// # Errors
    /// [`AccountError::NoSuchApp`], or the cluster's.
    pub async fn delete_app(
        &self,
        namespace: &Namespace,
        app_id: &str,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let change = named(
            "DELETE FROM apps WHERE app_id = :app_id \
             AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace)",
            [("app_id", text(app_id)), ("namespace", text(namespace.as_str()))],
        );
        self.change_app(change, namespace, app_id, "app.delete", actor, deadline).await
    }

    async fn change_app(
        &self,
        change: Statement,
        namespace: &Namespace,
        app_id: &str,
        action: &str,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let statements = vec![expecting_one(change), audit(namespace, actor.name(), action, app_id)];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(..) => Err(AccountError::NoSuchApp),
        }
    }
}

fn app(row: Row<'_>) -> App {
    App {
        app_id: row.text("app_id").to_owned(),
        name: row.text("name").to_owned(),
        public_key: row.text("public_key").to_owned(),
        created_unix_ms: row.integer("created_unix_ms"),
    }
}

/// Rows that a write changed.
pub(super) fn changed(result: Option<&StatementResult>) -> i64 {
    match result {
        Some(StatementResult::Written(written)) => written.rows_affected,
        _ => 0,
    }
}
