//! The messages of one topic that are published and not yet with every subscriber: never more than a window of them.
//!
//! So a server that has room for a window per subscriber has no reason to drop one, and the rate that comes out is the
//! highest without loss. Messages come to a subscriber in the order of their publication, or, of several publishers,
//! there is one subscriber: either way the n-th that a subscriber gets fills the n-th place.
//!
//! What is lost keeps its place until the next round begins. A run that loses messages therefore slows down and stops.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::histogram::Histogram;

/// One topic.
#[derive(Debug)]
pub(super) struct Flight {
    /// Messages that may be published now.
    free: Semaphore,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Messages of other rounds do not count.
    round: u32,
    /// How many may be in flight.
    window: usize,
    /// Published.
    sent: u64,
    /// With every subscriber.
    landed: u64,
    /// Places of landed messages that were freed.
    freed: u64,
    /// How many each subscriber has.
    by_subscriber: Vec<u64>,
    /// For each message in flight, how many subscribers miss it.
    missing: Vec<usize>,
    tally: FlightTally,
}

/// What came of a round, in one topic or in several.
#[derive(Clone, Debug, Default)]
pub(super) struct FlightTally {
    /// Published.
    pub(super) sent: u64,
    /// One for each message and subscriber.
    pub(super) expected: u64,
    /// Of those, what came.
    pub(super) delivered: u64,
    /// Of what came.
    pub(super) latencies: Histogram,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl FlightTally {
    pub(super) fn merge(&mut self, other: FlightTally) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.latencies.merge(&other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// How many did not come.
    pub(super) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }
}

impl Flight {
    /// A topic with so many subscribers, in round 0, in which nothing is bounded and nothing lands.
    pub(super) fn new(subscribers: usize) -> Flight {
        let state = State {
            round: 0,
            window: 0,
            sent: 0,
            landed: 0,
            freed: 0,
            by_subscriber: vec![0; subscribers],
            missing: Vec::new(),
            tally: FlightTally::default(),
        };
        Flight { free: Semaphore::new(0), state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Starts to count anew. Nobody publishes meanwhile.
    pub(super) fn begin(&self, round: u32, window: usize) {
        assert!(window > 0, "a window has room for a message");
        let mut state = self.state();
        let (errors, first_error) = (state.tally.errors, state.tally.first_error.take());
        *state = State {
            round,
            window,
            sent: 0,
            landed: 0,
            freed: 0,
            by_subscriber: vec![0; state.by_subscriber.len()],
            missing: vec![0; window],
            tally: FlightTally { errors, first_error, ..FlightTally::default() },
        };
        self.free.forget_permits(usize::MAX);
        self.free.add_permits(window);
    }

    pub(super) fn round(&self) -> u32 {
        self.state().round
    }

    /// Waits until a message may be published, and counts it as published. Publishers have their turn in the order in
    /// which they ask. Cancel-safe. `false` when there is no sense in publishing more.
    pub(super) async fn take_off(&self) -> bool {
        let Ok(permit) = self.free.acquire().await else { return false };
        permit.forget();
        self.count_sent();
        true
    }

    /// The same without waiting.
    pub(super) fn take_off_now(&self) -> bool {
        let Ok(permit) = self.free.try_acquire() else { return false };
        permit.forget();
        self.count_sent();
        true
    }

    fn count_sent(&self) {
        let mut state = self.state();
        let place = state.place(state.sent);
        state.missing[place] = state.by_subscriber.len();
        state.sent += 1;
    }

    /// A subscriber has a message of a round that was published `latency` ago.
    pub(super) fn land(&self, subscriber: usize, round: u32, latency: Duration) {
        let mut state = self.state();
        if round != state.round {
            return;
        }
        let number = state.by_subscriber[subscriber];
        state.by_subscriber[subscriber] += 1;
        if round == 0 {
            return;
        }
        if number >= state.sent {
            state.tally.count_error("a message came twice");
            return;
        }
        state.tally.delivered += 1;
        state.tally.latencies.add(latency);
        let place = state.place(number);
        state.missing[place] -= 1;
        let before = state.landed;
        while state.landed < state.sent && state.missing[state.place(state.landed)] == 0 {
            state.landed += 1;
        }
        if state.landed == before {
            return;
        }
        // Half a window at once, so that publishers write several messages with one call.
        if state.sent - state.landed <= (state.window / 2) as u64 {
            let places = state.landed - state.freed;
            state.freed = state.landed;
            self.free.add_permits(usize::try_from(places).expect("at most a window"));
        }
        if state.landed == state.sent {
            self.changed.notify_waiters();
        }
    }

    /// A publisher or subscriber cannot go on: nothing more is published.
    pub(super) fn fail(&self, error: &str) {
        self.state().tally.count_error(error);
        self.free.close();
        self.changed.notify_waiters();
    }

    /// Whether every subscriber got something in this round.
    pub(super) fn everyone_heard(&self) -> bool {
        self.state().by_subscriber.iter().all(|&count| count > 0)
    }

    pub(super) fn failed(&self) -> bool {
        self.free.is_closed()
    }

    /// Waits until nothing is in flight, or it failed. Cancel-safe.
    pub(super) async fn all_landed(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.failed() || self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.state();
        state.landed == state.sent
    }

    /// What came of the round so far.
    pub(super) fn tally(&self) -> FlightTally {
        let state = self.state();
        let expected = state.sent * state.by_subscriber.len() as u64;
        FlightTally { sent: state.sent, expected, ..state.tally.clone() }
    }
}

impl State {
    fn place(&self, number: u64) -> usize {
        (number % self.missing.len() as u64) as usize
    }
}

impl FlightTally {
    fn count_error(&mut self, error: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn never_more_than_a_window_is_missing_to_the_slowest_subscriber() {
        let flight = Flight::new(2);
        flight.begin(1, 4);
        assert_eq!((0..9).filter(|_| flight.take_off_now()).count(), 4);
        (0..4).for_each(|_| flight.land(0, 1, NOW));
        assert!(!flight.take_off_now(), "the other subscriber has none");
        flight.land(1, 1, NOW);
        assert!(!flight.take_off_now(), "less than half a window has landed");
        flight.land(1, 1, NOW);
        assert_eq!((0..9).filter(|_| flight.take_off_now()).count(), 2);
        (0..4).for_each(|_| flight.land(1, 1, NOW));
        (0..2).for_each(|_| flight.land(0, 1, NOW));
        flight.all_landed().await;
        let tally = flight.tally();
        assert_eq!((tally.sent, tally.expected, tally.delivered, tally.errors), (6, 12, 12, 0));
    }

    #[tokio::test]
    async fn messages_of_another_round_do_not_count_and_loss_ends_with_its_round() {
        let flight = Flight::new(1);
        flight.land(0, 0, NOW);
        assert!(flight.everyone_heard());
        flight.begin(1, 1);
        assert!(flight.take_off().await && !flight.everyone_heard());
        flight.land(0, 0, NOW);
        assert_eq!(flight.tally().lost(), 1);
        flight.begin(2, 1);
        flight.land(0, 1, NOW);
        assert!(flight.take_off().await);
        flight.land(0, 2, NOW);
        flight.land(0, 2, NOW);
        let tally = flight.tally();
        assert_eq!((tally.lost(), tally.first_error.as_deref()), (0, Some("a message came twice")));
    }

    #[tokio::test]
    async fn who_waits_is_told_that_it_failed() {
        let flight = Flight::new(1);
        flight.begin(1, 1);
        assert!(flight.take_off().await);
        let fail = async { flight.fail("gone") };
        let (more, (), ()) = tokio::join!(flight.take_off(), flight.all_landed(), fail);
        assert!(!more);
        assert_eq!(flight.tally().first_error.as_deref(), Some("gone"));
    }
}
