//! Runs the real `silo-upstream` against a small hub that checks what it is sent.

mod check;
mod config;
mod hub;
#[cfg(target_os = "linux")]
mod namespace;
mod once;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod remembered;
mod run;
mod sources;
