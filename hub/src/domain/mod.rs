//! The rules, without I/O: what a command changes, whether a precondition holds, who may do what.

pub mod change;
pub mod precondition;
pub mod time;
pub mod token;
