//! Who changes accounts, and by which right.
//!
//! Who bears a credential is remembered for a moment, and a replica may be behind: long enough for somebody who was just
//! let go to make a key that outlives that. So the right is looked at once more in the log entry that makes the change.

use std::time::Instant;

use super::namespaces::expecting_one;
use super::rows::{named, text};
use super::sessions::NOW;
use super::{AccountError, Accounts, Transacted};
use crate::auth::Grant;
use crate::auth::grant::Who;
use crate::types::{AccessRole, Namespace, Statement, WalletAddress};

/// Who does something.
#[derive(Clone, Debug)]
pub struct Actor {
    name: String,
    right: Right,
}

#[derive(Clone, Debug)]
enum Right {
    /// Nothing in the accounts gives it: the operator's, or by the configuration.
    Outright,
    /// That of an API key, as long as it has this text.
    Key { session: String },
    /// A member's, as long as it has at least this role and the session goes on, if there is one.
    Member { session: Option<String>, least: AccessRole },
}

impl Actor {
    /// Whoever runs the cluster.
    pub fn operator() -> Actor {
        Actor { name: "operator".to_owned(), right: Right::Outright }
    }

    /// The cluster, for its own upkeep.
    pub(super) fn cluster() -> Actor {
        Actor { name: "debros".to_owned(), right: Right::Outright }
    }

    /// A member who has, in whatever way, just shown to be one with this role.
    pub fn member(wallet: &WalletAddress, role: AccessRole) -> Actor {
        Actor { name: wallet.subject(), right: Right::Member { session: None, least: role } }
    }

    /// Whoever has leave for something that accounts let by a role or a key.
    pub fn of(grant: &Grant) -> Actor {
        let session = grant.credential().map(str::to_owned);
        let right = match (grant.who(), session) {
            // What a member may hand on is as much as its role may.
            (Who::Member { role, .. }, session) => Right::Member { session, least: *role },
            (Who::Key { .. }, Some(session)) => Right::Key { session },
            (Who::Key { .. } | Who::Operator | Who::Anonymous { .. }, _) => Right::Outright,
        };
        Actor { name: grant.actor().to_owned(), right }
    }

    /// As the audit trail names it; a member by its subject.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds one row as long as the right lasts.
    fn still_may(&self, namespace: &Namespace) -> Option<Statement> {
        let namespace = ("namespace", text(namespace.as_str()));
        let statement = match &self.right {
            Right::Outright => return None,
            Right::Key { session } => named(
                &format!(
                    "SELECT 1 FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id WHERE {} \
                     AND n.name = :namespace AND (k.expires_unix_ms IS NULL OR k.expires_unix_ms > {NOW})",
                    super::keys::OF_SESSION
                ),
                [namespace, ("session", text(session))],
            ),
            Right::Member { session, least } => {
                let subject = ("subject", text(&self.name));
                let enough: Vec<String> =
                    AccessRole::ALL.iter().filter(|role| *role >= least).map(|role| format!("'{role}'")).collect();
                let of_member = format!(
                    "SELECT 1 FROM members m JOIN namespaces n ON n.id = m.namespace_id WHERE n.name = :namespace \
                     AND m.subject = :subject AND m.role IN ({})",
                    enough.join(", ")
                );
                match session {
                    None => named(&of_member, [namespace, subject]),
                    Some(session) => named(
                        &format!(
                            "{of_member} AND EXISTS (SELECT 1 FROM sessions s WHERE s.id = :session \
                             AND s.namespace_id = n.id AND s.subject = :subject AND s.revoked_unix_ms IS NULL)"
                        ),
                        [namespace, subject, ("session", text(session))],
                    ),
                }
            }
        };
        Some(expecting_one(statement))
    }
}

impl Accounts {
    /// Carries out a transaction if whoever wants it still may.
    ///
    /// # Errors
    /// [`AccountError::RightEnded`] when not; as [`Accounts::transact`] else.
    pub(super) async fn transact_by(
        &self,
        actor: &Actor,
        namespace: &Namespace,
        mut statements: Vec<Statement>,
        deadline: Instant,
    ) -> Result<Transacted, AccountError> {
        let Some(check) = actor.still_may(namespace) else { return self.transact(statements, deadline).await };
        statements.insert(0, check);
        match self.transact(statements, deadline).await? {
            Transacted::Unmet(0, _) => Err(AccountError::RightEnded),
            Transacted::Unmet(position, error) => Ok(Transacted::Unmet(position - 1, error)),
            Transacted::Done(mut results) => {
                results.remove(0);
                Ok(Transacted::Done(results))
            }
        }
    }
}
