//! Exports: everything that a hub stores, as JSON lines that another hub reads in.
//!
//! The first line names the format. Then come the silos in byte order, each with its records on one
//! line; the history, oldest first; the tokens; the update keys; the bindings of dynahost's protocol; and a
//! last line that counts them, by which a reader knows that nothing was cut off. Writer and reader hold a
//! page at a time.

mod credential_lines;
mod export;
mod import;
mod line;

pub use export::{ExportError, export};
pub use import::{Import, ImportError, Imported};
pub use line::Counts;
