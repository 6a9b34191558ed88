//! DNS UPDATE with TSIG (RFC 2136, RFC 8945) to BIND, Knot and others: one message per name,
//! applied atomically.
//!
//! The server itself protects records that are not ours: the message of a first publication
//! requires that the name has neither a CNAME nor an address. Only signed answers of the server are
//! trusted.

mod exchange;
mod key;
mod look;
mod pointer;
mod settings;
mod trouble;
mod update;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use silo_shared::silo::{Addresses, Family, Hostname};
use tokio::time::Instant;

use self::key::Key;
use self::look::CHECK_LABEL;
use self::settings::{Settings, dns_name};
use self::trouble::Asked;
use self::update::Update;
use super::sink::{
    Answer, Outcome, Publication, ReceiverState, Sink, StateSink, Trouble, UncertainFamilies,
};
use crate::config::sinks::OwnKeys;
use crate::domain::time::Clock;

/// Time limit of a publication with all its messages: below [`SEND_DEADLINE`](super::sink::SEND_DEADLINE).
const BUDGET: Duration = Duration::from_secs(25);

/// Reads the keys of an `rfc2136` sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let (sink, secrets) = Rfc2136::open(keys, Clock::System)?;
    Ok((Sink::State(Box::new(sink)), secrets))
}

/// A zone on a DNS server.
#[derive(Debug)]
pub struct Rfc2136 {
    settings: Settings,
    clock: Clock,
}

impl Rfc2136 {
    /// Reads the keys of an `rfc2136` sink; signatures use the time of `clock`. Also returns the
    /// secrets whose change counts as a changed setting.
    pub fn open(keys: &OwnKeys, clock: Clock) -> Result<(Self, Vec<Secret>), ConfigError> {
        let (settings, secrets) = Settings::read(keys)?;
        Ok((Self { settings, clock }, secrets))
    }

    fn call<'a>(&'a self, name: &'a str) -> Result<Call<'a>, Trouble> {
        let key = self.settings.key.key();
        let key = key.map_err(|why| Trouble::of_sink(format!("key_file: {why}")))?;
        Ok(Call {
            sink: self,
            key_name: key.signer().signer_name().to_string(),
            key,
            dns_name: dns_name(name).map_err(Trouble::of_name)?,
            name,
            until: Instant::now() + BUDGET,
        })
    }
}

impl StateSink for Rfc2136 {
    fn published_name(&self, hostname: &Hostname) -> Result<String, String> {
        self.settings.zone.name_for(hostname)
    }

    fn takes_host_names_only(&self) -> bool {
        true
    }

    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome> {
        Box::pin(async {
            match self.call(&publication.name) {
                Ok(call) => match call.publish(publication).await {
                    Ok(outcome) | Err(outcome) => outcome,
                },
                Err(trouble) => Outcome::Retry(trouble),
            }
        })
    }

    fn observe<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>> {
        Box::pin(async {
            let found = async { self.call(name)?.observe().await };
            Some(found.await)
        })
    }

    fn holds<'a>(
        &'a self,
        name: &'a str,
        published: &'a Addresses,
    ) -> Answer<'a, Option<Result<bool, Trouble>>> {
        Box::pin(async {
            let holds = async { self.call(name)?.still_holds(published).await };
            Some(holds.await)
        })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        Box::pin(async {
            let name = format!("{CHECK_LABEL}.{}", self.settings.zone.text);
            let checked = async { self.call(&name)?.check().await };
            checked.await.map_err(|trouble: Trouble| trouble.why)
        })
    }
}

/// One name during its exchange with the server.
struct Call<'a> {
    sink: &'a Rfc2136,
    key: Key,
    key_name: String,
    name: &'a str,
    dns_name: Name,
    until: Instant,
}

impl Call<'_> {
    fn settings(&self) -> &Settings {
        &self.sink.settings
    }

    fn asked<'b>(&'b self, zone: &'b settings::Zone) -> Asked<'b> {
        Asked {
            server: &self.settings().server,
            zone: zone.text.as_str(),
            name: self.name,
            key: &self.key_name,
        }
    }

    /// Sends a message and returns the server's answer, regardless of its RCODE.
    async fn ask(&self, message: Message, zone: &settings::Zone) -> Result<Message, Trouble> {
        let server = &self.settings().server;
        exchange::ask(server, &self.key, message, &self.sink.clock, self.until)
            .await
            .map_err(|fault| self.asked(zone).fault(&fault))
    }

    /// Sends an update of the zone; returns its RCODE.
    async fn send(&self, update: Update) -> Result<ResponseCode, Outcome> {
        let answer = self.ask(update.into_message(), &self.settings().zone).await;
        answer
            .map(|answer| answer.response_code)
            .map_err(Outcome::Retry)
    }

    fn unexpected(&self, code: ResponseCode) -> Outcome {
        self.asked(&self.settings().zone).outcome(code)
    }

    fn update(&self) -> Update {
        Update::of(&self.settings().zone.name)
    }

    async fn publish(&self, publication: &Publication) -> Result<Outcome, Outcome> {
        let wanted = &publication.wanted;
        let mut before = Vec::new();
        match publication.standing {
            ReceiverState::Nothing if wanted.is_empty() => return Ok(Outcome::Done),
            ReceiverState::Claimed(claimed) if claimed != *wanted => {
                let is_ours = !claimed.is_empty() && self.holds(&claimed).await?;
                return Ok(Outcome::Found(if is_ours {
                    ReceiverState::Published(claimed)
                } else {
                    ReceiverState::Nothing
                }));
            }
            ReceiverState::Claimed(_) if wanted.is_empty() => return Ok(Outcome::Done),
            ReceiverState::Nothing | ReceiverState::Claimed(_) => {
                self.publish_first(wanted).await?
            }
            ReceiverState::Published(published) => {
                before.push(published);
                self.replace(&before, UncertainFamilies::default(), wanted)
                    .await?;
            }
            // Either of the two is ours.
            ReceiverState::Replacing {
                published,
                sent,
                unsure,
            } => {
                before.extend([published, sent]);
                self.replace(&before, unsure, wanted).await?;
            }
        }
        let before: BTreeSet<IpAddr> = before.iter().flat_map(Addresses::iter).collect();
        self.set_pointers(&before, wanted).await?;
        Ok(Outcome::Done)
    }

    /// Whether the name has exactly these addresses.
    async fn holds(&self, addresses: &Addresses) -> Result<bool, Outcome> {
        let question = self.update().if_exactly(&self.dns_name, addresses);
        match self.send(question).await? {
            ResponseCode::NoError => Ok(true),
            ResponseCode::YXRRSet | ResponseCode::NXRRSet => Ok(false),
            code => Err(self.unexpected(code)),
        }
    }

    /// Publishes a name that is not known to have addresses of ours.
    async fn publish_first(&self, wanted: &Addresses) -> Result<(), Outcome> {
        let ttl = self.settings().ttl;
        let update =
            self.update()
                .if_free(&self.dns_name)
                .add_addresses(&self.dns_name, ttl, wanted);
        match self.send(update).await? {
            ResponseCode::NoError => return Ok(()),
            ResponseCode::YXRRSet => {}
            code => return Err(self.unexpected(code)),
        }
        let found = self.look().await.map_err(Outcome::Retry)?;
        let Self { name, .. } = self;
        if found.is_exactly(wanted) {
            // From an earlier attempt whose answer was lost.
            Ok(())
        } else if found.has_cname {
            Err(self.holds_cname())
        } else if found.addresses.is_empty() {
            let why = format!("the records of {name} were removed meanwhile");
            Err(Outcome::Retry(Trouble::of_name(why)))
        } else if self.settings().adopt {
            self.replace(&[], UncertainFamilies::default(), wanted)
                .await
        } else {
            Err(Outcome::Failed(Trouble::of_name(format!(
                "name exists: {name} is already {found}, which this hub did not publish (`adopt: true` takes it over)"
            ))))
        }
    }

    fn holds_cname(&self) -> Outcome {
        let why = format!("name holds a CNAME: {} can't have addresses too", self.name);
        Outcome::Failed(Trouble::of_name(why))
    }

    /// Replaces or deletes our addresses. A family that was neither ours before nor is wanted nor
    /// unsure belongs to others, such as one of a name that was taken over, and is kept.
    async fn replace(
        &self,
        before: &[Addresses],
        unsure: UncertainFamilies,
        wanted: &Addresses,
    ) -> Result<(), Outcome> {
        let mut families = vec![Family::V4, Family::V6];
        families.retain(|family| {
            let mut all = before.iter().chain([wanted]);
            unsure.has(*family) || all.any(|addresses| addresses.get(*family).is_some())
        });
        let mut update = self.update();
        // A CNAME is not ours. It excludes addresses of ours, so a deletion need not check for it.
        if !wanted.is_empty() {
            update = update.if_none(&self.dns_name, RecordType::CNAME);
        }
        let update =
            update.replace_addresses(&self.dns_name, self.settings().ttl, &families, wanted);
        match self.send(update).await? {
            ResponseCode::NoError => Ok(()),
            ResponseCode::YXRRSet => Err(self.holds_cname()),
            code => Err(self.unexpected(code)),
        }
    }
}
