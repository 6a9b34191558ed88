//! TLS and the password, when a mail is sent and when the sink is checked.

use silo_e2e::smtp::{PASSWORD, Security, SmtpServer};
use silo_hub::internals::deliver::sink::{Outcome, Reach};

use super::{asked_for, change, open, retried, sink_to, smtp_keys, tell_one, write_secret};

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_tried_again() {
    let server = SmtpServer::start(Security::StartTls, true);
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "guessed");
    let keys = format!("{}to: [ops@example.net]\n", smtp_keys(&server));
    let sink = open(folder.path(), &keys);
    let result = tell_one(&*sink, &change(1, "db", "", "10.0.0.6")).await;
    retried(
        &result,
        Reach::Sink,
        "refuses the user name or the password (535)",
    );
    let error = sink.check().await.unwrap_err();
    assert!(error.contains("(535)"), "{error}");
    let lines = keys
        .lines()
        .filter(|line| !line.contains("username") && !line.contains("password"));
    let without: Vec<_> = lines.collect();
    let sink = open(folder.path(), &without.join("\n"));
    let result = tell_one(&*sink, &change(1, "db", "", "10.0.0.6")).await;
    retried(&result, Reach::Sink, "530");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_without_valid_tls() {
    let server = SmtpServer::start(Security::StartTls, true);
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), PASSWORD);
    let keys = format!("{}to: [ops@example.net]\n", smtp_keys(&server));
    let event = change(1, "db", "", "10.0.0.6");
    let system: Vec<_> = keys
        .lines()
        .filter(|line| !line.contains("ca_file"))
        .collect();
    let sink = open(folder.path(), &system.join("\n"));
    retried(&tell_one(&*sink, &event).await, Reach::Sink, "certificate");
    // The certificate is for the name, not for the address.
    let sink = open(folder.path(), &keys.replace("localhost", "127.0.0.1"));
    retried(&tell_one(&*sink, &event).await, Reach::Sink, "certificate");

    let plain = SmtpServer::start(Security::None, false);
    let port = |server: &SmtpServer| format!("port: {}", server.port());
    let sink = open(folder.path(), &keys.replace(&port(&server), &port(&plain)));
    retried(&tell_one(&*sink, &event).await, Reach::Sink, "STARTTLS");
    for server in [server, plain] {
        let log = server.log();
        let said: Vec<_> = log
            .lines()
            .filter(|line| !line.starts_with("EHLO"))
            .collect();
        assert!(said.iter().all(|line| *line == "QUIT"), "{said:?}");
    }
}

#[tokio::test]
async fn a_relay_without_encryption_is_used_if_configured() {
    let server = SmtpServer::start(Security::None, false);
    let folder = tempfile::tempdir().unwrap();
    let keys = format!(
        "smtp: {{ host: 127.0.0.1, port: {}, tls: none, hello: hub.example.net }}\nfrom: silo@example.net\nto: [ops@example.net]\n",
        server.port()
    );
    let sink = open(folder.path(), &keys);
    let result = tell_one(&*sink, &change(1, "db", "", "10.0.0.6")).await;
    assert_eq!(result.outcome, Outcome::Done);
    let mails = server.wait_for(1);
    assert_eq!(mails[0].0["encrypted"], false);
    assert_eq!(asked_for(&server, "EHLO hub.example.net"), 1);
}

#[tokio::test]
async fn check_goes_as_far_as_the_password_and_sends_nothing() {
    let server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(&server, "to: [ops@example.net]\n");
    let words = sink.check().await.unwrap();
    let expected = format!(
        "SMTP at localhost:{}, STARTTLS, authenticated",
        server.port()
    );
    assert_eq!(words, expected);
    let log = server.log();
    assert!(
        log.contains("AUTH PLAIN right") && log.contains("QUIT"),
        "{log}"
    );
    assert!(!log.contains("MAIL"), "{log}");
}
