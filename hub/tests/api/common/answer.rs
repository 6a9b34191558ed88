//! A request in the making, and what every answer must keep to.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::described::Seen;
use super::text;

/// A request in the making.
pub(crate) struct Call {
    head: bool,
    /// The statuses of a foreign protocol.
    in_words: Option<&'static [u16]>,
    request: RequestBuilder,
}

impl Call {
    /// A bare request.
    pub(super) fn new(head: bool, request: RequestBuilder) -> Self {
        Self {
            head,
            in_words: None,
            request,
        }
    }

    /// In dyndns2, which says errors in its own words.
    pub(crate) fn in_words(self) -> Self {
        self.in_words_of(&[200, 401, 503])
    }

    /// In a foreign protocol that says errors in its own words, with these statuses.
    pub(crate) fn in_words_of(mut self, statuses: &'static [u16]) -> Self {
        self.in_words = Some(statuses);
        self
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a credential instead of any other.
    pub(crate) fn bearer(mut self, credential: &str) -> Self {
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {credential}");
        headers.insert("authorization", value.parse().expect("a header value"));
        self.request = self.request.headers(headers);
        self
    }

    /// With a user name and a password.
    pub(crate) fn login(self, user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        self.header("authorization", &format!("Basic {pair}"))
    }

    /// With a JSON body.
    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// With a body and no `Content-Type`.
    pub(crate) fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// As if from this address, at a hub that trusts the tests.
    pub(crate) fn seen_from(self, ip: &str) -> Self {
        self.header("x-forwarded-for", ip)
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (client, request) = self.request.build_split();
            let request = request.expect("the request is well-formed");
            let (method, path) = (request.method().clone(), request.url().path().to_owned());
            let response = client.execute(request).await.expect("the hub answers");
            let answer = Answer {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.bytes().await.expect("the body comes").to_vec(),
            };
            answer.check(self.head, self.in_words);
            Seen {
                method: &method,
                path: &path,
                in_words: self.in_words.is_some(),
                status: answer.status,
                headers: &answer.headers,
                body: &answer.body,
            }
            .check();
            answer
        })
    }
}

/// An answer of the hub.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The content.
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(2000).collect();
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

fn is_hex_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

impl Answer {
    /// What holds for every answer of the hub.
    fn check(&self, head: bool, in_words: Option<&[u16]>) {
        assert_eq!(self.header("transfer-encoding"), None, "{self:?}");
        assert_eq!(self.header("content-encoding"), None, "{self:?}");
        let database = self.header("silo-database").unwrap_or_default();
        let digits = database.trim_matches('"').bytes();
        assert!(
            database.len() == 34 && digits.len() == 32 && digits.into_iter().all(is_hex_digit),
            "Silo-Database: {self:?}"
        );
        if head {
            assert!(self.body.is_empty(), "{self:?}");
        } else if matches!(self.status, 204 | 304) {
            assert!(self.body.is_empty(), "{self:?}");
            assert!(
                matches!(self.header("content-length"), None | Some("0")),
                "{self:?}"
            );
        } else {
            let length = self.body.len().to_string();
            assert_eq!(self.header("content-length"), Some(&*length), "{self:?}");
        }
        if let Some(statuses) = in_words {
            assert_eq!(
                self.header("content-type"),
                Some("text/plain; charset=utf-8"),
                "{self:?}"
            );
            assert!(statuses.contains(&self.status), "{self:?}");
        } else if self.status >= 400 && !head {
            assert_eq!(
                self.header("content-type"),
                Some("application/problem+json"),
                "{self:?}"
            );
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "{self:?}");
            let kind = text(&problem["type"]);
            assert!(kind.starts_with("/problems/"), "{self:?}");
            assert!(!text(&problem["title"]).is_empty(), "{self:?}");
            assert!(!text(&problem["detail"]).is_empty(), "{self:?}");
        }
    }

    /// A header's one value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("headers are ASCII");
        assert!(values.next().is_none(), "duplicate {name}");
        Some(value)
    }

    /// All values of a header, in their order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values
            .map(|value| value.to_str().expect("headers are ASCII"))
            .collect()
    }

    /// The entity tag.
    pub(crate) fn etag(&self) -> String {
        self.header("etag")
            .unwrap_or_else(|| panic!("no ETag: {self:?}"))
            .to_owned()
    }

    /// The content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the content is UTF-8")
    }

    /// The content as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The methods of `Allow`, sorted.
    pub(crate) fn allowed(&self) -> Vec<&str> {
        let allow = self
            .header("allow")
            .unwrap_or_else(|| panic!("no Allow: {self:?}"));
        let mut methods: Vec<_> = allow.split(',').map(str::trim).collect();
        methods.sort_unstable();
        methods
    }

    /// The pointers of a refused body.
    pub(crate) fn pointers(&self) -> Vec<String> {
        self.json()["errors"]
            .as_array()
            .map(|errors| errors.iter().map(|error| text(&error["pointer"])).collect())
            .unwrap_or_default()
    }

    /// Where `Link: <…>; rel="next"` leads.
    pub(crate) fn next_link(&self) -> Option<String> {
        let link = self.header("link")?;
        let target = link
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        Some(
            target
                .unwrap_or_else(|| panic!("odd Link: {link}"))
                .to_owned(),
        )
    }
}
