//! Frames of one sender in the order in which it sent them, each once.
//!
//! Gossip may bring a frame over two ways, and a later one before an earlier one. What is missing is waited for a moment,
//! then given up and told. Frames from before what was taken already are old or played back, and are dropped; so are those
//! of an earlier run of the sender ([`Runs`]).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::presence::SILENCE_MAX;
use crate::types::NodeId;
use crate::types::limits::GOSSIP_REORDER_MAX;

/// How long a missing frame is waited for; the other way it may come takes milliseconds.
const WAIT: Duration = Duration::from_millis(100);

/// What can be told now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Frame(T),
    /// Frames are missing here.
    Gap,
}

/// Which run of each sender is the present one.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<NodeId, (u64, Instant)>);

/// What a frame's run says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// It is of the present run.
    Present,
    /// The sender has started again, and knows nothing of what was missing.
    New,
    /// It is of an earlier run: played back.
    Past,
}

impl Runs {
    /// Judges a frame. Runs are numbered by the sender's clock, which may have been set back when it started again: then
    /// the earlier number counts once the later one is silent.
    pub(super) fn judge(&mut self, from: NodeId, run: u64, now: Instant) -> Run {
        let (known, heard) = self.0.entry(from).or_insert((run, now));
        if *known == run {
            *heard = now;
            return Run::Present;
        }
        if run < *known && now.duration_since(*heard) < SILENCE_MAX {
            return Run::Past;
        }
        (*known, *heard) = (run, now);
        Run::New
    }
}

/// Frames of one sender on one shard.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// The least that may still be told.
    due: u64,
    /// Whatever comes first is due: the shard was not listened to before.
    anywhere: bool,
    early: BTreeMap<u64, T>,
    /// Since when something is missing.
    missing_since: Option<Instant>,
}

impl<T> Default for Order<T> {
    fn default() -> Order<T> {
        Order { due: 0, anywhere: true, early: BTreeMap::new(), missing_since: None }
    }
}

impl<T> Order<T> {
    /// Takes a frame; what can be told now, in order.
    pub(super) fn take(&mut self, seq: u64, frame: T, now: Instant) -> Vec<Next<T>> {
        if seq < self.due {
            return Vec::new();
        }
        if std::mem::take(&mut self.anywhere) {
            self.due = seq;
        }
        self.early.insert(seq, frame);
        let mut next = Vec::new();
        if self.early.len() > GOSSIP_REORDER_MAX {
            self.skip(&mut next);
        }
        self.drain(&mut next, now);
        next
    }

    /// When to look again; `None` when nothing is missing.
    pub(super) fn look_again(&self) -> Option<Instant> {
        self.missing_since.map(|since| since + WAIT)
    }

    /// Gives up what has been missing for too long; what can be told then.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<Next<T>> {
        let mut next = Vec::new();
        if self.look_again().is_some_and(|at| at <= now) {
            self.skip(&mut next);
            self.drain(&mut next, now);
        }
        next
    }

    /// The shard was not listened to for a while: what did not come meanwhile is not missing.
    pub(super) fn paused(&mut self) {
        self.early.clear();
        self.missing_since = None;
        self.anywhere = true;
    }

    fn skip(&mut self, next: &mut Vec<Next<T>>) {
        if let Some(first) = self.early.keys().next() {
            if self.due < *first {
                next.push(Next::Gap);
            }
            self.due = *first;
        }
    }

    fn drain(&mut self, next: &mut Vec<Next<T>>, now: Instant) {
        while let Some(frame) = self.early.remove(&self.due) {
            next.push(Next::Frame(frame));
            self.due += 1;
            self.missing_since = None;
        }
        if self.early.is_empty() {
            self.missing_since = None;
        } else {
            self.missing_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Next::{Frame, Gap};
    use super::*;

    #[test]
    fn frames_come_in_order_and_once() {
        let now = Instant::now();
        let mut order = Order::default();
        let mut take = |seq| order.take(seq, seq, now);
        assert_eq!(take(5), [Frame(5)], "whoever begins to listen begins anywhere");
        assert_eq!(take(7), []);
        assert_eq!(take(5), []);
        assert_eq!(take(6), [Frame(6), Frame(7)]);
        assert_eq!(take(6), []);
        assert_eq!(order.look_again(), None);
    }

    #[test]
    fn what_does_not_come_is_given_up_and_told() {
        let now = Instant::now();
        let mut order = Order::default();
        order.take(1, 1, now);
        assert_eq!(order.take(3, 3, now), []);
        assert_eq!(order.give_up(now), []);
        assert_eq!(order.look_again(), Some(now + WAIT));
        assert_eq!(order.give_up(now + WAIT), [Gap, Frame(3)]);
        assert_eq!(order.take(2, 2, now + WAIT), [], "too late");
        assert_eq!(order.take(4, 4, now + WAIT), [Frame(4)]);
        for seq in 0..GOSSIP_REORDER_MAX as u64 {
            assert_eq!(order.take(6 + seq, 6, now + WAIT), []);
        }
        let told = order.take(6 + GOSSIP_REORDER_MAX as u64, 6, now + WAIT);
        assert_eq!(told.len(), GOSSIP_REORDER_MAX + 2, "what waits is bounded");
        assert_eq!(told[0], Gap);
    }

    #[test]
    fn after_a_pause_any_later_frame_comes_first() {
        let now = Instant::now();
        let mut order = Order::default();
        assert_eq!(order.take(1, 1, now), [Frame(1)]);
        order.paused();
        assert_eq!(order.take(1, 1, now), [], "what was told is played back");
        assert_eq!(order.take(7, 7, now), [Frame(7)]);
    }

    #[test]
    fn an_earlier_run_is_played_back_unless_the_sender_is_silent_otherwise() {
        let (now, from) = (Instant::now(), NodeId::from(1));
        let mut runs = Runs::default();
        assert_eq!(runs.judge(from, 5, now), Run::Present);
        assert_eq!(runs.judge(from, 4, now), Run::Past);
        assert_eq!(runs.judge(from, 6, now), Run::New);
        assert_eq!(runs.judge(NodeId::from(2), 1, now), Run::Present);
        assert_eq!(runs.judge(from, 5, now + SILENCE_MAX / 2), Run::Past);
        assert_eq!(runs.judge(from, 5, now + SILENCE_MAX), Run::New, "its clock was set back");
        assert_eq!(runs.judge(from, 5, now + SILENCE_MAX), Run::Present);
    }
}
