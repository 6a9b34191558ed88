//! Sink `email`: mails changes to the operators, and to the address that a record names, over SMTP
//! or by sendmail.
//!
//! Each receiver gets a separate mail, so receivers don't see each other's addresses and a refused
//! receiver does not block the others. A retry sends only to those that have not received the mail;
//! `ledger` keeps track of them. `flights` has the mails that the server takes its time to confirm.

mod failure;
mod flights;
mod ledger;
mod mail;
mod render;
mod sendmail;
mod settings;
mod smtp;
mod template;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Address;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use self::failure::Failure;
use self::flights::{Flight, Flights, MOST_RUNNING, Sent, unconfirmed, with_wait};
use self::ledger::Ledger;
use self::mail::{Earlier, Mail, allowed, key, letters};
use self::render::MailRenderer;
use self::settings::{EmailSettings, Transport};
use super::sink::{Answer, DeliveryResult, Event, EventSink, SEND_DEADLINE, Sink};
use crate::config::sinks::OwnKeys;
use crate::domain::sink::SinkName;

/// Time reserved from the workers' deadline, for closing the session and for the result.
const RESERVE: Duration = Duration::from_secs(5);
/// How long a call waits for one mail. Then the mail goes on by itself, and the next one is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time limit for the server's reply to QUIT.
const GOODBYE: Duration = Duration::from_secs(2);

/// Reads the keys of an `email` sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let (settings, secrets) = EmailSettings::read(keys)?;
    let sink = EmailSink {
        name: keys.sink().clone(),
        settings,
        budget: SEND_DEADLINE - RESERVE,
        flights: Mutex::default(),
        is_waiting: AtomicBool::new(false),
    };
    Ok((Sink::Event(Box::new(sink)), secrets))
}

struct EmailSink {
    name: SinkName,
    settings: EmailSettings,
    /// Time limit for the sends of one call.
    budget: Duration,
    /// Mails of earlier calls that are still with the server.
    flights: Mutex<Flights>,
    /// Whether there are such.
    is_waiting: AtomicBool,
}

/// An opened transport.
enum Line {
    Smtp(Box<smtp::Session>),
    Sendmail(PathBuf),
}

impl Line {
    async fn post(mut self, from: Address, to: Address, message: Vec<u8>) -> Sent {
        let (result, is_usable) = match &mut self {
            Self::Smtp(session) => session.post(&from, &to, &message).await,
            Self::Sendmail(program) => (sendmail::post(program, &from, &to, &message).await, true),
        };
        let line = is_usable.then_some(self);
        Sent { result, line }
    }

    async fn close(self) {
        if let Self::Smtp(mut session) = self {
            // The mails are sent, whatever the server replies to QUIT.
            let _ = timeout(GOODBYE, session.close()).await;
        }
    }
}

/// A mail with its Message-ID.
struct Letter<'a> {
    id: String,
    mail: Mail<'a>,
}

impl Letter<'_> {
    /// How often the server has not confirmed it.
    fn tries(&self) -> u32 {
        self.mail
            .earlier
            .as_ref()
            .map_or(0, |earlier| earlier.tries)
    }
}

/// The results of one call.
struct Round<'a> {
    ledger: Ledger<'a>,
    flights: &'a mut Flights,
    /// The letters that failed. The flag: they were tried, and are not tried again as long as another
    /// one of their event is running.
    failed: Vec<(Letter<'a>, Failure, bool)>,
    /// Whether the server has said yes or no to anything, or may have.
    has_answered: bool,
}

impl<'a> Round<'a> {
    fn ended(&mut self, letter: Letter<'a>, result: Result<(), Failure>) {
        let is_slow = matches!(result, Err(Failure::Lost(_) | Failure::Unconfirmed { .. }));
        self.flights.note_slow(key(&letter.mail.to.email), is_slow);
        self.has_answered |= !matches!(result, Err(Failure::Lost(_) | Failure::Down(_)));
        match result {
            Ok(()) => self.ledger.sent(&letter.mail),
            Err(failure) => {
                let failure = with_wait(failure, letter.tries());
                self.failed.push((letter, failure, true));
            }
        }
    }

    /// The letter was not tried.
    fn unsent(&mut self, letter: Letter<'a>, failure: Failure) {
        self.failed.push((letter, failure, false));
    }

    /// The failure after which no other mail can be sent, if the last one had such a failure.
    fn stopped(&self) -> Option<Failure> {
        let (_, failure, _) = self.failed.last()?;
        matches!(failure, Failure::Down(_)).then(|| failure.clone())
    }

    /// The server has the letter and has not answered.
    fn waits(&mut self, letter: &Letter<'_>) {
        self.has_answered = true;
        self.flights.note_slow(key(&letter.mail.to.email), true);
        let earlier = Earlier {
            tries: letter.tries(),
            id: letter.id.clone(),
        };
        self.ledger.waits(&letter.mail, &earlier);
    }

    fn finish(mut self) -> Vec<DeliveryResult> {
        for (letter, failure, _) in &mut self.failed {
            // A server that drops every connection is unavailable; one that drops a single mail is not.
            if let Failure::Lost(why) = failure
                && !self.has_answered
            {
                *failure = Failure::Down(std::mem::take(why));
            }
            self.ledger.failed(&letter.mail, &letter.id, failure);
        }
        for (letter, failure, was_tried) in self.failed {
            let is_unconfirmed = matches!(failure, Failure::Unconfirmed { .. });
            if is_unconfirmed || (was_tried && self.ledger.is_waiting(&letter.mail)) {
                self.flights.hold(letter.id, failure);
            }
        }
        self.flights.forget_old();
        self.ledger.finish()
    }
}

impl EmailSink {
    async fn open(&self, deadline: Instant) -> Result<Line, String> {
        match &self.settings.transport {
            Transport::Sendmail(program) => Ok(Line::Sendmail(program.clone())),
            Transport::Smtp(server) => match timeout_at(deadline, server.open()).await {
                Ok(session) => Ok(Line::Smtp(Box::new(session?))),
                Err(_) => Err(format!(
                    "{}:{}: no answer in time",
                    server.host, server.port
                )),
            },
        }
    }

    fn renderer(&self) -> MailRenderer<'_> {
        MailRenderer {
            sink: self.name.as_str(),
            from: &self.settings.from,
            templates: &self.settings.templates,
            unseen_after: self.settings.unseen_after,
        }
    }

    async fn tell_all(&self, events: &[Event]) -> Vec<DeliveryResult> {
        let mut flights = self.flights.lock().await;
        let mut ledger = Ledger::new(events);
        let mut letters = letters(events, &self.settings.to, &self.settings.allow_to);
        letters.retain_mut(|mail| ledger.take_refused(mail));
        let mut round = Round {
            ledger,
            flights: &mut flights,
            failed: Vec::new(),
            has_answered: false,
        };
        let renderer = self.renderer();
        let letters = letters.into_iter().map(|mail| Letter {
            id: renderer.message_id(&mail),
            mail,
        });
        let to_send = take_up(letters, &mut round).await;
        if !to_send.is_empty() {
            self.send(to_send, &mut round).await;
        }
        let results = round.finish();
        self.is_waiting
            .store(flights.running() > 0, Ordering::Relaxed);
        results
    }

    /// Sends until all mails are sent or with the server, the transport fails or the time is up.
    async fn send<'a>(&self, letters: Vec<Letter<'a>>, round: &mut Round<'a>) {
        let deadline = Instant::now() + self.budget;
        let count = letters.len();
        let mut line = None;
        let mut letters = letters.into_iter().enumerate();
        for (sent, letter) in letters.by_ref() {
            let open = match line.take() {
                _ if deadline.saturating_duration_since(Instant::now()) < PATIENCE => {
                    Err(format!("{sent} of {count} mails sent in time"))
                }
                _ if round.flights.running() >= MOST_RUNNING => {
                    Err(format!("{MOST_RUNNING} mails wait for the server's reply"))
                }
                Some(open) => Ok(open),
                None => self.open(deadline).await,
            };
            let stopped = match open {
                Ok(open) => {
                    line = self.send_one(letter, open, round).await;
                    round.stopped()
                }
                Err(why) => {
                    let down = Failure::Down(why);
                    round.unsent(letter, down.clone());
                    Some(down)
                }
            };
            if let Some(down) = stopped {
                letters.for_each(|(_, letter)| round.unsent(letter, down.clone()));
                break;
            }
        }
        if let Some(line) = line {
            line.close().await;
        }
    }

    /// Sends one mail, and waits a short time for the answer. Returns the line if it is free again.
    async fn send_one<'a>(
        &self,
        letter: Letter<'a>,
        line: Line,
        round: &mut Round<'a>,
    ) -> Option<Line> {
        let message = match self.renderer().message(&letter.mail) {
            Ok(message) => message.formatted(),
            Err(error) => {
                round.ended(letter, Err(Failure::Refused(error.to_string())));
                return Some(line);
            }
        };
        let mut task = JoinSet::new();
        let from = self.settings.from.email.clone();
        task.spawn(line.post(from, letter.mail.to.email.clone(), message));
        match timeout(PATIENCE, task.join_next()).await {
            Ok(Some(Ok(Sent { result, line }))) => {
                round.ended(letter, result);
                line
            }
            Ok(None | Some(Err(_))) => {
                let interrupted = unconfirmed("the message: interrupted".to_owned());
                round.ended(letter, Err(interrupted));
                None
            }
            Err(_) => {
                round.waits(&letter);
                round.flights.run(letter.id, task);
                None
            }
        }
    }

    async fn try_out(&self) -> Result<String, String> {
        let deadline = Instant::now() + self.budget;
        match self.open(deadline).await? {
            Line::Sendmail(program) => {
                sendmail::check(&program)?;
                Ok(format!("{} exists", program.display()))
            }
            Line::Smtp(mut session) => {
                let alive = timeout_at(deadline, session.is_alive()).await;
                alive.map_err(|_| "no answer in time".to_owned())??;
                Line::Smtp(session).close().await;
                Ok(self.settings.transport.to_string())
            }
        }
    }
}

/// Takes the results of mails that were with the server, and returns the letters to send, with those
/// of slow receivers at the end.
async fn take_up<'a>(
    letters: impl Iterator<Item = Letter<'a>>,
    round: &mut Round<'a>,
) -> Vec<Letter<'a>> {
    let mut to_send = Vec::new();
    let mut held = Vec::new();
    let mut are_all_held = true;
    for letter in letters {
        let flight = round.flights.take(&letter.id);
        are_all_held &= matches!(flight, Some(Flight::Held(Failure::Unconfirmed { .. })));
        match flight {
            None => to_send.push(letter),
            Some(Flight::Running) => round.waits(&letter),
            Some(Flight::Landed(Sent { result, line })) => {
                round.ended(letter, result);
                if let Some(line) = line {
                    line.close().await;
                }
            }
            Some(Flight::Held(failure)) => held.push((letter, failure)),
        }
    }
    if are_all_held {
        // Nothing is due, so an operator has asked for the retry.
        return held.into_iter().map(|(letter, _)| letter).collect();
    }
    for (letter, failure) in held {
        round.failed.push((letter, failure, true));
    }
    to_send.sort_by_key(|letter| round.flights.is_slow(&key(&letter.mail.to.email)));
    to_send
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

    fn is_receiver(&self, notified: &str) -> bool {
        ledger::is_receiver(notified)
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
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
