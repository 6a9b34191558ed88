//! The programs against each other and against what others wrote: each test starts the real binaries. One module a
//! subject; one binary, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod across_databases;
mod agents;
#[cfg(unix)]
mod backup;
mod clocks;
mod command_line;
#[cfg(unix)]
mod dashboard;
#[cfg(unix)]
mod data_directory;
#[cfg(unix)]
mod database_settings;
mod deaf_database;
mod deliveries;
mod dns_hub;
mod dns_sink;
mod durability;
mod dynahost;
mod export;
mod followers;
#[cfg(unix)]
mod foreign_clients;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod generated_client;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "linux")]
mod joining;
mod kills;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod live;
#[cfg(unix)]
mod moving_database;
mod observability;
mod poolers;
mod postgres;
#[cfg(target_os = "linux")]
mod proxies;
mod rest_page;
mod restored;
mod several_hubs;
mod signed;
mod signed_by_others;
#[cfg(unix)]
mod staying;
mod tls;
#[cfg(target_os = "linux")]
mod units;
#[cfg(unix)]
mod upgrade;
