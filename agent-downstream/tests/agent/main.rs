//! The real binary against a fake hub, on real files: what it writes, says and survives.
//!
//! On Linux these tests need root and `strace`, `attr`, `e2fsprogs` and `util-linux`: without them they fail and say so.
//! Modules and tests that are not for Windows need these, or a shell, signals, modes or inodes.
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, though clippy takes its helpers for more"
)]

mod config_files;
#[cfg(target_os = "linux")]
mod dns_servers;
mod fake_hub;
#[cfg(target_os = "linux")]
mod faults;
mod hostile_hub;
mod hosts_file;
#[cfg(target_os = "linux")]
mod last_write;
#[cfg(target_os = "linux")]
mod linux_file;
#[cfg(target_os = "linux")]
mod mounts;
mod no_state;
#[cfg(target_os = "linux")]
mod older_version;
#[cfg(target_os = "linux")]
mod other_writers;
#[cfg(target_os = "linux")]
mod outside;
mod own_file;
#[cfg(target_os = "linux")]
mod replaced_file;
mod restore;
#[cfg(target_os = "linux")]
mod rude;
mod sandbox;
mod several_hubs;
mod suffix;
mod terminal;
#[cfg(target_os = "linux")]
mod trace;
mod verbs;
mod watch;
#[cfg(target_os = "linux")]
mod watch_full_disk;
mod watch_hub;
