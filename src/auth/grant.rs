//! May this caller do that here? The one decision, and the proof that it was made.
//!
//! A [`Principal`] is who stands behind a request, after the credential was checked. [`Principal::grant`] decides by
//! the table in [`Action::requirement`] and nothing else. A [`Grant`] can only come from there, and what acts in a
//! namespace takes one and uses the namespace inside it; so the check cannot be forgotten, nor made for another
//! namespace than the one that is touched.

use std::fmt;

use crate::types::access::KeyRequirement;
use crate::types::{AccessRole, Action, Namespace, Scope, Scopes, WalletAddress};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    who: Who,
    /// Where it may act; `None` is everywhere.
    namespace: Option<Namespace>,
    credential: Option<String>,
}

/// What kind of caller it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A wallet that is a member of the namespace.
    Member {
        /// The wallet.
        wallet: WalletAddress,
        /// What it is there.
        role: AccessRole,
    },
    /// A program with an API key.
    Key {
        /// The key's name.
        id: String,
        /// What the key is for.
        scopes: Scopes,
    },
    /// Whoever runs the cluster.
    Operator,
    /// Nobody in particular.
    Anonymous {
        /// What everybody may do here.
        scopes: Scopes,
    },
}

/// Proof that a caller may do one thing in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    namespace: Namespace,
    action: Action,
    who: Who,
    actor: String,
    credential: Option<String>,
}

/// Why a caller may not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    /// Nobody has said who they are, and not everybody may do this. Credentials would help.
    #[error("this needs an access token or an API key")]
    Unauthenticated,
    /// The credential is for another namespace.
    #[error("this credential is for namespace `{own}`, not `{asked}`")]
    OtherNamespace {
        /// Where it is good.
        own: Namespace,
        /// Where it was used.
        asked: Namespace,
    },
    /// The wallet's role is too low.
    #[error("this needs the role {needed}; the wallet is {has}")]
    Role {
        /// The least role that would do.
        needed: AccessRole,
        /// The role it has.
        has: AccessRole,
    },
    /// The key lacks a scope.
    #[error("this needs an API key with the scope {needed}")]
    Scope {
        /// The scope that would do.
        needed: Scope,
    },
    /// No API key may do this.
    #[error("this cannot be done with an API key; sign in with the owner's wallet")]
    WalletOnly,
    /// Only the operator may do this.
    #[error("only the operator of the cluster may do this")]
    OperatorOnly,
}

impl Principal {
    /// A wallet with its present role in `namespace`, signed in with `session`.
    pub fn member(wallet: WalletAddress, role: AccessRole, namespace: Namespace, session: String) -> Principal {
        Principal { who: Who::Member { wallet, role }, namespace: Some(namespace), credential: Some(session) }
    }

    /// The API key called `id`, which opens `namespace`; `session` names it in its present text, unless it is from the
    /// configuration.
    pub fn key(id: String, scopes: Scopes, namespace: Namespace, session: Option<String>) -> Principal {
        Principal { who: Who::Key { id, scopes }, namespace: Some(namespace), credential: session }
    }

    /// The operator, who acts in whichever namespace a request is for.
    pub fn operator() -> Principal {
        Principal { who: Who::Operator, namespace: None, credential: None }
    }

    /// Somebody without credentials. `scopes` is what is open to everybody in `namespace`; [`Scopes::NONE`] as a rule.
    pub fn anonymous(namespace: Namespace, scopes: Scopes) -> Principal {
        Principal { who: Who::Anonymous { scopes }, namespace: Some(namespace), credential: None }
    }

    /// The same in one namespace only; `None` for who acts in another.
    pub fn confined_to(self, namespace: &Namespace) -> Option<Principal> {
        let here = self.namespace.as_ref().is_none_or(|own| own == namespace);
        here.then(|| Principal { namespace: Some(namespace.clone()), ..self })
    }

    /// What kind of caller it is.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// The namespace in which it acts; `None` for the operator, who acts where asked.
    pub fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// The session, or stored API key in its present text, that it came with.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// Permission to do `action` in `namespace`.
    ///
    /// # Errors
    ///
    /// [`Denied`], with what would have helped.
    pub fn grant(&self, namespace: &Namespace, action: Action) -> Result<Grant, Denied> {
        if let Some(own) = self.namespace.as_ref().filter(|own| *own != namespace) {
            return Err(match self.who {
                Who::Anonymous { .. } => Denied::Unauthenticated,
                _ => Denied::OtherNamespace { own: own.clone(), asked: namespace.clone() },
            });
        }
        let requirement = action.requirement();
        match &self.who {
            Who::Operator => Ok(()),
            Who::Member { role, .. } => member_may(*role, requirement.role),
            Who::Key { .. } if requirement.role.is_none() => Err(Denied::OperatorOnly),
            Who::Key { scopes, .. } => key_may(*scopes, requirement.key),
            // Whatever is open to everybody, handing out keys is not.
            Who::Anonymous { scopes } => match requirement.key {
                KeyRequirement::Scope(scope) => scope != Scope::Admin && scopes.contains(scope),
                KeyRequirement::Valid => !scopes.is_empty(),
                KeyRequirement::Never => false,
            }
            .then_some(())
            .ok_or(Denied::Unauthenticated),
        }?;
        let (who, credential) = (self.who.clone(), self.credential.clone());
        Ok(Grant { namespace: namespace.clone(), action, who, actor: self.to_string(), credential })
    }
}

fn member_may(has: AccessRole, needed: Option<AccessRole>) -> Result<(), Denied> {
    match needed {
        None => Err(Denied::OperatorOnly),
        Some(needed) if has < needed => Err(Denied::Role { needed, has }),
        Some(_) => Ok(()),
    }
}

fn key_may(scopes: Scopes, needed: KeyRequirement) -> Result<(), Denied> {
    match needed {
        KeyRequirement::Never => Err(Denied::WalletOnly),
        KeyRequirement::Scope(needed) if !scopes.contains(needed) => Err(Denied::Scope { needed }),
        KeyRequirement::Scope(_) | KeyRequirement::Valid => Ok(()),
    }
}

/// The caller as the log and the audit name it.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Member { wallet, .. } => f.write_str(&wallet.subject()),
            Who::Key { id, .. } => write!(f, "key:{id}"),
            Who::Operator => f.write_str("operator"),
            Who::Anonymous { .. } => f.write_str("anonymous"),
        }
    }
}

impl Grant {
    /// Where.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What.
    pub fn action(&self) -> Action {
        self.action
    }

    /// What kind of caller it is.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Who: a wallet's subject, `key:<id>`, `operator` or `anonymous`.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// With which session, or stored API key in its present text.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Chain;
    use AccessRole::{Admin, Owner, Reader, Writer};

    const ACTIONS: [Action; 19] = [
        Action::Identify,
        Action::ReadNetwork,
        Action::OperateNetwork,
        Action::ReadSql,
        Action::WriteSql,
        Action::ReadKv,
        Action::WriteKv,
        Action::Subscribe,
        Action::Publish,
        Action::ReadApps,
        Action::ManageApps,
        Action::ReadMembers,
        Action::ManageMember(Reader),
        Action::ManageMember(Writer),
        Action::ManageMember(Admin),
        Action::ManageMember(Owner),
        Action::ManageKeys,
        Action::TransferNamespace,
        Action::DeleteNamespace,
    ];

    fn home() -> Namespace {
        "home".parse().expect("valid")
    }

    fn member(role: AccessRole) -> Principal {
        let wallet = WalletAddress::parse(Chain::Ethereum, "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        Principal::member(wallet.expect("valid"), role, home(), "s1".into())
    }

    fn key(scopes: Scopes) -> Principal {
        Principal::key("k1".into(), scopes, home(), Some("k1.0102030405060708".into()))
    }

    fn allowed(principal: &Principal) -> Vec<Action> {
        ACTIONS.into_iter().filter(|action| principal.grant(&home(), *action).is_ok()).collect()
    }

    #[test]
    fn each_role_may_what_it_is_for() {
        use Action::*;
        let reader = vec![Identify, ReadNetwork, ReadSql, ReadKv, Subscribe, ReadApps, ReadMembers];
        assert_eq!(allowed(&member(Reader)), reader);
        let added = |more: AccessRole, less: AccessRole| {
            let less = allowed(&member(less));
            let more = allowed(&member(more));
            assert!(less.iter().all(|action| more.contains(action)), "a higher role may less");
            more.into_iter().filter(|action| !less.contains(action)).collect::<Vec<_>>()
        };
        assert_eq!(added(Writer, Reader), [WriteSql, WriteKv, Publish, ManageApps]);
        let admin = [ManageMember(Reader), ManageMember(Writer), ManageMember(Admin), ManageKeys];
        assert_eq!(added(Admin, Writer), admin);
        assert_eq!(added(Owner, Admin), [ManageMember(Owner), TransferNamespace, DeleteNamespace]);
        assert_eq!(member(Owner).grant(&home(), OperateNetwork), Err(Denied::OperatorOnly));
        assert_eq!(member(Reader).grant(&home(), WriteKv), Err(Denied::Role { needed: Writer, has: Reader }));
    }

    #[test]
    fn a_key_may_what_its_scopes_say() {
        use Action::*;
        let scoped = [
            (Scope::SqlRead, vec![ReadSql]),
            (Scope::SqlWrite, vec![WriteSql]),
            (Scope::KvRead, vec![ReadKv]),
            (Scope::KvWrite, vec![WriteKv]),
            (Scope::PubsubSubscribe, vec![Subscribe]),
            (Scope::PubsubPublish, vec![Publish]),
            (Scope::Apps, vec![ReadApps, ManageApps]),
            (
                Scope::Admin,
                vec![ReadMembers, ManageMember(Reader), ManageMember(Writer), ManageMember(Admin), ManageKeys],
            ),
        ];
        for (scope, actions) in scoped {
            let may = allowed(&key(Scopes::of(&[scope])));
            assert_eq!(may, [vec![Identify, ReadNetwork], actions].concat(), "{scope}");
        }
        let denied = key(Scopes::DATA).grant(&home(), ManageKeys);
        assert_eq!(denied, Err(Denied::Scope { needed: Scope::Admin }));
    }

    #[test]
    fn no_key_may_what_only_a_wallet_may() {
        for action in [Action::ManageMember(Owner), Action::TransferNamespace, Action::DeleteNamespace] {
            assert_eq!(key(Scopes::ALL).grant(&home(), action), Err(Denied::WalletOnly), "{action:?}");
        }
        assert_eq!(key(Scopes::ALL).grant(&home(), Action::OperateNetwork), Err(Denied::OperatorOnly));
    }

    #[test]
    fn everybody_acts_in_one_namespace_and_the_operator_where_asked() {
        let away = Namespace::default_namespace();
        for action in ACTIONS {
            for principal in [member(Owner), key(Scopes::ALL)] {
                let denied = Denied::OtherNamespace { own: home(), asked: away.clone() };
                assert_eq!(principal.grant(&away, action), Err(denied), "{principal} {action:?}");
            }
            let grant = Principal::operator().grant(&away, action).expect("the operator may");
            assert_eq!((grant.namespace(), grant.action(), grant.actor()), (&away, action, "operator"));
        }
    }

    #[test]
    fn a_caller_can_be_confined_to_a_namespace_but_not_moved_to_another() {
        let away = Namespace::default_namespace();
        let operator = Principal::operator().confined_to(&home()).expect("it acts everywhere");
        assert!(operator.grant(&home(), Action::Subscribe).is_ok());
        let denied = Denied::OtherNamespace { own: home(), asked: away.clone() };
        assert_eq!(operator.grant(&away, Action::Subscribe), Err(denied));
        assert_eq!(key(Scopes::ALL).confined_to(&home()), Some(key(Scopes::ALL)));
        assert_eq!(key(Scopes::ALL).confined_to(&away), None);
    }

    #[test]
    fn nobody_in_particular_may_what_is_open_to_everybody() {
        for action in ACTIONS {
            let closed = Principal::anonymous(home(), Scopes::NONE);
            assert_eq!(closed.grant(&home(), action), Err(Denied::Unauthenticated), "{action:?}");
            let open = Principal::anonymous(home(), Scopes::ALL);
            let data = key(Scopes::DATA).grant(&home(), action).is_ok();
            assert_eq!(open.grant(&home(), action).is_ok(), data, "{action:?}");
            assert_eq!(open.grant(&Namespace::default_namespace(), action), Err(Denied::Unauthenticated));
        }
    }

    #[test]
    fn a_grant_names_its_actor() {
        let grant = member(Reader).grant(&home(), Action::ReadKv).expect("may");
        assert_eq!(grant.actor(), "eip155:0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert_eq!(grant.credential(), Some("s1"));
        let grant = key(Scopes::ALL).grant(&home(), Action::ReadKv).expect("may");
        assert_eq!((grant.actor(), grant.credential()), ("key:k1", Some("k1.0102030405060708")));
    }
}
