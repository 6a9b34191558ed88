//! Decides what happens to the commands of a batch that was certainly not committed. Pure.

use crate::store::Failure;

/// Maximum number of attempts of a batch that loses its connection.
pub(super) const ATTEMPTS: u32 = 3;

/// What happens to the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They run again, each in its own transaction: the database may have refused one of them.
    OneByOne,
    /// They run again together: no command is at fault.
    Again,
    /// Their callers get an error: the database failed.
    Refuse,
}

/// Decides by the failure of the database, the number of commands and the number of the attempt.
pub(super) fn verdict(failure: Failure, commands: usize, attempt: u32) -> Verdict {
    match failure {
        Failure::Answered if commands > 1 => Verdict::OneByOne,
        Failure::Answered => Verdict::Refuse,
        Failure::Lost | Failure::NoAnswer if attempt < ATTEMPTS => Verdict::Again,
        Failure::Lost | Failure::NoAnswer => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_tried_again_and_an_answer_is_taken_for_one() {
        for (failure, commands, attempt, expected) in [
            (Failure::Answered, 1, 1, Verdict::Refuse),
            (Failure::Answered, 2, 1, Verdict::OneByOne),
            (Failure::Answered, 2, ATTEMPTS, Verdict::OneByOne),
            (Failure::Lost, 1, 1, Verdict::Again),
            (Failure::Lost, 256, 2, Verdict::Again),
            (Failure::Lost, 1, ATTEMPTS, Verdict::Refuse),
            (Failure::NoAnswer, 1, 1, Verdict::Again),
            (Failure::NoAnswer, 2, ATTEMPTS, Verdict::Refuse),
        ] {
            assert_eq!(
                verdict(failure, commands, attempt),
                expected,
                "{failure:?} {commands} {attempt}"
            );
        }
    }
}
