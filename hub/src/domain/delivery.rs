//! The types that the outbox and the sinks exchange: publications, events and outcomes.

use std::time::Duration;

use silo_shared::silo::{Addresses, Family, Hostname, SiloId};

use super::change::AddressChange;
use super::dynahost::SealedLogin;
use super::sink::SinkName;
use super::time::Time;

use crate::domain::revision::Revision;

/// The known state of a name at the receiver: the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverState {
    /// Nothing published by this hub.
    #[default]
    Nothing,
    /// These addresses may have been sent, but the outcome is unknown because of a crash or a lost response.
    Claimed(Addresses),
    /// The receiver accepted these from us.
    Published(Addresses),
    /// The receiver accepted `published` from us. Later `sent` (empty: a deletion), and perhaps others before it, may
    /// have been sent too, with unknown outcome.
    Replacing {
        /// What it certainly accepted.
        published: Addresses,
        /// What it may have received last.
        sent: Addresses,
        /// The families that may differ from `published`.
        unsure: UncertainFamilies,
    },
}

/// The families whose state at the receiver is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UncertainFamilies {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl UncertainFamilies {
    /// Both families.
    pub const BOTH: Self = Self { v4: true, v6: true };

    /// The families in which two states differ.
    pub fn between(one: &Addresses, other: &Addresses) -> Self {
        Self {
            v4: one.v4 != other.v4,
            v6: one.v6 != other.v6,
        }
    }

    /// The union of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            v4: self.v4 || other.v4,
            v6: self.v6 || other.v6,
        }
    }

    /// Whether a family is among them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// One name that a state sink must bring to the state of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The silo of the record.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// The record's name at the receiver, as the sink returned it.
    pub name: String,
    /// The desired addresses. Empty: the record was deleted, and what we published must be deleted too.
    pub wanted: Addresses,
    /// The known state at the receiver. `Claimed(x)` with `x == wanted` also means a first attempt: the claim is always
    /// committed before the sink is called.
    pub standing: ReceiverState,
    /// The login given for the record, if the sink uses one.
    pub login: Option<SealedLogin>,
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has the desired state, or received the event.
    Done,
    /// The state at the receiver is not the expected one; nothing was changed. The ledger takes it over and the name is
    /// published again at once. Must differ from the state in the publication, otherwise this would loop.
    Found(ReceiverState),
    /// Handed over; the result will be known later. The same publication is requested again soon.
    Waiting,
    /// It failed this time: pending, retried with backoff (1 s … 1 h), without limit by state sinks, at most
    /// `max_attempts` times by event sinks.
    Retry(Trouble),
    /// It needs manual action, but may recover: shown as failed, and retried hourly by state sinks. Final for an event
    /// sink.
    Failed(Trouble),
    /// Refused permanently: shown as failed, and not sent again except manually, after a change of the settings or, if
    /// a single name is refused, at the record's next change.
    Refused(Trouble),
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it affects.
    pub reach: Reach,
    /// A message for the operator, without secrets, and with at most a short, printable excerpt of the receiver's own
    /// text.
    pub why: String,
    /// The minimum delay before the next attempt.
    pub not_before: Option<Duration>,
}

/// What a failure affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that this sink has to send: the receiver is unavailable, or refuses our credentials.
    Sink,
    /// Only this name, or this message.
    Name,
}

impl Trouble {
    /// A failure of the receiver as a whole.
    pub fn of_sink(why: impl Into<String>) -> Self {
        Self::new(Reach::Sink, why)
    }

    /// A failure of one name or message.
    pub fn of_name(why: impl Into<String>) -> Self {
        Self::new(Reach::Name, why)
    }

    fn new(reach: Reach, why: impl Into<String>) -> Self {
        Self {
            reach,
            why: why.into(),
            not_before: None,
        }
    }

    /// The same, with a minimum delay before the next attempt.
    #[must_use]
    pub fn not_before(self, wait: Duration) -> Self {
        Self {
            not_before: Some(wait),
            ..self
        }
    }
}

/// An event for an event sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stays the same when the event is sent again.
    pub id: i64,
    /// What happened.
    pub kind: EventKind,
    /// The silo.
    pub silo: SiloId,
    /// The revision that the event created, or that was current.
    pub revision: Revision,
    /// When it happened.
    pub at: Time,
    /// The interface of the change, such as `rest`; see the history.
    pub via: String,
    /// The addresses that changed, in the history's order. For the other kinds, one entry per family of the record,
    /// with the same `old` and `new`.
    pub changes: Vec<AddressChange>,
    /// The `notify` addresses of the records concerned.
    pub notify: Vec<(Hostname, String)>,
    /// When the record was last seen, for `Unseen` and `Back`.
    pub last_seen: Option<Time>,
    /// The receivers that the sink has reached already, in an earlier attempt, in the sink's own format.
    pub notified: Vec<String>,
    /// An earlier event of the same hostname is still pending for others than these receivers: only these get this one
    /// now, and the event remains pending. `None`: all receivers get it.
    pub only_to: Option<Vec<String>>,
    /// The failure of another sink, and the hostnames that it affects, for `Failing` and `Recovered`.
    pub failure: Option<(SinkFailure, Vec<Hostname>)>,
}

/// The reported failure of another sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFailure {
    /// The sink that fails, or that has recovered.
    pub sink: SinkName,
    /// The reason, as a message for the operator; `None`: it has recovered.
    pub why: Option<String>,
    /// Whether it affects everything that the sink has to send; the hostname is then the one that revealed it.
    pub of_all: bool,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Addresses changed.
    Change,
    /// No write has included a record for longer than the sink's limit.
    Unseen,
    /// A write has included it again.
    Back,
    /// The receiver refuses another sink, whose settings name this one. `changes` is as for `Unseen`.
    Failing,
    /// It no longer does.
    Recovered,
}

/// The result of sending one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryResult {
    /// All receivers reached by now, including `Event::notified`.
    pub notified: Vec<String>,
    /// The outcome.
    pub outcome: Outcome,
}
