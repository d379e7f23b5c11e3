//! How long a statement may run: in VM steps, in time, or both; and, with [`heap`], how much memory it may hold.
//!
//! SQLite calls back every [`STEPS_PER_TICK`] VM steps; the connection's handler asks the thread's meter whether to go
//! on. The handler is registered once per connection and the meter armed per statement, which costs nothing but two
//! stores.
//!
//! Ticks also count what the parser and virtual tables do on the side, which differs between replicas (a cached
//! statement is not parsed again). So where replicas must agree, ticks only stop what has run away, and the decision
//! is taken on the statement's own step counter, which does not depend on caches.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::heap;

/// VM steps between two looks at the meter: some microseconds, or with the largest values in each step a second.
const STEPS_PER_TICK: u64 = 100;

/// How long a statement that [yields](yield_often) keeps a core that others want. A kernel lets even a thread of low
/// priority finish the slice it is owed, which is milliseconds; a yield costs less than one microsecond.
const YIELD_EVERY: Duration = Duration::from_micros(100);

#[derive(Clone, Copy)]
struct Meter {
    ticks_left: u64,
    /// Work inside of single steps, in steps.
    charged: u64,
    deadline: Option<Instant>,
    /// When the core was last offered to others, where it is.
    yielded: Option<Instant>,
    stopped: bool,
}

const UNLIMITED: Meter = Meter { ticks_left: u64::MAX, charged: 0, deadline: None, yielded: None, stopped: false };

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
    !go_on(1)
}

/// Counts work that a function does inside of one step; `false` when the statement has to end. The same arguments must
/// be charged the same on every replica.
pub(super) fn charge(steps: u64) -> bool {
    let mut meter = METER.get();
    let before = meter.charged / STEPS_PER_TICK;
    meter.charged = meter.charged.saturating_add(steps);
    METER.set(meter);
    match meter.charged / STEPS_PER_TICK - before {
        0 => !meter.stopped,
        ticks => go_on(ticks),
    }
}

/// What was charged since the meter was armed.
pub(super) fn charged() -> u64 {
    METER.get().charged
}

fn go_on(ticks: u64) -> bool {
    let mut meter = METER.get();
    meter.ticks_left = meter.ticks_left.saturating_sub(ticks);
    meter.stopped |= meter.ticks_left == 0 || meter.deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if meter.yielded.is_some_and(|yielded| yielded.elapsed() >= YIELD_EVERY) {
        std::thread::yield_now();
        meter.yielded = Some(Instant::now());
    }
    METER.set(meter);
    !meter.stopped
}

/// Limits what runs on this thread until [`disarm`].
pub(super) fn arm(steps_max: u64, deadline: Option<Instant>) {
    let ticks_left = (steps_max / STEPS_PER_TICK).saturating_add(1);
    METER.set(Meter { ticks_left, charged: 0, deadline, yielded: None, stopped: false });
    heap::arm();
}

/// Lets whoever waits for the core have it in between, until [`disarm`].
pub(super) fn yield_often() {
    METER.set(Meter { yielded: Some(Instant::now()), ..METER.get() });
}

/// Lifts all limits on this thread.
pub(super) fn disarm() {
    METER.set(UNLIMITED);
    heap::disarm();
}
