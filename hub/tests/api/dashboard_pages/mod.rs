//! The pages of agents, deliveries, tokens, audit and the hub itself, as a browser without a script sees them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod backups;
mod browser;
mod deliveries;
mod machines;
mod tokens;
