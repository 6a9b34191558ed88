//! Tokens that end while a request of theirs runs.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, TestHub, raw_status};
use crate::signing::Signer;

/// A request whose head has come and whose body is still awaited: the hub has looked at its credential.
pub(crate) struct Halfway {
    stream: TcpStream,
    body: String,
}

impl Halfway {
    pub(crate) async fn begin(hub: &TestHub, head: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        let (address, length) = (hub.address, body.len());
        let head = format!(
            "{head}\r\nHost: {address}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The hub asks for the body once it wants to read it (RFC 9110 section 10.1.1).
        let mut asked = [0; 25];
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut asked))
            .await
            .expect("the hub asks for the body")
            .unwrap();
        assert_eq!(asked, *b"HTTP/1.1 100 Continue\r\n\r\n");
        Self {
            stream,
            body: body.to_owned(),
        }
    }

    pub(crate) async fn end(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(DEADLINE, self.stream.read_to_string(&mut answer))
            .await
            .expect("the hub answers")
            .unwrap();
        answer
    }
}

const NEW_ADMIN: &str = r#"{"name":"stays","role":"admin"}"#;

fn makes_admin(credential: &str) -> String {
    format!(
        "POST /tokens HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {credential}"
    )
}

#[tokio::test]
async fn a_token_that_is_revoked_before_its_body_has_come_makes_no_other() {
    let hub = TestHub::start().await;
    let (id, credential) = hub.token(json!({"name": "stolen", "role": "admin"})).await;
    let others = Halfway::begin(&hub, &makes_admin(&hub.admin), NEW_ADMIN).await;
    let request = Halfway::begin(&hub, &makes_admin(&credential), NEW_ADMIN).await;
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(raw_status(&request.end().await), 401);
    let tokens = hub.get("/tokens").await.json();
    assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");
    // No other token is affected.
    assert_eq!(raw_status(&others.end().await), 201);
}

#[tokio::test]
async fn so_does_none_whose_secret_was_rotated_away() {
    let hub = TestHub::start().await;
    let (id, credential) = hub.token(json!({"name": "stolen", "role": "admin"})).await;
    for (overlap, status) in [(60, 201), (0, 401)] {
        let request = Halfway::begin(&hub, &makes_admin(&credential), NEW_ADMIN).await;
        let rotate = hub
            .post(&format!("/tokens/{id}/rotate"))
            .json(&json!({ "overlap": overlap }));
        assert_eq!(rotate.await.status, 201);
        assert_eq!(raw_status(&request.end().await), status, "{overlap}");
    }
}

#[tokio::test]
async fn a_token_that_expires_before_its_body_has_come_writes_nothing() {
    let hub = TestHub::start().await;
    let (_, credential) = hub
        .token(json!({
            "name": "w", "role": "write", "silos": ["office"], "expires_at": "2026-01-02T03:04:15.678Z",
        }))
        .await;
    let head =
        format!("PUT /silos/office/records/db HTTP/1.1\r\nAuthorization: Bearer {credential}");
    let request = Halfway::begin(&hub, &head, r#"{"ip":"10.0.0.5"}"#).await;
    hub.pass(10);
    assert_eq!(raw_status(&request.end().await), 401);
    assert_eq!(hub.get("/silos/office").await.status, 404);
}

#[tokio::test]
async fn a_signed_write_of_a_token_revoked_meanwhile_is_refused() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(json!({"name": "w", "role": "write", "silos": ["office"]}))
        .await;
    let signer = Signer::of(&credential);
    let body = json!({"ip": "10.0.0.5"});
    let draft = signer.draft(Method::PUT, "/silos/office/records/db");
    let shot = signer.sign(&hub, draft.json(&body));
    let mut head = "PUT /silos/office/records/db HTTP/1.1".to_owned();
    for name in [
        "content-type",
        "content-digest",
        "signature-input",
        "signature",
    ] {
        head += &format!("\r\n{name}: {}", shot.header(name));
    }
    let request = Halfway::begin(&hub, &head, &body.to_string()).await;
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(raw_status(&request.end().await), 401);
    assert_eq!(hub.get("/silos/office").await.status, 404);
}

#[tokio::test]
async fn a_dyndns2_form_of_a_token_revoked_meanwhile_is_refused() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(json!({"name": "w", "role": "write", "silos": ["office"]}))
        .await;
    let head = format!(
        "POST /nic/update HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nAuthorization: Bearer {credential}"
    );
    let request = Halfway::begin(&hub, &head, "hostname=db&myip=10.0.0.5").await;
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    let answer = request.end().await;
    assert!(
        raw_status(&answer) == 401 && answer.ends_with("badauth\n"),
        "{answer}"
    );
    assert_eq!(hub.get("/silos/office").await.status, 404);
}
