//! A caller of a hub's REST interface, as a test has it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Hub, PATIENCE};

/// Calls a hub with one credential.
#[derive(Clone, Debug)]
pub struct Caller {
    http: Client,
    url: String,
    credential: String,
}

impl Caller {
    /// Calls `hub` with a credential.
    pub fn new(hub: &Hub, credential: &str) -> Self {
        Self::of(hub.url(), credential)
    }

    /// Calls the hub at a URL with a credential.
    pub fn of(url: &str, credential: &str) -> Self {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(PATIENCE)
            // A hub closes a connection that has no first request for 10 s, such as one of a burst that was not needed; a
            // request that is sent at that moment gets no answer.
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .expect("a client without certificates can be built");
        Self {
            http,
            url: url.to_owned(),
            credential: credential.to_owned(),
        }
    }

    /// Calls what answers at another URL with the same credential, such as a balancer.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// The same caller with another credential.
    #[must_use]
    pub fn with(&self, credential: &str) -> Self {
        Self {
            credential: credential.to_owned(),
            ..self.clone()
        }
    }

    /// The credential.
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// The hub's host and port, as the field `Host` has them.
    pub fn authority(&self) -> &str {
        let url = self.url.split_once("://");
        url.map_or(self.url.as_str(), |(_, authority)| authority)
    }

    /// A request without a credential, such as one that is to be signed.
    pub fn bare_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// A request with the credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare_request(method, path)
            .bearer_auth(&self.credential)
    }

    /// `GET`: the status and the body as JSON (null when there is none).
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.request(Method::GET, path).send().await;
        let response = response.expect("the hub answers");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// `PUT` of a record's address; `None` when the hub gave no answer.
    pub async fn put_ip(&self, silo: &str, hostname: &str, ip: &str) -> Option<(u16, Value)> {
        let request = self
            .request(Method::PUT, &format!("/silos/{silo}/records/{hostname}"))
            .json(&json!({ "ip": ip }));
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }
}
