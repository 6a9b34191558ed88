//! Why a server or a pooler in front of it refuses a connection, and what to do about it.

use sqlx::mysql::MySqlDatabaseError;

/// What to do when the server has no connection left.
pub(super) const NO_SLOT: &str = "the server has no connection left for this user: end other sessions, or raise its max_connections or the user's limit; a hub uses up to 6";

/// What to do about a pooler that does not keep a session for each connection.
pub(super) const SHARED_SESSIONS: &str = "a pooler gives the transactions of one connection to several sessions of the server, but the hub needs a session for each connection: set pool_mode = session for this database in PgBouncer";

/// The beginning of PgBouncer's refusal of a parameter that it does not know.
const UNKNOWN_PARAMETER: &str = "unsupported startup parameter";

/// Whether the server has no connection left: PostgreSQL's `too_many_connections`, MariaDB's
/// `ER_CON_COUNT_ERROR`, `ER_TOO_MANY_USER_CONNECTIONS` and `ER_USER_LIMIT_REACHED`.
pub(super) fn has_no_slot(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => matches!(error.number(), 1040 | 1203 | 1226),
        None => error.code().as_deref() == Some("53300"),
    }
}

/// The driver's error with what to do about it, if that is known.
pub(super) fn explained(error: &sqlx::Error) -> String {
    if has_no_slot(error) {
        return format!("{NO_SLOT} ({error})");
    }
    let text = error.to_string();
    if text.contains(UNKNOWN_PARAMETER) {
        format!(
            "{text}: add ignore_startup_parameters = extra_float_digits to PgBouncer's configuration"
        )
    } else {
        text
    }
}
