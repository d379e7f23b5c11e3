//! When to dial whom again: pure, with the time as an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::types::NodeId;

/// Somebody whom this node wants to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A member or gateway of the cluster.
    Known(NodeId),
    /// A configured bootstrap peer, by its place in the configuration.
    Bootstrap(usize),
}

/// How the wait between attempts grows.
#[derive(Debug)]
struct Backoff {
    first: Duration,
    factor: f64,
    longest: Duration,
}

/// A cluster must form again within a second or two after a restart, and a refused dial costs next to nothing.
const KNOWN: Backoff = Backoff { first: Duration::from_millis(250), factor: 1.7, longest: Duration::from_secs(5) };

/// A configured address may be gone for good.
const BOOTSTRAP: Backoff = Backoff { first: Duration::from_secs(5), factor: 1.5, longest: Duration::from_secs(600) };

/// How far a wait may be off its nominal length, either way, so that nodes do not dial in step.
const JITTER: f64 = 0.2;

/// A connection that lived shorter than this was no success: the other side turns us away at once.
const SHORTEST_SUCCESS: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Dialling,
    Connected { since: Instant },
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// The nominal wait after the next failure.
    next_wait: Duration,
}

/// The targets and where each stands.
#[derive(Debug, Default)]
pub(super) struct Reconnect {
    entries: HashMap<Target, Entry>,
}

impl Reconnect {
    /// Begins to care for a target; it is due at once. Does nothing for one that is cared for already.
    pub(super) fn watch(&mut self, target: Target, now: Instant) {
        self.entries
            .entry(target)
            .or_insert_with(|| Entry { state: State::Waiting { until: now }, next_wait: backoff(target).first });
    }

    pub(super) fn forget(&mut self, target: Target) {
        self.entries.remove(&target);
    }

    /// Targets to dial now; they count as dialling until told otherwise.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Target> {
        let mut due = Vec::new();
        for (target, entry) in &mut self.entries {
            if matches!(entry.state, State::Waiting { until } if until <= now) {
                entry.state = State::Dialling;
                due.push(*target);
            }
        }
        due
    }

    /// When the next target is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let until = |entry: &Entry| match entry.state {
            State::Waiting { until } => Some(until),
            State::Dialling | State::Connected { .. } => None,
        };
        self.entries.values().filter_map(until).min()
    }

    /// An attempt failed; says nothing about a target that is not being dialled. `chance` in 0..1 places the next one within the jitter.
    pub(super) fn failed(&mut self, target: Target, now: Instant, chance: f64) {
        if let Some(entry) = self.entries.get_mut(&target)
            && matches!(entry.state, State::Dialling)
        {
            let wait = entry.next_wait;
            entry.state = State::Waiting { until: now + wait.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0)) };
            entry.next_wait = wait.mul_f64(backoff(target).factor).min(backoff(target).longest);
        }
    }

    /// There is a connection, whoever made it.
    pub(super) fn connected(&mut self, target: Target, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&target)
            && !matches!(entry.state, State::Connected { .. })
        {
            entry.state = State::Connected { since: now };
        }
    }

    /// The last connection is gone. A known peer is due at once, a bootstrap peer after its first wait.
    pub(super) fn lost(&mut self, target: Target, now: Instant, chance: f64) {
        let Some(entry) = self.entries.get_mut(&target) else { return };
        let State::Connected { since } = entry.state else { return };
        entry.state = State::Dialling;
        if now.saturating_duration_since(since) < SHORTEST_SUCCESS {
            return self.failed(target, now, chance);
        }
        entry.next_wait = backoff(target).first;
        match target {
            Target::Known(_) => entry.state = State::Waiting { until: now },
            Target::Bootstrap(_) => self.failed(target, now, chance),
        }
    }

    /// There is news about where the target is: what failed before says nothing any more.
    pub(super) fn moved(&mut self, target: Target, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&target) {
            entry.next_wait = backoff(target).first;
            if let State::Waiting { until } = &mut entry.state {
                *until = now;
            }
        }
    }
}

fn backoff(target: Target) -> &'static Backoff {
    match target {
        Target::Known(_) => &KNOWN,
        Target::Bootstrap(_) => &BOOTSTRAP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chance that lands exactly on the nominal wait.
    const EXACT: f64 = 0.5;

    /// The waits between attempts that all fail.
    fn waits(target: Target, attempts: usize) -> Vec<Duration> {
        let mut reconnect = Reconnect::default();
        let mut now = Instant::now();
        reconnect.watch(target, now);
        (0..attempts)
            .map(|_| {
                assert_eq!(reconnect.due(now), [target]);
                assert!(reconnect.due(now).is_empty(), "one attempt at a time");
                reconnect.failed(target, now, EXACT);
                let next = reconnect.next_at().expect("a next attempt");
                next - std::mem::replace(&mut now, next)
            })
            .collect()
    }

    #[test]
    fn a_member_is_dialled_at_least_every_five_seconds() {
        let waits = waits(Target::Known(NodeId::from(1)), 12);
        assert_eq!(waits[0], Duration::from_millis(250));
        assert!(waits.iter().all(|wait| *wait <= KNOWN.longest));
        assert_eq!(waits.last(), Some(&KNOWN.longest));
    }

    #[test]
    fn a_bootstrap_peer_is_dialled_ever_more_rarely_up_to_ten_minutes() {
        let waits = waits(Target::Bootstrap(0), 20);
        assert_eq!(waits[0], Duration::from_secs(5));
        assert_eq!(waits.last(), Some(&Duration::from_secs(600)));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for (chance, millis) in [(0.0, 200), (1.0, 300)] {
            let (mut reconnect, now, target) = (Reconnect::default(), Instant::now(), Target::Known(NodeId::from(1)));
            reconnect.watch(target, now);
            reconnect.due(now);
            reconnect.failed(target, now, chance);
            assert_eq!(reconnect.next_at(), Some(now + Duration::from_millis(millis)));
        }
    }

    #[test]
    fn a_lost_member_is_dialled_at_once_unless_it_turned_us_away() {
        let (mut reconnect, start, target) = (Reconnect::default(), Instant::now(), Target::Known(NodeId::from(1)));
        reconnect.watch(target, start);
        reconnect.connected(target, start);
        assert_eq!(reconnect.next_at(), None);
        reconnect.failed(target, start, EXACT);
        assert_eq!(reconnect.next_at(), None, "a second dial that fails does not matter while connected");

        let later = start + SHORTEST_SUCCESS;
        reconnect.lost(target, later, EXACT);
        assert_eq!(reconnect.next_at(), Some(later));

        reconnect.connected(target, later);
        reconnect.lost(target, later, EXACT);
        assert_eq!(reconnect.next_at(), Some(later + KNOWN.first));
    }

    #[test]
    fn news_about_an_address_ends_the_wait() {
        let (mut reconnect, now, target) = (Reconnect::default(), Instant::now(), Target::Known(NodeId::from(1)));
        reconnect.watch(target, now);
        reconnect.due(now);
        reconnect.failed(target, now, EXACT);
        reconnect.moved(target, now);
        assert_eq!(reconnect.due(now), [target]);
        reconnect.forget(target);
        assert_eq!(reconnect.next_at(), None);
    }
}
