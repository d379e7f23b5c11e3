//! Waiting for a state: look, look again, give up at a deadline with a message that says what never came.

use std::time::{Duration, Instant};

/// How long anything that should happen soon may take on a loaded machine.
const SOON: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives something; panics with `what` when it does not within a minute.
pub(crate) fn soon<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(SOON, what, look)
}

/// Looks until `look` gives something; panics with `what` when it does not within `limit`.
pub(crate) fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
