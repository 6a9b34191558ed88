//! Counters and histograms for hot paths: a write costs a few nanoseconds, also while many threads write, since each
//! thread writes to one of several places. Readers add the places up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Whether anything is counted: not in the hub that scripts/bench-metrics compares with.
pub const IS_COUNTED: bool = !cfg!(feature = "uncounted");
/// The number of places. Threads share them if there are more.
const PLACES: usize = 8;
/// The upper bounds of [`Timings`], in seconds: from a read out of memory to a write that waits for the database.
pub const SECONDS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0,
];
/// The upper bounds of [`Sizes`].
pub const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A value in a cache line of its own, so that threads do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// The place of the current thread.
fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    // A thread that is ending has lost its own.
    PLACE.try_with(|place| *place).unwrap_or(0)
}

/// A counter.
#[derive(Debug, Default)]
pub struct Counter([Apart<AtomicU64>; PLACES]);

impl Counter {
    /// Adds one.
    pub fn add_one(&self) {
        if !IS_COUNTED {
            return;
        }
        self.0[place()].0.fetch_add(1, Ordering::Relaxed);
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        let places = self.0.iter();
        places.map(|place| place.0.load(Ordering::Relaxed)).sum()
    }
}

/// `N` counters.
#[derive(Debug)]
pub struct Table<const N: usize>(Box<[Apart<[AtomicU64; N]>]>);

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        let zeros = || Apart(std::array::from_fn(|_| AtomicU64::new(0)));
        Self((0..PLACES).map(|_| zeros()).collect())
    }
}

impl<const N: usize> Table<N> {
    /// Adds one to a counter.
    pub fn add_one(&self, index: usize) {
        if !IS_COUNTED {
            return;
        }
        self.0[place()].0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// The sums of all counters.
    pub fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for place in &self.0 {
            for (sum, counter) in sums.iter_mut().zip(&place.0) {
                *sum += counter.load(Ordering::Relaxed);
            }
        }
        sums
    }
}

/// Counts of observations by their size.
#[derive(Debug)]
struct Histogram<const N: usize> {
    /// By the first bound that an observation does not exceed.
    within: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The number of observations by upper bound, each without those of lower bounds; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of the observations.
    pub sum: f64,
}

impl Observed {
    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            within: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts an observation; `bounds` are in the unit of `value`.
    fn note(&self, bounds: impl Iterator<Item = u64>, value: u64) {
        let bucket = bounds.zip(&self.within).find(|(bound, _)| value <= *bound);
        let bucket = bucket.map_or(&self.beyond, |(_, bucket)| bucket);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn add_to(&self, all: &mut Observed, unit: f64) {
        let mine = self.within.iter().chain([&self.beyond]);
        for ((_, count), mine) in all.buckets.iter_mut().zip(mine) {
            *count += mine.load(Ordering::Relaxed);
        }
        // A sum of nanoseconds loses no digit that matters.
        #[expect(clippy::cast_precision_loss, reason = "a sum of times or sizes")]
        let sum = self.sum.load(Ordering::Relaxed) as f64;
        all.sum += sum * unit;
    }
}

fn nothing(bounds: &[f64]) -> Observed {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    Observed {
        buckets: bounds.map(|bound| (bound, 0)).collect(),
        sum: 0.0,
    }
}

/// How long something took, with the bounds [`SECONDS`].
#[derive(Debug, Default)]
pub struct Timings([Apart<Histogram<{ SECONDS.len() }>>; PLACES]);

/// [`SECONDS`] in nanoseconds.
const NANOSECONDS: [u64; SECONDS.len()] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    2_500_000_000,
    10_000_000_000,
];

impl Timings {
    /// Counts one.
    pub fn note(&self, took: Duration) {
        if !IS_COUNTED {
            return;
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[place()].0.note(NANOSECONDS.into_iter(), took);
    }

    /// What was counted, in seconds.
    pub fn observed(&self) -> Observed {
        let mut all = nothing(&SECONDS);
        self.0
            .iter()
            .for_each(|place| place.0.add_to(&mut all, 1e-9));
        all
    }
}

/// How large something was, with the bounds [`SIZES`].
#[derive(Debug, Default)]
pub struct Sizes(Histogram<{ SIZES.len() }>);

impl Sizes {
    /// Counts one.
    pub fn note(&self, size: usize) {
        let bounds = (0..SIZES.len()).map(|power| 1 << power);
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.0.note(bounds, size);
    }

    /// What was counted.
    pub fn observed(&self) -> Observed {
        let mut all = nothing(&SIZES);
        self.0.add_to(&mut all, 1.0);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_together() {
        let (counter, timings) = (Counter::default(), Timings::default());
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        counter.add_one();
                        timings.note(Duration::from_millis(1));
                    }
                });
            }
        });
        assert_eq!(counter.get(), 2000);
        let observed = timings.observed();
        assert_eq!(observed.count(), 2000);
        assert!((observed.sum - 2.0).abs() < 1e-9, "{}", observed.sum);
    }

    #[test]
    fn an_observation_counts_within_the_first_bound_that_it_does_not_exceed() {
        for (index, (bound, nanoseconds)) in SECONDS.into_iter().zip(NANOSECONDS).enumerate() {
            assert!((bound - Duration::from_nanos(nanoseconds).as_secs_f64()).abs() < 1e-12);
            for (took, bucket) in [(nanoseconds, index), (nanoseconds + 1, index + 1)] {
                let timings = Timings::default();
                timings.note(Duration::from_nanos(took));
                let counts = timings.observed().buckets;
                assert_eq!(counts[bucket].1, 1, "{took}: {counts:?}");
            }
        }
        for (size, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (256, 8), (257, 9)] {
            let sizes = Sizes::default();
            sizes.note(size);
            let counts = sizes.observed().buckets;
            assert_eq!(counts[bucket].1, 1, "{size}: {counts:?}");
        }
    }
}
