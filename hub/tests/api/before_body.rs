//! What the hub answers before a body has come: it waits for none that it refuses, asks for none
//! (`Expect: 100-continue`), and discards a body that still arrives, so that the client gets the answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, TestHub, raw_status};
use crate::signing::Signer;

/// Far less than the 30 s that a body may take: a response within this time did not wait for one.
const AT_ONCE: Duration = Duration::from_secs(15);

/// Sends a head alone; answers what comes back until the end of the answer's head.
async fn answer_to_head(hub: &TestHub, head: &str) -> String {
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    stream
        .write_all(format!("{head}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => break,
            }
        }
    };
    let _ = tokio::time::timeout(AT_ONCE, read).await;
    String::from_utf8(answer).unwrap()
}

/// The head of a request whose content is announced.
fn announced(method: &str, path: &str, headers: &str, length: usize) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: hub\r\n{headers}Content-Length: {length}")
}

#[tokio::test]
async fn a_request_refused_by_its_head_is_answered_before_its_body() {
    let hub = TestHub::start_with(|settings| {
        settings.compat.dynahost =
            Some(serde_yaml::from_str("{silo: home, hostnames: [nas]}").unwrap());
    })
    .await;
    let bearer = |credential: &str| format!("Authorization: Bearer {credential}\r\n");
    let elsewhere = bearer(&hub.credential("read", &["elsewhere"], &[]).await);
    let reads = bearer(&hub.credential("read", &["office"], &[]).await);
    let one_name = bearer(&hub.credential("write", &["office"], &["db"]).await);
    let writes = bearer(&hub.credential("write", &["office"], &[]).await);
    let unknown = bearer("silo_aaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let xml = "Content-Type: text/xml\r\n";
    let foreign = "Origin: https://elsewhere.example\r\n".to_owned();
    let small = 1000;
    let large = 2 * 1024 * 1024;
    for (method, path, headers, length, status) in [
        ("PUT", "/silos/office", String::new(), small, 401),
        ("PUT", "/silos/office", unknown, small, 401),
        ("PUT", "/silos/office", elsewhere.clone(), small, 403),
        ("PUT", "/silos/office", elsewhere.clone(), large, 403),
        ("PUT", "/silos/office", reads.clone(), small, 403),
        ("PUT", "/silos/office", one_name.clone(), small, 403),
        ("PUT", "/silos/office/records/db", reads.clone(), small, 403),
        (
            "PUT",
            "/silos/office/records/web",
            one_name.clone(),
            small,
            403,
        ),
        ("PUT", "/silos/office", writes.clone(), large, 413),
        ("PUT", "/silos/office", writes.clone() + xml, small, 415),
        ("PATCH", "/silos/office", writes.clone(), small, 405),
        ("PATCH", "/silos/office/records", reads.clone(), small, 403),
        (
            "PATCH",
            "/silos/office/records",
            elsewhere.clone(),
            large,
            403,
        ),
        ("PATCH", "/silos/office/records", writes.clone(), large, 413),
        ("POST", "/silos/office/revert", one_name.clone(), small, 403),
        ("PATCH", "/tokens/aaaaaaaaaa", writes.clone(), small, 403),
        ("POST", "/no/such/route", writes.clone(), small, 404),
        ("POST", "/tokens", writes.clone() + json, small, 403),
        (
            "POST",
            "/tokens/aaaaaaaaaa/rotate",
            writes + json,
            small,
            403,
        ),
        ("POST", "/nic/update", form.to_owned(), small, 401),
        // `nohost`: the token writes nothing.
        ("POST", "/nic/update", reads + form, small, 200),
        ("POST", "/update", xml.to_owned(), small, 415),
        ("POST", "/update", foreign + form, small, 403),
        ("POST", "/update", form.to_owned(), large, 413),
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let head = announced(method, path, &format!("{headers}{expect}"), length);
            let answer = answer_to_head(&hub, &head).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{method} {path} {length} {expect:?} wants {status}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_signed_write_without_permission_is_refused_before_its_body() {
    let hub = TestHub::start().await;
    let credential = hub.credential("write", &["elsewhere"], &[]).await;
    let signer = Signer::of(&credential);
    let draft = signer.draft(Method::PUT, "/silos/office/records/db");
    let shot = signer.sign(&hub, draft.json(&json!({"ip": "10.0.0.6"})));
    let mut head = format!(
        "PUT /silos/office/records/db HTTP/1.1\r\nHost: {}\r\nContent-Length: {}",
        shot.head.authority,
        shot.content.len()
    );
    for (name, value) in &shot.head.headers {
        head += &format!("\r\n{name}: {}", value.to_str().unwrap());
    }
    let answer = answer_to_head(&hub, &head).await;
    assert_eq!(raw_status(&answer), 403, "{answer}");
    assert!(answer.contains("\r\nsignature: "), "{answer}");
}

/// A client that sends everything before it reads gets the response, and can keep using the connection.
#[tokio::test]
async fn an_unread_body_is_discarded_and_the_connection_stays_open() {
    let hub = TestHub::start().await;
    let stream = TcpStream::connect(hub.address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let mut head = announced("PUT", "/silos/office", "", 3 * 1024 * 1024);
    head += "\r\n\r\n";
    let sending = tokio::spawn(async move {
        for _ in 0..3 {
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(&vec![b' '; 3 * 1024 * 1024]).await?;
        }
        let last = b"GET /ping HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
        writing.write_all(last).await?;
        // Closing it now would mean that no client waits for the responses.
        Ok::<_, std::io::Error>(writing)
    });
    let mut answers = String::new();
    let _ = tokio::time::timeout(DEADLINE, reading.read_to_string(&mut answers))
        .await
        .expect("the hub answers");
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 3, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{answers}");
    sending.await.unwrap().unwrap();
}
