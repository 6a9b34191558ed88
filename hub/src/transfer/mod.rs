//! Exports: all data of a hub, as JSON lines that another hub can import.
//!
//! The first line names the format. It is followed by the silos in byte order, each with its
//! records on one line; the history, oldest first; the tokens; the update keys; the bindings of
//! dynahost's protocol; and a last line with the counts, which shows that the export is complete.
//! Writer and reader hold a page at a time. Data of other programs is converted to such an export
//! and imported by the same code.

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
