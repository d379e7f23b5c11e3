//! How long a statement may run: in VM steps, in time, or both.
//!
//! SQLite calls back every [`STEPS_PER_TICK`] VM steps; the connection's handler asks the thread's meter whether to go
//! on. The handler is registered once per connection and the meter armed per statement, which costs nothing but two
//! stores.
//!
//! Ticks also count what the parser and virtual tables do on the side, which differs between replicas (a cached
//! statement is not parsed again). So where replicas must agree, ticks only stop what has run away, and the decision
//! is taken on the statement's own step counter, which does not depend on caches.

use std::cell::Cell;
use std::time::Instant;

use rusqlite::Connection;

/// VM steps between two looks at the meter: some ten microseconds.
const STEPS_PER_TICK: u64 = 1_000;

/// Why the meter stopped a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The steps were used up.
    Steps,
    /// The deadline passed.
    Deadline,
}

#[derive(Clone, Copy)]
struct Meter {
    ticks_left: u64,
    deadline: Option<Instant>,
    stopped: Option<Stopped>,
}

const UNLIMITED: Meter = Meter { ticks_left: u64::MAX, deadline: None, stopped: None };

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(UNLIMITED) };
}

/// Registers the handler.
///
/// # Errors
/// When SQLite has no memory for it.
pub(super) fn install(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    connection.progress_handler(STEPS_PER_TICK as i32, Some(tick))
}

fn tick() -> bool {
    let mut meter = METER.get();
    meter.ticks_left = meter.ticks_left.saturating_sub(1);
    if meter.ticks_left == 0 {
        meter.stopped = Some(Stopped::Steps);
    } else if meter.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        meter.stopped = Some(Stopped::Deadline);
    }
    METER.set(meter);
    meter.stopped.is_some()
}

/// Limits what runs on this thread until [`disarm`].
pub(super) fn arm(steps_max: u64, deadline: Option<Instant>) {
    let ticks_left = (steps_max / STEPS_PER_TICK).saturating_add(1);
    METER.set(Meter { ticks_left, deadline, stopped: None });
}

/// Why the meter stopped what ran, if it did.
pub(super) fn stopped() -> Option<Stopped> {
    METER.get().stopped
}

/// Lifts all limits on this thread.
pub(super) fn disarm() {
    METER.set(UNLIMITED);
}
