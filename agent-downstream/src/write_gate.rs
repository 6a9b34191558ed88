//! Lets a process that is told to end finish a running write of the hosts file, and begins no further one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the thread that writes and the one that receives signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteGate(Arc<Mutex<GateState>>);

#[derive(Debug, Default)]
struct GateState {
    is_closed: bool,
    is_writing: bool,
}

/// A write that has begun, until it is dropped.
#[derive(Debug)]
pub(crate) struct Writing(WriteGate);

impl WriteGate {
    /// Begins a write; `None` if the gate is closed.
    pub(crate) fn enter(&self) -> Option<Writing> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        state.is_writing = true;
        Some(Writing(self.clone()))
    }

    /// Lets no further write begin. Returns whether one is running.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        state.is_closed = true;
        state.is_writing
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.state().is_writing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_a_running_write_finish_and_no_other_begin() {
        let gate = WriteGate::default();
        let writing = gate.enter().expect("it is open");
        assert!(gate.close());
        assert!(gate.enter().is_none());
        drop(writing);
        assert!(!gate.close());
        assert!(gate.enter().is_none());
        let open = WriteGate::default();
        drop(open.enter());
        assert!(!open.close());
    }
}
