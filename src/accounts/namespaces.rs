//! Namespaces and the people who belong to them.

use std::time::Instant;

use super::rows::{Row, named, text};
use super::{AccountError, Accounts, Actor, Transacted, audit};
use crate::cluster::{ClusterError, Level};
use crate::types::command::Refusal;
use crate::types::limits;
use crate::types::statement::Expect;
use crate::types::{AccessRole, Command, Namespace, Statement, Value, WalletAddress};

/// A namespace, and what somebody is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSummary {
    /// Its name.
    pub name: Namespace,
    /// What the one who asks is in it.
    pub role: AccessRole,
    /// When it was made, in milliseconds since 1970.
    pub created_unix_ms: i64,
}

/// Somebody who belongs to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub wallet: WalletAddress,
    /// What they may do.
    pub role: AccessRole,
    /// Since when, in milliseconds since 1970.
    pub created_unix_ms: i64,
}

impl Accounts {
    /// Makes a namespace in the operator's name, for `owner` or for nobody yet.
    ///
    /// # Errors
    /// [`AccountError::NamespaceExists`], or the cluster's.
    pub async fn create_namespace(
        &self,
        namespace: &Namespace,
        owner: Option<&WalletAddress>,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let claimed_by = owner.map_or(Value::Null, |owner| text(owner.subject()));
        let statements = vec![
            expecting_one(named(
                "INSERT INTO namespaces (name, claimed_by) SELECT :name, :owner \
                 WHERE NOT EXISTS (SELECT 1 FROM namespaces WHERE name = :name)",
                [("name", text(namespace.as_str())), ("owner", claimed_by)],
            )),
            audit(namespace, actor.name(), "namespace.create", ""),
        ];
        self.make_database(namespace, deadline).await?;
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(..) => Err(AccountError::NamespaceExists(namespace.clone())),
        }
    }

    /// A namespace's database comes before its name: a name without one would refuse its owner's first request, while a
    /// database without a name is only empty.
    pub(super) async fn make_database(&self, namespace: &Namespace, deadline: Instant) -> Result<(), AccountError> {
        let command = Command::CreateNamespace { namespace: namespace.clone() };
        self.cluster().submit(command, deadline).await.map(drop).map_err(AccountError::of)
    }

    /// Removes a namespace: first everything that opens it, then its data, then the name. A crash in between leaves it
    /// closed; [`super::keep`] goes on from there.
    ///
    /// # Errors
    /// [`AccountError::NoSuchNamespace`], [`AccountError::DefaultNamespace`], or the cluster's.
    pub async fn drop_namespace(
        &self,
        namespace: &Namespace,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        if *namespace == Namespace::default_namespace() {
            return Err(AccountError::DefaultNamespace);
        }
        let statements = vec![
            expecting_one(named(
                "UPDATE namespaces SET dropping_unix_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE name = :name",
                [("name", text(namespace.as_str()))],
            )),
            audit(namespace, actor.name(), "namespace.drop", ""),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => self.finish_drop(namespace, deadline).await,
            Transacted::Unmet(..) => Err(AccountError::NoSuchNamespace(namespace.clone())),
        }
    }

    pub(super) async fn finish_drop(&self, namespace: &Namespace, deadline: Instant) -> Result<(), AccountError> {
        let command = Command::DropNamespace { namespace: namespace.clone() };
        match self.cluster().submit(command, deadline).await {
            Ok(_) | Err(ClusterError::Refused(Refusal::NoSuchNamespace(_))) => {}
            Err(error) => return Err(AccountError::of(error)),
        }
        let forget = named(
            "DELETE FROM namespaces WHERE name = :name AND dropping_unix_ms IS NOT NULL",
            [("name", text(namespace.as_str()))],
        );
        self.transact(vec![forget], deadline).await.map(drop)
    }

    /// The namespaces that a wallet belongs to.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn namespaces_of(
        &self,
        wallet: &WalletAddress,
        deadline: Instant,
    ) -> Result<Vec<NamespaceSummary>, AccountError> {
        let rows = self
            .query(
                named(
                    "SELECT n.name, m.role, n.created_unix_ms FROM members m JOIN namespaces n ON n.id = m.namespace_id \
                     WHERE m.subject = :subject ORDER BY n.name",
                    [("subject", text(wallet.subject()))],
                ),
                Level::Linearizable,
                deadline,
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(NamespaceSummary {
                    name: stored(row.text("name"))?,
                    role: stored(row.text("role"))?,
                    created_unix_ms: row.integer("created_unix_ms"),
                })
            })
            .collect()
    }

    /// Everybody who belongs to a namespace.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn members(&self, namespace: &Namespace, deadline: Instant) -> Result<Vec<Member>, AccountError> {
        let rows = self
            .query(
                named(
                    "SELECT m.subject, m.role, m.created_unix_ms FROM members m JOIN namespaces n ON n.id = m.namespace_id \
                     WHERE n.name = :name ORDER BY m.created_unix_ms, m.subject",
                    [("name", text(namespace.as_str()))],
                ),
                Level::Linearizable,
                deadline,
            )
            .await?;
        rows.iter().map(member).collect()
    }

    /// Takes somebody in, or gives a member another role below the owner's; the keys that they have made end then.
    ///
    /// # Errors
    /// [`AccountError::IsOwner`], [`AccountError::TooMany`], [`AccountError::NoSuchNamespace`], or the cluster's.
    pub async fn set_member(
        &self,
        namespace: &Namespace,
        wallet: &WalletAddress,
        role: AccessRole,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        if role == AccessRole::Owner {
            return Err(AccountError::IsOwner);
        }
        let values = || [("name", text(namespace.as_str())), ("subject", text(wallet.subject()))];
        let statements = vec![
            expecting_one(named("SELECT 1 FROM namespaces WHERE name = :name", [values()[0].clone()])),
            expecting_one(named(
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM members m JOIN namespaces n ON n.id = m.namespace_id \
                 WHERE n.name = :name AND m.subject = :subject AND m.role = 'owner')",
                values(),
            )),
            expecting_one(named(
                "SELECT 1 WHERE (SELECT count(*) FROM members m JOIN namespaces n ON n.id = m.namespace_id \
                 WHERE n.name = :name AND m.subject <> :subject) < :max",
                {
                    let [name, subject] = values();
                    [name, subject, ("max", Value::Integer(limits::MEMBERS_PER_NAMESPACE_MAX))]
                },
            )),
            named(
                "INSERT INTO members (namespace_id, subject, role, invited_by) \
                 SELECT id, :subject, :role, :actor FROM namespaces WHERE name = :name \
                 ON CONFLICT (namespace_id, subject) DO UPDATE SET role = excluded.role",
                {
                    let [name, subject] = values();
                    [name, subject, ("role", text(role.to_string())), ("actor", text(actor.name()))]
                },
            ),
            // What somebody has handed on may be more than they may now.
            super::keys::end_keys_made_by(namespace, &wallet.subject()),
            audit(namespace, actor.name(), "member.set", &format!("{} {role}", wallet.subject())),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(0, _) => Err(AccountError::NoSuchNamespace(namespace.clone())),
            Transacted::Unmet(1, _) => Err(AccountError::IsOwner),
            Transacted::Unmet(..) => {
                Err(AccountError::TooMany { what: "members", max: limits::MEMBERS_PER_NAMESPACE_MAX })
            }
        }
    }

    /// Lets a member go; their logins here and the keys that they have made end.
    ///
    /// # Errors
    /// [`AccountError::IsOwner`], [`AccountError::NoSuchMember`], or the cluster's.
    pub async fn remove_member(
        &self,
        namespace: &Namespace,
        wallet: &WalletAddress,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let values = [("name", text(namespace.as_str())), ("subject", text(wallet.subject()))];
        let of_member = "namespace_id = (SELECT id FROM namespaces WHERE name = :name) AND subject = :subject";
        let statements = vec![
            expecting_one(named(&format!("SELECT 1 FROM members WHERE {of_member}"), values.clone())),
            expecting_one(named(&format!("DELETE FROM members WHERE {of_member} AND role <> 'owner'"), values)),
            super::keys::end_keys_made_by(namespace, &wallet.subject()),
            audit(namespace, actor.name(), "member.remove", &wallet.subject()),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(0, _) => Err(AccountError::NoSuchMember(wallet.to_string())),
            Transacted::Unmet(..) => Err(AccountError::IsOwner),
        }
    }

    /// Makes another wallet the owner; the owner before stays as an admin.
    ///
    /// # Errors
    /// [`AccountError::NoSuchNamespace`], or the cluster's.
    pub async fn transfer(
        &self,
        namespace: &Namespace,
        to: &WalletAddress,
        actor: &Actor,
        deadline: Instant,
    ) -> Result<(), AccountError> {
        let values = [("name", text(namespace.as_str())), ("subject", text(to.subject()))];
        let statements = vec![
            expecting_one(named("SELECT 1 FROM namespaces WHERE name = :name", [values[0].clone()])),
            named(
                "UPDATE members SET role = 'admin' WHERE role = 'owner' AND subject <> :subject \
                 AND namespace_id = (SELECT id FROM namespaces WHERE name = :name)",
                values.clone(),
            ),
            named(
                "INSERT INTO members (namespace_id, subject, role) SELECT id, :subject, 'owner' FROM namespaces \
                 WHERE name = :name ON CONFLICT (namespace_id, subject) DO UPDATE SET role = 'owner'",
                values,
            ),
            audit(namespace, actor.name(), "namespace.transfer", &to.subject()),
        ];
        match self.transact_by(actor, namespace, statements, deadline).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::Unmet(..) => Err(AccountError::NoSuchNamespace(namespace.clone())),
        }
    }
}

fn member(row: Row<'_>) -> Result<Member, AccountError> {
    let wallet = WalletAddress::from_subject(row.text("subject"));
    Ok(Member {
        wallet: wallet.map_err(|error| damaged(&error))?,
        role: stored(row.text("role"))?,
        created_unix_ms: row.integer("created_unix_ms"),
    })
}

/// Reads what only we write.
pub(super) fn stored<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, AccountError> {
    text.parse().map_err(|error: T::Err| damaged(&error))
}

fn damaged(error: &dyn std::fmt::Display) -> AccountError {
    AccountError::Cluster(ClusterError::Storage(format!("the accounts are damaged: {error}")))
}

/// A statement that must find or change exactly one row.
pub(super) fn expecting_one(statement: Statement) -> Statement {
    Statement { expect: Some(Expect::exactly(1)), ..statement }
}
