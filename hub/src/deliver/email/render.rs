//! Renders a mail as a message of RFC 5322.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message, MultiPart};
use ring::digest;
use silo_shared::silo::Addresses;

use super::super::sink::{EventKind, SinkFailure};
use super::mail::{Mail, News, key};
use super::template::{Placeholder, Template};
use crate::auth::secrets::hex;
use crate::domain::html::html_escaped;

/// Maximum number of changes listed in a mail; the rest is only counted. Servers limit the size of a mail.
const MAX_LISTED: usize = 500;
/// Maximum length of a subject, in characters.
const MAX_SUBJECT: usize = 200;

const SUBJECT: &str = "{silo}/{hostname}: {event}";
const TEXT: &str = "{at}  {silo}/{hostname}: {event}\n";
const TEXT_SEEN: &str =
    "{at}  {silo}/{hostname}: {event} (last seen {last_seen}, addresses {new})\n";
const HTML: &str = "<p>{at} <b>{silo}/{hostname}</b>: {event}</p>";
const HTML_SEEN: &str =
    "<p>{at} <b>{silo}/{hostname}</b>: {event} (last seen {last_seen}, addresses {new})</p>";

/// The templates of the settings. A missing template is replaced by built-in text.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates {
    /// The subject of a mail of one change.
    pub(super) subject: Option<Template>,
    /// One change in plain text.
    pub(super) text: Option<Template>,
    /// One change in HTML. None: plain text only.
    pub(super) html: Option<Template>,
}

/// What all mails of a sink have in common.
#[derive(Debug)]
pub(super) struct MailRenderer<'a> {
    /// The name of the sink, for the Message-ID.
    pub(super) sink: &'a str,
    /// The sender.
    pub(super) from: &'a Mailbox,
    /// The templates.
    pub(super) templates: &'a Templates,
    /// Silence after which a record is reported as not seen.
    pub(super) unseen_after: Option<Duration>,
}

impl MailRenderer<'_> {
    /// The message, ready to send. Rendering the same mail again gives the same message except for
    /// the MIME boundary.
    pub(super) fn message(&self, mail: &Mail<'_>) -> Result<Message, lettre::error::Error> {
        let newest = mail.news.iter().map(|item| item.event.at).max();
        let millis = newest.unwrap_or_default().as_millis();
        let date = UNIX_EPOCH + Duration::from_millis(millis.try_into().unwrap_or(0));
        let builder = Message::builder()
            .from(self.from.clone())
            .to(mail.to.clone())
            .subject(self.subject(mail))
            .date(date)
            .message_id(Some(self.message_id(mail)))
            // RFC 3834 section 5: suppresses automatic replies.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        let text = self.text(mail);
        match self.html(mail) {
            None => builder
                .header(MIME_VERSION_1_0)
                .header(ContentType::TEXT_PLAIN)
                .body(text),
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        }
    }

    fn subject(&self, mail: &Mail<'_>) -> String {
        let subject = match mail.news.as_slice() {
            [item] => {
                let template = fitting(self.templates.subject.as_ref(), item, SUBJECT, SUBJECT);
                template.render(|placeholder| self.value(item, placeholder))
            }
            news => summary(news),
        };
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        subject.chars().map(plain).take(MAX_SUBJECT).collect()
    }

    fn text(&self, mail: &Mail<'_>) -> String {
        let mut text = String::new();
        for item in mail.news.iter().take(MAX_LISTED) {
            let template = fitting(self.templates.text.as_ref(), item, TEXT, TEXT_SEEN);
            text += &template.render(|placeholder| self.value(item, placeholder));
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        if let Some(more) = left_out(mail) {
            text = format!("{text}\n{more}\n");
        }
        text
    }

    fn html(&self, mail: &Mail<'_>) -> Option<String> {
        let own = self.templates.html.as_ref()?;
        let mut html = String::from("<!DOCTYPE html>\n<html><body>\n");
        for item in mail.news.iter().take(MAX_LISTED) {
            let template = fitting(Some(own), item, HTML, HTML_SEEN);
            html += &template.render(|placeholder| html_escaped(&self.value(item, placeholder)));
            html.push('\n');
        }
        if let Some(more) = left_out(mail) {
            html = format!("{html}<p>{}</p>\n", html_escaped(&more));
        }
        Some(html + "</body></html>\n")
    }

    /// The same for the same items and receiver, so that a receiver can recognize duplicates: a mail
    /// is sent again after a crash between sending and recording, and if the server did not confirm
    /// it. In the latter case the mail also keeps the id if it has lost an item.
    pub(super) fn message_id(&self, mail: &Mail<'_>) -> String {
        if let Some(earlier) = &mail.earlier {
            return earlier.id.clone();
        }
        let mut text = format!("{}\n{}\n", self.sink, key(&mail.to.email));
        let mut last = None;
        for item in &mail.news {
            if last.replace(item.index) != Some(item.index) {
                let event = item.event;
                let (id, revision, at) = (event.id, event.revision, event.at.as_millis());
                text += &format!("{id} {revision} {at} {}\n", event.silo);
            }
        }
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash = hex(&hash.as_ref()[..16]);
        let domain = self.from.email.domain();
        let domain = if domain.is_ascii() {
            domain
        } else {
            "localhost"
        };
        format!("<silo.{hash}@{domain}>")
    }

    fn value(&self, item: &News<'_>, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::Silo => item.event.silo.to_string(),
            Placeholder::Hostname => item.hostname.to_string(),
            Placeholder::Old => listed(&item.old),
            Placeholder::New => listed(&item.new),
            Placeholder::At => item.event.at.to_string(),
            Placeholder::Event => self.event(item),
            Placeholder::LastSeen => match item.event.last_seen {
                Some(time) => time.to_string(),
                None => "unknown".to_owned(),
            },
        }
    }

    fn event(&self, item: &News<'_>) -> String {
        match item.event.kind {
            EventKind::Change if item.old.is_empty() => format!("now {}", listed(&item.new)),
            EventKind::Change if item.new.is_empty() => format!("no longer {}", listed(&item.old)),
            EventKind::Change => format!("{} → {}", listed(&item.old), listed(&item.new)),
            EventKind::Unseen => match self.unseen_after {
                Some(time) => format!("not seen for {}", in_words(time)),
                None => "not seen".to_owned(),
            },
            EventKind::Back => "back".to_owned(),
            EventKind::Failing | EventKind::Recovered => match &item.event.failure {
                Some((failure, _)) => failing(failure),
                None => String::new(),
            },
        }
    }
}

/// The template of the settings, if it can express what happened: without `{event}` it fits changes only.
fn fitting(own: Option<&Template>, item: &News<'_>, change: &str, seen: &str) -> Template {
    let is_change = item.event.kind == EventKind::Change;
    match own {
        Some(own) if is_change || own.names(Placeholder::Event) => own.clone(),
        _ => {
            let is_seen = matches!(item.event.kind, EventKind::Unseen | EventKind::Back);
            let text = if is_seen { seen } else { change };
            Template::parse(text).expect("the built-in words are templates")
        }
    }
}

/// Describes a sink's failure or its recovery.
fn failing(failure: &SinkFailure) -> String {
    let SinkFailure { sink, why, of_all } = failure;
    match (why, of_all) {
        (Some(why), false) => format!("{sink} rejected it: {why}"),
        (Some(why), true) => format!("{sink} is failing: {why}"),
        (None, false) => format!("{sink} no longer fails"),
        (None, true) => format!("{sink} no longer fails as a whole"),
    }
}

fn listed(addresses: &Addresses) -> String {
    let texts: Vec<_> = addresses.iter().map(|ip| ip.to_string()).collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

/// The subject of a mail with several items.
fn summary(news: &[News<'_>]) -> String {
    let changes = news.iter().all(|item| item.event.kind == EventKind::Change);
    let what = if changes { "changes" } else { "events" };
    let mut silos: Vec<_> = news.iter().map(|item| &item.event.silo).collect();
    silos.sort_unstable();
    silos.dedup();
    match silos.as_slice() {
        [silo] => format!("{silo}: {} {what}", news.len()),
        silos => format!("{} {what} in {} silos", news.len(), silos.len()),
    }
}

fn left_out(mail: &Mail<'_>) -> Option<String> {
    let more = mail.news.len().checked_sub(MAX_LISTED)?;
    (more > 0).then(|| format!("… and {more} more, which the history lists"))
}

/// A duration in units: `2 h`, `1 h 30 min`, `90 s` as `1 min 30 s`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let words: Vec<_> = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
