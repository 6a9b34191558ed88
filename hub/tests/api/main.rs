//! The REST interface against its contract: the real hub in this process, a real database, HTTP over
//! the loopback. One module a subject; one binary, so that it is linked once.

mod away;
mod bodies;
mod common;
mod concurrency;
mod conditional;
mod expiry;
mod failure_limit;
mod history;
mod open_routes;
mod records;
mod refused_input;
mod revert;
mod rights;
mod silo_list;
mod silos;
mod start;
mod tokens;
mod transfer;
mod wait;
