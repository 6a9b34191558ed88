//! One hub: sends a call and reads its answer, verified if the agent signs.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::error::ClientError;
use super::reason::{self, chain};
use super::signer::{Distrust, Sent, Signer};
use super::{CONNECT_TIMEOUT, MAX_ANSWER_BYTES, PREFER, Route, routed};
use crate::api::{PROBLEM_JSON, Problem};
use crate::connection::{Authentication, Connection, HubAddress};
use crate::hub_tls::judge_by;
use crate::lookup::Lookup;
use crate::output::one_line;

/// The name, kind and version of this agent.
const SILO_AGENT: HeaderName = HeaderName::from_static("silo-agent");
/// The id of the hub's database.
const SILO_DATABASE: HeaderName = HeaderName::from_static("silo-database");
/// How long a connection may be silent before it is probed, and between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The number of probes without an answer after which a connection is closed.
const KEEPALIVE_PROBES: u32 = 3;
/// How long a connection without a request is kept: a hub, and proxies commonly, close it after 75 s, and a request that is
/// sent at that moment gets no answer.
const REUSED_WITHIN: Duration = Duration::from_secs(60);

/// A request, for whichever hub is asked.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) segments: Vec<&'a str>,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) json: Option<serde_json::Value>,
    /// How long the hub may hold its answer back, beyond the usual timeout.
    pub(super) wait: Duration,
    /// Whether the credential is sent.
    pub(super) is_authenticated: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, segments: &[&'a str]) -> Self {
        Self {
            method,
            segments: segments.to_vec(),
            query: None,
            headers: HeaderMap::new(),
            json: None,
            wait: Duration::ZERO,
            is_authenticated: true,
        }
    }

    /// Whether the hub may change something.
    pub(super) fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Adds a field, whose value is from this program, the configuration or the hub.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ClientError::Setup(format!("{name}: not a valid field value")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// The same without a wait for a change.
    pub(super) fn at_once(&self) -> Self {
        let mut call = self.clone();
        call.headers.remove(PREFER);
        call.wait = Duration::ZERO;
        call
    }

    pub(super) fn json(self, json: serde_json::Value) -> Self {
        let json = Some(json);
        Self { json, ..self }
    }
}

/// A verified answer of 2xx or 304.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) tag: Option<String>,
    pub(super) body: Vec<u8>,
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The id of the hub's database, if a verified answer of any status has one.
    pub(super) database: Option<String>,
    pub(super) result: Result<Answer, ClientError>,
}

impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Self {
        Self {
            database: None,
            result: Err(error),
        }
    }
}

/// One hub.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    http: reqwest::Client,
    url: Url,
    authentication: Authentication,
    signer: Option<Signer>,
    /// The value of `Silo-Agent`.
    agent: HeaderValue,
}

impl Endpoint {
    pub(super) fn new(
        connection: &Connection,
        hub: &HubAddress,
        route: &Route,
        agent: &HeaderValue,
    ) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("silo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A connection that a router has forgotten ends without an answer to a probe.
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(KEEPALIVE_PROBES)
            .pool_idle_timeout(REUSED_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Lookup))
            .no_proxy();
        if hub.url.scheme() == "http" {
            // Avoids loading the system's certificates on each run over plain HTTP.
            builder = builder.tls_certs_only([]);
        } else {
            let (ca_file, pins) = (connection.ca_file.as_deref(), connection.pins.as_ref());
            builder = judge_by(builder, ca_file, pins).map_err(ClientError::Setup)?;
        }
        builder = routed(builder, &hub.url, route);
        let http = builder.build().map_err(|error| {
            let judges_by_system = connection.ca_file.is_none() && connection.pins.is_none();
            ClientError::Setup(reason::setup(&error, judges_by_system))
        })?;
        Ok(Self {
            http,
            url: hub.url.clone(),
            authentication: hub.authentication.clone(),
            signer: match &hub.authentication {
                Authentication::Signed(credential) => Some(Signer::new(credential)),
                Authentication::Bearer(_) | Authentication::Basic { .. } => None,
            },
            agent: agent.clone(),
        })
    }

    /// Scheme, host and port, without the slash at the end.
    pub(super) fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The URL of a resource.
    pub(super) fn resource(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("a hub's URL is http or https and so has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    fn request(&self, call: &Call<'_>, timeout: Duration) -> Result<Request, ClientError> {
        let mut url = self.resource(&call.segments);
        url.set_query(call.query.as_deref());
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .headers(call.headers.clone())
            .header(SILO_AGENT, &self.agent)
            .timeout(timeout + call.wait);
        if let Some(json) = &call.json {
            request = request.json(json);
        }
        request = match &self.authentication {
            Authentication::Bearer(credential) if call.is_authenticated => {
                request.bearer_auth(credential.expose())
            }
            Authentication::Basic { username, password } if call.is_authenticated => {
                request.basic_auth(username, Some(password.expose()))
            }
            _ => request,
        };
        let setup = |error: reqwest::Error| ClientError::Setup(chain(&error));
        request.build().map_err(setup)
    }

    /// Sends a request; reads a response of 2xx or 304, any other becomes [`ClientError::Status`]. A client that signs
    /// verifies the signature before it uses any part of a response.
    pub(super) async fn send(&self, call: &Call<'_>, timeout: Duration) -> Outcome {
        match self.answer(call, timeout).await {
            Ok((response, signed)) => self.judge(response, signed).await,
            Err(error) => error.into(),
        }
    }

    /// `GET /ping`, neither signed nor with a credential: the field `Date` of the answer, which anything on the way could
    /// have changed.
    pub(super) async fn date(&self, timeout: Duration) -> Result<Option<String>, ClientError> {
        let call = Call {
            is_authenticated: false,
            ..Call::new(Method::GET, &["ping"])
        };
        let request = self.request(&call, timeout)?;
        let response = self.http.execute(request).await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let date = field(response.headers(), DATE);
        self.judge(response, None).await.result?;
        Ok(date)
    }

    /// Sends a request; returns the response before its body is read.
    async fn answer(
        &self,
        call: &Call<'_>,
        timeout: Duration,
    ) -> Result<(Response, Option<(&Signer, Sent)>), ClientError> {
        let mut request = self.request(call, timeout)?;
        let signed = match &self.signer {
            Some(signer) => {
                let sent = signer.sign(&mut request).map_err(ClientError::Setup)?;
                Some((signer, sent))
            }
            None => None,
        };
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        Ok((response, signed))
    }

    /// Reads a response, verifies its signature, and tells success from failure.
    async fn judge(&self, response: Response, signed: Option<(&Signer, Sent)>) -> Outcome {
        let status = response.status();
        let headers = response.headers().clone();
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(error) => return error.into(),
        };
        let result = self.judge_body(status, &headers, body, signed);
        // What is not verified, or does not come from a hub, names no database.
        let is_of_hub = matches!(result, Ok(_) | Err(ClientError::Status { .. }));
        Outcome {
            database: field(&headers, SILO_DATABASE).filter(|_| is_of_hub),
            result,
        }
    }

    fn judge_body(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Vec<u8>,
        signed: Option<(&Signer, Sent)>,
    ) -> Result<Answer, ClientError> {
        let kind = field(headers, CONTENT_TYPE).unwrap_or_default();
        let is_html = kind.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<");
        let foreign_answer = reason::foreign_answer(status, is_html, &body, &self.url);
        let mut behind_seconds = None;
        if let Some((signer, sent)) = &signed {
            let verified = signer.verify(sent, status.as_u16(), headers, &body);
            behind_seconds =
                Some(verified.map_err(|why| self.distrust(status, foreign_answer, why))?);
        }
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            if let Some(words) = foreign_answer {
                return Err(self.not_a_hub(words));
            }
            let tag = field(headers, ETAG);
            return Ok(Answer { status, tag, body });
        }
        let problem = kind
            .starts_with(PROBLEM_JSON)
            .then(|| serde_json::from_slice::<Problem>(&body).ok())
            .flatten();
        if let (Some(problem), Some(behind_seconds)) = (&problem, behind_seconds)
            && problem.kind == "/problems/clock"
        {
            return Err(ClientError::Clock {
                hub: self.name().to_owned(),
                behind_seconds,
            });
        }
        let detail = match (problem, foreign_answer) {
            (Some(problem), _) => one_line(&problem.detail),
            (None, Some(words)) => words.to_owned(),
            (None, None) => format!(
                "{} (not an answer of a Silo hub: check the URL in `hub`)",
                status.canonical_reason().unwrap_or("an unknown status")
            ),
        };
        Err(ClientError::Status {
            hub: self.name().to_owned(),
            status: status.as_u16(),
            detail,
            is_signed: signed.is_some(),
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

    /// Parses the body of an answer of 2xx.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.not_a_hub(one_line(&error.to_string())))
    }

    pub(super) fn not_a_hub(&self, cause: impl Into<String>) -> ClientError {
        ClientError::NotAHub {
            hub: self.name().to_owned(),
            cause: cause.into(),
        }
    }

    fn distrust(
        &self,
        status: StatusCode,
        foreign_answer: Option<&'static str>,
        why: Distrust,
    ) -> ClientError {
        let hub = self.name().to_owned();
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
            hub: self.name().to_owned(),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let (hub, cause) = (
            self.name().to_owned(),
            reason::unreachable(error, &self.url),
        );
        if reason::is_untrusted(error) {
            ClientError::Untrusted { hub, cause }
        } else {
            ClientError::Unreachable { hub, cause }
        }
    }

    /// The error for a call that has run out of time.
    pub(super) fn out_of_time(&self) -> ClientError {
        ClientError::Unreachable {
            hub: self.name().to_owned(),
            cause: "no answer in time".to_owned(),
        }
    }
}

/// The text of a field.
fn field(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
