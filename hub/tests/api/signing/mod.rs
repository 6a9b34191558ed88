//! Signed requests, and the signatures of their answers.

mod changed;
mod counted;
mod order;
mod replays;
mod signed;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use silo_shared::credential::Credential;
use silo_shared::signing::component::RequestHead;
use silo_shared::signing::{SigningKey, answer, request};

use crate::common::{Answer, Call, START_MS, TestHub};

/// The time of every hub's start, in Unix seconds, as signatures have it.
pub(crate) const NOW: i64 = START_MS / 1000;

/// A token that signs.
#[derive(Clone)]
pub(crate) struct Signer {
    keyid: String,
    key: SigningKey,
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Draft {
    method: Method,
    path: String,
    headers: HeaderMap,
    content: Vec<u8>,
    created: i64,
    nonce: String,
}

/// A signed request, as an attacker on the network path would have it.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) head: RequestHead,
    pub(crate) content: Vec<u8>,
    signer: Signer,
    /// As it was when it was signed.
    original: RequestHead,
}

impl Signer {
    pub(crate) fn of(credential: &str) -> Self {
        let credential = Credential::parse(credential).expect("it is a credential");
        Self {
            keyid: credential.id().to_string(),
            key: SigningKey::of(&credential),
        }
    }

    /// As if under another id.
    pub(crate) fn posing_as(&self, keyid: &str) -> Self {
        Self {
            keyid: keyid.to_owned(),
            key: self.key.clone(),
        }
    }

    pub(crate) fn draft(&self, method: Method, path: &str) -> Draft {
        Draft {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            content: Vec::new(),
            created: NOW,
            nonce: nonce(),
        }
    }

    /// Signs for a hub.
    pub(crate) fn sign(&self, hub: &TestHub, draft: Draft) -> Shot {
        let (path, query) = match draft.path.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (draft.path, None),
        };
        let mut head = RequestHead {
            method: draft.method,
            authority: hub.address.to_string(),
            path,
            query,
            headers: draft.headers,
        };
        request::sign(
            &mut head,
            &draft.content,
            &self.key,
            &self.keyid,
            draft.created,
            &draft.nonce,
        )
        .expect("it can be signed");
        Shot {
            original: head.clone(),
            head,
            content: draft.content,
            signer: self.clone(),
        }
    }

    /// Signs, sends and checks the signature of the answer.
    pub(crate) async fn send(&self, hub: &TestHub, draft: Draft) -> Answer {
        let shot = self.sign(hub, draft);
        let answer = shot.send(hub).await;
        shot.assert_signed(&answer);
        answer
    }

    pub(crate) async fn get(&self, hub: &TestHub, path: &str) -> Answer {
        self.send(hub, self.draft(Method::GET, path)).await
    }

    pub(crate) async fn put(&self, hub: &TestHub, path: &str, body: &Value) -> Answer {
        self.send(hub, self.draft(Method::PUT, path).json(body))
            .await
    }
}

/// A nonce that no other request of this process has.
fn nonce() -> String {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("nonce-{number}")
}

impl Draft {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("it is a header's value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.content(body.to_string())
            .header("content-type", "application/json")
    }

    pub(crate) fn content(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.content = content.into();
        self
    }

    pub(crate) fn created(mut self, created: i64) -> Self {
        self.created = created;
        self
    }

    pub(crate) fn nonce(mut self, nonce: &str) -> Self {
        nonce.clone_into(&mut self.nonce);
        self
    }
}

impl Shot {
    /// The request as it is now.
    pub(crate) fn call(&self, hub: &TestHub) -> Call {
        let query = self.head.query.as_ref();
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", self.head.path);
        let mut call = hub
            .open_call(self.head.method.clone(), &target)
            .header("host", &self.head.authority);
        if self.head.path == "/ip" {
            // If the proxy names no client, the hub has no address to return.
            call = call.seen_from("192.0.2.7");
        }
        for (name, value) in &self.head.headers {
            let value = value.to_str().expect("the tests' headers are ASCII");
            call = call.header(name.as_str(), value);
        }
        if self.content.is_empty() {
            call
        } else {
            call.body(self.content.clone())
        }
    }

    pub(crate) async fn send(&self, hub: &TestHub) -> Answer {
        self.call(hub).await
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("it is a header's value");
        self.head
            .headers
            .insert(HeaderName::from_static(name), value);
    }

    pub(crate) fn add(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("it is a header's value");
        self.head
            .headers
            .append(HeaderName::from_static(name), value);
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers[name].to_str().expect("it is ASCII")
    }

    /// The answer is the hub's own, and to this request.
    pub(crate) fn assert_signed(&self, answer: &Answer) {
        let made = self.verify(answer);
        assert!(matches!(made, Ok(Some(_))), "{made:?}: {answer:?}");
    }

    /// The answer has no signature.
    pub(crate) fn assert_unsigned(&self, answer: &Answer) {
        assert_eq!(self.verify(answer), Ok(None), "{answer:?}");
    }

    /// The answer is not as the hub signed it.
    pub(crate) fn assert_forged(&self, answer: &Answer) {
        let made = self.verify(answer);
        assert!(made.is_err(), "{made:?}: {answer:?}");
    }

    fn verify(&self, answer: &Answer) -> Result<Option<i64>, silo_shared::signing::SignatureError> {
        answer::verify(
            answer.status,
            &answer.headers,
            &answer.body,
            &self.original,
            &self.signer.key,
            &self.signer.keyid,
        )
    }
}

/// A problem's slug.
pub(crate) fn slug(answer: &Answer) -> String {
    let kind = crate::common::text(&answer.json()["type"]);
    kind.trim_start_matches("/problems/").to_owned()
}

/// Asserts a refusal.
pub(crate) fn assert_refused(answer: &Answer, status: u16, expected: &str) {
    assert_eq!(
        (answer.status, &*slug(answer)),
        (status, expected),
        "{answer:?}"
    );
}

/// A hub with the silo `office`, and its admin as one that signs.
pub(crate) async fn office() -> (TestHub, Signer) {
    let hub = TestHub::start_behind_a_proxy().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let signer = Signer::of(&hub.admin);
    (hub, signer)
}

pub(crate) fn ip(ip: &str) -> Value {
    json!({ "ip": ip })
}
