//! The REST interface against its contract: the real hub in this process, a real database, HTTP over
//! the loopback. One module a subject; one binary, so that it is linked once.
//!
//! `SILO_TEST_ON` says on which database: `sqlite` unless it is set, or `postgres` or `mariadb`, by
//! `scripts/test --on postgres api`.

mod audit;
mod away;
mod before_body;
mod bodies;
mod clock;
mod common;
mod concurrency;
mod conditional;
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
mod key_file;
mod limits;
mod migrating;
mod new_hub;
mod one_file;
mod open_routes;
mod pages;
mod panics;
mod problems;
mod purged_rights;
mod pyddns;
mod records;
mod refused_input;
mod revert;
mod rights;
mod rights_of_protocols;
mod rotation;
mod scale;
mod several_hubs;
mod sftdyn_clients;
mod signing;
mod silo_list;
mod silos;
mod start;
mod tokens;
mod transfer;
mod underscores;
mod update_keys;
mod upkeep;
mod wait;
mod wake_ups;
mod ways;
