//! Latencies, counted in buckets that grow with them: 32 for each doubling, so a quantile is right to 3 %.

use std::time::Duration;

const SUB_BUCKET_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;

/// Up to 2^27 µs, two minutes; what is slower counts into the last bucket, and shows in the maximum.
const BUCKETS: usize = 23 * SUB_BUCKETS;

/// Counts of latencies.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), max_us: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The largest, in microseconds.
    pub(super) fn max(&self) -> u64 {
        self.max_us
    }

    /// A quantile in microseconds; 0 when nothing was counted.
    pub(super) fn at(&self, quantile: f64) -> u64 {
        let rank = (self.count() as f64 * quantile).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            below += u64::from(count);
            if below >= rank {
                return upper_us(bucket).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket(us: u64) -> usize {
    if us < SUB_BUCKETS as u64 {
        return us as usize;
    }
    let shift = us.ilog2() - SUB_BUCKET_BITS;
    let bucket = (shift as usize) * SUB_BUCKETS + (us >> shift) as usize;
    bucket.min(BUCKETS - 1)
}

/// The largest latency that falls into a bucket.
fn upper_us(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    (((SUB_BUCKETS + bucket % SUB_BUCKETS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_below_the_top_of_its_bucket_and_above_the_one_before() {
        for us in (0..20_000).chain([1 << 20, (1 << 27) - 1]) {
            let bucket = bucket(us);
            assert!(us <= upper_us(bucket), "{us}");
            assert!(bucket == 0 || us > upper_us(bucket - 1), "{us}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_three_percent() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        assert_eq!((low.at(0.5), low.max(), low.count()), (0, 0, 0));
        for us in 1..=10_000 {
            if us % 2 == 0 { &mut low } else { &mut high }.add(Duration::from_micros(us));
        }
        low.merge(&high);
        assert_eq!((low.count(), low.max(), low.at(1.0)), (10_000, 10_000, 10_000));
        for (quantile, exact) in [(0.5, 5_000.0), (0.99, 9_900.0)] {
            let found = low.at(quantile) as f64;
            assert!((found / exact - 1.0).abs() < 0.032, "{quantile}: {found}");
        }
    }
}
