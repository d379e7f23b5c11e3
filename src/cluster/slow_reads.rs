//! Turns for reads that take longer than the first attempt on the worker that received them. More of them at once than
//! there are cores would only take the cores from each other, and all of them from quick requests; and one namespace
//! leaves a core to the others.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, Weak};
use std::thread::available_parallelism;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::ClusterError;
use crate::types::Namespace;

/// Who may read slowly.
pub(super) struct SlowReads {
    all: Arc<Semaphore>,
    per_namespace: usize,
    /// Of the namespaces that read or wait now.
    namespaces: Mutex<HashMap<Namespace, Weak<Semaphore>>>,
}

/// Somebody's turn, until it is dropped.
pub(super) struct Turn {
    _among_all: OwnedSemaphorePermit,
    _in_namespace: OwnedSemaphorePermit,
}

impl SlowReads {
    pub(super) fn new() -> SlowReads {
        SlowReads::for_cores(available_parallelism().map_or(1, NonZero::get))
    }

    fn for_cores(cores: usize) -> SlowReads {
        let all = cores.max(2);
        SlowReads { all: Arc::new(Semaphore::new(all)), per_namespace: all - 1, namespaces: Mutex::default() }
    }

    /// Waits for a turn. A namespace that has its share waits for itself, and takes nobody's place meanwhile.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`] when there is none before the deadline.
    pub(super) async fn turn(&self, namespace: &Namespace, deadline: Instant) -> Result<Turn, ClusterError> {
        let of_namespace = self.of_namespace(namespace);
        let both = async { Ok((of_namespace.acquire_owned().await?, self.all.clone().acquire_owned().await?)) };
        let both: Result<_, tokio::sync::AcquireError> =
            timeout_at(deadline.into(), both).await.map_err(|_| ClusterError::Overloaded)?;
        let (in_namespace, among_all) = both.map_err(|_| ClusterError::Stopping)?;
        Ok(Turn { _among_all: among_all, _in_namespace: in_namespace })
    }

    fn of_namespace(&self, namespace: &Namespace) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().expect("nobody panics while holding it");
        if let Some(known) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        namespaces.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.per_namespace));
        namespaces.insert(namespace.clone(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn named(name: &str) -> Namespace {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn a_namespace_leaves_a_turn_to_others() {
        for cores in [1, 2, 4] {
            let reads = SlowReads::for_cores(cores);
            let (loud, quiet) = (named("loud"), named("quiet"));
            let mut held = Vec::new();
            for _ in 1..cores.max(2) {
                held.push(reads.turn(&loud, soon()).await.expect("its share"));
            }
            assert!(matches!(reads.turn(&loud, soon()).await, Err(ClusterError::Overloaded)), "{cores} cores");
            drop(reads.turn(&quiet, soon()).await.expect("there is one left"));
            held.pop();
            held.push(reads.turn(&loud, soon()).await.expect("it is free again"));
            drop(held);
            drop(reads.turn(&quiet, soon()).await.expect("there are all"));
            assert_eq!(reads.namespaces.lock().expect("no panic").len(), 1, "who is done is forgotten");
        }
    }
}
