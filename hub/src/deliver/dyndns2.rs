//! The sink `dyndns2`: keeps names at a DDNS provider that speaks dyndns2, such as OVH's DynHost.
//!
//! The protocol can set addresses but not remove them: of a record that is gone the provider keeps what
//! it was told last.

mod names;
mod reply;
mod request;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use silo_shared::silo::{Addresses, Hostname};

use self::names::Names;
use self::reply::{MAX_REPLY_BYTES, judge};
use self::request::{Endpoint, Ipv6, Update};
use super::http_client::{HttpClient, ServerUrl, USER_AGENT};
use super::settings::OwnKeys;
use super::sink::{
    Answer, Outcome, Publication, Reach, SEND_DEADLINE, Sink, Standing, StateSink, Trouble,
};
use crate::domain::time::Clock;

/// How long one request may take. A name may need two of them, one after the other.
const TIMEOUT: Duration = Duration::from_secs(12);
const _: () = assert!(2 * TIMEOUT.as_secs() < SEND_DEADLINE.as_secs());

/// The longest contact, in characters.
const MAX_CONTACT: usize = 200;

/// The keys of such a sink.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    preset: Option<Preset>,
    url: Option<ServerUrl>,
    username: String,
    password_file: PathBuf,
    ipv6: Option<Ipv6>,
    contact: Option<String>,
    ca_file: Option<PathBuf>,
    domain: Option<Hostname>,
    #[serde(default)]
    hosts: std::collections::BTreeMap<Hostname, Hostname>,
}

/// Providers that are known.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    /// OVH's DynHost.
    Ovh,
}

/// Reads the keys of such a sink.
pub fn open(keys: &OwnKeys) -> Result<(Sink, Vec<Secret>), ConfigError> {
    let own: Keys = keys.parse()?;
    let mut endpoint = match (own.preset, own.url) {
        (Some(Preset::Ovh), None) => Endpoint::ovh(),
        (None, Some(url)) => Endpoint {
            url: url.0,
            ipv6: Ipv6::Myip,
        },
        (Some(_), Some(_)) => {
            return Err(keys.wrong("`preset` and `url` are both given: keep one"));
        }
        (None, None) => {
            return Err(keys.wrong("where to? `preset: ovh` or `url: https://…/nic/update`"));
        }
    };
    let ours = ["hostname", "myip", "myipv6"];
    if let Some((key, _)) = endpoint
        .url
        .query_pairs()
        .find(|(key, _)| ours.contains(&&**key))
    {
        return Err(keys.wrong(format!("url: the hub itself adds `{key}`")));
    }
    endpoint.ipv6 = own.ipv6.unwrap_or(endpoint.ipv6);
    let names = Names {
        domain: own.domain,
        hosts: own.hosts,
    };
    names.check().map_err(|why| keys.wrong(why))?;
    let password = keys.secret("password_file", &own.password_file)?;
    let login = Login::new(own.username, password.clone()).map_err(|why| keys.wrong(why))?;
    let user_agent = match &own.contact {
        None => USER_AGENT.to_owned(),
        Some(contact) if is_contact(contact) => format!("{USER_AGENT} {contact}"),
        Some(_) => return Err(keys.wrong("contact: a mail address or a URL is needed")),
    };
    let ca_file = own.ca_file.map(|file| keys.path(&file));
    let http = HttpClient::new(&endpoint.url, &user_agent, TIMEOUT, ca_file.as_deref())
        .map_err(|why| keys.wrong(why))?;
    let sink = Dyndns2 {
        names,
        login,
        provider: Provider {
            endpoint,
            http,
            clock: Clock::System,
        },
    };
    Ok((Sink::State(Box::new(sink)), vec![password]))
}

fn is_contact(text: &str) -> bool {
    (1..=MAX_CONTACT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Who updates, at the provider (RFC 7617).
struct Login {
    username: String,
    password: Secret,
}

impl Login {
    fn new(username: String, password: Secret) -> Result<Self, &'static str> {
        if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
            Err("username: it must not be empty or hold ':' or control characters")
        } else if password.expose().contains(char::is_control) {
            Err("password_file: more than one line, or control characters in it")
        } else {
            Ok(Self { username, password })
        }
    }
}

/// A provider that can be told addresses.
struct Provider {
    endpoint: Endpoint,
    http: HttpClient,
    clock: Clock,
}

impl Provider {
    /// Brings one name to `wanted`, with as few requests as the endpoint needs.
    async fn update(
        &self,
        login: &Login,
        name: &str,
        wanted: &Addresses,
        standing: &Standing,
    ) -> Outcome {
        let updates = match self.endpoint.updates(name, wanted, standing) {
            Ok(updates) => updates,
            Err(why) => return Outcome::Failed(Trouble::of_name(why)),
        };
        let mut outcome = Outcome::Done;
        for update in &updates {
            let ended = self.send(login, update).await;
            match reach(&ended) {
                Some(Reach::Sink) => return ended,
                // What concerns one address only does not keep the other back.
                Some(Reach::Name) if outcome == Outcome::Done => outcome = ended,
                _ => {}
            }
        }
        outcome
    }

    async fn send(&self, login: &Login, update: &Update) -> Outcome {
        let password = login.password.expose();
        let request = self
            .http
            .request(Method::GET, update.url.clone())
            .basic_auth(&login.username, Some(password));
        let answer = self.http.send(request, MAX_REPLY_BYTES, self.clock.now());
        let outcome = match answer.await {
            Ok(answer) => judge(&answer, &update.sent, &[password, &login.username]),
            Err(why) => Outcome::Retry(Trouble::of_sink(why)),
        };
        match outcome {
            Outcome::Refused(trouble) if self.endpoint.ipv6 == Ipv6::Separate => {
                Outcome::Refused(naming(&update.sent, trouble))
            }
            outcome => outcome,
        }
    }
}

/// A trouble of a name that has one request an address, saying which.
fn naming(sent: &Addresses, trouble: Trouble) -> Trouble {
    match trouble.reach {
        Reach::Sink => trouble,
        Reach::Name => Trouble {
            why: format!("{sent}: {}", trouble.why),
            ..trouble
        },
    }
}

fn reach(outcome: &Outcome) -> Option<Reach> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble.reach)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

/// The sink: one login for all its names.
struct Dyndns2 {
    names: Names,
    login: Login,
    provider: Provider,
}

impl StateSink for Dyndns2 {
    fn published_name(&self, hostname: &Hostname) -> Result<String, String> {
        self.names.of(hostname)
    }

    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome> {
        let Publication {
            name,
            wanted,
            standing,
            ..
        } = publication;
        Box::pin(self.provider.update(&self.login, name, wanted, standing))
    }

    fn observe<'a>(&'a self, _: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>> {
        // The protocol has no question, and what DNS says may be minutes old.
        Box::pin(async { None })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        // A request with the login might count as an update, one without as a guess.
        Box::pin(self.provider.http.check())
    }
}

#[cfg(test)]
#[path = "dyndns2_tests.rs"]
mod tests;
