//! Parses JSON bodies into the parts of commands, with a JSON pointer to each wrong value.

mod invitation;
mod members;
mod record;
mod silo;
mod token;

pub(super) use invitation::{confirmation, invitation, redemption};
pub(super) use record::records;
pub(crate) use record::{RecordPatch, record};
pub(super) use silo::{revert, silo};
pub(super) use token::{Rotation, rotation, token, token_patch};
