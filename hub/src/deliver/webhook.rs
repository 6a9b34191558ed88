//! The sink `webhook`: POSTs every change as signed JSON to a configured URL.

mod message;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Deserializer};
use silo_shared::config::{ConfigError, deserialize_text};
use silo_shared::credential::Secret;

use self::message::{Message, SigningKey};
use super::http_client::{HttpAnswer, HttpClient, ServerUrl, USER_AGENT};
use super::sink::{
    Answer, DeliveryResult, Event, EventSink, Outcome, SEND_DEADLINE, Sink, Trouble,
};
use crate::config::sinks::OwnKeys;
use crate::domain::time::Clock;

/// Default time limit of one request.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// Allowed time limits.
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(25);
const _: () = assert!(TIMEOUTS.end().as_secs() < SEND_DEADLINE.as_secs());

/// Default number of attempts per event.
const DEFAULT_ATTEMPTS: i64 = 20;

/// The keys of a `webhook` sink.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    url: ServerUrl,
    secret_file: PathBuf,
    #[serde(default)]
    timeout: Timeout,
    #[serde(default = "default_attempts")]
    max_attempts: i64,
    ca_file: Option<PathBuf>,
}

fn default_attempts() -> i64 {
    DEFAULT_ATTEMPTS
}

struct Timeout(Duration);

impl Default for Timeout {
    fn default() -> Self {
        Self(DEFAULT_TIMEOUT)
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| {
            let duration = text.parse::<jiff::SignedDuration>().ok();
            duration
                .and_then(|duration| Duration::try_from(duration).ok())
                .filter(|duration| TIMEOUTS.contains(duration))
                .map(Self)
                .ok_or("must be from 1s to 25s")
        })
    }
}

/// Reads the keys of a `webhook` sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let own: Keys = keys.parse()?;
    if !(1..=1000).contains(&own.max_attempts) {
        return Err(keys.wrong("max_attempts: must be from 1 to 1000"));
    }
    let secret = keys.secret("secret_file", &own.secret_file)?;
    let key = SigningKey::parse(&secret).map_err(|why| {
        let file = keys.path(&own.secret_file);
        keys.wrong(format!("secret_file: {}: {why}", file.display()))
    })?;
    let ca_file = own.ca_file.map(|file| keys.path(&file));
    let http = HttpClient::new(&own.url.0, USER_AGENT, own.timeout.0, ca_file.as_deref())
        .map_err(|why| keys.wrong(why))?;
    let sink = Webhook {
        url: own.url,
        key,
        max_attempts: own.max_attempts,
        http,
        clock: Clock::System,
    };
    Ok((Sink::Event(Box::new(sink)), vec![secret]))
}

/// The sink.
struct Webhook {
    url: ServerUrl,
    key: SigningKey,
    max_attempts: i64,
    http: HttpClient,
    clock: Clock,
}

impl Webhook {
    async fn send(&self, event: &Event) -> Outcome {
        let now = self.clock.now();
        let message = Message::of(event, now, &self.key);
        let request = self
            .http
            .request(Method::POST, self.url.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", message.signature)
            .body(message.body);
        // Only the status counts, so the body is not read.
        match self.http.send(request, 0, now).await {
            Ok(answer) => judge(&answer),
            Err(why) => Outcome::Retry(Trouble::of_sink(why)),
        }
    }
}

/// The outcome for a status.
fn judge(answer: &HttpAnswer) -> Outcome {
    let status = answer.status;
    let trouble = match status {
        200..300 => return Outcome::Done,
        410 => {
            let why = "the receiver accepts no more messages (410)";
            return Outcome::Refused(Trouble::of_sink(why));
        }
        300..400 => Trouble::of_sink(format!(
            "the receiver answered {status}, a redirect, which is not followed: check `url`"
        )),
        // These concern the message; later messages may succeed.
        400 | 409 | 413 | 422 => {
            Trouble::of_name(format!("the receiver rejected the message: {status}"))
        }
        _ => Trouble::of_sink(format!("the receiver answered {status}")),
    };
    Outcome::Retry(Trouble {
        not_before: answer.retry_after,
        ..trouble
    })
}

impl EventSink for Webhook {
    fn gather(&self) -> Duration {
        Duration::ZERO
    }

    fn max_attempts(&self) -> i64 {
        self.max_attempts
    }

    fn unseen_after(&self) -> Option<Duration> {
        None
    }

    fn tell<'a>(&'a self, events: &'a [Event]) -> Answer<'a, Vec<DeliveryResult>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(events.len());
            for event in events {
                results.push(DeliveryResult {
                    notified: event.notified.clone(),
                    outcome: self.send(event).await,
                });
            }
            results
        })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(self.http.check())
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
