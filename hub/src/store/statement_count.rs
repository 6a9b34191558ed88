//! Counts the statements of a test's thread.

use std::cell::Cell;

thread_local! {
    static SENT: Cell<usize> = const { Cell::new(0) };
}

/// One more is sent.
pub(in crate::store) fn note() {
    SENT.set(SENT.get() + 1);
}

/// How many were sent since the last call.
pub(crate) fn take() -> usize {
    SENT.take()
}
