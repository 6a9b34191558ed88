//! Who was told of which event, over all attempts, and what the worker is answered.
//!
//! `Event::told` holds the address of everyone who was told, and, as long as others are still to be
//! tried, `!`, the address and the reason of everyone who was refused for good, who is then left in
//! peace. When the event is through, the refused are taken out: a retry by hand asks for them again.

use super::super::sink::{DeliveryResult, Event, Outcome, Trouble};
use super::failure::Failure;
use super::mail::{Mail, key};

/// The state of each event of a call.
pub(super) struct Ledger<'a> {
    events: &'a [Event],
    entries: Vec<Entry>,
}

struct Entry {
    told: Vec<String>,
    /// What is put into `told` while others are pending, and why, in words.
    refused: Vec<(String, String)>,
    pending: Option<Trouble>,
}

impl<'a> Ledger<'a> {
    /// Of the events that are to be told.
    pub(super) fn new(events: &'a [Event]) -> Self {
        let entry = |event: &Event| {
            let told = event.told.iter().filter(|text| !text.starts_with('!'));
            Entry {
                told: told.cloned().collect(),
                refused: Vec::new(),
                pending: None,
            }
        };
        Self {
            events,
            entries: events.iter().map(entry).collect(),
        }
    }

    /// Takes out of a letter what its receiver was refused for in an earlier attempt; `false`:
    /// nothing is left of it.
    pub(super) fn take_refused(&mut self, mail: &mut Mail<'_>) -> bool {
        let prefix = format!("!{} ", key(&mail.to.email));
        let whom = mail.whom.to_string();
        mail.news.retain(|item| {
            let mut told = self.events[item.index].told.iter();
            let Some(marker) = told.find(|text| text.starts_with(&prefix)) else {
                return true;
            };
            let why = format!("{whom}: {}", &marker[prefix.len()..]);
            self.entries[item.index].refuse(marker.clone(), why);
            false
        });
        !mail.news.is_empty()
    }

    /// The receiver has it.
    pub(super) fn told(&mut self, mail: &Mail<'_>) {
        let key = key(&mail.to.email);
        for index in indexes(mail) {
            self.entries[index].told.push(key.clone());
        }
    }

    /// The receiver does not have it.
    pub(super) fn failed(&mut self, mail: &Mail<'_>, failure: &Failure) {
        for index in indexes(mail) {
            let entry = &mut self.entries[index];
            match failure {
                Failure::Refused(why) => {
                    let marker = format!("!{} {why}", key(&mail.to.email));
                    entry.refuse(marker, format!("{}: {why}", mail.whom));
                }
                Failure::Later(why) => {
                    let trouble = Trouble::of_name(format!("{}: {why}", mail.whom));
                    entry.pending.get_or_insert(trouble);
                }
                Failure::Down(why) => entry.pending = Some(Trouble::of_sink(why)),
            }
        }
    }

    /// One answer an event, in order.
    pub(super) fn finish(self) -> Vec<DeliveryResult> {
        self.entries.into_iter().map(Entry::finish).collect()
    }
}

impl Entry {
    fn refuse(&mut self, marker: String, why: String) {
        if self.refused.iter().all(|(known, _)| *known != marker) {
            self.refused.push((marker, why));
        }
    }

    fn finish(mut self) -> DeliveryResult {
        let outcome = match (self.pending, self.refused.is_empty()) {
            (Some(trouble), _) => {
                let markers = self.refused.into_iter().map(|(marker, _)| marker);
                self.told.extend(markers);
                Outcome::Retry(trouble)
            }
            (None, true) => Outcome::Done,
            (None, false) => {
                let whys: Vec<_> = self.refused.into_iter().map(|(_, why)| why).collect();
                Outcome::Refused(Trouble::of_name(shortened(&whys)))
            }
        };
        DeliveryResult {
            told: self.told,
            outcome,
        }
    }
}

/// How many refusals are told in full.
const MAX_WHYS: usize = 3;

fn shortened(whys: &[String]) -> String {
    let text = whys[..whys.len().min(MAX_WHYS)].join("; ");
    match whys.len().saturating_sub(MAX_WHYS) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// The events that a letter tells of, each once.
fn indexes(mail: &Mail<'_>) -> Vec<usize> {
    let mut indexes: Vec<_> = mail.news.iter().map(|item| item.index).collect();
    indexes.dedup();
    indexes
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
