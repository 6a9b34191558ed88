//! Runs the hook of `on_change` that is owed.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use silo_shared::fact::Fact;
use silo_shared::hook::{Hook, HookError};
use thiserror::Error;

use crate::owed_hook::OwedHook;
use crate::state::{StateDir, StateError};

/// Why the hook is still owed.
#[derive(Debug, Error)]
pub(crate) enum OwedHookError {
    /// It failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Runs the owed hook, if there is one, until it has succeeded for all that changed, also meanwhile. Returns what it was
/// told. If the configuration names no hook any more, none is owed.
pub(crate) fn run_owed(
    hook: Option<&Hook>,
    state: &StateDir,
    hosts: &Path,
    stop: &AtomicBool,
) -> Result<Vec<OwedHook>, OwedHookError> {
    let mut done = Vec::new();
    while let Some(owed) = state.owed_hook(hosts)? {
        if let Some(hook) = hook {
            hook.run(&owed.input(), stop)?;
            done.push(owed.clone());
        }
        let locked = state.lock()?;
        // What another run has added meanwhile is still owed.
        if locked.owed_hook(hosts)?.as_ref() == Some(&owed) {
            locked.owe_hook(hosts, None)?;
        }
    }
    Ok(done)
}

/// The hook has succeeded.
pub(crate) fn succeeded(owed: &OwedHook) -> Fact {
    let silos = owed.silo_ids();
    Fact::new(
        "hook",
        format_args!("on_change: done for {}", silos.join(", ")),
    )
    .with("silos", &silos)
}

/// The hook has failed, and is owed.
pub(crate) fn failed(error: &OwedHookError) -> Fact {
    Fact::error(error).with("kind", "hook")
}
