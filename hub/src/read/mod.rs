//! Reads: silos as they are sent, held in bounded memory.

pub(crate) mod render;
pub(crate) mod view;
