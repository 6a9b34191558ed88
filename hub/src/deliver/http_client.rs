//! The HTTP client shared by the sinks: one client per sink. Calls have a deadline, follow no
//! redirects, use no proxy and limit the size of the response.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use serde::{Deserialize, Deserializer};
use silo_shared::config::deserialize_text;
use tower::util::MapResultLayer;
use url::Url;

use crate::domain::time::Time;

/// The hub's `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("silo-hub/", env!("CARGO_PKG_VERSION"));

/// Connect timeout, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper limit for `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A server's response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The server's `Retry-After`, at most an hour.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body, up to the caller's limit.
    pub(super) body: Vec<u8>,
}

/// A client for one server.
pub(super) struct HttpClient {
    client: Client,
    /// Like `client`, but every call ends as soon as the connection is established.
    prober: Client,
    url: Url,
}

impl fmt::Debug for HttpClient {
    /// Without path and query, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server())
    }
}

impl HttpClient {
    /// Creates a client for the server of `url`; sends nothing yet. `timeout` limits a whole call.
    ///
    /// Fails when `ca_file`, a PEM file with certificates to trust instead of the system's, contains none.
    pub(super) fn new(
        url: &Url,
        user_agent: &str,
        timeout: Duration,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let build = |builder: ClientBuilder| builder.build().map_err(|error| causes(&error));
        let builder = || settings(url, user_agent, timeout, ca_file);
        Ok(Self {
            client: build(builder()?)?,
            prober: build(builder()?.connector_layer(MapResultLayer::new(stop_when_connected)))?,
            url: url.clone(),
        })
    }

    /// Scheme, host and port, for messages.
    pub(super) fn server(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// A request to this server.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads at most `body_limit` bytes of the body. `now` is used for a
    /// `Retry-After` with a date. Without a response, the error is for the operator.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        body_limit: usize,
        now: Time,
    ) -> Result<HttpAnswer, String> {
        let no_answer = |error| format!("no answer from {}: {}", self.server(), causes(&error));
        let mut response = request.send().await.map_err(no_answer)?;
        let mut answer = HttpAnswer {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers(), now),
            body: Vec::new(),
        };
        while answer.body.len() < body_limit
            && let Some(chunk) = response.chunk().await.map_err(no_answer)?
        {
            let room = body_limit - answer.body.len();
            answer.body.extend(chunk.iter().take(room));
        }
        Ok(answer)
    }

    /// Resolves the server's name, connects and, for HTTPS, does the TLS handshake; sends no request.
    pub(super) async fn check(&self) -> Result<String, String> {
        let server = self.server();
        let Err(error) = self.prober.head(self.url.clone()).send().await else {
            unreachable!("a prober's calls end before a request is sent");
        };
        if !has_connected(&error) {
            return Err(format!("cannot connect to {server}: {}", causes(&error)));
        }
        let tls = match self.url.scheme() {
            "https" => "its certificate is valid",
            _ => "without TLS: data travels in clear text",
        };
        Ok(format!("connected to {server}, {tls}; nothing was sent"))
    }
}

fn settings(
    url: &Url,
    user_agent: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
) -> Result<ClientBuilder, String> {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(user_agent)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if url.scheme() == "http" {
        // Avoids loading the system's certificates.
        builder = builder.tls_certs_only([]);
    } else if let Some(file) = ca_file {
        let wrong = |why: &str| format!("ca_file: {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|error| wrong(&error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("holds no PEM certificate"))?;
        builder = builder.tls_certs_only(certificates);
    }
    Ok(builder)
}

/// The error that ends a prober's call once it is connected.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("connected")]
struct Connected;

type BoxError = Box<dyn Error + Send + Sync>;

fn stop_when_connected<C>(result: Result<C, BoxError>) -> Result<C, BoxError> {
    result.and_then(|_| Err(Connected.into()))
}

fn has_connected(error: &reqwest::Error) -> bool {
    sources(error).any(|cause| cause.is::<Connected>())
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// An error's causes without the outermost, which in reqwest only repeats the URL.
fn causes(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut words: Vec<String> = sources(error)
        .map(|cause| cause.to_string().chars().map(printable).take(200).collect())
        .collect();
    words.dedup();
    if words.is_empty() {
        "the connection was lost".to_owned()
    } else {
        words.join(": ")
    }
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3: seconds or a date), limited to an hour.
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for the type also mean a long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()?;
        let millis = date.as_millisecond().saturating_sub(now.as_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// A URL that a sink can call: HTTP or HTTPS, without credentials.
pub(super) struct ServerUrl(pub(super) Url);

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| parse_url(text).map(Self))
    }
}

fn parse_url(text: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(text).map_err(|_| "not a URL such as https://ddns.example.net/nic/update")?;
    if !matches!(url.scheme(), "http" | "https") {
        Err("the URL must begin with http:// or https://")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("the URL must not contain a user name or password: use their own settings")
    } else if url.fragment().is_some() {
        Err("the URL must not have a fragment (`#…`)")
    } else {
        Ok(url)
    }
}

#[cfg(test)]
#[path = "http_client_tests.rs"]
mod tests;
