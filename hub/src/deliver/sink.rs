//! What a sink is to the workers: a receiver that is asked to make something true, or told of an event.
//!
//! Sinks know neither SQL nor routes. Every call of theirs to the outside has a deadline below
//! [`SEND_DEADLINE`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use silo_shared::silo::{Addresses, Hostname};

use crate::auth::secrets::HubKey;

pub use crate::domain::delivery::{
    DeliveryResult, Event, EventKind, Outcome, Publication, Reach, ReceiverState, SinkFailure,
    Trouble, UncertainFamilies,
};

/// Within what time one call of a sink must end; the worker cuts it off then, well before its lease ends.
pub const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// What a sink's method returns, so that sinks of every kind can stand in one list.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A sink that makes the present state true at its receiver: `rfc2136`, `dyndns2`, `plesk`.
pub trait StateSink: Send + Sync {
    /// What a record is called at the receiver; `Err` says why it is not for this sink and is shown
    /// with the delivery, which is done then.
    fn published_name(&self, hostname: &Hostname) -> Result<String, String>;

    /// Whether it sends under logins that callers gave for single records, rather than under one of its
    /// own. Only records with such a login are its affair then.
    fn wants_logins(&self) -> bool {
        false
    }

    /// Whether the receiver takes only names that DNS takes for host names: others are left out, but for what it
    /// holds of them already.
    fn takes_host_names_only(&self) -> bool {
        false
    }

    /// Takes the hub's key, which opens such logins. Called once, before anything is published.
    fn take_key(&mut self, _key: &HubKey) {}

    /// Brings one name to `publication.wanted`. Idempotent: it may have run before and been cut off
    /// at any point.
    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome>;

    /// What stands under a name at the receiver; asked by `silo-hub sink adopt`. `None`: this kind of
    /// receiver can't be asked.
    fn observe<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>>;

    /// Tries the receiver without changing anything; the words are for `check-config --connect`.
    fn check(&self) -> Answer<'_, Result<String, String>>;
}

/// A sink that is told every change: `email`, `webhook`.
pub trait EventSink: Send + Sync {
    /// How long changes are gathered before they are told together. Zero: each by itself, at once.
    fn gather(&self) -> Duration;

    /// After how many attempts it gives up.
    fn max_attempts(&self) -> i64;

    /// After how long without a write a record is reported as not seen.
    fn unseen_after(&self) -> Option<Duration>;

    /// Whether it tells somebody of whatever it is asked to, rather than only the addresses that records name.
    fn has_receiver(&self) -> bool {
        true
    }

    /// Whether a record may name this mail address to be told.
    fn may_notify(&self, _address: &str) -> bool {
        false
    }

    /// Tells events, oldest first: one unless [`EventSink::gather`] asks for more. Answers one
    /// outcome an event, in order.
    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<DeliveryResult>>;

    /// Tries the receiver without telling it anything; the words are for `check-config --connect`.
    fn check(&self) -> Answer<'_, Result<String, String>>;
}

/// A sink of either sort.
pub enum Sink {
    /// Makes the present state true.
    State(Box<dyn StateSink>),
    /// Is told every change.
    Event(Box<dyn EventSink>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::State(_) => "state sink",
            Self::Event(_) => "event sink",
        })
    }
}
