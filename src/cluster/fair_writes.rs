//! Turns for writes, at the leader: one namespace's flood of them leaves another's writes their speed.
//!
//! All writes share one log, and a batch of it is carried out by one thread, one namespace's file after the other. Alone,
//! a namespace puts into a batch whatever it has; that is how many clients at once become fast. But beside a namespace
//! that waits for one write at a time, hundreds in flight only mean that it waits for hundreds. So while others write, a
//! namespace has in flight as many as the one of them that has the fewest, and its rest stands in line. Busy ones hardly
//! notice each other.
//!
//! A write that takes long holds up all others, however few there are. So its namespace pauses after it while others
//! write, and has few in flight even alone: whoever comes then does not wait for many, and such writes gain nothing from
//! a common batch.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout_at};

use super::ClusterError;
use crate::types::Namespace;

/// Writes that a namespace may have in flight in any case. Beside a client that writes one after the other, that client's
/// slowest writes took half as long again with 1, three times as long with 2, and twelve times without a bound; the
/// namespace itself had three quarters of the throughput with 1 that it had with 2.
const SHARE: usize = 1;

/// A namespace that has written within this time still writes: a client that waits for its answer before it writes again
/// leaves pauses of some milliseconds. One that leaves longer ones feels less of a flood, beside them.
const WRITES_STILL: Duration = Duration::from_millis(10);

/// Work after which a namespace pauses. Most writes take some ten microseconds.
const LONG_WORK: Duration = Duration::from_millis(2);

/// Long writes in flight of a namespace that writes alone: while one is carried out, another is on its way.
const LONG_ALONE: usize = 2;

/// The least pause: about a hundred requests of a client that waits for each, so that fewer than one of a hundred meets
/// the next long write.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest, whatever the write took.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Most writes of a namespace in line: beyond them it is told at once that it writes too much.
const LINE_MAX: usize = 1024;

/// Others that have written within this time are worth a pause.
const WORTH_A_PAUSE: Duration = Duration::from_secs(1);

/// Who writes.
#[derive(Default)]
pub(super) struct FairWrites {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    by_namespace: HashMap<Namespace, Line>,
    tidied: Option<Instant>,
}

/// The writes of one namespace.
#[derive(Default)]
struct Line {
    in_flight: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
    /// When a write came or ended last.
    came: Option<Instant>,
    /// Whether the last one took long.
    long: bool,
    /// No other write before, while others write.
    pauses_until: Option<Instant>,
}

/// A write in flight, until it is dropped.
pub(super) struct WriteTurn {
    lines: Arc<Mutex<Lines>>,
    namespace: Namespace,
    /// Carried out now, as far as is known.
    proposed: bool,
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().expect("nobody panics while holding it")
}

impl Line {
    fn count(&self) -> usize {
        self.in_flight + self.waiting.len()
    }

    fn pauses(&self, now: Instant) -> bool {
        self.pauses_until.is_some_and(|until| until > now)
    }

    /// Whether it has something to write, or had within some time.
    fn writes(&self, within: Duration, now: Instant) -> bool {
        self.count() > 0 || self.came.is_some_and(|came| now.duration_since(came) < within)
    }
}

impl Lines {
    /// The others that write.
    fn others(&self, namespace: &Namespace, within: Duration, now: Instant) -> impl Iterator<Item = &Line> {
        let others = self.by_namespace.iter().filter(move |(who, line)| *who != namespace && line.writes(within, now));
        others.map(|(_, line)| line)
    }

    /// How many writes a namespace may have in flight.
    fn most(&self, namespace: &Namespace, now: Instant) -> usize {
        let alone =
            if self.by_namespace.get(namespace).is_some_and(|line| line.long) { LONG_ALONE } else { usize::MAX };
        // Of what pauses nothing is in flight.
        let others = self.others(namespace, WRITES_STILL, now).filter(|line| !line.pauses(now));
        let fewest = others.map(Line::count).min();
        fewest.map_or(alone, |fewest| fewest.max(SHARE).min(alone))
    }

    /// How long a namespace that has its turn still pauses.
    fn pause(&self, namespace: &Namespace, now: Instant) -> Option<Instant> {
        let until = self.by_namespace.get(namespace).filter(|line| line.pauses(now))?.pauses_until?;
        self.others(namespace, WORTH_A_PAUSE, now).next().map(|_| until)
    }

    /// Takes note of a write, and forgets who has not written for long.
    fn come(&mut self, namespace: &Namespace, now: Instant) -> &mut Line {
        if self.tidied.is_none_or(|tidied| now.duration_since(tidied) >= WORTH_A_PAUSE) {
            self.tidied = Some(now);
            self.by_namespace.retain(|_, line| line.writes(WORTH_A_PAUSE, now) || line.pauses(now));
        }
        let line = self.by_namespace.entry(namespace.clone()).or_default();
        line.came = Some(now);
        line
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
    }
}

impl FairWrites {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`ClusterError::Overloaded`] when there is none before the deadline: nothing was written.
    pub(super) async fn turn(&self, namespace: &Namespace, deadline: Instant) -> Result<WriteTurn, ClusterError> {
        let turn = self.stand_in_line(namespace, deadline).await?;
        let pause = lock(&self.lines).pause(namespace, Instant::now());
        if let Some(until) = pause {
            sleep_until(until.min(deadline).into()).await;
            if until > deadline {
                return Err(ClusterError::Overloaded);
            }
        }
        Ok(turn)
    }

    async fn stand_in_line(&self, namespace: &Namespace, deadline: Instant) -> Result<WriteTurn, ClusterError> {
        let turn = {
            let now = Instant::now();
            let mut lines = lock(&self.lines);
            let most = lines.most(namespace, now);
            let line = lines.come(namespace, now);
            if line.waiting.is_empty() && line.in_flight < most {
                line.in_flight += 1;
                return Ok(WriteTurn { lines: self.lines.clone(), namespace: namespace.clone(), proposed: false });
            }
            if line.waiting.len() >= LINE_MAX {
                return Err(ClusterError::Overloaded);
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
        Ok(WriteTurn { lines: self.lines.clone(), namespace: namespace.clone(), proposed: false })
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

impl WriteTurn {
    /// Says that the write is on its way.
    pub(super) fn proposed(&mut self) {
        self.proposed = true;
    }

    /// Says how much work it was; a long one is followed by a pause that is about as long.
    pub(super) fn worked(&mut self, work: Duration) {
        self.proposed = false;
        let mut lines = lock(&self.lines);
        let Some(line) = lines.by_namespace.get_mut(&self.namespace) else { return };
        line.long = work >= LONG_WORK;
        if line.long {
            line.pauses_until = Some(Instant::now() + work.clamp(PAUSE_MIN, PAUSE_MAX));
        }
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        if self.proposed {
            // Nobody waits for it any more, and it may take as long as any.
            self.worked(PAUSE_MAX);
        }
        give_back(&self.lines, &self.namespace);
    }
}

fn give_back(lines: &Mutex<Lines>, namespace: &Namespace) {
    let now = Instant::now();
    let mut lines = lock(lines);
    if let Some(line) = lines.by_namespace.get_mut(namespace) {
        line.in_flight -= 1;
        line.came = Some(now);
    }
    lines.advance(namespace, now);
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
        tokio::time::sleep(WRITES_STILL).await;
        let busy = turns(&writes, "busy", 10 * SHARE).await;
        let loud = turns(&writes, "loud", 10 * SHARE).await;
        assert!(writes.turn(&named("loud"), soon()).await.is_err(), "as many as the other");
        // A third one: as many as the one with the fewest, whoever came last.
        let quiet = turns(&writes, "quiet", 1).await;
        drop((busy, loud));
        let third = turns(&writes, "busy", SHARE).await;
        assert!(writes.turn(&named("busy"), soon()).await.is_err());
        assert_eq!(turns(&writes, "loud", SHARE).await.len(), SHARE);
        drop((quiet, third));
    }

    #[tokio::test]
    async fn who_waits_goes_when_the_other_has_stopped() {
        let writes = Arc::new(FairWrites::default());
        let quiet = turns(&writes, "quiet", 1).await;
        let mut loud = turns(&writes, "loud", SHARE).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let name = named("loud");
        let mut three = Box::pin(async { tokio::join!(writes.turn(&name, deadline), writes.turn(&name, deadline)) });
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut three).await.is_err());
        drop(quiet);
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

    #[tokio::test]
    async fn long_work_is_followed_by_a_pause_while_others_write() {
        let writes = FairWrites::default();
        let mut heavy = turns(&writes, "heavy", 1).await;
        let begun = Instant::now();
        heavy[0].worked(2 * PAUSE_MAX);
        drop(heavy);
        let alone = turns(&writes, "heavy", LONG_ALONE).await;
        assert!(writes.turn(&named("heavy"), soon()).await.is_err(), "even alone it has few");
        drop(alone);
        drop(turns(&writes, "quiet", 1).await);
        assert!(writes.turn(&named("heavy"), soon()).await.is_err(), "it pauses");
        assert_eq!(turns(&writes, "busy", 10).await.len(), 10, "who pauses holds nobody up");
        drop(turns(&writes, "quiet", 1).await);
        drop(writes.turn(&named("heavy"), Instant::now() + Duration::from_secs(20)).await.expect("the pause is over"));
        assert!(begun.elapsed() >= PAUSE_MAX, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_write_that_is_abandoned_counts_as_a_long_one() {
        let writes = FairWrites::default();
        let mut turn = turns(&writes, "heavy", 1).await;
        turn[0].proposed();
        drop(turn);
        drop(turns(&writes, "quiet", 1).await);
        assert!(writes.turn(&named("heavy"), soon()).await.is_err(), "it pauses");
    }

    #[tokio::test]
    async fn who_has_not_written_for_long_is_forgotten() {
        let writes = FairWrites::default();
        drop(turns(&writes, "once", 1).await);
        let now = Instant::now() + 2 * WORTH_A_PAUSE;
        lock(&writes.lines).come(&named("now"), now);
        assert_eq!(lock(&writes.lines).by_namespace.len(), 1);
    }
}
