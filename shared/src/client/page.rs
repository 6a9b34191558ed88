//! Reads a small page of any web server, for an upstream whose address a page shows.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect;
use thiserror::Error;
use url::Url;

use super::reason::chain;
use super::{Route, routed};
use crate::lookup::Lookup;

/// Why a page could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PageError {
    /// No response: connection refused, timeout, connection lost, TLS failure.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Another status than 200; redirects are not followed.
    #[error("answered {0}{1}")]
    Status(u16, &'static str),
    /// The body is larger than the limit, in bytes.
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
    /// The client can't be created.
    #[error("cannot be asked: {0}")]
    Setup(String),
}

/// `GET` of a page: at most `limit` bytes, no redirect, no credential. The server's certificate is verified against the
/// system's trust store.
pub async fn read_page(
    url: &Url,
    route: &Route,
    timeout: Duration,
    limit: usize,
) -> Result<Vec<u8>, PageError> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("silo/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .dns_resolver(Arc::new(Lookup))
        .no_proxy();
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    let http = routed(builder, url, route)
        .build()
        .map_err(|error| PageError::Setup(chain(&error)))?;
    let unreachable = |error: reqwest::Error| PageError::Unreachable(chain(&error));
    let mut response = http.get(url.clone()).send().await.map_err(unreachable)?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        let hint = if status.is_redirection() {
            ", a redirect, which is not followed: write the URL that it leads to"
        } else {
            ""
        };
        return Err(PageError::Status(status.as_u16(), hint));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > limit {
            return Err(PageError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
