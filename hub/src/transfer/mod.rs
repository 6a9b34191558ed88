//! Exports: everything that a hub stores, as JSON lines that another hub reads in.
//!
//! The first line names the format. Then come the silos in byte order, each with its records on one
//! line; the history, oldest first; the tokens; the update keys; the bindings of dynahost's protocol; and a
//! last line that counts them, by which a reader knows that nothing was cut off. Writer and reader hold a
//! page at a time. What other programs hold is made into such an export and read in by the same code.

mod check;
mod credential_lines;
mod export;
mod foreign;
mod import;
mod line;

pub use export::{ExportError, export};
pub use foreign::{ForeignError, Taken, by_silo, of_dynahost, of_pyddns, of_pyddns_database};
pub use import::{Import, ImportError, Imported};
pub use line::Counts;
