//! A browser, as far as sessions and forms go: it keeps cookies, and sends `Origin` with forms.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use silo_e2e::logs::is_secret;

use super::SIGN_IN;
use crate::common::{DEADLINE, TestHub};

/// A browser at one hub.
pub(crate) struct Browser {
    client: Client,
    /// Where the hub listens.
    url: String,
    /// What the address bar shows.
    origin: String,
    host: String,
    headers: Vec<(String, String)>,
    jar: Mutex<BTreeMap<String, String>>,
}

/// A page as it arrives.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A client that follows no redirects.
pub(super) fn client() -> reqwest::ClientBuilder {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(DEADLINE)
        .redirect(Policy::none())
}

impl Browser {
    /// At the address where a hub listens.
    pub(crate) fn of(hub: &TestHub) -> Self {
        Self::at(hub, &format!("http://{}", hub.address))
    }

    /// At a hub that the address bar shows as this origin.
    pub(crate) fn at(hub: &TestHub, origin: &str) -> Self {
        let client = client().tls_certs_only([]).build();
        let client = client.expect("a plain client can be made");
        Self::with(client, &format!("http://{}", hub.address), origin)
    }

    /// With a client of its own.
    pub(super) fn with(client: Client, url: &str, origin: &str) -> Self {
        let (_, host) = origin.split_once("://").expect("an origin has a scheme");
        Self {
            client,
            url: url.to_owned(),
            origin: origin.to_owned(),
            host: host.to_owned(),
            headers: Vec::new(),
            jar: Mutex::default(),
        }
    }

    /// With a header on every request, as a proxy adds it.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another one with the same cookies.
    pub(crate) fn copy(&self) -> Self {
        Self {
            client: self.client.clone(),
            url: self.url.clone(),
            origin: self.origin.clone(),
            host: self.host.clone(),
            headers: self.headers.clone(),
            jar: Mutex::new(self.jar().clone()),
        }
    }

    /// What it sends as `Host`.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    fn jar(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's cookie: its name and value.
    pub(crate) fn session(&self) -> Option<(String, String)> {
        let jar = self.jar();
        let found = jar.iter().find(|(name, _)| *name != "silo_theme");
        found.map(|(name, value)| (name.clone(), value.clone()))
    }

    /// Puts a cookie into the jar.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.jar().insert(name.to_owned(), value.to_owned());
    }

    /// A request with the cookies, and with more headers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: Option<String>,
    ) -> Page {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        request = request.header("host", &self.host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let pairs: Vec<String> = self
            .jar()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !pairs.is_empty() {
            request = request.header("cookie", pairs.join("; "));
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
        }
        let response = request.send().await.expect("the hub answers");
        let page = Page {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.expect("a page is text"),
        };
        self.keep_cookies(&page);
        page
    }

    fn keep_cookies(&self, page: &Page) {
        for set in page.cookies() {
            let (pair, flags) = set.split_once(';').expect("cookies have flags");
            let (name, value) = pair.split_once('=').expect("a cookie has a value");
            if flags.contains("Max-Age=0;") {
                self.jar().remove(name);
            } else {
                is_secret(value);
                if let Some((_, random)) = value.split_once('.') {
                    is_secret(random);
                }
                self.jar().insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// A page.
    pub(crate) async fn get(&self, path: &str) -> Page {
        let accept = [("accept", "text/html,*/*;q=0.8")];
        self.send(Method::GET, path, &accept, None).await
    }

    /// Sends a form, as a page of this hub.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = self.origin.clone();
        self.post_from(Some(&origin), path, fields).await
    }

    /// Sends a form with another `Origin`, or none.
    pub(crate) async fn post_from(
        &self,
        origin: Option<&str>,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Page {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let origin = origin.map(|origin| ("origin", origin));
        let more: Vec<_> = origin.into_iter().collect();
        self.send(Method::POST, path, &more, Some(body.finish()))
            .await
    }

    /// Signs in with a token, which must succeed.
    pub(crate) async fn sign_in(&self, token: &str) {
        let page = self.post(SIGN_IN, &[("token", token)]).await;
        assert_eq!(page.status, 303, "{}", page.text);
        assert_eq!(page.location(), "/dashboard/");
        assert!(self.session().is_some(), "{:?}", page.headers);
    }

    /// Whether the first page is shown, rather than the way to the sign-in.
    pub(crate) async fn is_signed_in(&self) -> bool {
        let page = self.get("/dashboard/").await;
        match page.status {
            200 => true,
            303 => {
                assert_eq!(page.location(), SIGN_IN);
                false
            }
            status => panic!("{status}: {}", page.text),
        }
    }

    /// The hidden field of the forms on the first page.
    pub(crate) async fn form_token(&self) -> String {
        let page = self.get("/dashboard/").await;
        assert_eq!(page.status, 200, "{}", page.text);
        form_token(&page.text)
    }

    /// Sends a form of the session, with its hidden field.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.form_token().await;
        let mut all = vec![("csrf", token.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }
}

impl Page {
    /// A header's one value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("headers are ASCII");
        assert!(values.next().is_none(), "duplicate {name}");
        Some(value)
    }

    /// Where it leads.
    pub(crate) fn location(&self) -> &str {
        self.header("location").expect("it leads somewhere")
    }

    /// What it sets.
    pub(crate) fn cookies(&self) -> Vec<&str> {
        let values = self.headers.get_all("set-cookie").iter();
        values
            .map(|value| value.to_str().expect("cookies are ASCII"))
            .collect()
    }
}

/// The hidden field of the first form on a page.
pub(crate) fn form_token(html: &str) -> String {
    let (_, rest) = html
        .split_once("name=\"csrf\" value=\"")
        .expect("the page has a form of the session");
    let token = rest.split('"').next().expect("the value ends").to_owned();
    is_secret(&token);
    token
}
