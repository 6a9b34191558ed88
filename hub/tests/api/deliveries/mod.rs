//! Deliveries to sinks, and how the workers process them; the sinks are scripted by each test
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
