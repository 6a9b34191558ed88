//! Whether to correct a record that another program keeps changing: two agents with the same hostname must not fight.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// This many corrections within [`WINDOW`] mean that another agent corrects them, too.
const MANY: usize = 3;
/// See [`MANY`].
const WINDOW: Duration = Duration::from_secs(60);

/// The recent corrections of one record.
#[derive(Clone, Debug, Default)]
pub(super) struct Contest {
    corrections: VecDeque<Instant>,
    is_lost: bool,
}

impl Contest {
    /// Whether a change by another program is corrected at once; otherwise only at the next heartbeat.
    pub(super) fn corrects_at_once(&self) -> bool {
        !self.is_lost
    }

    /// Records that a change by another program was corrected. Returns whether it is the one after which others are no
    /// longer corrected at once.
    pub(super) fn corrected(&mut self, at: Instant) -> bool {
        while self
            .corrections
            .front()
            .is_some_and(|first| at.duration_since(*first) > WINDOW)
        {
            self.corrections.pop_front();
        }
        self.corrections.push_back(at);
        let is_new = !self.is_lost && self.corrections.len() >= MANY;
        self.is_lost |= is_new;
        is_new
    }

    /// Records a heartbeat that found the record as this agent left it: no other program changes it any more.
    pub(super) fn undisturbed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_third_correction_within_a_minute_is_the_last_one_at_once() {
        // Corrections at these seconds; the one that ends them, if any.
        for (corrections, last) in [
            (&[0, 1][..], None),
            (&[0, 1, 2], Some(2)),
            (&[0, 30, 60], Some(60)),
            (&[0, 30, 61], None),
            (&[0, 30, 61, 62], Some(62)),
            (&[0, 61, 122, 183, 244], None),
            (&[0, 1, 2, 3, 4], Some(2)),
        ] {
            let began = Instant::now();
            let mut contest = Contest::default();
            let mut lost = Vec::new();
            for at in corrections {
                assert_eq!(contest.corrects_at_once(), lost.is_empty());
                if contest.corrected(began + Duration::from_secs(*at)) {
                    lost.push(*at);
                }
            }
            assert_eq!(lost, Vec::from_iter(last), "{corrections:?}");
            contest.undisturbed();
            assert!(contest.corrects_at_once());
        }
    }
}
