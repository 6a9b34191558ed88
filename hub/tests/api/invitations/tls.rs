//! The exchange over TLS, with the hub's pin in the line.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use silo_hub::internals::domain::time::Clock;
use silo_hub::internals::settings::{HubArgs, HubSettings};
use silo_shared::invitation::{EphemeralKey, Exchange, Invitation, Proof};
use silo_shared::pin::Pin;
use silo_shared::signing::component::RequestHead;
use silo_shared::signing::{SigningKey, answer, request};
use tokio::sync::oneshot;

use crate::common::{Home, START_MS, listener, text};

/// A signed request over TLS; the answer is signed.
async fn send(
    client: &Client,
    authority: &str,
    line: &Invitation,
    (method, below): (Method, &str),
    body: &Value,
) -> Value {
    let key = SigningKey::of(line.key());
    let keyid = line.key().id().to_string();
    let content = body.to_string();
    let mut head = RequestHead {
        method: method.clone(),
        authority: authority.to_owned(),
        path: format!("/invitations/{keyid}{below}"),
        query: None,
        headers: Default::default(),
    };
    let nonce = format!("n{}", below.len());
    let created = START_MS / 1000;
    request::sign(&mut head, content.as_bytes(), &key, &keyid, created, &nonce)
        .expect("it can be signed");
    let call = client.request(method, format!("https://{authority}{}", head.path));
    let call = call.headers(head.headers.clone()).body(content);
    let response = call.send().await.expect("the hub answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let content = response.bytes().await.expect("the body comes");
    let made = answer::verify(status, &headers, &content, &head, &key, &keyid);
    assert!(matches!(made, Ok(Some(_))), "{made:?}");
    assert_eq!(status, 200, "{content:?}");
    serde_json::from_slice(&content).expect("it is JSON")
}

#[tokio::test]
async fn over_tls_the_line_has_the_hubs_pin() {
    let home = Home::new();
    let certified = rcgen::generate_simple_self_signed(["silo.lan".to_owned()]).unwrap();
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let args = HubArgs {
        data_dir: Some(home.path().join("data")),
        tls_cert: Some(cert),
        tls_key: Some(key),
        ..HubArgs::default()
    };
    let mut settings = home.settings();
    settings.tls = HubSettings::load(&args).unwrap().tls;
    let listener = listener();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let clock = Clock::Set(Arc::new(AtomicI64::new(START_MS)));
    let data_dir = settings.data_dir.clone();
    let running = tokio::spawn(silo_hub::internals::run(listener, settings, clock, async {
        let _ = stopped.await;
    }));
    // Installs the provider of cryptography.
    let _ = crate::common::client();
    let client = Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .resolve("silo.lan", ([127, 0, 0, 1], port).into())
        .build()
        .unwrap();
    let authority = format!("silo.lan:{port}");
    let url = format!("https://{authority}");
    let ready = client.get(format!("{url}/healthz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let admin = std::fs::read_to_string(data_dir.join("admin.token")).unwrap();
    let spec = json!({"role": "read", "silos": ["home"], "urls": [url]});
    let call = client
        .post(format!("{url}/invitations"))
        .bearer_auth(admin.trim());
    let made = call.json(&spec).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let line = Invitation::parse(&text(&made["invitation"])).unwrap();
    assert_eq!(line.hubs(), std::slice::from_ref(&url));
    let pin = Pin::of(certified.cert.der()).expect("it is a certificate");
    assert_eq!(line.pin(), Some(pin));

    let own = EphemeralKey::generate().unwrap();
    let body = json!({"public_key": own.public().to_string()});
    let redeemed = send(&client, &authority, &line, (Method::POST, "/redeem"), &body).await;
    let hub = text(&redeemed["public_key"]).parse().unwrap();
    let exchange = Exchange {
        key: &SigningKey::of(line.key()),
        id: line.key().id(),
        token: silo_shared::credential::TokenId::parse(&text(&redeemed["token_id"])).unwrap(),
        client: own.public(),
        hub,
    };
    let credential = exchange.credential(&own.agree(&hub).unwrap());
    let proof = Proof::of(&SigningKey::of(&credential));
    let body = json!({"token_id": redeemed["token_id"], "proof": proof.to_string()});
    let confirmed = send(
        &client,
        &authority,
        &line,
        (Method::POST, "/confirm"),
        &body,
    )
    .await;
    assert_eq!(confirmed["token_id"], redeemed["token_id"]);
    let call = client
        .get(format!("{url}/token"))
        .bearer_auth(credential.expose());
    assert_eq!(call.send().await.unwrap().status(), 200);
    drop(stop);
    running.await.unwrap().unwrap();
}
