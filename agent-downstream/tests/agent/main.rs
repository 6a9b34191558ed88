//! The real binary against a fake hub, on real files: what it writes, says and survives.
//!
//! These tests need root and `strace`, `attr`, `e2fsprogs` and `util-linux`: without them they fail and say so.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, though clippy takes its helpers for more"
)]

mod config_files;
mod fake_hub;
mod faults;
mod hostile_hub;
mod hosts_file;
mod last_write;
mod mounts;
mod no_state;
mod older_version;
mod other_writers;
mod outside;
mod replaced_file;
mod restore;
mod rude;
mod sandbox;
mod terminal;
mod trace;
mod verbs;
