//! The interface of sinks to the workers: state sinks publish a state, event sinks send events.
//!
//! Sinks know neither SQL nor routes. Every external call has a deadline below [`SEND_DEADLINE`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use silo_shared::silo::{Addresses, Hostname};

use crate::auth::secrets::HubKey;

pub use crate::domain::delivery::{
    DeliveryResult, Event, EventKind, Outcome, Publication, Reach, ReceiverState, SinkFailure,
    Trouble, UncertainFamilies,
};

/// Time limit of a call to a sink, enforced by the worker, well before its lease ends.
pub const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// The return type of a sink's methods, boxed so that the traits are dyn-compatible.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A sink that publishes the current state to its receiver.
pub trait StateSink: Send + Sync {
    /// The name of a record at the receiver. `Err` says why the record is not for this sink; the
    /// reason is shown with the delivery, which is then done.
    fn published_name(&self, hostname: &Hostname) -> Result<String, String>;

    /// Whether it uses logins that callers gave for single records instead of one of its own. It
    /// then handles only records with such a login.
    fn wants_logins(&self) -> bool {
        false
    }

    /// Whether the receiver accepts only valid DNS host names. Other names are skipped, except for
    /// removing what the receiver already has of them.
    fn takes_host_names_only(&self) -> bool {
        false
    }

    /// Sets the hub's key, which decrypts such logins. Called once, before the first publication.
    fn take_key(&mut self, _key: &HubKey) {}

    /// Brings one name to `publication.wanted`. Idempotent: an earlier call may have been
    /// interrupted at any point.
    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome>;

    /// The addresses of a name at the receiver; used by `silo-hub sink adopt`. `None`: this kind of
    /// receiver can't be queried.
    fn observe<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>>;

    /// Whether the receiver still has the addresses that were published under a name, and what else
    /// belongs to them; asked daily. What others have added to the name does not matter. `None`: this
    /// kind of receiver can't be queried.
    fn holds<'a>(
        &'a self,
        _name: &'a str,
        _published: &'a Addresses,
    ) -> Answer<'a, Option<Result<bool, Trouble>>> {
        Box::pin(std::future::ready(None))
    }

    /// Tests the receiver without changing anything; the text is for `check-config --connect`.
    fn check(&self) -> Answer<'_, Result<String, String>>;
}

/// A sink that receives every change.
pub trait EventSink: Send + Sync {
    /// How long changes are collected into one message. Zero: each is sent immediately.
    fn gather(&self) -> Duration;

    /// Attempts before a delivery is given up.
    fn max_attempts(&self) -> i64;

    /// Time without a write after which a record is reported as not seen.
    fn unseen_after(&self) -> Option<Duration>;

    /// Whether it has a receiver of its own, in addition to the addresses that records name.
    fn has_receiver(&self) -> bool {
        true
    }

    /// Whether an entry of [`DeliveryResult::notified`] names a receiver that has got the message.
    /// While a message fails for one receiver, those that have got it also get later messages of the
    /// same hostname ([`Event::only_to`]).
    fn is_receiver(&self, _notified: &str) -> bool {
        false
    }

    /// Whether a record may name this mail address for notifications.
    fn may_notify(&self, _address: &str) -> bool {
        false
    }

    /// Whether something of an earlier call goes on: the worker keeps its lease, so that no other hub
    /// sends the same. An event of which something goes on has the outcome [`Outcome::Waiting`], and
    /// is passed again after seconds.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Sends events, oldest first: one unless [`EventSink::gather`] requests more. Returns one
    /// outcome per event, in order.
    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<DeliveryResult>>;

    /// Tests the receiver without sending an event; the text is for `check-config --connect`.
    fn check(&self) -> Answer<'_, Result<String, String>>;
}

/// A sink of either sort.
pub enum Sink {
    /// Publishes the current state.
    State(Box<dyn StateSink>),
    /// Receives every change.
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
