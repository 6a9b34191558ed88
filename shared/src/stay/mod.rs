//! What a process that stays needs, the same in both agents: [`Signals`] that end or reload it, pauses after failures
//! ([`Backoff`]), the [`service_manager`], and detection of sleep and of steps of the clock ([`ClockWatch`]), and of
//! changes of this machine's addresses ([`AddressEvents`], [`AddressLook`]).
//!
//! A main loop waits for all of these with `tokio::select!`; each method documented as cancel-safe loses nothing there.

mod address_events;
mod backoff;
mod clock;
mod debounce;
mod local_addresses;
pub mod passed_token;
pub mod service_manager;
mod signals;

pub use address_events::AddressEvents;
pub use backoff::{Backoff, Jitter, SystemJitter, spread};
pub use clock::{ClockWatch, Clocks, Jump, SystemClocks};
pub use local_addresses::{AddressLook, LocalAddress, local_addresses};
pub use passed_token::PassedToken;
pub use signals::{Signal, Signals};
