//! The id of the HTTP request that a thread is working on. Answers that report a problem name it, and so does each log
//! line that is written meanwhile ([`crate::program`]), so that one leads to the other.
//!
//! It is not a span of `tracing`: most requests neither fail nor log anything, and for these it costs two writes to
//! thread-local memory per poll. A request gets its number when something first needs it.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The id of a request, unique in practice among all hubs: 16 hexadecimal digits. It says nothing about the request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId(NonZeroU64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RequestId {
    /// A new id. The order of ids does not show, nor how many there were.
    fn new() -> Self {
        static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // SplitMix64 (Steele, Lea and Flood 2014), which maps each number to another one.
        let mut mixed = START.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Self(NonZeroU64::new(mixed).unwrap_or(NonZeroU64::MIN))
    }
}

/// What a thread is working on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Work {
    /// No request.
    #[default]
    Other,
    /// A request that has no id yet.
    Unnamed,
    /// A request.
    Named(RequestId),
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work::Other) };
}

/// A request, which several threads may work on, one after another.
#[derive(Debug)]
pub struct RequestScope(Work);

impl Default for RequestScope {
    /// A new request.
    fn default() -> Self {
        Self(Work::Unnamed)
    }
}

impl RequestScope {
    /// The request with this id; `None`: work for none.
    pub fn of(id: Option<RequestId>) -> Self {
        Self(id.map_or(Work::Other, Work::Named))
    }

    /// The id, if the request has one.
    pub fn id(&self) -> Option<RequestId> {
        match self.0 {
            Work::Named(id) => Some(id),
            Work::Unnamed | Work::Other => None,
        }
    }

    /// Works on the request.
    pub fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        /// Ends the work also if it panics.
        struct Leave<'a>(&'a mut Work, Work);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                *self.0 = WORK.replace(self.1);
            }
        }
        let outer = WORK.replace(self.0);
        let _leave = Leave(&mut self.0, outer);
        work()
    }
}

/// The id of the request that this thread is working on. It gets one now if it has none.
pub fn current() -> Option<RequestId> {
    // A thread that is ending works on nothing.
    let work = WORK.try_with(Cell::get).unwrap_or_default();
    match work {
        Work::Other => None,
        Work::Named(id) => Some(id),
        Work::Unnamed => {
            let id = RequestId::new();
            WORK.set(Work::Named(id));
            Some(id)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_request_keeps_its_id_and_others_have_others() {
        assert_eq!(current(), None);
        let mut request = RequestScope::default();
        assert_eq!(request.id(), None);
        let id = request.enter(current);
        assert!(id.is_some());
        assert_eq!(request.id(), id);
        let mut inner = RequestScope::default();
        request.enter(|| {
            assert_eq!(current(), id);
            assert_ne!(inner.enter(current), id);
            assert_eq!(RequestScope::of(None).enter(current), None);
            assert_eq!(current(), id);
        });
        assert_eq!(current(), None);
        let later = std::thread::spawn(move || request.enter(current));
        assert_eq!(later.join().unwrap(), id);
    }

    #[test]
    fn work_that_panics_ends_too() {
        let mut request = RequestScope::default();
        let mut id = None;
        let work = std::panic::AssertUnwindSafe(|| {
            request.enter(|| {
                id = current();
                panic!("a bug")
            })
        });
        std::panic::catch_unwind(work).unwrap_err();
        assert_eq!(current(), None);
        assert_eq!(request.id(), id);
    }

    #[test]
    fn ids_differ_and_have_16_digits() {
        let ids: HashSet<String> = (0..10_000).map(|_| RequestId::new().to_string()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
