//! Waits until no other program writes the hosts file, so that a run never works on half of it.
//!
//! Most programs truncate the file and then write it: whoever reads in between sees a part of it. A file
//! that is exactly what our last write left is not waited for. Durations are counted by the monotonic
//! clock; the file's times are compared with each other, never with the time of day.

use std::io;
use std::time::Duration;

use crate::clock::Clock;
use crate::snapshot::{Mark, Snapshot};

/// How long one run waits in all.
pub(crate) const LIMIT: Duration = Duration::from_secs(12);
/// How long a file must stay the same.
const STILL: Duration = Duration::from_secs(1);
/// The same for a file that is empty, or at most half as long as our last write left it.
const STILL_IF_CUT: Duration = Duration::from_secs(10);
/// How often a run starts again because another program wrote meanwhile.
pub(crate) const ATTEMPTS: u32 = 5;
const POLL: Duration = Duration::from_millis(100);

/// How a file was found after some waiting.
#[derive(Debug)]
pub(crate) enum WaitResult {
    /// It stayed the same for long enough.
    Stable(Snapshot),
    /// It did not, but all of it was only appended to.
    Growing(Snapshot),
    /// It did not; this is what it was at last.
    Unstable(Snapshot),
}

/// Looks at a file again and again until it stays the same, or for `limit` at most. `look` answers `None`
/// while there is no file; `before` is what the file was when no one wrote it.
///
/// Fails with what `look` fails with, and with `NotFound` when the file stays away.
pub(crate) fn wait(
    clock: &impl Clock,
    mut look: impl FnMut() -> io::Result<Option<Snapshot>>,
    before: Option<&Mark>,
    limit: Duration,
) -> io::Result<WaitResult> {
    let started = clock.now();
    let mut seen = look()?;
    let mut since = clock.now();
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    loop {
        let needed = match &seen {
            Some(seen) if seen.bytes.is_empty() => STILL_IF_CUT,
            Some(seen) if before.is_some_and(|mark| mark.is_cut_to(&seen.bytes)) => STILL_IF_CUT,
            _ => STILL,
        };
        if clock.now() - since >= needed {
            return seen.map(WaitResult::Stable).ok_or_else(missing);
        }
        if clock.now() - started >= limit {
            let seen = seen.ok_or_else(missing)?;
            let only_grew = before.is_some_and(|mark| mark.is_beginning_of(&seen.bytes));
            return Ok(match only_grew {
                true => WaitResult::Growing(seen),
                false => WaitResult::Unstable(seen),
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
