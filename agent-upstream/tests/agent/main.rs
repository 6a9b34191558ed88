//! Runs the real `silo-upstream` against a small hub that checks what it is sent.

mod check;
mod config;
#[cfg(unix)]
mod hook;
mod hub;
#[cfg(target_os = "linux")]
mod namespace;
mod once;
mod parting;
mod records;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod remembered;
mod run;
mod sources;
#[cfg(target_os = "linux")]
mod watch;
mod web;
#[cfg(target_os = "linux")]
mod web_tls;
