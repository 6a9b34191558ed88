//! The pages: plain data, and the template that makes HTML of it. Handlers fill them.

pub(super) mod add_machine;
pub(super) mod agents;
pub(super) mod audit;
pub(super) mod changes;
pub(super) mod delete;
pub(super) mod deliveries;
pub(super) mod home;
pub(super) mod record;
pub(super) mod revert;
pub(super) mod silo;
pub(super) mod system;
pub(super) mod tokens;

#[cfg(test)]
pub(super) mod golden;
#[cfg(test)]
mod golden_facts;
#[cfg(test)]
mod golden_forms;
#[cfg(test)]
mod golden_lists;
