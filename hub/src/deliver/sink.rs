//! What a sink is to the workers: a receiver that is asked to make something true, or told of an event.
//!
//! Sinks know neither SQL nor routes. Every call of theirs to the outside has a deadline below
//! [`SEND_DEADLINE`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use silo_shared::silo::{Addresses, Hostname, SiloId};

use crate::domain::change::AddressChange;
use crate::domain::time::Time;

/// Within what time one call of a sink must end; the worker cuts it off then, well before its lease ends.
pub const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// What a sink's method returns, so that sinks of every kind can stand in one list.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is known of a name at the receiver: the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of ours.
    #[default]
    Nothing,
    /// These addresses may have been sent before, but nobody knows how that ended: a crash or a
    /// lost answer lies between.
    Claimed(Addresses),
    /// The receiver has taken these from us.
    Published(Addresses),
}

/// One name that a state sink shall bring to the state of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The silo of the record.
    pub silo: SiloId,
    /// The record.
    pub hostname: Hostname,
    /// What it is called at the receiver, as [`StateSink::published_name`] said.
    pub name: String,
    /// What shall stand there now. Empty: the record is gone, and so shall be what we published.
    pub wanted: Addresses,
    /// What is known to stand there. `Claimed(x)` with `x == wanted` also stands for a first
    /// attempt: the claim is always committed before [`StateSink::publish`] is called.
    pub standing: Standing,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver holds what was wanted, or was told.
    Done,
    /// Something else than what was believed stands at the receiver; nothing was changed. The
    /// ledger takes it over and the name is published again at once. Must differ from what the
    /// publication said, or it would go round for ever.
    Found(Standing),
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

/// A sink that makes the present state true at its receiver: `rfc2136`, `dyndns2`, `plesk`.
pub trait StateSink: Send + Sync {
    /// What a record is called at the receiver; `Err` says why it is not for this sink and is shown
    /// with the delivery, which is done then.
    fn published_name(&self, hostname: &Hostname) -> Result<String, String>;

    /// Brings one name to `publication.wanted`. Idempotent: it may have run before and been cut off
    /// at any point.
    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome>;

    /// What stands under a name at the receiver; asked by `silo-hub sink adopt`. `None`: this kind of
    /// receiver can't be asked.
    fn observe<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>>;

    /// Tries the receiver without changing anything; the words are for `check-config --connect`.
    fn check(&self) -> Answer<'_, Result<String, String>>;
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
    /// The addresses that changed, in the history's order. For `Unseen` and `Back` one entry a
    /// family of the record, with `old` and `new` alike.
    pub changes: Vec<AddressChange>,
    /// The `notify` addresses of the records concerned.
    pub notify: Vec<(Hostname, String)>,
    /// When the record was last seen, for `Unseen` and `Back`.
    pub last_seen: Option<Time>,
    /// Whom of its receivers the sink has told already, in an earlier attempt, in the sink's words.
    pub told: Vec<String>,
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
}

/// How telling one event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// All who were told by now, `Event::told` included.
    pub told: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A sink that is told every change: `email`, `webhook`.
pub trait EventSink: Send + Sync {
    /// How long changes are gathered before they are told together. Zero: each by itself, at once.
    fn gather(&self) -> Duration;

    /// After how many attempts it gives up.
    fn max_attempts(&self) -> i64;

    /// After how long without a write a record is reported as not seen.
    fn unseen_after(&self) -> Option<Duration>;

    /// Tells events, oldest first: one unless [`EventSink::gather`] asks for more. Answers one
    /// outcome an event, in order.
    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<Told>>;

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
