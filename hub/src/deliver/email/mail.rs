//! Splits the events of one call into mails by receiver. Pure; [`super::render`] renders the text.

use std::collections::{HashMap, HashSet};
use std::fmt;

use lettre::Address;
use lettre::message::Mailbox;
use silo_shared::silo::{Addresses, Hostname, SiloId, glob_matches};

use super::super::sink::Event;

/// What one receiver gets in one mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail<'a> {
    /// The receiver.
    pub(super) to: Mailbox,
    /// The receiver without the address, for the operator.
    pub(super) whom: Recipient,
    /// The items, oldest first; never empty.
    pub(super) news: Vec<News<'a>>,
    /// What earlier attempts have left, if the mail may have arrived already.
    pub(super) earlier: Option<Earlier>,
}

/// An earlier attempt that the server did not confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Earlier {
    /// The number of such attempts that have ended.
    pub(super) tries: u32,
    /// The Message-ID, which the mail keeps.
    pub(super) id: String,
}

impl Earlier {
    /// The entry in `Event::notified` of such an attempt for a receiver's [`key`].
    pub(super) fn marker(&self, key: &str) -> String {
        format!("?{key} {} {}", self.tries, self.id)
    }

    /// What an event notes about a receiver.
    fn of(event: &Event, key: &str) -> Option<Self> {
        let prefix = format!("?{key} ");
        let mut notes = event.notified.iter();
        let note = notes.find_map(|note| note.strip_prefix(&prefix))?;
        let (tries, id) = note.split_once(' ')?;
        Some(Self {
            tries: tries.parse().ok()?,
            id: id.to_owned(),
        })
    }
}

/// A receiver in a form suitable for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    /// One of the settings' `to`, counted from 0.
    To(usize),
    /// The `notify` address of a record.
    Notify(SiloId, Hostname),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(index) => write!(f, "to[{index}]"),
            Self::Notify(silo, hostname) => write!(f, "notify of {silo}/{hostname}"),
        }
    }
}

/// What happened to one hostname in one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    /// Index of the event in the call.
    pub(super) index: usize,
    /// The event.
    pub(super) event: &'a Event,
    /// The hostname.
    pub(super) hostname: &'a Hostname,
    /// Its addresses before, of the affected families.
    pub(super) old: Addresses,
    /// Its addresses now, of the affected families.
    pub(super) new: Addresses,
}

/// The key of a receiver in the ledger: addresses that differ only in case are equal.
pub(super) fn key(address: &Address) -> String {
    address.to_string().to_lowercase()
}

/// The mails to send: one per receiver, those of `to` first. No receiver gets an event twice, and a
/// record's own address gets only events of its record.
pub(super) fn letters<'a>(
    events: &'a [Event],
    to: &[Mailbox],
    allow_to: &[String],
) -> Vec<Mail<'a>> {
    let news: Vec<Vec<News<'a>>> = events
        .iter()
        .enumerate()
        .map(|(index, event)| news(index, event))
        .collect();
    let mut letters: Vec<Mail<'a>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, mailbox) in to.iter().enumerate() {
        places.entry(key(&mailbox.email)).or_insert_with(|| {
            letters.push(Mail {
                to: mailbox.clone(),
                whom: Recipient::To(index),
                news: news.iter().flatten().cloned().collect(),
                earlier: None,
            });
            letters.len() - 1
        });
    }
    let operators = letters.len();
    for (event, news) in events.iter().zip(&news) {
        let mut named = HashSet::new();
        for (hostname, text) in &event.notify {
            let Some(address) = allowed(text, allow_to) else {
                tracing::debug!(silo = %event.silo, %hostname, "notify is not within allow_to");
                continue;
            };
            let key = key(&address);
            // Receivers in `to` get the event already.
            if places.get(&key).is_some_and(|place| *place < operators)
                || !named.insert((hostname, key.clone()))
            {
                continue;
            }
            let place = *places.entry(key).or_insert_with(|| {
                letters.push(Mail {
                    to: Mailbox::new(None, address),
                    whom: Recipient::Notify(event.silo.clone(), hostname.clone()),
                    news: Vec::new(),
                    earlier: None,
                });
                letters.len() - 1
            });
            let of_record = news.iter().filter(|item| item.hostname == hostname);
            letters[place].news.extend(of_record.cloned());
        }
    }
    for mail in &mut letters {
        let key = key(&mail.to.email);
        mail.news.retain(|item| {
            let only_to = item.event.only_to.as_ref();
            !item.event.notified.contains(&key) && only_to.is_none_or(|only| only.contains(&key))
        });
    }
    letters.into_iter().flat_map(by_earlier_attempt).collect()
}

/// Splits a mail so that what may have arrived already is sent again as the same mail.
fn by_earlier_attempt(mail: Mail<'_>) -> Vec<Mail<'_>> {
    let key = key(&mail.to.email);
    let mut parts: Vec<Mail<'_>> = Vec::new();
    for item in mail.news {
        let earlier = Earlier::of(item.event, &key);
        let id = earlier.as_ref().map(|earlier| &earlier.id);
        let is_its = |part: &&mut Mail<'_>| part.earlier.as_ref().map(|earlier| &earlier.id) == id;
        match parts.iter_mut().find(is_its) {
            Some(part) => part.news.push(item),
            None => parts.push(Mail {
                to: mail.to.clone(),
                whom: mail.whom.clone(),
                news: vec![item],
                earlier,
            }),
        }
    }
    parts
}

/// A record's address, if it is valid and the settings allow it.
pub(super) fn allowed(text: &str, allow_to: &[String]) -> Option<Address> {
    let folded = text.to_lowercase();
    let within = allow_to.iter().any(|glob| glob_matches(glob, &folded));
    within.then(|| text.parse().ok()).flatten()
}

/// One item per hostname of the event, in the order of its changes; the families of a hostname
/// share an item.
fn news(index: usize, event: &Event) -> Vec<News<'_>> {
    let mut items: Vec<News<'_>> = Vec::new();
    if let Some((_, hostnames)) = &event.failure {
        // Includes deleted records.
        let items = hostnames.iter().map(|hostname| {
            let changes = event.changes.iter();
            let of_it = changes.filter(|change| change.hostname == *hostname);
            let addresses: Addresses = of_it.filter_map(|change| change.new).collect();
            News {
                index,
                event,
                hostname,
                old: addresses,
                new: addresses,
            }
        });
        return items.collect();
    }
    for change in &event.changes {
        if items
            .last()
            .is_none_or(|item| *item.hostname != change.hostname)
        {
            items.push(News {
                index,
                event,
                hostname: &change.hostname,
                old: Addresses::default(),
                new: Addresses::default(),
            });
        }
        if let Some(item) = items.last_mut() {
            change.old.map(|ip| item.old.set(ip));
            change.new.map(|ip| item.new.set(ip));
        }
    }
    items
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
