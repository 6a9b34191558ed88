//! The HTTP client of both agents, of one hub or of several that serve one database.
//!
//! [`ClientError`] distinguishes a transport failure, a response with an error status, and a response that is not from
//! a hub. A client that signs trusts no unsigned response. Every call has a deadline, redirects are not followed, and
//! the size of responses is limited.

mod endpoint;
mod error;
mod invitation;
mod page;
mod reason;
mod record;
mod signer;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderName, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::agent_name::AgentKind;
use crate::api::{CallerAddress, RecordDocument, SiloDocument};
use crate::connection::Connection;
use crate::silo::{Addresses, Family, Hostname, SiloId};
use endpoint::{Answer, Call, Endpoint, Outcome};
pub use error::{ClientError, TokenVerdict};
pub use invitation::InvitationClient;
pub use page::{PageError, read_page};
pub use record::RecordUpdate;

/// The timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for a whole call of the only hub.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout for a whole call of one hub of several.
const CALL_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(10);
/// After this time, no further hub is asked.
const ALL_HUBS_TIMEOUT: Duration = Duration::from_secs(30);
/// What a downstream has applied.
const SILO_APPLIED: HeaderName = HeaderName::from_static("silo-applied");
/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The maximum size of a response, in bytes.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The result of a conditional GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched<T> {
    /// The tag that was sent is still current (304).
    NotModified,
    /// The current state, with its entity tag if the hub sent one.
    Found(T, Option<String>),
}

/// A conditional GET of a silo, which the hub may hold back until the silo changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Poll<'a> {
    /// The entity tag of the known state (`If-None-Match`).
    pub tag: Option<&'a str>,
    /// How long the hub waits while the silo has that tag (`Prefer: wait`, RFC 7240 section 4.3), in whole seconds.
    pub wait: Option<Duration>,
    /// The entity tag of the state that the hosts file has (`Silo-Applied`).
    pub applied: Option<&'a str>,
}

/// The database that a hub serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its id.
    pub id: String,
    /// The URL of a hub that serves it.
    pub hub: String,
}

/// Whether a call may have been carried out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// It was sent to one hub.
    First,
    /// It was sent to another hub before, whose answer may have been lost.
    Repeated,
}

/// The route of outgoing calls; by default the system's choice.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Connect only to these addresses of the hub, instead of all that its name resolves to.
    pub addresses: Option<Vec<SocketAddr>>,
    /// Send from this local address.
    pub local_address: Option<IpAddr>,
    /// Send through this interface (Linux, macOS).
    pub interface: Option<String>,
}

/// A client of one hub, or of several that serve one database.
///
/// With several, the next one is asked only if a hub can't be reached or answers 503. Clones share the hub that answered
/// last, which is asked first from then on.
#[derive(Clone, Debug)]
pub struct HubClient {
    hubs: Arc<[Endpoint]>,
    /// The index of the hub that answered last.
    current: Arc<AtomicUsize>,
    /// The database of the hubs, as soon as one has named it.
    database: Arc<Mutex<Option<Database>>>,
    key: String,
}

impl HubClient {
    /// Creates a client; sends nothing yet.
    ///
    /// Fails with [`ClientError::Setup`] when the certificate file can't be read.
    pub fn new(
        connection: &Connection,
        kind: AgentKind,
        route: &Route,
    ) -> Result<Self, ClientError> {
        use_ring();
        let agent = connection.agent_name.header(kind);
        let hubs = connection.hubs().iter();
        let hubs = hubs
            .map(|hub| Endpoint::new(connection, hub, route, &agent))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hubs,
            current: Arc::default(),
            database: Arc::default(),
            key: connection.key().as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Scheme, host and port of the hub that answered last, else of the first one, for messages.
    pub fn hub(&self) -> &str {
        self.endpoint().name()
    }

    /// Scheme, host and port of the first hub: the key of data remembered about all of them.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the configuration lists several hubs.
    pub fn has_several_hubs(&self) -> bool {
        self.hubs.len() > 1
    }

    /// The database of the hubs; `None` if no hub has named it, as old versions do not.
    pub fn database(&self) -> Option<Database> {
        let database = self.database.lock();
        database.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Expects the database of an earlier run. With several hubs, one that serves another database is an error, unless
    /// all do; a single hub may have been set up again.
    pub fn expect_database(&self, known: Database) {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.get_or_insert(known);
    }

    /// `GET /ip`: this machine's address as seen by the hub.
    pub async fn caller_address(&self) -> Result<IpAddr, ClientError> {
        let call = caller_call()?;
        let answer = self.send(&call).await?;
        Ok(self.parse::<CallerAddress>(&answer)?.ip.to_canonical())
    }

    /// `GET /status`: all that the hub tells of itself.
    pub async fn status<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let call = Call::new(Method::GET, &["status"]).header(ACCEPT, "application/json")?;
        self.parse(&self.send(&call).await?)
    }

    /// `GET /silos/{id}`; with a tag, only if the silo differs from it.
    pub async fn silo(
        &self,
        id: &SiloId,
        poll: Poll<'_>,
    ) -> Result<Fetched<SiloDocument>, ClientError> {
        let answer = self.send(&poll_call(Method::GET, id, poll)?).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED if poll.tag.is_some() => Ok(Fetched::NotModified),
            StatusCode::OK => Ok(Fetched::Found(self.parse(&answer)?, answer.tag)),
            other => Err(self.not_a_hub(format!("status {other} in reply to a read"))),
        }
    }

    /// `HEAD /silos/{id}`: tells the hub which state of the silo this machine has applied, as an entity tag.
    pub async fn tell_applied(&self, id: &SiloId, applied: &str) -> Result<(), ClientError> {
        let poll = Poll {
            tag: Some(applied),
            applied: Some(applied),
            ..Poll::default()
        };
        self.send(&poll_call(Method::HEAD, id, poll)?).await?;
        Ok(())
    }

    /// `GET /silos/{id}/records/{hostname}`, with the record's entity tag if the hub sent one; `None` if the hub has no
    /// such record or silo.
    pub async fn record(
        &self,
        id: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<(RecordDocument, Option<String>)>, ClientError> {
        let call = Call::new(Method::GET, &record_path(id, hostname));
        match self.send(&call).await {
            Ok(answer) => Ok(Some((self.parse(&answer)?, answer.tag))),
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `DELETE /silos/{id}/records/{hostname}?family=`: removes the address of one family if the record has this entity
    /// tag. Returns `false` if its tag differs by now, or it does not exist; `true` if another hub has removed it in this
    /// call, whose answer was lost.
    pub async fn remove_family(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        family: Family,
        tag: &str,
    ) -> Result<bool, ClientError> {
        let call = Call::new(Method::DELETE, &record_path(id, hostname)).header(IF_MATCH, tag)?;
        let call = Call {
            query: Some(format!("family={}", family.number())),
            ..call
        };
        match self.send_noting(&call).await {
            (Ok(_), _) => Ok(true),
            (
                Err(ClientError::Status {
                    status: 404 | 412, ..
                }),
                Attempt::Repeated,
            ) => {
                let held = self.record(id, hostname).await?;
                let has_family = |ip: &IpAddr| Family::of(*ip) == family;
                Ok(!held.is_some_and(|(held, _)| held.ips.iter().any(has_family)))
            }
            (
                Err(ClientError::Status {
                    status: 404 | 412, ..
                }),
                Attempt::First,
            ) => Ok(false),
            (Err(error), _) => Err(error),
        }
    }

    /// Whether this credential may set the hostname's addresses. Changes nothing: sends a PUT with the condition of a
    /// tag that no record has or had. A hub responds 412 to callers that may write, 403 to others.
    pub async fn may_set_addresses(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        addresses: &Addresses,
    ) -> Result<bool, ClientError> {
        let call = put_addresses(id, hostname, addresses).header(IF_MATCH, "\"none\"")?;
        match self.send(&call).await {
            Ok(answer) => Err(self.not_a_hub(format!(
                "{} in reply to a write whose condition can't be met",
                answer.status
            ))),
            Err(ClientError::Status { status: 412, .. }) => Ok(true),
            Err(ClientError::Status { status: 403, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a call to the hub that answered last; if it can't be reached or answers 503, to the others in order.
    async fn send(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        self.send_noting(call).await.0
    }

    /// The same, with whether another hub may have carried the call out before.
    async fn send_noting(&self, call: &Call<'_>) -> (Result<Answer, ClientError>, Attempt) {
        let several = self.hubs.len() > 1;
        let timeout = if several {
            CALL_TIMEOUT_OF_SEVERAL
        } else {
            CALL_TIMEOUT
        };
        let deadline = Instant::now() + ALL_HUBS_TIMEOUT + call.wait;
        let first = self.current.load(Ordering::Relaxed);
        let mut failures: Vec<ClientError> = Vec::new();
        for at in (0..self.hubs.len()).map(|step| (first + step) % self.hubs.len()) {
            // The hub before may have used up the time to wait.
            let repeated = (!failures.is_empty()).then(|| call.at_once());
            let attempt = match repeated {
                Some(_) => Attempt::Repeated,
                None => Attempt::First,
            };
            let asking = self.ask_next(at, repeated.as_ref().unwrap_or(call), attempt, timeout);
            match timeout_at(deadline, asking).await {
                Err(_) => {
                    failures.push(self.hubs[at].out_of_time());
                    break;
                }
                Ok(Err(error)) if several && error.is_unavailable() => failures.push(error),
                Ok(answered) => {
                    self.current.store(at, Ordering::Relaxed);
                    return (answered, attempt);
                }
            }
        }
        (Err(ClientError::AllHubs(failures)), Attempt::Repeated)
    }

    /// Asks one hub. One that takes over gets no write before it is known to serve the same database.
    async fn ask_next(
        &self,
        at: usize,
        call: &Call<'_>,
        attempt: Attempt,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        if attempt == Attempt::Repeated && call.is_write() {
            self.ask(at, &caller_call()?, timeout).await?;
        }
        self.ask(at, call, timeout).await
    }

    /// Asks one hub, and compares its database with the known one, whatever the status of its answer.
    async fn ask(
        &self,
        at: usize,
        call: &Call<'_>,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let Outcome { database, result } = self.hubs[at].send(call, timeout).await;
        if let Some(id) = database {
            self.check_database(at, id).await?;
        }
        result
    }

    /// Compares the database of an answer with that of the earlier ones. If it differs, the other hubs are asked: all may
    /// have got another one, such as a restored backup.
    ///
    /// Fails if one of them still has the earlier database, or if the hub that named it can't be asked.
    async fn check_database(&self, at: usize, id: String) -> Result<(), ClientError> {
        let found = self.database_of(at, id);
        let known = self.database();
        // The hub that named it first is the one to ask if another names another.
        if known.as_ref().is_some_and(|known| known.id == found.id) {
            return Ok(());
        }
        let Some(known) = known.filter(|_| self.hubs.len() > 1) else {
            self.remember_database(found);
            return Ok(());
        };
        // All at once, since a call has a deadline, whatever the number of hubs.
        let mut asked = JoinSet::new();
        for other in (0..self.hubs.len()).filter(|other| *other != at) {
            let (endpoint, call) = (self.hubs[other].clone(), caller_call()?);
            asked.spawn(async move {
                let outcome = endpoint.send(&call, CALL_TIMEOUT_OF_SEVERAL).await;
                (other, outcome)
            });
        }
        while let Some(answered) = asked.join_next().await {
            let Ok((other, Outcome { database, result })) = answered else {
                // It panicked, which is printed.
                return Err(ClientError::OtherDatabase { known, found });
            };
            let is_same = match (database, result) {
                (Some(id), _) => id == found.id,
                (None, Ok(_)) => true,
                (None, Err(_)) => self.hubs[other].name() != known.hub,
            };
            if !is_same {
                return Err(ClientError::OtherDatabase { known, found });
            }
        }
        self.remember_database(found);
        Ok(())
    }

    fn database_of(&self, at: usize, id: String) -> Database {
        let hub = self.hubs[at].name().to_owned();
        Database { id, hub }
    }

    fn remember_database(&self, found: Database) {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        *database = Some(found);
    }

    fn endpoint(&self) -> &Endpoint {
        &self.hubs[self.current.load(Ordering::Relaxed)]
    }

    fn parse<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        self.endpoint().parse(&answer.body)
    }

    /// The error for a response that is not from a hub, for callers that detect this later.
    pub fn not_a_hub(&self, cause: impl Into<String>) -> ClientError {
        self.endpoint().not_a_hub(cause)
    }
}

/// Lets TLS use ring.
fn use_ring() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `GET /ip`, which is open to everybody; a signature protects the answer.
fn caller_call() -> Result<Call<'static>, ClientError> {
    let call = Call::new(Method::GET, &["ip"]).header(ACCEPT, "application/json")?;
    Ok(Call {
        is_authenticated: false,
        ..call
    })
}

fn record_path<'a>(id: &'a SiloId, hostname: &'a Hostname) -> [&'a str; 4] {
    ["silos", id.as_str(), "records", hostname.as_str()]
}

fn put_addresses<'a>(id: &'a SiloId, hostname: &'a Hostname, addresses: &Addresses) -> Call<'a> {
    let ips: Vec<IpAddr> = addresses.iter().collect();
    Call::new(Method::PUT, &record_path(id, hostname)).json(serde_json::json!({ "ips": ips }))
}

fn poll_call<'a>(method: Method, id: &'a SiloId, poll: Poll<'_>) -> Result<Call<'a>, ClientError> {
    let mut call = Call::new(method, &["silos", id.as_str()]);
    if let Some(tag) = poll.tag {
        call = call.header(IF_NONE_MATCH, tag)?;
    }
    if let Some(wait) = poll.wait {
        call = call.header(PREFER, &format!("wait={}", wait.as_secs()))?;
        call.wait = wait;
    }
    if let Some(applied) = poll.applied {
        call = call.header(SILO_APPLIED, applied)?;
    }
    Ok(call)
}

/// Sends the calls of a client to `url` by this route.
fn routed(mut builder: reqwest::ClientBuilder, url: &Url, route: &Route) -> reqwest::ClientBuilder {
    if let (Some(addresses), Some(host)) = (&route.addresses, url.host_str()) {
        builder = builder.resolve_to_addrs(host, addresses);
    }
    if let Some(address) = route.local_address {
        builder = builder.local_address(address);
    }
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    if let Some(interface) = &route.interface {
        builder = builder.interface(interface);
    }
    builder
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
