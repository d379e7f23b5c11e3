//! Turns for writes: one namespace's flood of them leaves another's writes their speed.
//!
//! All writes share one log, and a batch of it is carried out one namespace's file after the other. Alone, a namespace
//! puts into a batch whatever it has; that is how many clients at once become fast. But beside a namespace that waits for
//! one write at a time, hundreds in flight only mean that it waits for hundreds. So while another namespace writes at
//! this process, a namespace has in flight as many as the other one, and its rest stands in line. Two busy ones hardly
//! notice each other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::ClusterError;
use crate::types::Namespace;

/// Writes that a namespace may have in flight in any case. Beside a client that writes one after the other, that client's
/// slowest writes took half as long again with 1, three times as long with 2, and twelve times without a bound; the
/// namespace itself had three quarters of the throughput with 1 that it had with 2.
const SHARE: usize = 1;

/// A namespace that has written within this time still writes: a client that waits for its answer before it writes again
/// leaves pauses of some milliseconds.
const WRITES_STILL: Duration = Duration::from_millis(50);

/// Who writes.
#[derive(Default)]
pub(super) struct FairWrites {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    by_namespace: HashMap<Namespace, Line>,
    /// Who wrote last, and when; and who else before. More need not be known.
    last: Option<(Namespace, Instant)>,
    before: Option<(Namespace, Instant)>,
}

/// The writes of one namespace.
#[derive(Default)]
struct Line {
    in_flight: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// A write in flight, until it is dropped.
pub(super) struct WriteTurn {
    lines: Arc<Mutex<Lines>>,
    namespace: Namespace,
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().expect("nobody panics while holding it")
}

impl Lines {
    /// How many writes a namespace may have in flight.
    fn most(&self, namespace: &Namespace, now: Instant) -> usize {
        let writes_still = |when: &Instant| now.duration_since(*when) < WRITES_STILL;
        let seen = [&self.last, &self.before].into_iter().flatten();
        let Some((other, _)) = seen.into_iter().find(|(who, when)| who != namespace && writes_still(when)) else {
            return usize::MAX;
        };
        let line = self.by_namespace.get(other);
        SHARE.max(line.map_or(0, |line| line.in_flight + line.waiting.len()))
    }

    fn note(&mut self, namespace: &Namespace, now: Instant) {
        match &mut self.last {
            Some((who, when)) if who == namespace => *when = now,
            _ => self.before = self.last.replace((namespace.clone(), now)),
        }
    }

    /// Lets as many of a line go as may.
    fn advance(&mut self, namespace: &Namespace, now: Instant) {
        let most = self.most(namespace, now);
        let Some(line) = self.by_namespace.get_mut(namespace) else { return };
        while line.in_flight < most
            && let Some(next) = line.waiting.pop_front()
        {
            // Whoever has given up is passed over.
            line.in_flight += usize::from(next.send(()).is_ok());
        }
        if line.in_flight == 0 && line.waiting.is_empty() {
            self.by_namespace.remove(namespace);
        }
    }
}

impl FairWrites {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`] when there is none before the deadline: nothing was written.
    pub(super) async fn turn(&self, namespace: &Namespace, deadline: Instant) -> Result<WriteTurn, ClusterError> {
        let turn = {
            let now = Instant::now();
            let mut lines = lock(&self.lines);
            lines.note(namespace, now);
            let most = lines.most(namespace, now);
            let line = lines.by_namespace.entry(namespace.clone()).or_default();
            if line.waiting.is_empty() && line.in_flight < most {
                line.in_flight += 1;
                return Ok(WriteTurn { lines: self.lines.clone(), namespace: namespace.clone() });
            }
            let (ready, turn) = oneshot::channel();
            line.waiting.push_back(ready);
            turn
        };
        // Dropped with a turn in it, this gives the turn back.
        let mut waiting = Waiting { turn, lines: self.lines.clone(), namespace: namespace.clone(), taken: false };
        let ready = timeout_at(deadline.into(), &mut waiting.turn).await.map_err(|_| ClusterError::Overloaded)?;
        ready.map_err(|_| ClusterError::Stopping)?;
        waiting.taken = true;
        Ok(WriteTurn { lines: self.lines.clone(), namespace: namespace.clone() })
    }
}

/// Somebody in line.
struct Waiting {
    turn: oneshot::Receiver<()>,
    lines: Arc<Mutex<Lines>>,
    namespace: Namespace,
    taken: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.turn.close();
        if !self.taken && self.turn.try_recv().is_ok() {
            give_back(&self.lines, &self.namespace);
        }
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        give_back(&self.lines, &self.namespace);
    }
}

fn give_back(lines: &Mutex<Lines>, namespace: &Namespace) {
    let mut lines = lock(lines);
    if let Some(line) = lines.by_namespace.get_mut(namespace) {
        line.in_flight -= 1;
    }
    lines.advance(namespace, Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Namespace {
        name.parse().expect("a name")
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    async fn turns(writes: &FairWrites, namespace: &str, count: usize) -> Vec<WriteTurn> {
        let mut turns = Vec::new();
        for _ in 0..count {
            turns.push(writes.turn(&named(namespace), soon()).await.expect("a turn"));
        }
        turns
    }

    #[tokio::test]
    async fn alone_a_namespace_has_all_and_beside_another_its_share() {
        let writes = FairWrites::default();
        let mut loud = turns(&writes, "loud", 100).await;
        let quiet = turns(&writes, "quiet", 1).await;
        assert!(matches!(writes.turn(&named("loud"), soon()).await, Err(ClusterError::Overloaded)));
        loud.truncate(SHARE - 1);
        loud.extend(turns(&writes, "loud", 1).await);
        assert!(writes.turn(&named("loud"), soon()).await.is_err());
        drop((loud, quiet));
        assert!(lock(&writes.lines).by_namespace.is_empty());
        tokio::time::sleep(WRITES_STILL).await;
        let busy = turns(&writes, "busy", 10 * SHARE).await;
        let loud = turns(&writes, "loud", 10 * SHARE).await;
        assert!(writes.turn(&named("loud"), soon()).await.is_err(), "as many as the other");
        drop((busy, loud));
    }

    #[tokio::test]
    async fn who_waits_goes_when_the_other_has_stopped() {
        let writes = Arc::new(FairWrites::default());
        let _quiet = turns(&writes, "quiet", 1).await;
        let mut loud = turns(&writes, "loud", SHARE).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let name = named("loud");
        let mut three = Box::pin(async { tokio::join!(writes.turn(&name, deadline), writes.turn(&name, deadline)) });
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut three).await.is_err());
        tokio::time::sleep(WRITES_STILL).await;
        loud.pop();
        let (one, other) = three.await;
        assert!(one.is_ok() && other.is_ok(), "both at once");
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_turn_along() {
        let writes = FairWrites::default();
        let _quiet = turns(&writes, "quiet", 1).await;
        let mut loud = turns(&writes, "loud", SHARE).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let name = named("loud");
        let (mut first, mut second) = (Box::pin(writes.turn(&name, deadline)), Box::pin(writes.turn(&name, deadline)));
        for waiting in [&mut first, &mut second] {
            assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
        }
        drop(first);
        loud.pop();
        // It has been given to the second, who gives up with it in the hand.
        drop(second);
        loud.extend(turns(&writes, "loud", 1).await);
        assert_eq!(lock(&writes.lines).by_namespace[&name].in_flight, SHARE);
    }
}
