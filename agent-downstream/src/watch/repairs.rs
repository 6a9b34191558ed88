//! Slows down when another program keeps changing the blocks back. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time in which repairs are counted.
const WITHIN: Duration = Duration::from_secs(60);
/// How many repairs in that time are made at once.
pub(super) const AT_ONCE: usize = 5;
/// The pause between repairs after that.
const PAUSE: Duration = Duration::from_secs(60);
/// Without a repair for this long, the other program has stopped.
const OVER_AFTER: Duration = Duration::from_secs(180);

/// The last repairs of what other programs changed.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    recent: VecDeque<Instant>,
    is_slow: bool,
}

impl Repairs {
    /// Counts a repair. Returns whether it is the one from which on repairs are made slowly.
    pub(super) fn repaired(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.recent.push_back(now);
        let was_slow = self.is_slow;
        self.is_slow |= self.recent.len() >= AT_ONCE;
        self.is_slow && !was_slow
    }

    /// When the next repair may be made; `None`: now.
    pub(super) fn next_at(&mut self, now: Instant) -> Option<Instant> {
        self.forget(now);
        let last = self.recent.back().filter(|_| self.is_slow)?;
        Some(*last + PAUSE).filter(|at| *at > now)
    }

    fn forget(&mut self, now: Instant) {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        if self
            .recent
            .back()
            .is_some_and(|last| since(last) >= OVER_AFTER)
        {
            self.is_slow = false;
        }
        // The last one is needed for the pause.
        while self.recent.len() > 1 && self.recent.front().is_some_and(|at| since(at) >= WITHIN) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_repair_in_a_minute_is_followed_by_pauses_until_it_is_over() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        // When a repair is made; whether it starts the slow pace; when the next one may follow, asked right after it.
        for (what, steps) in [
            (
                "five in a minute",
                vec![
                    (0, false, None),
                    (1, false, None),
                    (2, false, None),
                    (3, false, None),
                    (4, true, Some(64)),
                    (64, false, Some(124)),
                    (124, false, Some(184)),
                    (310, false, None),
                ],
            ),
            (
                "five in five minutes",
                vec![
                    (0, false, None),
                    (60, false, None),
                    (120, false, None),
                    (180, false, None),
                    (240, false, None),
                ],
            ),
            (
                "a second fight",
                vec![
                    (0, false, None),
                    (0, false, None),
                    (0, false, None),
                    (0, false, None),
                    (0, true, Some(60)),
                    (200, false, None),
                    (201, false, None),
                    (202, false, None),
                    (203, false, None),
                    (204, true, Some(264)),
                ],
            ),
        ] {
            let mut repairs = Repairs::default();
            for (number, (now, is_first, next)) in steps.into_iter().enumerate() {
                assert_eq!(repairs.repaired(at(now)), is_first, "{what}: {number}");
                assert_eq!(repairs.next_at(at(now)), next.map(at), "{what}: {number}");
            }
        }
        let mut repairs = Repairs::default();
        for _ in 0..AT_ONCE {
            repairs.repaired(at(0));
        }
        assert_eq!(repairs.next_at(at(59)), Some(at(60)));
        assert_eq!(repairs.next_at(at(60)), None);
    }
}
