//! What the cluster's nodes do for its accounts by themselves: the one that leads brings the schema up to date, makes
//! and renews signing keys, and finishes what a crash left half dropped.

use std::time::{Duration, Instant};

use super::namespaces::stored;
use super::rows::{Table, named};
use super::{AccountError, Accounts, MigrationError, migrations};
use crate::cluster::{ClusterError, Level};
use crate::types::{Command, Namespace};

/// How often a node looks whether it has become the leader, and the leader whether there is anything to do. Only a
/// cluster's first seconds and a crash are waited for.
const ROUND: Duration = Duration::from_millis(500);

/// How often the leader looks again once everything is in order.
const SETTLED_ROUND: Duration = Duration::from_secs(30);

/// How long one step may take.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Runs until its task is cancelled. `leads` tells whether this node leads now.
pub async fn keep(accounts: Accounts, leads: impl Fn() -> bool + Send) {
    let mut last = None;
    loop {
        let due = last.is_none_or(|last: Instant| last.elapsed() >= SETTLED_ROUND);
        if leads() && due {
            match accounts.upkeep().await {
                Ok(()) => last = Some(Instant::now()),
                Err(UpkeepError::Migration(error @ MigrationError::Cluster(_))) => {
                    tracing::debug!(%error, "accounts not kept up yet");
                }
                Err(UpkeepError::Account(error)) => tracing::debug!(%error, "accounts not kept up yet"),
                Err(UpkeepError::Migration(error)) => {
                    tracing::error!(%error, "the accounts' schema cannot be brought up to date");
                    last = Some(Instant::now());
                }
            }
        } else if !leads() {
            last = None;
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Why the accounts could not be set up, or kept up.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// Their schema is not what it should be.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The cluster could not do it.
    #[error(transparent)]
    Account(#[from] AccountError),
}

impl From<ClusterError> for UpkeepError {
    fn from(error: ClusterError) -> UpkeepError {
        UpkeepError::Account(AccountError::Cluster(error))
    }
}

impl Accounts {
    /// Sets the accounts up where they are not, so that whoever comes first finds them. Any node may.
    ///
    /// # Errors
    /// [`UpkeepError`].
    pub async fn prepare(&self) -> Result<(), UpkeepError> {
        self.upkeep().await
    }

    async fn upkeep(&self) -> Result<(), UpkeepError> {
        let deadline = || Instant::now() + STEP_MAX;
        let namespace = Namespace::accounts();
        let create = Command::CreateNamespace { namespace: namespace.clone() };
        if !self.cluster().namespace_exists(&namespace, deadline()).await? {
            self.cluster().submit(create, deadline()).await?;
        }
        migrations::migrate(self.cluster(), &namespace, &migrations::own(), deadline()).await?;
        self.renew_signing_keys(deadline()).await?;
        for namespace in self.half_dropped(deadline()).await? {
            tracing::info!(%namespace, "finishing to drop a namespace");
            self.finish_drop(&namespace, deadline()).await?;
        }
        Ok(())
    }

    async fn half_dropped(&self, deadline: Instant) -> Result<Vec<Namespace>, AccountError> {
        let statement = named("SELECT name FROM namespaces WHERE dropping_unix_ms IS NOT NULL", []);
        let rows: Table = self.query(statement, Level::Weak, deadline).await?;
        rows.iter().map(|row| stored(row.text("name"))).collect()
    }
}
