//! When a process that stays ends because its token is refused: if the token is a copy that the service manager made at
//! the start (systemd.exec(5), `LoadCredential=`), only another start gets what is in the file by now.
//!
//! The process can't read the file itself, which belongs to root, nor can a unit of type `.path` be relied on: it would
//! restart the service at each touch of the file, and has to be installed beside each drop-in.

use std::time::{Duration, Instant};

/// What is printed at the end.
pub const ENDS: &str = "the token is refused, and this process has only the copy that systemd made of its file at the start (LoadCredential=): ending with status 1, so that the service is started again with the file as it is now";

/// A process whose token was never accepted ends only after this time, so that a wrong token does not restart it all the
/// time.
const LEAST_TIME: Duration = Duration::from_secs(60);

/// What is known of the token of this process.
#[derive(Clone, Copy, Debug)]
pub struct PassedToken {
    started: Instant,
    was_accepted: bool,
}

impl PassedToken {
    /// Nothing, since the process begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            was_accepted: false,
        }
    }

    /// The hub accepted it.
    pub fn accepted(&mut self) {
        self.was_accepted = true;
    }

    /// The hub refused it. Returns whether the process has to end; `is_passed`: whether it is a copy.
    pub fn ends(&self, is_passed: bool, now: Instant) -> bool {
        is_passed && (self.was_accepted || now.duration_since(self.started) >= LEAST_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_that_was_accepted_or_is_old_ends_the_process() {
        let start = Instant::now();
        for (is_passed, was_accepted, seconds, ends) in [
            (true, true, 0, true),
            (true, false, 0, false),
            (true, false, 59, false),
            (true, false, 60, true),
            (false, true, 3600, false),
        ] {
            let mut token = PassedToken::new(start);
            if was_accepted {
                token.accepted();
            }
            let now = start + Duration::from_secs(seconds);
            let case = format!("{is_passed} {was_accepted} {seconds}");
            assert_eq!(token.ends(is_passed, now), ends, "{case}");
        }
    }
}
