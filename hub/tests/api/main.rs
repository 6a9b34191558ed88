//! The REST interface against its contract: the real hub in this process, a real database, HTTP over
//! the loopback. One module a subject; one binary, so that it is linked once.
//!
//! Tests of commands in pages need a shell, and are not built on Windows.
//!
//! `SILO_TEST_ON` says on which database: `sqlite` unless it is set, or `postgres` or `mariadb`, by
//! `scripts/test --on postgres api`.

mod agents;
mod audit;
mod away;
mod before_body;
mod bodies;
mod browsers;
mod changed_tokens;
mod clock;
mod common;
mod concurrency;
mod conditional;
mod dashboard;
mod dashboard_pages;
mod database_id;
mod databases;
mod deliveries;
mod dynahost;
mod dyndns2;
mod ended_tokens;
mod events;
mod expiry;
mod failure_limit;
mod foreign_imports;
mod full;
mod half_close;
mod history;
mod history_links;
mod host;
mod implied;
mod import_in_use;
mod invitations;
mod key_file;
mod limits;
mod metrics;
mod migrating;
mod minimal;
mod new_hub;
mod one_file;
mod open_routes;
mod openapi;
#[cfg(unix)]
mod pages;
mod panics;
mod problems;
mod purged_rights;
#[cfg(unix)]
mod pyddns;
mod record_lists;
mod record_patches;
mod record_search;
mod records;
mod refused_input;
mod revert;
mod rights;
mod rights_of_protocols;
mod rotation;
mod scale;
mod several_hubs;
#[cfg(unix)]
mod sftdyn_clients;
mod signing;
mod silo_list;
mod silos;
mod start;
mod status;
mod tokens;
mod transfer;
mod underscores;
mod update_keys;
mod upkeep;
mod wait;
mod wake_ups;
mod ways;
