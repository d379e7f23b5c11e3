//! How many connections there may be: in all, and from one address.
//!
//! This machine and the proxies that the operator named count only towards the whole: behind them are many clients.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::types::IpRange;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    connections_max: usize,
    per_address_max: usize,
    proxies: Vec<IpRange>,
    taken: Taken,
}

/// Connections by client.
type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _one: OwnedSemaphorePermit,
    of: Option<(IpAddr, Taken)>,
}

impl Places {
    pub(super) fn new(connections_max: usize, per_address_max: usize, proxies: Vec<IpRange>) -> Places {
        let all = Arc::new(Semaphore::new(connections_max));
        Places { all, connections_max, per_address_max, proxies, taken: Arc::default() }
    }

    /// A place for a connection from `address`, or `None` when there is none left.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let address = address.to_canonical();
        if address.is_loopback() || self.proxies.iter().any(|range| range.contains(address)) {
            return Some(Place { _one: one, of: None });
        }
        let client = client_of(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Place { _one: one, of: Some((client, Arc::clone(&self.taken))) })
    }

    /// Returns when every place was given back.
    pub(super) async fn all_free(&self) {
        let everyone = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        drop(self.all.acquire_many(everyone).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((client, taken)) = self.of.take() else { return };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the 64-bit prefix of an IPv6 address, of which a subscriber has all.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = Places::new(10, 2, Vec::new());
        let first = places.take(address("203.0.113.1")).expect("a place");
        let _second = places.take(address("203.0.113.1")).expect("a place");
        assert!(places.take(address("::ffff:203.0.113.1")).is_none(), "the same client");
        let _other = places.take(address("203.0.113.2")).expect("another client");
        drop(first);
        let _again = places.take(address("203.0.113.1")).expect("its place is free");
    }

    #[test]
    fn a_whole_ipv6_network_is_one_client() {
        let places = Places::new(10, 1, Vec::new());
        let _first = places.take(address("2001:db8:1:2::1")).expect("a place");
        assert!(places.take(address("2001:db8:1:2:ffff::9")).is_none());
        assert!(places.take(address("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn this_machine_and_proxies_count_only_in_all() {
        let places = Places::new(5, 1, vec!["10.0.0.0/8".parse().expect("a range")]);
        let taken: Vec<_> = ["127.0.0.1", "::1", "127.0.0.1", "10.1.2.3", "10.1.2.3"]
            .map(|text| places.take(address(text)).expect("a place"))
            .into();
        assert!(places.take(address("203.0.113.1")).is_none(), "all are taken");
        drop(taken);
        assert!(places.take(address("203.0.113.1")).is_some());
    }
}
