//! Reads: rendered silos in bounded memory.

pub(crate) mod render;
pub(crate) mod view;
