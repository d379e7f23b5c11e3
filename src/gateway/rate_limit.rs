//! How many requests a client, a credential and a namespace may make, on this process: a cluster of three lets three
//! times as many through.
//!
//! The generic cell rate algorithm: a steady rate, with a burst of unused time. What is kept per key is one number, and
//! how many keys are kept is bounded; when there is no room, those who are not kept share one budget.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::ApiError;
use crate::http::client_of;
use crate::types::Namespace;

/// Requests per second, with twice as many at once; 0 is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one client address (an IPv6 /64 counts as one); this machine is exempt.
    pub per_address: u32,
    /// Of one credential.
    pub per_credential: u32,
    /// Of all credentials of one namespace.
    pub per_namespace: u32,
    /// Of one client address, per minute, to what hands out credentials. This machine is not exempt.
    pub logins_per_minute: u32,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { per_address: 1_000, per_credential: 20_000, per_namespace: 50_000, logins_per_minute: 60 }
    }
}

/// Keys kept per limiter: some MiB.
const KEYS_MAX: usize = 64 * 1024;

/// Locks that the keys are spread over.
const SHARDS: usize = 16;

/// Between two attempts to make room in a full shard.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// What is left of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    limit: u32,
    remaining: u32,
    reset: Duration,
}

/// A refusal, and when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    budget: Budget,
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> ApiError {
        ApiError::rate_limited(exceeded.budget.reset)
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

impl Budget {
    /// The scarcer of two.
    pub(super) fn scarcer(self, other: Option<Budget>) -> Budget {
        match other {
            Some(other) if other.remaining < self.remaining => other,
            _ => self,
        }
    }

    /// Tells the client.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        let seconds = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        headers.insert(RESET, HeaderValue::from(seconds));
    }
}

impl Exceeded {
    /// What is left: nothing, until then.
    pub(super) fn budget(self) -> Budget {
        self.budget
    }
}

/// The limits of one gateway.
#[derive(Debug)]
pub(super) struct RateLimits {
    addresses: Option<Limiter<IpAddr>>,
    logins: Option<Limiter<IpAddr>>,
    credentials: Option<Limiter<u64>>,
    namespaces: Option<Limiter<Namespace>>,
    /// Credentials are kept as hashes that nobody outside can aim at.
    hasher: RandomState,
}

/// What was allowed: the budget where there is one.
type Checked = Result<Option<Budget>, Exceeded>;

impl RateLimits {
    pub(super) fn new(rates: Rates) -> RateLimits {
        RateLimits {
            addresses: Limiter::new(per_second(rates.per_address)),
            logins: Limiter::new(NonZeroU32::new(rates.logins_per_minute).map(Quota::per_minute)),
            credentials: Limiter::new(per_second(rates.per_credential)),
            namespaces: Limiter::new(per_second(rates.per_namespace)),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request of a client.
    pub(super) fn address(&self, address: IpAddr) -> Checked {
        if address.to_canonical().is_loopback() {
            return Ok(None);
        }
        check(self.addresses.as_ref(), &client_of(address))
    }

    /// Counts an attempt to log in.
    pub(super) fn login(&self, address: IpAddr) -> Checked {
        check(self.logins.as_ref(), &client_of(address))
    }

    /// Counts a request with a credential; `name` tells credentials apart.
    pub(super) fn credential(&self, name: &[u8]) -> Checked {
        check(self.credentials.as_ref(), &self.hasher.hash_one(name))
    }

    /// Counts a request for a namespace.
    pub(super) fn namespace(&self, namespace: &Namespace) -> Checked {
        check(self.namespaces.as_ref(), namespace)
    }
}

fn per_second(rate: u32) -> Option<Quota> {
    let rate = NonZeroU32::new(rate)?;
    Some(Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1))))
}

fn check<K: Hash + Eq + Clone>(limiter: Option<&Limiter<K>>, key: &K) -> Checked {
    limiter.map(|limiter| limiter.check(key)).transpose()
}

#[derive(Debug)]
struct Limiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Kept<K>, DefaultClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(quota: Option<Quota>) -> Option<Limiter<K>> {
        quota.map(|quota| Limiter {
            limiter: RateLimiter::new(quota, Kept::new(KEYS_MAX, quota), DefaultClock::default()),
        })
    }

    fn check(&self, key: &K) -> Result<Budget, Exceeded> {
        match self.limiter.check_key(key) {
            Ok(left) => {
                let quota = left.quota();
                let (limit, remaining) = (quota.burst_size().get(), left.remaining_burst_capacity());
                Ok(Budget { limit, remaining, reset: quota.replenish_interval() * (limit - remaining.min(limit)) })
            }
            Err(until) => {
                let reset = until.wait_time_from(self.limiter.clock().now());
                Err(Exceeded { budget: Budget { limit: until.quota().burst_size().get(), remaining: 0, reset } })
            }
        }
    }
}

/// The numbers of a bounded number of keys.
#[derive(Debug)]
struct Kept<K> {
    shards: Vec<Mutex<Shard<K>>>,
    keys_per_shard_max: usize,
    /// How long one request takes to be given back.
    replenish: Duration,
    hasher: RandomState,
}

#[derive(Debug)]
struct Shard<K> {
    kept: HashMap<K, Nanos>,
    /// Of all for whom there is no room.
    others: Option<Nanos>,
    swept: Nanos,
}

impl<K> Kept<K> {
    fn new(keys_max: usize, quota: Quota) -> Kept<K> {
        let shard = || Mutex::new(Shard { kept: HashMap::new(), others: None, swept: Nanos::new(0) });
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Kept {
            shards,
            keys_per_shard_max: keys_max / SHARDS,
            replenish: quota.replenish_interval(),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Kept<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = &self.shards[usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = shard.kept.get_mut(key) {
            let (outcome, new) = decide(Some(*state))?;
            *state = new;
            return Ok(outcome);
        }
        let (outcome, new) = decide(None)?;
        if shard.kept.len() >= self.keys_per_shard_max {
            // Somebody new is one request ahead of now.
            shard.sweep(new.saturating_sub(self.replenish.into()));
        }
        if shard.kept.len() < self.keys_per_shard_max {
            shard.kept.insert(key.clone(), new);
            return Ok(outcome);
        }
        let (outcome, new) = decide(shard.others)?;
        shard.others = Some(new);
        Ok(outcome)
    }
}

impl<K> Shard<K> {
    /// Forgets whoever has everything left.
    fn sweep(&mut self, now: Nanos) {
        if Duration::from(now.saturating_sub(self.swept)) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.kept.retain(|_, state| *state > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_is_let_through_and_then_nothing_until_there_is_time_again() {
        let limits = RateLimits::new(Rates { per_address: 5, ..Rates::default() });
        for left in (0..10).rev() {
            let budget = limits.address(address("203.0.113.1")).expect("within the burst").expect("a budget");
            assert_eq!((budget.limit, budget.remaining), (10, left));
        }
        let exceeded = limits.address(address("203.0.113.1")).expect_err("too many");
        assert!(exceeded.budget().reset > Duration::ZERO && exceeded.budget().reset <= Duration::from_millis(200));
        assert!(limits.address(address("203.0.113.2")).is_ok(), "another client");
        assert_eq!(limits.address(address("127.0.0.1")), Ok(None), "this machine");
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let rates = Rates { per_address: 0, per_credential: 0, per_namespace: 0, logins_per_minute: 0 };
        let limits = RateLimits::new(rates);
        let namespace = Namespace::default_namespace();
        for _ in 0..1000 {
            assert_eq!(limits.address(address("203.0.113.1")), Ok(None));
            assert_eq!(limits.namespace(&namespace), Ok(None));
            assert_eq!(limits.credential(b"key"), Ok(None));
            assert_eq!(limits.login(address("127.0.0.1")), Ok(None));
        }
    }

    #[test]
    fn logging_in_is_limited_even_on_this_machine() {
        let limits = RateLimits::new(Rates { logins_per_minute: 3, ..Rates::default() });
        let tries: Vec<bool> = (0..5).map(|_| limits.login(address("127.0.0.1")).is_ok()).collect();
        assert_eq!(tries, [true, true, true, false, false]);
    }

    #[test]
    fn a_flood_of_new_clients_is_bounded_in_memory_and_shares_one_budget() {
        let quota = Quota::per_hour(NonZeroU32::new(2).expect("not zero"));
        let kept = Kept::new(SHARDS * 4, quota);
        let limiter: RateLimiter<u64, Kept<u64>, DefaultClock, StateInformationMiddleware> =
            RateLimiter::new(quota, kept, DefaultClock::default());
        let passed = (0..10_000u64).filter(|key| limiter.check_key(key).is_ok()).count();
        assert!(passed <= SHARDS * 4 + SHARDS * 2, "{passed}");
        let kept = limiter.into_state_store();
        let keys: usize = kept.shards.iter().map(|shard| shard.lock().expect("not poisoned").kept.len()).sum();
        assert!(keys <= SHARDS * 4, "{keys}");
    }
}
