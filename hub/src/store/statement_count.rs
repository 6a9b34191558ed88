//! Counts the statements sent in a test's thread.

use std::cell::Cell;

thread_local! {
    static SENT: Cell<usize> = const { Cell::new(0) };
}

/// Counts one statement.
pub(in crate::store) fn note() {
    SENT.set(SENT.get() + 1);
}

/// Number of statements sent since the last call.
pub(crate) fn take() -> usize {
    SENT.take()
}
