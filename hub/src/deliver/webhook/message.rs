//! The body of a webhook, and its signature according to Standard Webhooks 1.0.0
//! (standardwebhooks.com, "Signature scheme").

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Serialize;
use silo_shared::credential::Secret;
use silo_shared::silo::{Hostname, SiloId};

use crate::deliver::sink::{Event, EventKind};
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// Prefix of a serialized secret, followed by the key in base64.
const SECRET_PREFIX: &str = "whsec_";
/// Minimum length of the key, in bytes.
const MIN_KEY_BYTES: usize = 24;

/// The key that signs messages.
pub(super) struct SigningKey(hmac::Key);

impl SigningKey {
    /// From the text of a secret file: `whsec_` and base64, or any other text, whose bytes are the key.
    pub(super) fn parse(secret: &Secret) -> Result<Self, &'static str> {
        let bytes = match secret.expose().strip_prefix(SECRET_PREFIX) {
            Some(text) => STANDARD
                .decode(text)
                .map_err(|_| "not valid base64 after whsec_")?,
            None => secret.expose().as_bytes().to_vec(),
        };
        if bytes.len() < MIN_KEY_BYTES {
            return Err("the secret is shorter than 24 bytes");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of `webhook-signature`.
    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        format!(
            "v1,{}",
            STANDARD.encode(hmac::sign(&self.0, signed.as_bytes()))
        )
    }
}

/// One message, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// `webhook-id`: the same for every attempt of an event, and unique to it.
    pub(super) id: String,
    /// `webhook-timestamp`: when the message is sent, in seconds since the Unix epoch.
    pub(super) timestamp: i64,
    /// `webhook-signature`.
    pub(super) signature: String,
    /// JSON; the same for every attempt of an event.
    pub(super) body: String,
}

impl Message {
    /// The message for an event, sent at `now`.
    pub(super) fn of(event: &Event, now: Time, key: &SigningKey) -> Self {
        // Delivery ids may restart with a new or restored database, revisions never do. A full stop
        // would make the signed text ambiguous.
        let id = format!("silo_{}_{}", event.revision, event.id);
        let timestamp = now.as_millis().div_euclid(1000);
        let body = body(event);
        Self {
            signature: key.sign(&id, timestamp, &body),
            id,
            timestamp,
            body,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    at: Time,
    silo: &'a SiloId,
    revision: Revision,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Changed {
        via: &'a str,
        changes: Vec<Change<'a>>,
    },
    Seen {
        hostname: Option<&'a Hostname>,
        ips: Vec<IpAddr>,
        last_seen: Option<Time>,
    },
    Failing {
        sink: &'a str,
        hostnames: &'a [Hostname],
        why: Option<&'a str>,
        all: bool,
    },
}

/// Same form as in the history.
#[derive(Serialize)]
struct Change<'a> {
    hostname: &'a Hostname,
    old_ip: Option<IpAddr>,
    new_ip: Option<IpAddr>,
}

fn body(event: &Event) -> String {
    let changes = || event.changes.iter();
    let seen = || What::Seen {
        hostname: event.changes.first().map(|change| &change.hostname),
        ips: changes().filter_map(|change| change.new).collect(),
        last_seen: event.last_seen,
    };
    let failing = || match &event.failure {
        Some((failure, hostnames)) => What::Failing {
            sink: failure.sink.as_str(),
            hostnames,
            why: failure.why.as_deref(),
            all: failure.of_all,
        },
        None => seen(),
    };
    let (r#type, what) = match event.kind {
        EventKind::Change => (
            "silo.changed",
            What::Changed {
                via: &event.via,
                changes: changes()
                    .map(|change| Change {
                        hostname: &change.hostname,
                        old_ip: change.old,
                        new_ip: change.new,
                    })
                    .collect(),
            },
        ),
        EventKind::Unseen => ("record.unseen", seen()),
        EventKind::Back => ("record.back", seen()),
        EventKind::Failing => ("sink.failing", failing()),
        EventKind::Recovered => ("sink.recovered", failing()),
    };
    let body = Body {
        r#type,
        at: event.at,
        silo: &event.silo,
        revision: event.revision,
        what,
    };
    serde_json::to_string(&body).expect("texts, numbers and lists become JSON")
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
