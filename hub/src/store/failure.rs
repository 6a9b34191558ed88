//! How a statement failed, and what that proves about the transaction.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::StoreError;

/// How a call to the database failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The database answered the statement with an error; the session continues.
    Answered,
    /// The connection or the session has ended.
    Lost,
    /// No answer came before the deadline.
    NoAnswer,
}

/// What was in progress when a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening the transaction: the connection, `BEGIN`, the counter's lock.
    Begin,
    /// A statement in a call without `COMMIT`.
    Statement,
    /// A statement in the same call as the `COMMIT`, before it.
    BeforeCommit,
    /// The `COMMIT` itself.
    Commit,
}

impl Phase {
    /// Whether the transaction may have been committed although the call failed.
    pub fn may_have_committed(self, failure: Failure) -> bool {
        match (self, failure) {
            (Self::Begin | Self::Statement, _) => false,
            // The database runs the statements of a call in order, and stops at the first error.
            (Self::BeforeCommit, Failure::Answered) => false,
            (Self::BeforeCommit, Failure::Lost | Failure::NoAnswer) | (Self::Commit, _) => true,
        }
    }
}

impl StoreError {
    /// How the call failed. Anything but a connection failure counts as answered.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Database(error) => failure(error),
            Self::NoAnswer => Failure::NoAnswer,
            Self::Full { .. } | Self::Schema(_) | Self::NoHub { .. } | Self::Corrupt(_) => {
                Failure::Answered
            }
            Self::Open { .. } | Self::Malformed { .. } => Failure::Lost,
        }
    }
}

/// How a call failed, according to the driver's error.
pub(super) fn failure(error: &sqlx::Error) -> Failure {
    use sqlx::Error as E;
    match error {
        E::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Failure::NoAnswer,
        E::PoolTimedOut => Failure::NoAnswer,
        E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolClosed | E::WorkerCrashed => Failure::Lost,
        E::Database(error) => {
            let (mysql, severity) = (
                error.try_downcast_ref::<MySqlDatabaseError>(),
                error.try_downcast_ref::<PgDatabaseError>(),
            );
            let lost = ends_session(error.code().as_deref(), mysql.map(|error| error.number()))
                || severity.is_some_and(|error| {
                    matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
                });
            if lost {
                Failure::Lost
            } else {
                Failure::Answered
            }
        }
        _ => Failure::Answered,
    }
}

/// Whether an error ends the session, according to its SQLSTATE and MariaDB's number: a shutdown or
/// an administrator's command (57P01 to 57P03, MariaDB 1053 and 1927), a lost connection (class 08,
/// MariaDB 2006 and 2013), a limit on idle sessions (25P03, 57P05).
fn ends_session(sqlstate: Option<&str>, number: Option<u16>) -> bool {
    let by_state = sqlstate.is_some_and(|state| {
        // SQLite's codes are shorter numbers.
        state.len() == 5
            && (state.starts_with("08")
                || matches!(
                    state,
                    "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03"
                ))
    });
    by_state || matches!(number, Some(1053 | 1927 | 2006 | 2013))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_commit_that_was_sent_leaves_the_outcome_open() {
        use Failure::{Answered, Lost, NoAnswer};
        use Phase::{BeforeCommit, Begin, Commit, Statement};
        for (phase, failure, may_have_committed) in [
            (Begin, Answered, false),
            (Begin, Lost, false),
            (Begin, NoAnswer, false),
            (Statement, Answered, false),
            (Statement, Lost, false),
            (Statement, NoAnswer, false),
            (BeforeCommit, Answered, false),
            (BeforeCommit, Lost, true),
            (BeforeCommit, NoAnswer, true),
            (Commit, Answered, true),
            (Commit, Lost, true),
            (Commit, NoAnswer, true),
        ] {
            assert_eq!(
                phase.may_have_committed(failure),
                may_have_committed,
                "{phase:?} {failure:?}"
            );
        }
    }

    #[test]
    fn errors_that_end_the_session_are_distinguished_from_responses() {
        for (sqlstate, number, ends) in [
            (Some("57P01"), None, true),
            (Some("57P02"), None, true),
            (Some("57P03"), None, true),
            (Some("08006"), None, true),
            (Some("08P01"), None, true),
            (Some("25P03"), None, true),
            (Some("57014"), None, false),
            (Some("40001"), None, false),
            (Some("55P03"), None, false),
            (Some("53100"), None, false),
            (Some("08S01"), Some(1053), true),
            (Some("70100"), Some(1927), true),
            (Some("HY000"), Some(2006), true),
            (Some("HY000"), Some(2013), true),
            (Some("HY000"), Some(1205), false),
            (Some("70100"), Some(1317), false),
            // SQLite: full, busy, an I/O error.
            (Some("13"), None, false),
            (Some("5"), None, false),
            (Some("4874"), None, false),
            (None, None, false),
        ] {
            assert_eq!(
                ends_session(sqlstate, number),
                ends,
                "{sqlstate:?} {number:?}"
            );
        }
    }

    #[test]
    fn the_drivers_errors_are_sorted() {
        use std::io::{Error, ErrorKind};
        for (error, expected) in [
            (
                sqlx::Error::Io(Error::from(ErrorKind::TimedOut)),
                Failure::NoAnswer,
            ),
            (sqlx::Error::PoolTimedOut, Failure::NoAnswer),
            (
                sqlx::Error::Io(Error::from(ErrorKind::UnexpectedEof)),
                Failure::Lost,
            ),
            (sqlx::Error::WorkerCrashed, Failure::Lost),
            (sqlx::Error::Protocol("cut off".to_owned()), Failure::Lost),
            (sqlx::Error::RowNotFound, Failure::Answered),
        ] {
            assert_eq!(failure(&error), expected, "{error:?}");
        }
    }
}
