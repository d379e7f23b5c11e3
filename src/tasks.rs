//! The one door to `tokio::spawn`: every task belongs to a [`Tasks`], which cancels and joins it.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An owner of tasks. Clones own the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl Tasks {
    /// An owner without tasks.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// A token that is cancelled when this owner stops; tasks select on it.
    pub fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Runs a task until it ends by itself; it should end soon after [`Tasks::cancelled`].
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(future))
    }

    /// Runs a task and drops it at its next wait once this owner stops.
    pub fn spawn_until_cancelled<F>(&self, future: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let cancelled = self.cancelled.clone();
        self.spawn(async move { cancelled.run_until_cancelled(future).await })
    }

    /// Cancels every task and waits for them. `false` when some still ran after `grace`.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.cancelled.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_joins_every_task() {
        let tasks = Tasks::new();
        let token = tasks.cancelled();
        tasks.spawn(async move { token.cancelled().await });
        tasks.spawn_until_cancelled(std::future::pending::<()>());
        assert!(tasks.stop(Duration::from_secs(5)).await);
    }
}
