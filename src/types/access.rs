//! Who may do what in a namespace: the roles of its people, and what requests need of a role or of an API key.
//!
//! [`Action::requirement`] is the whole table. Deciding over a caller is the business of `auth`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Scope, excerpt};

/// What a wallet is in a namespace. Each role may do everything that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessRole {
    /// Reads.
    Reader,
    /// Writes.
    Writer,
    /// Manages keys and members, owners excepted.
    Admin,
    /// Transfers and deletes the namespace.
    Owner,
}

/// A text that is no role.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a role (expected owner, admin, writer or reader)")]
pub struct InvalidAccessRole(String);

/// What a request wants to do in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Be told who one is.
    Identify,
    /// See the state of the network.
    ReadNetwork,
    /// Connect and disconnect peers.
    OperateNetwork,
    /// Query the database.
    ReadSql,
    /// Change the database, its schema included.
    WriteSql,
    /// Read and watch keys.
    ReadKv,
    /// Change keys.
    WriteKv,
    /// Receive messages.
    Subscribe,
    /// Send messages.
    Publish,
    /// See the apps.
    ReadApps,
    /// Register, change and remove apps.
    ManageApps,
    /// See the members.
    ReadMembers,
    /// Invite, change or remove a member. The role is the highest that the member has before or after.
    ManageMember(AccessRole),
    /// List, make, rotate and revoke API keys.
    ManageKeys,
    /// Make another wallet the owner.
    TransferNamespace,
    /// Delete the namespace and what is in it.
    DeleteNamespace,
}

/// What it takes to do an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The least role of a wallet; `None` when only the operator may.
    pub role: Option<AccessRole>,
    /// What an API key needs.
    pub key: KeyRequirement,
}

/// What an API key needs for an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRequirement {
    /// Any key of the namespace will do.
    Valid,
    /// The key has this scope.
    Scope(Scope),
    /// No key may: a key can be stolen from where programs keep it, and this could not be taken back.
    Never,
}

impl Action {
    /// What it takes to do this.
    pub fn requirement(self) -> Requirement {
        use AccessRole::{Admin, Owner, Reader, Writer};
        use KeyRequirement::{Never, Valid};
        let of = |role, scope| Requirement { role: Some(role), key: KeyRequirement::Scope(scope) };
        match self {
            Action::Identify | Action::ReadNetwork => Requirement { role: Some(Reader), key: Valid },
            Action::OperateNetwork => Requirement { role: None, key: Never },
            Action::ReadSql => of(Reader, Scope::SqlRead),
            Action::WriteSql => of(Writer, Scope::SqlWrite),
            Action::ReadKv => of(Reader, Scope::KvRead),
            Action::WriteKv => of(Writer, Scope::KvWrite),
            Action::Subscribe => of(Reader, Scope::PubsubSubscribe),
            Action::Publish => of(Writer, Scope::PubsubPublish),
            Action::ReadApps => of(Reader, Scope::Apps),
            Action::ManageApps => of(Writer, Scope::Apps),
            Action::ReadMembers => of(Reader, Scope::Admin),
            Action::ManageMember(Owner) => Requirement { role: Some(Owner), key: Never },
            Action::ManageMember(_) | Action::ManageKeys => of(Admin, Scope::Admin),
            Action::TransferNamespace | Action::DeleteNamespace => Requirement { role: Some(Owner), key: Never },
        }
    }
}

impl AccessRole {
    /// All, the least first.
    pub const ALL: [AccessRole; 4] = [AccessRole::Reader, AccessRole::Writer, AccessRole::Admin, AccessRole::Owner];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessRole::Reader => "reader",
            AccessRole::Writer => "writer",
            AccessRole::Admin => "admin",
            AccessRole::Owner => "owner",
        }
    }
}

impl fmt::Display for AccessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccessRole {
    type Err = InvalidAccessRole;

    fn from_str(text: &str) -> Result<AccessRole, InvalidAccessRole> {
        [AccessRole::Reader, AccessRole::Writer, AccessRole::Admin, AccessRole::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidAccessRole(excerpt(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_named() {
        let roles = [AccessRole::Reader, AccessRole::Writer, AccessRole::Admin, AccessRole::Owner];
        assert!(roles.is_sorted());
        for role in roles {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).expect("text"), format!("\"{role}\""));
        }
        assert!("Owner".parse::<AccessRole>().is_err() && "".parse::<AccessRole>().is_err());
    }
}
