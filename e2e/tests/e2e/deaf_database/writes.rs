//! Writes whose outcome can be read afterwards.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use silo_e2e::{Caller, until};
use silo_hub::internals::domain::time::{Clock, Time};
use silo_shared::credential::Credential;
use silo_shared::signing::component::RequestHead;
use silo_shared::signing::{SigningKey, request};
use tokio::task::JoinSet;

/// By when a caller has an answer: 15 s, and what a busy machine needs.
const ANSWERED: Duration = Duration::from_secs(20);

/// What a write was answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Value,
}

impl Said {
    pub(crate) fn is_unknown(&self) -> bool {
        self.status == 503 && self.body["type"] == "/problems/outcome-unknown"
    }

    pub(crate) fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Said {
    let began = Instant::now();
    let answer = request.send().await.expect("the hub answers");
    let status = answer.status().as_u16();
    let etag = answer.headers().get("etag");
    let etag = etag.map(|etag| etag.to_str().unwrap().to_owned());
    let body = answer.json().await.unwrap_or_default();
    assert!(
        began.elapsed() < ANSWERED,
        "answered {status} {body} only after {:?}",
        began.elapsed()
    );
    Said { status, etag, body }
}

pub(crate) fn put(caller: &Caller, path: &str, ip: &str, etag: Option<&str>) -> RequestBuilder {
    let request = caller.request(Method::PUT, path).json(&json!({ "ip": ip }));
    match etag {
        Some(etag) => request.header("if-match", etag),
        None => request,
    }
}

/// The same, signed instead of with a Bearer token.
pub(crate) fn signed_put(
    caller: &Caller,
    path: &str,
    ip: &str,
    etag: Option<&str>,
) -> RequestBuilder {
    signed_put_at(caller, path, ip, etag, Clock::System.now())
}

/// The same, by a machine whose clock shows this time.
pub(crate) fn signed_put_at(
    caller: &Caller,
    path: &str,
    ip: &str,
    etag: Option<&str>,
    now: Time,
) -> RequestBuilder {
    let credential = Credential::parse(caller.credential()).unwrap();
    let content = serde_json::to_vec(&json!({ "ip": ip })).unwrap();
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    headers.extend(etag.map(|etag| (IF_MATCH, HeaderValue::from_str(etag).unwrap())));
    let mut head = RequestHead {
        method: Method::PUT,
        authority: caller.authority().to_owned(),
        path: path.to_owned(),
        query: None,
        headers,
    };
    let created = now.as_millis() / 1000;
    let nonce = format!("{:016x}", RandomState::new().hash_one(()));
    let key = SigningKey::of(&credential);
    let keyid = credential.id();
    request::sign(&mut head, &content, &key, keyid.as_str(), created, &nonce).unwrap();
    let request = caller.bare_request(Method::PUT, path);
    request.headers(head.headers).body(content)
}

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `PUT` of a record with `If-Match`.
    Put,
    /// The same, signed.
    SignedPut,
    /// `DELETE` of a record.
    Delete,
    /// `POST /tokens`
    Token,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Put, Self::SignedPut, Self::Delete, Self::Token];
}

/// A write without concurrent writers.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) kind: Kind,
    /// Of its silo or token.
    name: String,
    etag: Option<String>,
}

impl Write {
    /// Makes what it is to change.
    pub(crate) async fn prepare(admin: &Caller, kind: Kind, name: String) -> Self {
        let mut write = Self {
            kind,
            name,
            etag: None,
        };
        if kind != Kind::Token {
            let said = send(put(admin, &write.path(), "10.0.0.1", None)).await;
            assert_eq!(said.status, 201, "{said:?}");
            write.etag = said.etag;
        }
        write
    }

    fn path(&self) -> String {
        format!("/silos/{}/records/db", self.name)
    }

    async fn send(&self, admin: &Caller) -> Said {
        let (path, etag) = (self.path(), self.etag.as_deref());
        let new = json!({ "name": self.name, "role": "admin" });
        let request = match self.kind {
            Kind::Put => put(admin, &path, "10.0.0.2", etag),
            Kind::SignedPut => signed_put(admin, &path, "10.0.0.2", etag),
            Kind::Delete => admin.request(Method::DELETE, &path),
            Kind::Token => admin.request(Method::POST, "/tokens").json(&new),
        };
        send(request).await
    }

    /// Compares what was answered with what can be read now; returns whether it was answered as done.
    pub(crate) async fn check(&self, admin: &Caller, said: &Said, what: &str) -> bool {
        let what = format!("{what}: {:?} {}", self.kind, self.name);
        let done = match self.kind {
            Kind::Put | Kind::SignedPut => 200,
            Kind::Delete => 204,
            Kind::Token => 201,
        };
        assert!(
            said.status == done || said.status == 503,
            "{what}: {said:?}"
        );
        let read = async |path: &str| {
            until("a read", async || {
                let (status, body) = admin.get(path).await;
                (status != 503).then_some((status, body))
            })
            .await
        };
        let seen = match self.kind {
            Kind::Put | Kind::SignedPut => read(&self.path()).await.1["ips"] == json!(["10.0.0.2"]),
            Kind::Delete => read(&self.path()).await.0 == 404,
            Kind::Token => {
                let tokens = read("/tokens").await.1;
                let tokens = tokens.as_array().unwrap().iter();
                let mine = tokens.filter(|token| token["name"] == self.name.as_str());
                let count = mine.count();
                assert!(count <= 1, "{what}: {count} tokens, {}", said.status);
                count == 1
            }
        };
        assert!(
            said.is_unknown() || said.is_done() == seen,
            "{what}: {} {}, and it is {seen}",
            said.status,
            said.body["type"]
        );
        if self.kind == Kind::Token && said.is_done() {
            let secret = said.body["secret"].as_str().expect("a token has a secret");
            let status = admin.with(secret).get("/tokens").await.0;
            assert_eq!(status, 200, "{what}");
        }
        said.is_done()
    }
}

/// Sends writes at the same moment; what each was answered, in their order.
pub(crate) async fn at_once(admin: &Caller, writes: &[Write]) -> Vec<Said> {
    let mut sent = JoinSet::new();
    for (number, write) in writes.iter().cloned().enumerate() {
        let admin = admin.clone();
        sent.spawn(async move { (number, write.send(&admin).await) });
    }
    let mut said = sent.join_all().await;
    said.sort_by_key(|(number, _)| *number);
    said.into_iter().map(|(_, said)| said).collect()
}
