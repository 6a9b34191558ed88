//! Waits until no other program writes the hosts file, so that a run never uses an incomplete file.
//!
//! Most programs truncate the file and then write it: a reader in between sees only a part. There is no wait for a file
//! that is exactly as our last write left it. Durations are measured by the monotonic clock; the file's times are
//! compared with each other, never with the time of day.

use std::io;
use std::time::Duration;

use crate::clock::Clock;
use crate::snapshot::{Mark, Snapshot};

/// The total wait of one run.
pub(crate) const LIMIT: Duration = Duration::from_secs(12);
/// How long a file must stay unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stillness {
    usual: Duration,
    /// The same for a file that is empty, or at most half as long as after our last write.
    if_cut: Duration,
}

impl Stillness {
    /// Of a file that was found changed: a program may still have it open.
    pub(crate) const FOUND: Self = Self {
        usual: Duration::from_secs(1),
        if_cut: Duration::from_secs(10),
    };
    /// Of a file whose every change was seen.
    pub(crate) const WATCHED: Self = Self {
        usual: Duration::from_millis(400),
        if_cut: Duration::from_secs(10),
    };
    /// Of a file that the last program that wrote it was seen to close.
    pub(crate) const CLOSED: Self = Self {
        usual: Duration::from_millis(400),
        if_cut: Duration::from_millis(400),
    };
}

impl Default for Stillness {
    fn default() -> Self {
        Self::FOUND
    }
}

/// The maximum number of attempts of a run if another program writes meanwhile.
pub(crate) const ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(100);

/// The result of waiting for a file.
#[derive(Debug)]
pub(crate) enum WaitResult {
    /// It stayed unchanged for long enough.
    Stable(Snapshot),
    /// It changed, but only by appending.
    Growing(Snapshot),
    /// It changed; this is its last state.
    Unstable(Snapshot),
}

/// Checks a file repeatedly until it stays unchanged, for at most `limit`. `look` returns `None` while there is no
/// file; `before` is the file's state when no program was writing it; `stillness` says how long it must stay unchanged.
///
/// Fails with the errors of `look`, and with `NotFound` if the file stays missing.
pub(crate) fn wait(
    clock: &impl Clock,
    mut look: impl FnMut() -> io::Result<Option<Snapshot>>,
    before: Option<&Mark>,
    stillness: Stillness,
    limit: Duration,
) -> io::Result<WaitResult> {
    let started = clock.now();
    let mut seen = look()?;
    let mut since = clock.now();
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    loop {
        let needed = match &seen {
            Some(seen) if seen.bytes.is_empty() => stillness.if_cut,
            Some(seen) if before.is_some_and(|mark| mark.is_cut_to(&seen.bytes)) => {
                stillness.if_cut
            }
            _ => stillness.usual,
        };
        if clock.now() - since >= needed {
            return seen.map(WaitResult::Stable).ok_or_else(missing);
        }
        if clock.now() - started >= limit {
            let seen = seen.ok_or_else(missing)?;
            let only_grew = before.is_some_and(|mark| mark.is_beginning_of(&seen.bytes));
            return Ok(if only_grew {
                WaitResult::Growing(seen)
            } else {
                WaitResult::Unstable(seen)
            });
        }
        clock.sleep(POLL);
        let now = look()?;
        if now != seen {
            seen = now;
            since = clock.now();
        }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
