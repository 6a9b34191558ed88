//! Whether the session of a stream goes on.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// How long a check may be ago when something else than a change of the session's token wakes the stream: on a busy hub a
/// look for each change would be too much.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// Looks whether a session goes on.
pub(crate) type SessionCheck = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The session that a stream belongs to.
pub(super) struct SessionWatch {
    check: SessionCheck,
    /// `None`: it is to be checked now.
    checked_at: Option<Instant>,
}

impl SessionWatch {
    /// A session that was not checked yet.
    pub(super) fn new(check: SessionCheck) -> Self {
        Self {
            check,
            checked_at: None,
        }
    }

    /// The session's end changes its token: it is checked next.
    pub(super) fn token_changed(&mut self) {
        self.checked_at = None;
    }

    /// Whether it goes on, as far as was known a moment ago.
    pub(super) async fn goes_on(&mut self) -> bool {
        let is_known = |at: &Instant| at.elapsed() < KNOWN_FOR;
        if self.checked_at.as_ref().is_some_and(is_known) {
            return true;
        }
        self.checked_at = Some(Instant::now());
        (self.check)().await
    }
}
