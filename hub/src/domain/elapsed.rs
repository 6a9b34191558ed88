//! Rules for stored times that hold even if the wall clock is stepped.
//!
//! A stored time is what the wall clock showed at that moment. The current wall clock alone can't show whether that was
//! long ago, so each rule here compares the wall clock with the monotonic one.

use std::collections::VecDeque;
use std::time::Duration;

use silo_shared::signing::MAX_CLOCK_OFFSET;

use super::time::{Reading, Time};

/// A difference between the clocks of this many milliseconds or more is a step; a smaller one is not detected, and does
/// not matter to waits of half an hour and more.
const STEP_MS: i64 = 60_000;

/// Whether a stored time is further ahead of `now` than the clocks of several hubs may differ: it was stored by a wrong
/// clock, and carries no information.
pub fn is_ahead(stored: Time, now: Time) -> bool {
    stored > now.plus_seconds(MAX_CLOCK_OFFSET)
}

/// Whether a stored deadline is still in the future. One that is further ahead than `longest_ms`, the longest deadline
/// in use, was stored by a wrong clock, and is ignored. All in milliseconds since the Unix epoch.
pub fn lies_ahead(until: i64, longest_ms: i64, now: Time) -> bool {
    let now = now.as_millis();
    until > now && until <= now.saturating_add(longest_ms)
}

/// The same for deadlines set by several hubs, whose clocks may differ.
pub fn lies_ahead_anywhere(until: Time, longest_seconds: i64, now: Time) -> bool {
    let longest_ms = (longest_seconds + MAX_CLOCK_OFFSET).saturating_mul(1000);
    lies_ahead(until.as_millis(), longest_ms, now)
}

/// The start of silence periods: the last step of the wall clock, or the time when writes were last accepted again.
#[derive(Debug, Default)]
pub struct Listening {
    /// The wall clock minus the monotonic one, in milliseconds, when both were last read.
    offset: Option<i64>,
    /// The start of silence periods, if later than the hub's start.
    since: Option<Time>,
}

impl Listening {
    /// Silence periods start now.
    pub fn begin_again(&mut self, now: Time) {
        self.since = Some(now);
    }

    /// Reads the clocks; `start` is when the hub began to listen. After a step, the time before it does not count: the
    /// stored times do not show how much of it has passed.
    pub fn since(&mut self, start: Time, at: Reading) -> Time {
        let monotonic = i64::try_from(at.monotonic.as_millis()).unwrap_or(i64::MAX);
        let offset = at.now.as_millis().saturating_sub(monotonic);
        let before = self.offset.replace(offset);
        if before.is_some_and(|before| before.abs_diff(offset) > STEP_MS.unsigned_abs()) {
            self.since = Some(at.now);
        }
        self.since.unwrap_or(start)
    }
}

/// Whether something that was last seen at a stored time has been silent for `seconds`, where silence periods start at
/// `since`. A time that is ahead of the clock is ignored.
pub fn is_silent(last_seen: Time, since: Time, seconds: i64, now: Time) -> bool {
    let counts_from = if is_ahead(last_seen, now) {
        since
    } else {
        last_seen.max(since)
    };
    counts_from.plus_seconds(seconds) <= now
}

/// The earliest and the latest time that the wall clock has shown within a window of monotonic time.
///
/// Rows that were stored within the window have a time between them, however the wall clock was stepped. So what is
/// older or newer was stored before the window began, in this process or earlier, or by another hub.
#[derive(Debug)]
pub struct ShownTimes {
    window: Duration,
    began: Duration,
    /// Ascending in both clocks.
    earliest: VecDeque<Shown>,
    /// Ascending in the monotonic clock, descending in the wall clock.
    latest: VecDeque<Shown>,
}

/// A time that the wall clock has shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    time: Time,
    /// When the next reading came: what was stored right before has this time.
    until: Duration,
}

impl Shown {
    fn at(at: Reading) -> Self {
        Self {
            time: at.now,
            until: at.monotonic,
        }
    }
}

impl ShownTimes {
    /// The window begins to fill.
    pub fn new(window: Duration, at: Reading) -> Self {
        Self {
            window,
            began: at.monotonic,
            earliest: VecDeque::from([Shown::at(at)]),
            latest: VecDeque::from([Shown::at(at)]),
        }
    }

    /// Adds a reading; call it several times per window.
    pub fn note(&mut self, at: Reading) {
        let window = self.window;
        add(&mut self.earliest, at, window, |last| last >= at.now);
        add(&mut self.latest, at, window, |last| last <= at.now);
    }

    /// The earliest time of the window; `None`: it has not lasted that long since the start.
    pub fn earliest(&self, at: Reading) -> Option<Time> {
        let earliest = self.earliest.front().filter(|_| self.is_whole(at))?;
        Some(earliest.time.min(at.now))
    }

    /// The latest time of the window, likewise.
    pub fn latest(&self, at: Reading) -> Option<Time> {
        let latest = self.latest.front().filter(|_| self.is_whole(at))?;
        Some(latest.time.max(at.now))
    }

    fn is_whole(&self, at: Reading) -> bool {
        at.monotonic.saturating_sub(self.began) >= self.window
    }
}

/// Adds a reading in place of those that it supersedes, and forgets what was shown before the window.
fn add(
    shown: &mut VecDeque<Shown>,
    at: Reading,
    window: Duration,
    is_superseded: impl Fn(Time) -> bool,
) {
    if let Some(last) = shown.back_mut() {
        last.until = at.monotonic;
    }
    while shown.back().is_some_and(|last| is_superseded(last.time)) {
        shown.pop_back();
    }
    shown.push_back(Shown::at(at));
    while let Some(first) = shown.front()
        && at.monotonic.saturating_sub(first.until) >= window
    {
        shown.pop_front();
    }
}

/// An upper bound for the current time: the newest row stored before the start is at most this much older, and the
/// monotonic clock counts from then on.
#[derive(Clone, Copy, Debug)]
pub struct LatestNow {
    /// Both clocks at the start.
    pub start: Reading,
    /// The newest stored time at the start.
    pub newest_stored: Option<Time>,
}

impl LatestNow {
    /// The best estimate of the current time: the bound if it is earlier than the wall clock.
    pub fn get(&self, at: Reading) -> Time {
        at.now.min(self.by_stored_times(at))
    }

    /// The later one of both: a clock that is behind is bounded by what others have stored.
    pub fn latest(&self, at: Reading) -> Time {
        at.now.max(self.by_stored_times(at))
    }

    fn by_stored_times(&self, at: Reading) -> Time {
        let passed = at
            .monotonic
            .saturating_sub(self.start.monotonic)
            .as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let from = self.newest_stored.unwrap_or(self.start.now).as_millis();
        Time::from_millis(from.saturating_add(passed))
    }
}

#[cfg(test)]
mod tests {
    use silo_e2e::clock::STEPS;

    use super::*;

    const START: Time = Time::from_millis(1_767_323_045_000);

    /// The clocks after this many seconds, with the wall clock stepped by this many.
    fn at(passed: i64, stepped: i64) -> Reading {
        Reading {
            now: START.plus_seconds(passed + stepped),
            monotonic: Duration::from_secs(passed.unsigned_abs()),
        }
    }

    #[test]
    fn a_clock_step_adds_no_unseen_time() {
        for step in STEPS {
            let mut listening = Listening::default();
            assert_eq!(listening.since(START, at(0, 0)), START);
            assert_eq!(listening.since(START, at(15, 0)), START);
            // Less than a minute: a small correction.
            assert_eq!(listening.since(START, at(30, 59)), START);
            assert_eq!(listening.since(START, at(45, 0)), START);
            let stepped = at(60, step);
            assert_eq!(listening.since(START, stepped), stepped.now, "{step}");
            assert_eq!(listening.since(START, at(75, step)), stepped.now, "{step}");
            // Stepped back.
            let back = at(90, 0);
            assert_eq!(listening.since(START, back), back.now, "{step}");
            listening.begin_again(START.plus_seconds(95));
            let since = listening.since(START, at(100, 0));
            assert_eq!(since, START.plus_seconds(95), "{step}");
        }
    }

    #[test]
    fn unseen_time_counts_from_the_later_possible_time() {
        let now = START.plus_seconds(10_000);
        let cases = [
            // (last seen, listening since, seconds, silent)
            (0, 0, 10_000, true),
            (0, 0, 10_001, false),
            (5_000, 0, 5_000, true),
            (5_001, 0, 5_000, false),
            (0, 5_001, 5_000, false),
            (0, 5_000, 5_000, true),
            // Another hub's clock may be ahead.
            (10_300, 0, 1_800, false),
            // Stored by a wrong clock.
            (10_301, 8_200, 1_800, true),
            (10_301, 8_201, 1_800, false),
            (43_200_000, 0, 1_800, true),
        ];
        for (last_seen, since, seconds, silent) in cases {
            let [last_seen, since] = [last_seen, since].map(|at| START.plus_seconds(at));
            let found = is_silent(last_seen, since, seconds, now);
            assert_eq!(found, silent, "{last_seen} {since} {seconds}");
        }
    }

    #[test]
    fn a_deadline_binds_at_most_its_maximum() {
        for (until, ahead) in [(-1, false), (0, false), (1, true), (60, true), (61, false)] {
            let until = START.plus_seconds(until);
            assert_eq!(
                lies_ahead(until.as_millis(), 60_000, START),
                ahead,
                "{until}"
            );
        }
        assert!(!lies_ahead(i64::MAX, 60_000, START));
        for (until, ahead) in [(0, false), (60, true), (360, true), (361, false)] {
            let until = START.plus_seconds(until);
            assert_eq!(lies_ahead_anywhere(until, 60, START), ahead, "{until}");
        }
    }

    #[test]
    fn rows_stored_within_the_window_are_between_the_shown_times() {
        const WINDOW: i64 = 600;
        for step in STEPS {
            // The clock is wrong from 1200 s to 1275 s.
            let wrong = |second: i64| {
                if (1200..1275).contains(&second) {
                    step
                } else {
                    0
                }
            };
            let window = Duration::from_secs(WINDOW.unsigned_abs());
            let mut shown = ShownTimes::new(window, at(0, 0));
            for second in (0..4000).step_by(60) {
                let reading = at(second, wrong(second));
                shown.note(reading);
                let (Some(earliest), Some(latest)) =
                    (shown.earliest(reading), shown.latest(reading))
                else {
                    assert!(second < WINDOW, "{second}");
                    continue;
                };
                assert!(second >= WINDOW, "{second}");
                let stored = (second - WINDOW..=second).filter(|second| second % 60 == 0);
                for second in stored {
                    let stored = at(second, wrong(second)).now;
                    assert!(earliest <= stored && stored <= latest, "{step} {second}");
                }
                // They do not stay behind or ahead forever.
                if !(1200..=1275 + 2 * WINDOW).contains(&second) {
                    assert!(
                        earliest >= at(second - WINDOW - 60, 0).now,
                        "{step} {second}"
                    );
                    assert!(latest <= reading.now, "{step} {second}");
                }
            }
        }
    }

    #[test]
    fn a_clock_ahead_is_bounded_by_stored_times() {
        let day = 86_400;
        let cases = [
            // (stored before the start, step at the start, passed, found)
            (Some(-day), 0, 600, -day + 600),
            (Some(-day), 500 * day, 600, -day + 600),
            (Some(-day), 500 * day, 30 * day, 29 * day),
            (Some(-day), -2 * day, 600, -2 * day + 600),
            // The stored time is ahead; the clock has been corrected since.
            (Some(500 * day), 0, 600, 600),
            (None, 0, 600, 600),
        ];
        for (stored, step, passed, found) in cases {
            let bound = LatestNow {
                start: at(0, step),
                newest_stored: stored.map(|at| START.plus_seconds(at)),
            };
            let expected = START.plus_seconds(found);
            assert_eq!(
                bound.get(at(passed, step)),
                expected,
                "{stored:?} {step} {passed}"
            );
        }
        // Stepped at run time.
        let bound = LatestNow {
            start: at(0, 0),
            newest_stored: None,
        };
        assert_eq!(bound.get(at(600, 500 * day)), START.plus_seconds(600));
    }
}
