//! Memory for large bodies, either way: bounded over all connections, and for each namespace by its share.
//!
//! A body that arrives takes room as it grows, so that a client that sends slowly holds no more than it has sent. An
//! answer holds its room until the client has taken it, or was cut off for taking too little. Small ones are not
//! counted: connections times their size is little.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::types::Namespace;

/// Up to this size a body is not counted.
const SMALL_BYTES: usize = 64 * 1024;

/// Room that the requests of one listener share.
#[derive(Debug)]
pub(super) struct Space {
    bytes_max: usize,
    /// A std mutex: held for a few additions.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    by_namespace: HashMap<Namespace, usize>,
}

/// All room is taken, or all of the namespace's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Room of one body; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    space: Arc<Space>,
    namespace: Namespace,
    bytes: usize,
}

impl Space {
    /// Room for so many bytes, half of them for one namespace at most.
    pub(super) fn new(bytes_max: usize) -> Arc<Space> {
        Arc::new(Space { bytes_max, taken: Mutex::default() })
    }

    /// Room of no size yet.
    pub(super) fn room(self: &Arc<Space>, namespace: &Namespace) -> Room {
        Room { space: Arc::clone(self), namespace: namespace.clone(), bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Whoever panicked in between left sums that are at worst too large.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Makes room for a body of `bytes` in all; what it has already is kept when there is none.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes <= SMALL_BYTES || bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let mut taken = self.space.lock();
        let own = taken.by_namespace.get(&self.namespace).copied().unwrap_or(0);
        if taken.bytes + more > self.space.bytes_max || own + more > self.space.bytes_max / 2 {
            return Err(Full);
        }
        taken.bytes += more;
        taken.by_namespace.insert(self.namespace.clone(), own + more);
        self.bytes = bytes;
        Ok(())
    }

    /// The bytes, with the room that they take for as long as anybody has them.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn hold(mut self, bytes: Vec<u8>) -> Result<Bytes, Full> {
        if bytes.len() <= SMALL_BYTES {
            return Ok(bytes.into());
        }
        self.grow_to(bytes.capacity())?;
        Ok(Bytes::from_owner(Held { bytes, _room: self }))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.space.lock();
        taken.bytes -= self.bytes;
        let own = taken.by_namespace.get(&self.namespace).copied().unwrap_or(0);
        if own <= self.bytes {
            taken.by_namespace.remove(&self.namespace);
        } else {
            taken.by_namespace.insert(self.namespace.clone(), own - self.bytes);
        }
    }
}

struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn namespace(name: &str) -> Namespace {
        name.parse().expect("a name")
    }

    #[test]
    fn one_namespace_cannot_take_the_room_of_the_others() {
        let space = Space::new(10 * MIB);
        let mut rooms: Vec<Room> = (0..5).map(|_| space.room(&namespace("greedy"))).collect();
        for room in &mut rooms {
            assert_eq!(room.grow_to(MIB), Ok(()));
        }
        assert_eq!(rooms[0].grow_to(2 * MIB), Err(Full));
        let mut other = space.room(&namespace("other"));
        assert_eq!(other.grow_to(5 * MIB), Ok(()));
        let mut third = space.room(&namespace("third"));
        assert_eq!(third.grow_to(MIB), Err(Full), "all is taken");
        assert_eq!(third.grow_to(SMALL_BYTES), Ok(()), "small bodies always fit");
        drop(rooms.pop());
        assert_eq!(third.grow_to(MIB), Ok(()));
        drop((rooms, other, third));
        assert_eq!(space.lock().bytes, 0);
        assert!(space.lock().by_namespace.is_empty());
    }

    #[test]
    fn an_answer_holds_its_room_until_it_is_gone() {
        let space = Space::new(4 * MIB);
        let answer = space.room(&namespace("a")).hold(vec![1; MIB]).expect("fits");
        let part = answer.slice(7..9);
        drop(answer);
        assert_eq!(space.lock().bytes, MIB);
        assert_eq!(space.room(&namespace("a")).hold(vec![1; 2 * MIB]), Err(Full));
        assert_eq!(space.lock().bytes, MIB, "what did not fit takes nothing");
        drop(part);
        assert_eq!(space.lock().bytes, 0);
    }
}
