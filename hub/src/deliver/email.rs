//! Sink `email`: mails changes to the operators, and to the address that a record names, over SMTP
//! or by sendmail.
//!
//! Each receiver gets a separate mail, so receivers don't see each other's addresses and a refused
//! receiver does not block the others. A retry sends only to those that have not received the mail;
//! `ledger` keeps track of them.

mod failure;
mod ledger;
mod mail;
mod render;
mod sendmail;
mod settings;
mod smtp;
mod template;

use std::path::Path;
use std::time::Duration;

use lettre::Address;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use tokio::time::{Instant, timeout, timeout_at};

use self::failure::Failure;
use self::ledger::Ledger;
use self::mail::{Mail, allowed, letters};
use self::render::MailRenderer;
use self::settings::{EmailSettings, Transport};
use super::sink::{Answer, DeliveryResult, Event, EventSink, SEND_DEADLINE, Sink};
use crate::config::sinks::OwnKeys;
use crate::domain::sink::SinkName;

/// Time reserved from the workers' deadline, for closing the session and for the result.
const RESERVE: Duration = Duration::from_secs(5);
/// A mail is started only with this much time left: an interrupted mail may still arrive, and is
/// then sent again.
const LEAST_FOR_A_MAIL: Duration = Duration::from_secs(5);
/// Time limit for the server's reply to QUIT.
const GOODBYE: Duration = Duration::from_secs(2);

/// Reads the keys of an `email` sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let (settings, secrets) = EmailSettings::read(keys)?;
    let sink = EmailSink {
        name: keys.sink().clone(),
        settings,
        budget: SEND_DEADLINE - RESERVE,
    };
    Ok((Sink::Event(Box::new(sink)), secrets))
}

struct EmailSink {
    name: SinkName,
    settings: EmailSettings,
    /// Time limit for the sends of one call.
    budget: Duration,
}

/// An opened transport.
enum Open<'a> {
    Smtp(&'a smtp::SmtpServer, Box<smtp::Session>),
    Sendmail(&'a Path),
}

impl Open<'_> {
    async fn post(&mut self, from: &Address, to: &Address, message: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Smtp(_, session) => session.post(from, to, message).await,
            Self::Sendmail(program) => sendmail::post(program, from, to, message).await,
        }
    }

    async fn close(self) {
        if let Self::Smtp(_, mut session) = self {
            // The mails are sent, whatever the server replies to QUIT.
            let _ = timeout(GOODBYE, session.close()).await;
        }
    }
}

impl EmailSink {
    async fn open(&self, deadline: Instant) -> Result<Open<'_>, String> {
        match &self.settings.transport {
            Transport::Sendmail(program) => Ok(Open::Sendmail(program)),
            Transport::Smtp(server) => match timeout_at(deadline, server.open()).await {
                Ok(session) => Ok(Open::Smtp(server, Box::new(session?))),
                Err(_) => Err(format!(
                    "{}:{}: no answer in time",
                    server.host, server.port
                )),
            },
        }
    }

    async fn tell_all(&self, events: &[Event]) -> Vec<DeliveryResult> {
        let mut ledger = Ledger::new(events);
        let mut letters = letters(events, &self.settings.to, &self.settings.allow_to);
        letters.retain_mut(|mail| ledger.take_refused(mail));
        if !letters.is_empty() {
            self.send(&letters, &mut ledger).await;
        }
        ledger.finish()
    }

    /// Sends until all mails are sent, the transport fails or the time is up.
    async fn send(&self, letters: &[Mail<'_>], ledger: &mut Ledger<'_>) {
        let deadline = Instant::now() + self.budget;
        let mut open = match self.open(deadline).await {
            Ok(open) => open,
            Err(why) => {
                let down = Failure::Down(why);
                letters.iter().for_each(|mail| ledger.failed(mail, &down));
                return;
            }
        };
        for (sent, mail) in letters.iter().enumerate() {
            let least = LEAST_FOR_A_MAIL.min(self.budget / 2);
            let result = if deadline - Instant::now() < least {
                let why = format!("{sent} of {} mails sent in time", letters.len());
                Err(Failure::Down(why))
            } else {
                self.send_one(mail, &mut open, deadline).await
            };
            match result {
                Ok(()) => ledger.sent(mail),
                Err(failure @ Failure::Down(_)) => {
                    let rest = letters[sent..].iter();
                    rest.for_each(|mail| ledger.failed(mail, &failure));
                    break;
                }
                Err(failure) => ledger.failed(mail, &failure),
            }
        }
        open.close().await;
    }

    async fn send_one(
        &self,
        mail: &Mail<'_>,
        open: &mut Open<'_>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let stationery = MailRenderer {
            sink: self.name.as_str(),
            from: &self.settings.from,
            templates: &self.settings.templates,
            unseen_after: self.settings.unseen_after,
        };
        let message = stationery
            .message(mail)
            .map_err(|error| Failure::Refused(error.to_string()))?
            .formatted();
        let post = open.post(&self.settings.from.email, &mail.to.email, &message);
        let late = |_| Failure::Down("a mail was not taken in time".to_owned());
        timeout_at(deadline, post).await.map_err(late)?
    }

    async fn try_out(&self) -> Result<String, String> {
        let deadline = Instant::now() + self.budget;
        match self.open(deadline).await? {
            Open::Sendmail(program) => {
                sendmail::check(program)?;
                Ok(format!("{} exists", program.display()))
            }
            Open::Smtp(server, mut session) => {
                let alive = timeout_at(deadline, session.is_alive()).await;
                alive.map_err(|_| "no answer in time".to_owned())??;
                Open::Smtp(server, session).close().await;
                Ok(server.to_string())
            }
        }
    }
}

impl EventSink for EmailSink {
    fn gather(&self) -> Duration {
        self.settings.digest
    }

    fn max_attempts(&self) -> i64 {
        self.settings.max_attempts
    }

    fn unseen_after(&self) -> Option<Duration> {
        self.settings.unseen_after
    }

    fn has_receiver(&self) -> bool {
        !self.settings.to.is_empty()
    }

    fn may_notify(&self, address: &str) -> bool {
        allowed(address, &self.settings.allow_to).is_some()
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<DeliveryResult>> {
        Box::pin(self.tell_all(events))
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(self.try_out())
    }
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
