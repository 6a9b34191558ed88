//! The sink `dyndns2`: publishes to a DDNS provider that speaks dyndns2, such as OVH's DynHost.
//!
//! The protocol can set addresses but not remove them: after a record is deleted, the provider
//! keeps the last addresses it received.

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
use super::sink::{
    Answer, Outcome, Publication, Reach, ReceiverState, SEND_DEADLINE, Sink, StateSink, Trouble,
};
use crate::auth::secrets::{HubKey, LoginOwner};
use crate::config::sinks::OwnKeys;
use crate::domain::dynahost::{InvalidLogin, ProviderLogin};
use crate::domain::sink::SinkName;
use crate::domain::time::Clock;

/// Time limit of one request. A name may need two requests, one after the other.
const TIMEOUT: Duration = Duration::from_secs(12);
const _: () = assert!(2 * TIMEOUT.as_secs() < SEND_DEADLINE.as_secs());

/// Maximum length of `contact`, in characters.
const MAX_CONTACT: usize = 200;

/// The keys of a `dyndns2` sink.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    preset: Option<Preset>,
    url: Option<ServerUrl>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    logins: Option<Logins>,
    ipv6: Option<Ipv6>,
    contact: Option<String>,
    ca_file: Option<PathBuf>,
    domain: Option<Hostname>,
    #[serde(default)]
    hosts: std::collections::BTreeMap<Hostname, Hostname>,
}

/// Known providers.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    /// OVH's DynHost.
    Ovh,
}

/// The source of logins for single records.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Logins {
    /// Clients of the dynahost protocol.
    Dynahost,
}

/// Reads the keys of a `dyndns2` sink.
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
            return Err(keys.wrong("set `preset: ovh` or `url: https://…/nic/update`"));
        }
    };
    let ours = ["hostname", "myip", "myipv6"];
    if let Some((key, _)) = endpoint
        .url
        .query_pairs()
        .find(|(key, _)| ours.contains(&&**key))
    {
        return Err(keys.wrong(format!("url: remove `{key}`, which the hub adds")));
    }
    endpoint.ipv6 = own.ipv6.unwrap_or(endpoint.ipv6);
    let names = Names {
        domain: own.domain,
        hosts: own.hosts,
    };
    let mut secrets = Vec::new();
    let account = match (own.logins, own.username, own.password_file) {
        (None, Some(username), Some(file)) => {
            names.check().map_err(|why| keys.wrong(why))?;
            let password = keys.secret("password_file", &file)?;
            secrets.push(password.clone());
            let login = ProviderLogin::new(Secret::new(username), password);
            Account::One(login.map_err(|why| {
                keys.wrong(match why {
                    InvalidLogin::Username => format!("username: {why}"),
                    InvalidLogin::Password => format!("password_file: {why}"),
                })
            })?)
        }
        (Some(Logins::Dynahost), None, None) => {
            names.check_each().map_err(|why| keys.wrong(why))?;
            Account::OfRecords(None)
        }
        (Some(_), _, _) => {
            return Err(keys.wrong("with `logins: dynahost` leave out username and password_file"));
        }
        (None, None, _) => return Err(keys.wrong("missing field `username`")),
        (None, Some(_), None) => return Err(keys.wrong("missing field `password_file`")),
    };
    let user_agent = match &own.contact {
        None => USER_AGENT.to_owned(),
        Some(contact) if is_contact(contact) => {
            format!("{USER_AGENT} {contact}")
        }
        Some(_) => return Err(keys.wrong("contact: a mail address or a URL is needed")),
    };
    let ca_file = own.ca_file.map(|file| keys.path(&file));
    let http = HttpClient::new(&endpoint.url, &user_agent, TIMEOUT, ca_file.as_deref())
        .map_err(|why| keys.wrong(why))?;
    let sink = Dyndns2 {
        sink: keys.sink().clone(),
        names,
        account,
        provider: Provider {
            endpoint,
            http,
            clock: Clock::System,
        },
    };
    Ok((Sink::State(Box::new(sink)), secrets))
}

fn is_contact(text: &str) -> bool {
    (1..=MAX_CONTACT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The account used at the provider.
enum Account {
    /// One login for every name.
    One(ProviderLogin),
    /// One login per record, decrypted with the hub's key.
    OfRecords(Option<HubKey>),
}

/// A provider that accepts updates.
struct Provider {
    endpoint: Endpoint,
    http: HttpClient,
    clock: Clock,
}

impl Provider {
    /// Updates one name to `wanted`, with as few requests as the endpoint needs.
    async fn update(
        &self,
        login: &ProviderLogin,
        name: &str,
        wanted: &Addresses,
        standing: &ReceiverState,
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
                // A failure of one address does not hold back the other.
                Some(Reach::Name) if outcome == Outcome::Done => outcome = ended,
                _ => {}
            }
        }
        outcome
    }

    async fn send(&self, login: &ProviderLogin, update: &Update) -> Outcome {
        let (username, password) = (login.username(), login.password());
        let request = self
            .http
            .request(Method::GET, update.url.clone())
            .basic_auth(username, Some(password));
        let answer = self.http.send(request, MAX_REPLY_BYTES, self.clock.now());
        let outcome = match answer.await {
            Ok(answer) => judge(&answer, &update.sent, &[password, username]),
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

/// Adds the address to a name's failure, for endpoints with one request per address.
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

/// The sink.
struct Dyndns2 {
    sink: SinkName,
    names: Names,
    account: Account,
    provider: Provider,
}

impl Dyndns2 {
    async fn bring(&self, publication: &Publication) -> Outcome {
        let Publication {
            name,
            wanted,
            standing,
            ..
        } = publication;
        let opened;
        let (login, is_own) = match &self.account {
            Account::One(login) => (login, false),
            // The protocol can't remove addresses, so there is nothing to send.
            Account::OfRecords(_) if wanted.is_empty() => return Outcome::Done,
            Account::OfRecords(key) => {
                opened = match login_of(publication, &self.sink, key.as_ref()) {
                    Ok(login) => login,
                    Err(why) => return Outcome::Refused(Trouble::of_name(why)),
                };
                (&opened, true)
            }
        };
        let outcome = self.provider.update(login, name, wanted, standing).await;
        match outcome {
            // A failure of one record's login does not affect other records.
            Outcome::Failed(trouble) if is_own => Outcome::Failed(of_name(trouble)),
            Outcome::Refused(trouble) if is_own => Outcome::Refused(of_name(trouble)),
            outcome => outcome,
        }
    }
}

/// The login stored for a record.
fn login_of(
    publication: &Publication,
    sink: &SinkName,
    key: Option<&HubKey>,
) -> Result<ProviderLogin, &'static str> {
    let sealed = publication
        .login
        .as_ref()
        .ok_or("it no longer has a login: call the dynahost route with one again")?;
    let owner = LoginOwner {
        sink,
        silo: &publication.silo,
        hostname: &publication.hostname,
    };
    key.and_then(|key| key.open_login(owner, sealed))
        .ok_or("its login was sealed with another hub key: call the dynahost route with it again")
}

fn of_name(trouble: Trouble) -> Trouble {
    Trouble {
        reach: Reach::Name,
        ..trouble
    }
}

impl StateSink for Dyndns2 {
    fn published_name(&self, hostname: &Hostname) -> Result<String, String> {
        match &self.account {
            Account::OfRecords(_) if self.names.is_empty() => {
                if hostname.is_single_label() {
                    return Err("it has no domain, and the sink has no `domain` setting".to_owned());
                }
                Ok(hostname.to_string())
            }
            Account::One(_) | Account::OfRecords(_) => self.names.of(hostname),
        }
    }

    fn wants_logins(&self) -> bool {
        matches!(self.account, Account::OfRecords(_))
    }

    fn take_key(&mut self, key: &HubKey) {
        if let Account::OfRecords(own) = &mut self.account {
            *own = Some(key.clone());
        }
    }

    fn publish<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Outcome> {
        Box::pin(self.bring(publication))
    }

    fn observe<'a>(&'a self, _: &'a str) -> Answer<'a, Option<Result<Addresses, Trouble>>> {
        // The protocol has no query, and DNS may be minutes out of date.
        Box::pin(async { None })
    }

    fn check(&self) -> Answer<'_, Result<String, String>> {
        // A request with the login might count as an update, one without it as an attempt to guess it.
        Box::pin(self.provider.http.check())
    }
}

#[cfg(test)]
#[path = "dyndns2_tests.rs"]
mod tests;
