//! The HTTP client of both agents.
//!
//! [`ClientError`] distinguishes a transport failure, a response with an error status, and a response that is not from
//! a hub. A client that signs trusts no unsigned response. Every call has a deadline, redirects are not followed, and
//! the size of responses is limited.

mod error;
mod reason;
mod signer;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::api::{CallerAddress, PROBLEM_JSON, Problem, RecordDocument, SiloDocument};
use crate::connection::{Authentication, Connection};
use crate::hub_tls::judge_by;
use crate::lookup::Lookup;
use crate::output::one_line;
use crate::silo::{Addresses, Family, Hostname, SiloId};
pub use error::{ClientError, TokenVerdict};
use reason::chain;
use signer::{Distrust, Signer};

/// The timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for a whole call.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
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

/// A client of one hub.
#[derive(Clone, Debug)]
pub struct HubClient {
    http: reqwest::Client,
    hub: Url,
    authentication: Authentication,
    signer: Option<Signer>,
}

impl HubClient {
    /// Creates a client; sends nothing yet.
    ///
    /// Fails with [`ClientError::Setup`] when the certificate file can't be read.
    pub fn new(connection: &Connection, route: Route) -> Result<Self, ClientError> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("silo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Lookup))
            .no_proxy();
        if connection.hub.scheme() == "http" {
            // Avoids loading the system's certificates on each run over plain HTTP.
            builder = builder.tls_certs_only([]);
        } else {
            let (ca_file, pins) = (connection.ca_file.as_deref(), connection.pins.as_ref());
            builder = judge_by(builder, ca_file, pins).map_err(ClientError::Setup)?;
        }
        if let (Some(addresses), Some(host)) = (&route.addresses, connection.hub.host_str()) {
            builder = builder.resolve_to_addrs(host, addresses);
        }
        if let Some(address) = route.local_address {
            builder = builder.local_address(address);
        }
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        if let Some(interface) = &route.interface {
            builder = builder.interface(interface);
        }
        let http = builder.build().map_err(|error| {
            let judges_by_system = connection.ca_file.is_none() && connection.pins.is_none();
            ClientError::Setup(reason::setup(&error, judges_by_system))
        })?;
        Ok(Self {
            http,
            hub: connection.hub.clone(),
            authentication: connection.authentication.clone(),
            signer: match &connection.authentication {
                Authentication::Signed(credential) => Some(Signer::new(credential)),
                Authentication::Bearer(_) | Authentication::Basic { .. } => None,
            },
        })
    }

    /// Scheme, host and port of the hub, for messages and as the key of data remembered about it.
    pub fn hub(&self) -> &str {
        self.hub.as_str().trim_end_matches('/')
    }

    /// `GET /ip`: this machine's address as seen by the hub.
    pub async fn caller_address(&self) -> Result<IpAddr, ClientError> {
        let request = self
            .http
            .get(self.route(&["ip"]))
            .header(ACCEPT, "application/json");
        let answer = self.send(request).await?;
        Ok(self.parse::<CallerAddress>(&answer.body)?.ip.to_canonical())
    }

    /// `GET /silos/{id}`; with `tag`, only if the silo differs from it.
    pub async fn silo(
        &self,
        id: &SiloId,
        tag: Option<&str>,
    ) -> Result<Fetched<SiloDocument>, ClientError> {
        let mut request = self.request(Method::GET, &["silos", id.as_str()]);
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let answer = self.send(request).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED if tag.is_some() => Ok(Fetched::NotModified),
            StatusCode::OK => Ok(Fetched::Found(self.parse(&answer.body)?, answer.tag)),
            other => Err(self.not_a_hub(format!("status {other} in reply to a read"))),
        }
    }

    /// `GET /silos/{id}/records/{hostname}`, with the record's entity tag if the hub sent one; `None` if the hub has no
    /// such record or silo.
    pub async fn record(
        &self,
        id: &SiloId,
        hostname: &Hostname,
    ) -> Result<Option<(RecordDocument, Option<String>)>, ClientError> {
        let request = self.request(
            Method::GET,
            &["silos", id.as_str(), "records", hostname.as_str()],
        );
        match self.send(request).await {
            Ok(answer) => Ok(Some((self.parse(&answer.body)?, answer.tag))),
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `PUT /silos/{id}/records/{hostname}`: sets this hostname's addresses; returns the record and its entity tag.
    pub async fn set_addresses(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        addresses: &Addresses,
    ) -> Result<(RecordDocument, Option<String>), ClientError> {
        let ips: Vec<IpAddr> = addresses.iter().collect();
        let request = self
            .request(
                Method::PUT,
                &["silos", id.as_str(), "records", hostname.as_str()],
            )
            .json(&serde_json::json!({ "ips": ips }));
        let answer = self.send(request).await?;
        Ok((self.parse(&answer.body)?, answer.tag))
    }

    /// `DELETE /silos/{id}/records/{hostname}?family=`: removes the address of one family if the record has this entity
    /// tag. Returns `false` if its tag differs by now, or it does not exist.
    pub async fn remove_family(
        &self,
        id: &SiloId,
        hostname: &Hostname,
        family: Family,
        tag: &str,
    ) -> Result<bool, ClientError> {
        let mut url = self.route(&["silos", id.as_str(), "records", hostname.as_str()]);
        url.set_query(Some(&format!("family={}", family.number())));
        let request = self.request_to(Method::DELETE, url).header(IF_MATCH, tag);
        match self.send(request).await {
            Ok(_) => Ok(true),
            Err(ClientError::Status {
                status: 404 | 412, ..
            }) => Ok(false),
            Err(error) => Err(error),
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
        let ips: Vec<IpAddr> = addresses.iter().collect();
        let request = self
            .request(
                Method::PUT,
                &["silos", id.as_str(), "records", hostname.as_str()],
            )
            .header(IF_MATCH, "\"none\"")
            .json(&serde_json::json!({ "ips": ips }));
        match self.send(request).await {
            Ok(answer) => Err(self.not_a_hub(format!(
                "{} in reply to a write whose condition can't be met",
                answer.status
            ))),
            Err(ClientError::Status { status: 412, .. }) => Ok(true),
            Err(ClientError::Status { status: 403, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn route(&self, segments: &[&str]) -> Url {
        let mut url = self.hub.clone();
        url.path_segments_mut()
            .expect("a hub's URL is http or https and so has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.request_to(method, self.route(segments))
    }

    fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.authentication {
            Authentication::Bearer(credential) => request.bearer_auth(credential.expose()),
            Authentication::Basic { username, password } => {
                request.basic_auth(username, Some(password.expose()))
            }
            Authentication::Signed(_) => request,
        }
    }

    /// Sends a request; reads a response of 2xx or 304, any other becomes [`ClientError::Status`]. A client that signs
    /// verifies the signature before it uses any part of a response.
    async fn send(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let setup = |error: reqwest::Error| ClientError::Setup(chain(&error));
        let mut request = request.build().map_err(setup)?;
        let signer = self.signer.as_ref();
        let sent = signer.map(|signer| signer.sign(&mut request));
        let sent = sent.transpose().map_err(ClientError::Setup)?;
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let header =
            |name| -> Option<String> { Some(headers.get(name)?.to_str().ok()?.to_owned()) };
        let tag = header(ETAG);
        let kind = header(CONTENT_TYPE).unwrap_or_default();
        let is_problem = kind.starts_with(PROBLEM_JSON);
        let body = self.read(response).await?;
        let is_html = kind.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<");
        let foreign_answer = reason::foreign_answer(status, is_html, &body, &self.hub);
        let mut behind_seconds = None;
        if let (Some(signer), Some(sent)) = (signer, &sent) {
            let verified = signer.verify(sent, status.as_u16(), &headers, &body);
            behind_seconds =
                Some(verified.map_err(|why| self.distrust(status, foreign_answer, why))?);
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            if let Some(words) = foreign_answer {
                return Err(self.not_a_hub(words));
            }
            return Ok(Answer { status, tag, body });
        }
        let problem = is_problem
            .then(|| serde_json::from_slice::<Problem>(&body).ok())
            .flatten();
        if let (Some(problem), Some(behind_seconds)) = (&problem, behind_seconds)
            && problem.kind == "/problems/clock"
        {
            return Err(ClientError::Clock {
                hub: self.hub().to_owned(),
                behind_seconds,
            });
        }
        let detail = match problem {
            Some(problem) => one_line(&problem.detail),
            None => foreign_answer.map_or_else(
                || {
                    format!(
                        "{} (not an answer of a Silo hub: check the URL in `hub`)",
                        status.canonical_reason().unwrap_or("an unknown status")
                    )
                },
                ToOwned::to_owned,
            ),
        };
        Err(ClientError::Status {
            hub: self.hub().to_owned(),
            status: status.as_u16(),
            detail,
            is_signed: signer.is_some(),
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        if response
            .content_length()
            .is_some_and(|length| length > MAX_ANSWER_BYTES as u64)
        {
            return Err(self.too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.not_a_hub(one_line(&error.to_string())))
    }

    /// The error for a response that is not from a hub, for callers that detect this later.
    pub fn not_a_hub(&self, cause: impl Into<String>) -> ClientError {
        ClientError::NotAHub {
            hub: self.hub().to_owned(),
            cause: cause.into(),
        }
    }

    fn distrust(
        &self,
        status: StatusCode,
        foreign_answer: Option<&'static str>,
        why: Distrust,
    ) -> ClientError {
        let hub = self.hub().to_owned();
        if let (Distrust::Unsigned, Some(words)) = (&why, foreign_answer) {
            return self.not_a_hub(format!("status {}: {words}", status.as_u16()));
        }
        match why {
            Distrust::Unsigned => ClientError::Unsigned {
                hub,
                status: status.as_u16(),
                hint: match status.as_u16() {
                    401 => ": the token is unknown, revoked or mistyped",
                    429 => ": too many failures from this address; wait a minute",
                    500.. => ": a proxy can't reach the hub, or the hub can't reach its database",
                    _ => ": check the URL in `hub`; otherwise something forges the hub's answers",
                },
            },
            Distrust::Wrong(error) => ClientError::Forged {
                hub,
                cause: error.to_string(),
            },
        }
    }

    fn too_large(&self) -> ClientError {
        ClientError::TooLarge {
            hub: self.hub().to_owned(),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            hub: self.hub().to_owned(),
            cause: reason::unreachable(error, &self.hub),
        }
    }
}

struct Answer {
    status: StatusCode,
    tag: Option<String>,
    body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::parse_hub_url;
    use crate::credential::Secret;

    fn client(hub: &str) -> HubClient {
        let connection = Connection {
            hub: parse_hub_url(hub).unwrap(),
            authentication: Authentication::Bearer(Secret::new("hush")),
            ca_file: None,
            pins: None,
        };
        HubClient::new(&connection, Route::default()).unwrap()
    }

    #[test]
    fn routes_are_joined_below_the_hubs_own_path() {
        let join = |hub, segments: &[&str]| client(hub).route(segments).to_string();
        assert_eq!(join("http://h:1", &["ip"]), "http://h:1/ip");
        assert_eq!(
            join("http://h/silo", &["silos", "a"]),
            "http://h/silo/silos/a"
        );
        assert_eq!(
            join("http://h/silo/", &["silos", "a/b"]),
            "http://h/silo/silos/a%2Fb"
        );
    }

    #[test]
    fn a_client_does_not_print_its_credential() {
        assert!(!format!("{:?}", client("http://h")).contains("hush"));
    }
}
