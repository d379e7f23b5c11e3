//! What a message of a run begins with: when it was published, by this process's clock, and in which round.

use std::time::{Duration, Instant};

/// Bytes of a stamp; a multiple of three, so that it stands apart in base64.
pub(super) const STAMP_BYTES: usize = 12;

/// Bytes of the nanoseconds; the round has the rest.
const TIME_BYTES: usize = 8;

/// The beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) round: u32,
    /// Since the clock's start.
    since: Duration,
}

/// The one clock of publishers and subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// A message that is published now.
    pub(super) fn stamp(self, round: u32) -> Stamp {
        Stamp { round, since: self.0.elapsed() }
    }

    /// How long ago a message was published.
    pub(super) fn age(self, stamp: Stamp) -> Duration {
        self.0.elapsed().saturating_sub(stamp.since)
    }
}

impl Stamp {
    pub(super) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let nanos = u64::try_from(self.since.as_nanos()).unwrap_or(u64::MAX);
        bytes[..TIME_BYTES].copy_from_slice(&nanos.to_be_bytes());
        bytes[TIME_BYTES..].copy_from_slice(&self.round.to_be_bytes());
        bytes
    }

    /// The stamp of a message; `None` when it is too short to have one.
    pub(super) fn of(message: &[u8]) -> Option<Stamp> {
        let (nanos, rest) = message.split_first_chunk::<TIME_BYTES>()?;
        let round = rest.first_chunk()?;
        let since = Duration::from_nanos(u64::from_be_bytes(*nanos));
        Some(Stamp { round: u32::from_be_bytes(*round), since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_from_the_message_that_begins_with_it() {
        let stamp = Clock::start().stamp(7);
        let mut message = stamp.to_bytes().to_vec();
        assert_eq!(Stamp::of(&message[1..]), None);
        message.extend_from_slice(b"more");
        assert_eq!(Stamp::of(&message), Some(stamp));
    }
}
