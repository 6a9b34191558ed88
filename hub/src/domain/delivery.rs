//! What passes between the outbox and the sinks: what shall be made true, what is told, how it ended.

use std::time::Duration;

use silo_shared::silo::{Addresses, Family, Hostname, SiloId};

use super::change::AddressChange;
use super::dynahost::SealedLogin;
use super::sink::SinkName;
use super::time::Time;

/// What is known of a name at the receiver: the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverState {
    /// Nothing of ours.
    #[default]
    Nothing,
    /// These addresses may have been sent before, but nobody knows how that ended: a crash or a
    /// lost answer lies between.
    Claimed(Addresses),
    /// The receiver has taken these from us.
    Published(Addresses),
    /// The receiver has taken `published` from us; later `sent` (empty: a deletion), and perhaps
    /// others before it, may have been sent too, but nobody knows how that ended.
    Replacing {
        /// What it surely took.
        published: Addresses,
        /// What it may have been sent last.
        sent: Addresses,
        /// Which families may stand otherwise than published.
        unsure: UncertainFamilies,
    },
}

/// The families of which nobody knows what stands at the receiver.
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

    /// The families of either.
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

/// One name that a state sink shall bring to the state of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The silo of the record.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// What it is called at the receiver, as the sink said.
    pub name: String,
    /// What shall stand there now. Empty: the record is gone, and so shall be what we published.
    pub wanted: Addresses,
    /// What is known to stand there. `Claimed(x)` with `x == wanted` also stands for a first
    /// attempt: the claim is always committed before the sink is asked.
    pub standing: ReceiverState,
    /// The login that was given for the record, where the sink wants one.
    pub login: Option<SealedLogin>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver holds what was wanted, or was told.
    Done,
    /// Something else than what was believed stands at the receiver; nothing was changed. The
    /// ledger takes it over and the name is published again at once. Must differ from what the
    /// publication said, or it would go round for ever.
    Found(ReceiverState),
    /// Handed over; whether it worked shows later. The same publication is asked for again soon.
    Waiting,
    /// It did not work this time: pending, tried again with backoff (1 s … 1 h), for ever by state
    /// sinks, at most `max_attempts` times by event sinks.
    Retry(Trouble),
    /// It needs somebody's hand, but may heal: shown as failed, and tried again hourly by state
    /// sinks. For an event sink this is the end of it.
    Failed(Trouble),
    /// Refused for good: shown as failed, and not sent again but by hand, after changed settings or,
    /// where a single name is refused, at the record's next change.
    Refused(Trouble),
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whom it concerns.
    pub reach: Reach,
    /// In words for the operator, without any secret and without the receiver's own unchecked
    /// text beyond a short, printable excerpt.
    pub why: String,
    /// Not to be tried again before this has passed.
    pub not_before: Option<Duration>,
}

/// Whom a trouble concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that this sink has to send: the receiver is away, or refuses who we are.
    Sink,
    /// This name, or this message, alone.
    Name,
}

impl Trouble {
    /// A trouble of the receiver as a whole.
    pub fn of_sink(why: impl Into<String>) -> Self {
        Self::new(Reach::Sink, why)
    }

    /// A trouble of one name or message.
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

    /// The same, not to be tried again before a while.
    #[must_use]
    pub fn not_before(self, wait: Duration) -> Self {
        Self {
            not_before: Some(wait),
            ..self
        }
    }
}

/// What an event sink is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stays the same however often it is sent.
    pub id: i64,
    /// What happened.
    pub kind: EventKind,
    /// Where.
    pub silo: SiloId,
    /// The revision that it made, or found.
    pub revision: i64,
    /// When.
    pub at: Time,
    /// By which way, such as `rest`; see the history.
    pub via: String,
    /// The addresses that changed, in the history's order. For the other kinds one entry a family of the
    /// record, with `old` and `new` alike.
    pub changes: Vec<AddressChange>,
    /// The `notify` addresses of the records concerned.
    pub notify: Vec<(Hostname, String)>,
    /// When the record was last seen, for `Unseen` and `Back`.
    pub last_seen: Option<Time>,
    /// Whom of its receivers the sink has told already, in an earlier attempt, in the sink's words.
    pub told: Vec<String>,
    /// What another sink fails with, and for which hostnames, for `Failing` and `Recovered`.
    pub failure: Option<(SinkFailure, Vec<Hostname>)>,
}

/// What is told of the failures of another sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFailure {
    /// The sink that fails, or that no longer does.
    pub sink: SinkName,
    /// Why, in words for the operator; `None`: it is over.
    pub why: Option<String>,
    /// Whether it concerns all that the sink has to send; the hostname is the one that showed it.
    pub of_all: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Addresses changed.
    Change,
    /// A record was not named by any write for longer than the sink asks for.
    Unseen,
    /// And then it was.
    Back,
    /// Another sink, which names this one, is refused at its receiver. `changes` is as for `Unseen`.
    Failing,
    /// And then it was not any more.
    Recovered,
}

/// How telling one event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryResult {
    /// All who were told by now, `Event::told` included.
    pub told: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}
