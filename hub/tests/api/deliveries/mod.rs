//! What is owed to sinks, and how the workers work it off; the sinks are made of what a test tells them
//! to answer, and write down what they were asked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
mod clock;
mod coalescing;
mod failing;
mod publishing;
mod recovery;
pub(crate) mod scripted;
mod shown;
mod telling;
