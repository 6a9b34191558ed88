//! Records which receivers were notified of which event, over all attempts, and derives the result
//! for the worker.
//!
//! `Event::notified` holds the address of each notified receiver. While other receivers are pending, it
//! also holds `!`, the address and the reason of each permanently refused receiver, which is not
//! tried again, and `?`, the address, a number and the Message-ID of each mail that was handed over
//! without a confirmation ([`Earlier`]). When the event is finished, these entries are removed: a
//! manual retry includes the refused receivers.

use super::super::sink::{DeliveryResult, Event, Outcome, Reach, Trouble};
use super::failure::Failure;
use super::mail::{Earlier, Mail, key};

/// Whether an entry of `Event::notified` is the address of a notified receiver.
pub(super) fn is_receiver(entry: &str) -> bool {
    !entry.starts_with(['!', '?'])
}

/// The state of each event of a call.
pub(super) struct Ledger<'a> {
    events: &'a [Event],
    entries: Vec<Entry>,
}

struct Entry {
    notified: Vec<String>,
    /// The marker for `notified` while other receivers are pending, and the reason.
    refused: Vec<(String, String)>,
    pending: Option<Trouble>,
    /// A mail is with the server, which has not answered yet.
    is_waiting: bool,
    /// Some receivers do not get the event yet.
    is_partial: bool,
}

impl<'a> Ledger<'a> {
    /// A ledger of the events to send.
    pub(super) fn new(events: &'a [Event]) -> Self {
        let entry = |event: &Event| {
            let notified = event.notified.iter().filter(|text| is_receiver(text));
            Entry {
                notified: notified.cloned().collect(),
                refused: Vec::new(),
                pending: None,
                is_waiting: false,
                is_partial: event.only_to.is_some(),
            }
        };
        Self {
            events,
            entries: events.iter().map(entry).collect(),
        }
    }

    /// Removes from a mail the items for which its receiver was refused in an earlier attempt.
    /// `false`: the mail is empty.
    pub(super) fn take_refused(&mut self, mail: &mut Mail<'_>) -> bool {
        let prefix = format!("!{} ", key(&mail.to.email));
        let whom = mail.whom.to_string();
        mail.news.retain(|item| {
            let mut notified = self.events[item.index].notified.iter();
            let Some(marker) = notified.find(|text| text.starts_with(&prefix)) else {
                return true;
            };
            let why = format!("{whom}: {}", &marker[prefix.len()..]);
            self.entries[item.index].refuse(marker.clone(), why);
            false
        });
        !mail.news.is_empty()
    }

    /// Records that the receiver got the mail.
    pub(super) fn sent(&mut self, mail: &Mail<'_>) {
        let key = key(&mail.to.email);
        for index in indexes(mail) {
            self.entries[index].notified.push(key.clone());
        }
    }

    /// Records that the mail is with the server, which has not answered yet.
    pub(super) fn waits(&mut self, mail: &Mail<'_>, earlier: &Earlier) {
        let marker = earlier.marker(&key(&mail.to.email));
        for index in indexes(mail) {
            self.entries[index].is_waiting = true;
            self.entries[index].notified.push(marker.clone());
        }
    }

    /// Whether one of the events that a mail covers waits for the server's answer to another mail.
    pub(super) fn is_waiting(&self, mail: &Mail<'_>) -> bool {
        let mut indexes = indexes(mail).into_iter();
        indexes.any(|index| self.entries[index].is_waiting)
    }

    /// Records that the receiver did not get the mail, or perhaps not.
    pub(super) fn failed(&mut self, mail: &Mail<'_>, id: &str, failure: &Failure) {
        let earlier = match failure {
            Failure::Refused(_) => None,
            Failure::Unconfirmed { tries, .. } => Some(Earlier {
                tries: *tries,
                id: id.to_owned(),
            }),
            Failure::Later(_) | Failure::Lost(_) | Failure::Down(_) => mail.earlier.clone(),
        };
        let marker = earlier.map(|earlier| earlier.marker(&key(&mail.to.email)));
        for index in indexes(mail) {
            let entry = &mut self.entries[index];
            entry.notified.extend(marker.clone());
            match failure {
                Failure::Refused(why) => {
                    let marker = format!("!{} {why}", key(&mail.to.email));
                    entry.refuse(marker, format!("{}: {why}", mail.whom));
                }
                Failure::Later(why) | Failure::Lost(why) => {
                    let trouble = Trouble::of_name(format!("{}: {why}", mail.whom));
                    entry.wait_for(trouble);
                }
                Failure::Unconfirmed { why, wait, .. } => {
                    let trouble = Trouble::of_name(format!("{}: {why}", mail.whom));
                    entry.wait_for(trouble.not_before(*wait));
                }
                Failure::Down(why) => entry.pending = Some(Trouble::of_sink(why)),
            }
        }
    }

    /// One result per event, in order.
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

    /// The event is tried again when the first of its receivers is due.
    fn wait_for(&mut self, trouble: Trouble) {
        let is_later =
            |known: &Trouble| known.reach == Reach::Name && known.not_before > trouble.not_before;
        if self.pending.as_ref().is_none_or(is_later) {
            self.pending = Some(trouble);
        }
    }

    fn finish(mut self) -> DeliveryResult {
        if self.is_waiting || self.is_partial || self.pending.is_some() {
            let markers = self.refused.iter().map(|(marker, _)| marker.clone());
            self.notified.extend(markers);
        }
        let outcome = match (self.pending, self.refused.is_empty()) {
            _ if self.is_waiting => Outcome::Waiting,
            (Some(trouble), _) => Outcome::Retry(trouble),
            _ if self.is_partial => Outcome::Waiting,
            (None, true) => Outcome::Done,
            (None, false) => {
                let whys: Vec<_> = self.refused.into_iter().map(|(_, why)| why).collect();
                Outcome::Refused(Trouble::of_name(shortened(&whys)))
            }
        };
        DeliveryResult {
            notified: self.notified,
            outcome,
        }
    }
}

/// Maximum number of refusals described in full.
const MAX_WHYS: usize = 3;

fn shortened(whys: &[String]) -> String {
    let text = whys[..whys.len().min(MAX_WHYS)].join("; ");
    match whys.len().saturating_sub(MAX_WHYS) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// The events that a mail covers, each once.
fn indexes(mail: &Mail<'_>) -> Vec<usize> {
    let mut indexes: Vec<_> = mail.news.iter().map(|item| item.index).collect();
    indexes.dedup();
    indexes
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
