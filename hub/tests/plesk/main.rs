//! The sink `plesk` against the worker: the hub's half as an unprivileged user, the real `silo-hub plesk-worker`
//! as root, and a fake `plesk`, since the real one can't be had, that keeps zones in files and refuses every
//! command that it was not promised. Needs root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod folders;
mod hostile;
mod killed;
mod lifetime;
mod publishing;
