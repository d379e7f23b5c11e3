//! Who may do what: namespaces and their members, logins, API keys, signing keys, registered applications.
//!
//! All of it is rows of one database, `_accounts`, that is replicated like a tenant's and that no tenant can reach. Each
//! operation is one SQL transaction through the log whose statements say how many rows they must find
//! ([`Expect`](crate::types::statement::Expect)): a nonce is marked used in the entry that accepts it, two nodes cannot
//! redeem one refresh token, and an operation that is not allowed changes nothing.
//!
//! Secrets never get here in the clear: keys, tokens and nonces are stored as hashes, signing keys are sealed with the
//! cluster's secret, which only members and admitted gateways have and which is never in the log.
//!
//! What is asked for with every request, whom a credential belongs to, is answered from this process's replica and
//! remembered for [`CREDENTIAL_CACHE_MAX`](crate::types::limits::CREDENTIAL_CACHE_MAX); only what is not found there is
//! looked for in the whole cluster. So a revoked credential ends everywhere within seconds, and a new one works at once.

mod actor;
mod apps;
mod error;
mod identity;
mod keys;
mod login;
mod migrations;
mod namespaces;
mod rows;
mod sessions;
mod signing;
mod tickets;
mod upkeep;

pub use actor::Actor;
pub use apps::App;
pub use error::AccountError;
pub use identity::Identified;
pub use keys::{CreatedKey, KeyRequest, StoredKey};
pub use login::{Challenge, Proof, Purpose, Registered};
pub use migrations::{MigrationError, MigrationFile, migrate};
pub use namespaces::{Member, NamespaceSummary};
pub use sessions::Tokens;
pub use tickets::{Lasting, TicketMaker};
pub use upkeep::{UpkeepError, keep};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::identity::Identities;
use self::rows::{Table, named, text};
use self::signing::Ring;
use crate::auth::challenge_fields::InvalidField;
use crate::auth::{BareNonce, RelyingParty, SolanaCluster};
use crate::cluster::{AnyCluster, ClusterError, Level, Read};
use crate::types::command::{Atomicity, Execute, RowsWanted};
use crate::types::statement::{StatementError, StatementErrorKind, StatementResult};
use crate::types::{ClusterSecret, Command, Namespace, Outcome, Statement};

/// What the operator decides about accounts.
#[derive(Clone, Debug)]
pub struct AccountOptions {
    /// Whether a wallet may take a free name.
    pub sign_up: SignUp,
    /// Whether a signature of the bare nonce is enough.
    pub bare_nonce: BareNonce,
    /// Who asks for signatures, as wallets show it.
    pub party: Party,
    /// How long what is given out is good.
    pub lifetimes: Lifetimes,
}

/// How long secrets are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// A challenge, until it is answered.
    pub challenge: Duration,
    /// An access token; at most [`crate::types::limits::ACCESS_TOKEN_TTL`], beyond which no gateway takes it.
    pub access_token: Duration,
    /// A session, from its last refresh.
    pub refresh_token: Duration,
}

/// Who asks for signatures: what goes into [`RelyingParty`], which checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Host and port.
    pub domain: String,
    /// The address of what is logged in to.
    pub uri: String,
    /// The chain that Ethereum wallets sign for.
    pub chain_id: u64,
    /// The network that Solana wallets sign for.
    pub solana_cluster: SolanaCluster,
}

impl Party {
    /// The same, checked.
    ///
    /// # Errors
    /// [`InvalidField`] when a member could not stand in a text to sign.
    pub fn relying_party(&self) -> Result<RelyingParty, InvalidField> {
        RelyingParty::new(&self.domain, &self.uri, self.chain_id, self.solana_cluster)
    }
}

/// Whether a wallet may take a free name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// The first wallet that comes owns it.
    Open,
    /// Namespaces are made by the operator only.
    Closed,
}

/// The accounts of a cluster. Clones share them.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: AnyCluster,
    secret: ClusterSecret,
    options: AccountOptions,
    identities: Identities,
    ring: Ring,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

/// What became of a transaction.
enum Transacted {
    /// Every statement did what it had to.
    Done(Vec<StatementResult>),
    /// The statement at this position did not; nothing was done.
    Unmet(usize, StatementError),
}

impl Accounts {
    /// The accounts that this cluster keeps.
    pub fn new(cluster: AnyCluster, secret: ClusterSecret, options: AccountOptions) -> Accounts {
        let inner = Inner { cluster, secret, options, identities: Identities::default(), ring: Ring::default() };
        Accounts { inner: Arc::new(inner) }
    }

    /// The cluster that keeps them.
    pub fn cluster(&self) -> &AnyCluster {
        &self.inner.cluster
    }

    /// What the operator decided.
    pub fn options(&self) -> &AccountOptions {
        &self.inner.options
    }

    /// Carries out a transaction. Only an unmet expectation or a broken constraint is told by its position: any other
    /// failure of our own statements is a defect or a schema that is not there yet.
    async fn transact(&self, statements: Vec<Statement>, deadline: Instant) -> Result<Transacted, AccountError> {
        let mut execute = Execute::new(Namespace::accounts(), statements);
        execute.atomicity = Atomicity::Transaction;
        // A transaction tells what it has found, a member's role for instance, not only what it has changed.
        execute.rows = RowsWanted::FromAll;
        let applied = self.cluster().submit(Command::Execute(execute), deadline).await.map_err(AccountError::of)?;
        let Outcome::Executed(executed) = applied.outcome else {
            return Err(AccountError::Cluster(ClusterError::Storage("a transaction gave no result".to_owned())));
        };
        match executed.results.last() {
            Some(StatementResult::Failed(error)) => {
                let constraint = error.message.contains("constraint failed");
                if error.kind == StatementErrorKind::Expectation || constraint {
                    Ok(Transacted::Unmet(executed.results.len() - 1, error.clone()))
                } else {
                    Err(AccountError::of_statement(error))
                }
            }
            _ => Ok(Transacted::Done(executed.results)),
        }
    }

    /// Rows of one query.
    async fn query(&self, statement: Statement, level: Level, deadline: Instant) -> Result<Table, AccountError> {
        let read = Read::new(Namespace::accounts(), vec![statement], level);
        let answer = self.cluster().read(read, deadline).await.map_err(AccountError::of)?;
        Table::only(answer.results).map_err(AccountError::of)
    }
}

/// A line of the audit trail.
fn audit(namespace: &Namespace, actor: &str, action: &str, resource: &str) -> Statement {
    named(
        "INSERT INTO audit_events (namespace, actor, action, resource) VALUES (:namespace, :actor, :action, :resource)",
        [
            ("namespace", text(namespace.as_str())),
            ("actor", text(actor)),
            ("action", text(action)),
            ("resource", text(resource)),
        ],
    )
}

/// The time of day here, in milliseconds since 1970.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A duration as the log counts it.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Random bytes for secrets.
fn random<const N: usize>() -> Result<[u8; N], AccountError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AccountError::Cluster(ClusterError::Storage(error.to_string())))?;
    Ok(bytes)
}
