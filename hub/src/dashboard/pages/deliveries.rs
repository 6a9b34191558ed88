//! The page of deliveries: what was sent to which receiver, what failed and why, and when it is tried again.

use askama::Template;

use crate::dashboard::href::{Href, href};
use crate::dashboard::layout::Chrome;
use crate::dashboard::when::When;
use crate::domain::time::Time;
use crate::http::deliveries::Document;
use crate::store::DeliveryState;

/// How many hostnames of a delivery are shown; the others are counted.
const NAMES: usize = 20;

/// A page of the list.
#[derive(Debug, Template)]
#[template(path = "dashboard/deliveries.html")]
pub(in crate::dashboard) struct DeliveriesPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) state: Option<DeliveryState>,
    /// The sink that the list is limited to; empty: all.
    pub(in crate::dashboard) sink: String,
    /// Every sink.
    pub(in crate::dashboard) sinks: Vec<String>,
    pub(in crate::dashboard) failed: i64,
    pub(in crate::dashboard) pending: i64,
    pub(in crate::dashboard) rows: Vec<Row>,
    pub(in crate::dashboard) is_first: bool,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<String>,
}

/// A delivery.
#[derive(Debug)]
pub(in crate::dashboard) struct Row {
    id: i64,
    sink: String,
    silo: String,
    what: &'static str,
    class: &'static str,
    words: &'static str,
    attempts: i64,
    why: Option<String>,
    /// When it was done; else since when it is pending.
    at: When,
    failing_since: Option<When>,
    next_try: Option<When>,
    hostnames: Vec<Name>,
    more_hostnames: usize,
    may_retry: bool,
}

/// A hostname of a delivery.
#[derive(Debug)]
struct Name {
    hostname: String,
    /// Why its part failed, if that differs from the delivery's reason.
    why: Option<String>,
}

/// One of the links that limit the list to a state.
#[derive(Debug)]
struct Tab {
    href: Href,
    words: &'static str,
    number: Option<i64>,
    is_current: bool,
}

impl DeliveriesPage {
    fn of_state(&self, state: Option<DeliveryState>, after: &str) -> Href {
        href("/dashboard/deliveries")
            .with("state", state.map_or("", DeliveryState::as_str))
            .with("sink", &self.sink)
            .with("after", after)
    }

    fn tabs(&self) -> Vec<Tab> {
        let tab = |state: Option<DeliveryState>, words, number| Tab {
            href: self.of_state(state, ""),
            words,
            number,
            is_current: self.state == state,
        };
        vec![
            tab(None, "All", None),
            tab(Some(DeliveryState::Failed), "Failed", Some(self.failed)),
            tab(Some(DeliveryState::Pending), "Waiting", Some(self.pending)),
            tab(Some(DeliveryState::Done), "Delivered", None),
        ]
    }

    fn first_page(&self) -> Option<Href> {
        (!self.is_first).then(|| self.of_state(self.state, ""))
    }

    fn next_page(&self) -> Option<Href> {
        let next = self.next.as_deref()?;
        Some(self.of_state(self.state, next))
    }

    fn is_filtered(&self) -> bool {
        self.state.is_some() || !self.sink.is_empty()
    }
}

impl Row {
    /// The row of a delivery.
    pub(in crate::dashboard) fn of(delivery: Document, now: Time) -> Self {
        let is_done = delivery.state == DeliveryState::Done.as_str();
        let is_failed = delivery.state == DeliveryState::Failed.as_str();
        let (class, words) = match (is_done, is_failed, &delivery.why) {
            (true, _, _) => ("ok", "delivered"),
            (_, true, _) => ("bad", "failed"),
            (_, _, Some(_)) => ("warn", "retrying"),
            _ => ("quiet", "waiting"),
        };
        let why = delivery.why.filter(|_| !is_done);
        let mut names = delivery.hostnames.into_iter();
        let hostnames: Vec<Name> = names
            .by_ref()
            .take(NAMES)
            .map(|name| Name {
                hostname: name.hostname.to_string(),
                why: name.why.filter(|own| Some(own) != why.as_ref()),
            })
            .collect();
        Self {
            id: delivery.id,
            sink: delivery.sink,
            silo: delivery.silo.to_string(),
            what: event_words(&delivery.event),
            class,
            words,
            attempts: delivery.attempts,
            why,
            at: When::new(delivery.done_at.unwrap_or(delivery.at), now),
            failing_since: delivery
                .failing_since
                .filter(|_| !is_done)
                .map(|at| When::new(at, now)),
            next_try: delivery
                .next_try
                .filter(|_| !is_done)
                .map(|at| When::new(at, now)),
            hostnames,
            more_hostnames: names.count(),
            may_retry: !is_done,
        }
    }
}

/// What a delivery tells.
fn event_words(event: &str) -> &'static str {
    match event {
        "change" => "a change",
        "reconcile" => "a difference that a comparison found",
        "clean" => "a removal",
        "unseen" => "not seen for too long",
        "back" => "seen again",
        "failing" => "another sink fails",
        "recovered" => "another sink has recovered",
        _ => "an event of a newer version",
    }
}
