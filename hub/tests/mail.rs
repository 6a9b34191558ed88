//! The sink `email` against a real SMTP server, and against a program in sendmail's place.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use silo_e2e::smtp::{PASSWORD, ReceivedMail, Security, SmtpServer, USER};
use silo_hub::internals::deliver::kinds::OpenSink;
use silo_hub::internals::deliver::sink::{
    DeliveryResult, Event, EventKind, EventSink, Outcome, Reach, Sink, Trouble,
};
use silo_hub::internals::domain::change::AddressChange;
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::sinks::SinkSettings;
use silo_shared::silo::{Family, Hostname, SiloId};

/// Opens a sink as the hub does, from the text of its keys.
fn open(folder: &Path, keys: &str) -> Box<dyn EventSink> {
    let text = format!("name: mail\nkind: email\n{keys}");
    let list = vec![serde_yaml::from_str(&text).unwrap()];
    let sinks = SinkSettings::read_list(list, folder).unwrap();
    match OpenSink::open(&sinks[0]).unwrap().sink {
        Sink::Event(sink) => sink,
        Sink::State(_) => panic!("mail is for events"),
    }
}

/// A sink that sends to a server as an operator would have it: STARTTLS and a password.
fn sink_to(server: &SmtpServer, keys: &str) -> Box<dyn EventSink> {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), PASSWORD);
    open(folder.path(), &format!("{}{keys}", smtp_keys(server)))
}

fn smtp_keys(server: &SmtpServer) -> String {
    format!(
        "smtp:\n  host: localhost\n  port: {}\n  ca_file: {}\n  username: {USER}\n  password_file: password\nfrom: Silo-Wächter <silo@example.net>\n",
        server.port(),
        server.ca_file().display()
    )
}

fn write_secret(folder: &Path, text: &str) {
    let path = folder.join("password");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A change of `hostname` in the silo `office`; an empty address is none.
fn change(id: i64, hostname: &str, old: &str, new: &str) -> Event {
    let change = AddressChange {
        hostname: Hostname::parse(hostname).unwrap(),
        family: Family::of(ip(old).or(ip(new)).unwrap()),
        old: ip(old),
        new: ip(new),
    };
    Event {
        id,
        kind: EventKind::Change,
        silo: SiloId::parse("office").unwrap(),
        revision: 1000 + id,
        at: Time::parse("2026-01-02T03:04:05.678Z")
            .unwrap()
            .plus_seconds(id),
        via: "rest".to_owned(),
        changes: vec![change],
        notify: Vec::new(),
        last_seen: None,
        notified: Vec::new(),
        failure: None,
    }
}

fn with_notify(mut event: Event, hostname: &str, address: &str) -> Event {
    let hostname = Hostname::parse(hostname).unwrap();
    event.notify.push((hostname, address.to_owned()));
    event
}

async fn tell_one(sink: &dyn EventSink, event: &Event) -> DeliveryResult {
    let mut result = sink.tell(std::slice::from_ref(event)).await;
    assert_eq!(result.len(), 1);
    let result = result.remove(0);
    if let Some(trouble) = trouble(&result.outcome) {
        assert!(!trouble.why.contains('@'), "{trouble:?}");
        assert!(!trouble.why.contains(PASSWORD), "{trouble:?}");
    }
    result
}

fn trouble(outcome: &Outcome) -> Option<&Trouble> {
    match outcome {
        Outcome::Retry(trouble) | Outcome::Failed(trouble) | Outcome::Refused(trouble) => {
            Some(trouble)
        }
        Outcome::Done | Outcome::Found(_) | Outcome::Waiting => None,
    }
}

#[track_caller]
fn retried(result: &DeliveryResult, reach: Reach, words: &str) {
    match &result.outcome {
        Outcome::Retry(trouble) if trouble.reach == reach && trouble.why.contains(words) => {}
        other => panic!("{other:?}, not retried for {words:?}"),
    }
}

#[track_caller]
fn refused(result: &DeliveryResult, words: &str) {
    match &result.outcome {
        Outcome::Refused(trouble) if trouble.why.contains(words) => {
            assert_eq!(trouble.reach, Reach::Name);
        }
        other => panic!("{other:?}, not refused for {words:?}"),
    }
}

fn asked_for(server: &SmtpServer, command: &str) -> usize {
    server.log().lines().filter(|line| *line == command).count()
}

#[tokio::test]
async fn a_change_is_mailed_encrypted_authenticated_and_in_both_parts() {
    let server = SmtpServer::start(Security::StartTls, true);
    let keys = concat!(
        "to: [Ärzte <ops@example.net>]\n",
        "subject: 'Adresse von {hostname} geändert: {old} → {new} ☃'\n",
        "text: \"Grüße aus {silo}!\\n{{{hostname}}} {old} -> {new} am {at}\\n.\\n\"\n",
        "html: '<p class=\"ä\">{silo}/<b>{hostname}</b>: {event}</p>'\n",
    );
    let sink = sink_to(&server, keys);
    let result = tell_one(&*sink, &change(1, "db", "10.0.0.5", "10.0.0.6")).await;
    assert_eq!(result.outcome, Outcome::Done);
    assert_eq!(result.notified, ["ops@example.net"]);

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail.0["encrypted"], true);
    assert_eq!(mail.0["user"], USER);
    assert_eq!(mail.0["from"], "silo@example.net");
    assert_eq!(mail.receivers(), ["ops@example.net"]);
    assert_eq!(mail.0["defects"], serde_json::json!([]));
    assert_eq!(mail.header("From"), "Silo-Wächter <silo@example.net>");
    assert_eq!(mail.header("To"), "Ärzte <ops@example.net>");
    assert_eq!(
        mail.header("Subject"),
        "Adresse von db geändert: 10.0.0.5 → 10.0.0.6 ☃"
    );
    assert_eq!(mail.header("Date"), "Fri, 02 Jan 2026 03:04:06 +0000");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(mail.header("MIME-Version"), "1.0");
    let raw = mail.0["raw_headers"].as_str().unwrap();
    assert!(raw.is_ascii() && raw.contains("\r\n"), "{raw}");
    assert_eq!(mail.0["kind"], "multipart/alternative");
    assert_eq!(
        mail.part("text/plain").trim_end(),
        "Grüße aus office!\n{db} 10.0.0.5 -> 10.0.0.6 am 2026-01-02T03:04:06.678Z\n."
    );
    let html = mail.part("text/html");
    assert!(
        html.contains("<p class=\"ä\">office/<b>db</b>: 10.0.0.5 → 10.0.0.6</p>"),
        "{html}"
    );
}

#[tokio::test]
async fn without_templates_a_mail_is_plain_text_with_the_event() {
    let server = SmtpServer::start(Security::Tls, true);
    let keys = smtp_keys(&server).replace("smtp:\n", "smtp:\n  tls: tls\n");
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), PASSWORD);
    let sink = open(folder.path(), &format!("{keys}to: [ops@example.net]\n"));
    for (id, old, new) in [
        (1, "", "10.0.0.5"),
        (2, "10.0.0.5", "10.0.0.6"),
        (3, "10.0.0.6", ""),
    ] {
        let result = tell_one(&*sink, &change(id, "db", old, new)).await;
        assert_eq!(result.outcome, Outcome::Done);
    }
    let mails = server.mails();
    let subjects: Vec<_> = mails.iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(
        subjects,
        [
            "office/db: now 10.0.0.5",
            "office/db: 10.0.0.5 → 10.0.0.6",
            "office/db: no longer 10.0.0.6",
        ]
    );
    assert_eq!(mails[1].0["kind"], "text/plain");
    assert_eq!(mails[1].0["encrypted"], true);
    assert_eq!(
        mails[1].part("text/plain"),
        "2026-01-02T03:04:07.678Z  office/db: 10.0.0.5 → 10.0.0.6\n"
    );
}

#[tokio::test]
async fn a_burst_is_one_mail_with_a_line_a_change() {
    let server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(
        &server,
        "to: [ops@example.net]\ndigest: 1m\nhtml: '<li>{event}</li>'\n",
    );
    assert_eq!(sink.gather().as_secs(), 60);
    let mut both = change(3, "nas", "10.0.0.7", "10.0.0.8");
    let mut six = change(3, "nas", "", "fd00::8");
    both.changes.append(&mut six.changes);
    let events = [
        change(1, "db", "10.0.0.5", "10.0.0.6"),
        change(2, "db", "10.0.0.6", "10.0.0.7"),
        both,
    ];
    let result = sink.tell(&events).await;
    assert_eq!(result.len(), 3);
    assert!(
        result.iter().all(|result| result.outcome == Outcome::Done),
        "{result:?}"
    );

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].header("Subject"), "office: 3 changes");
    let lines: Vec<_> = mails[0].part("text/plain").lines().collect();
    assert_eq!(
        lines,
        [
            "2026-01-02T03:04:06.678Z  office/db: 10.0.0.5 → 10.0.0.6",
            "2026-01-02T03:04:07.678Z  office/db: 10.0.0.6 → 10.0.0.7",
            "2026-01-02T03:04:08.678Z  office/nas: 10.0.0.7 → 10.0.0.8, fd00::8",
        ]
    );
    assert_eq!(mails[0].part("text/html").matches("<li>").count(), 3);
    assert_eq!(mails[0].header("Date"), "Fri, 02 Jan 2026 03:04:08 +0000");
}

#[tokio::test]
async fn a_refused_recipient_does_not_block_others() {
    let server = SmtpServer::start(Security::StartTls, true);
    let keys = "to: [a@example.net, refused@example.net, full@example.net, b@example.net]\n";
    let sink = sink_to(&server, keys);
    let mut event = change(1, "db", "10.0.0.5", "10.0.0.6");
    let result = tell_one(&*sink, &event).await;
    refused(&result, "to[1]: RCPT TO: 550 5.1.1 <address> no such user");
    refused(&result, "to[2]: the message: 552 5.2.2 mailbox full");
    assert_eq!(result.notified, ["a@example.net", "b@example.net"]);
    assert_eq!(
        asked_for(&server, "QUIT"),
        1,
        "one connection: {}",
        server.log()
    );

    // A manual retry: notified recipients are skipped, refused ones are tried again.
    event.notified = result.notified;
    let result = tell_one(&*sink, &event).await;
    refused(&result, "550");
    assert_eq!(result.notified, ["a@example.net", "b@example.net"]);
    assert_eq!(asked_for(&server, "RCPT refused@example.net"), 2);
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn a_busy_recipient_is_notified_later_and_nobody_twice() {
    let server = SmtpServer::start(Security::StartTls, true);
    server.set_busy(true);
    let keys = concat!(
        "to: [busy@example.net, a@example.net, refused@example.net, later@example.net]\n",
        "max_attempts: 3\n"
    );
    let sink = sink_to(&server, keys);
    assert_eq!(sink.max_attempts(), 3);
    let mut event = change(1, "db", "10.0.0.5", "10.0.0.6");
    let result = tell_one(&*sink, &event).await;
    retried(&result, Reach::Name, "to[0]: RCPT TO: 451 4.2.0");
    assert_eq!(result.notified[0], "a@example.net");

    event.notified = result.notified;
    let result = tell_one(&*sink, &event).await;
    retried(&result, Reach::Name, "451");

    server.set_busy(false);
    event.notified = result.notified;
    let result = tell_one(&*sink, &event).await;
    refused(&result, "to[2]: RCPT TO: 550 5.1.1");
    let mut names = result.notified.clone();
    names.sort();
    assert_eq!(
        names,
        ["a@example.net", "busy@example.net", "later@example.net"]
    );
    // A permanently refused recipient is not tried again, and no recipient got it twice.
    assert_eq!(asked_for(&server, "RCPT refused@example.net"), 1);
    let mut receivers: Vec<_> = server.mails();
    receivers.sort_by_key(|mail| mail.receivers()[0].to_owned());
    let receivers: Vec<_> = receivers.iter().map(ReceivedMail::receivers).collect();
    assert_eq!(
        receivers,
        [
            ["a@example.net"],
            ["busy@example.net"],
            ["later@example.net"]
        ]
    );
}

#[tokio::test]
async fn a_server_that_was_down_is_tried_again_and_a_repeated_mail_has_its_first_id() {
    let mut server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(&server, "to: [ops@example.net]\n");
    let event = change(1, "db", "10.0.0.5", "10.0.0.6");
    server.stop();
    let result = tell_one(&*sink, &event).await;
    retried(&result, Reach::Sink, "Connection refused");
    assert!(result.notified.is_empty());
    server.start_again();
    assert_eq!(tell_one(&*sink, &event).await.outcome, Outcome::Done);
    // As after a crash before the answer was written down.
    assert_eq!(tell_one(&*sink, &event).await.outcome, Outcome::Done);
    let other = change(2, "db", "10.0.0.6", "10.0.0.7");
    assert_eq!(tell_one(&*sink, &other).await.outcome, Outcome::Done);
    let mails = server.mails();
    let ids: Vec<_> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert!(
        ids[0].starts_with("<silo.") && ids[0].ends_with("@example.net>"),
        "{ids:?}"
    );
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_server_that_disconnects_halfway_gets_nothing_twice() {
    let server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(
        &server,
        "to: [a@example.net, away@example.net, b@example.net]\n",
    );
    let result = tell_one(&*sink, &change(1, "db", "10.0.0.5", "10.0.0.6")).await;
    retried(&result, Reach::Sink, "RCPT TO: 421");
    assert_eq!(result.notified, ["a@example.net"]);
    assert_eq!(asked_for(&server, "RCPT b@example.net"), 0);
}

#[tokio::test]
async fn a_records_address_gets_only_its_records_events_if_allowed() {
    let server = SmtpServer::start(Security::StartTls, true);
    let keys = "to: [ops@example.net]\nallow_to: ['*@Example.net']\n";
    let sink = sink_to(&server, keys);
    let mut event = change(1, "db", "10.0.0.5", "10.0.0.6");
    event
        .changes
        .extend(change(1, "nas", "10.0.0.7", "10.0.0.8").changes);
    for (hostname, address) in [
        ("db", "Berta@EXAMPLE.net"),
        ("db", "eve@evil.example"),
        ("nas", "OPS@example.net"),
        ("nas", "not an address@example.net"),
    ] {
        event = with_notify(event, hostname, address);
    }
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.outcome, Outcome::Done);
    assert_eq!(result.notified, ["ops@example.net", "berta@example.net"]);
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].header("Subject"), "office: 2 changes");
    assert_eq!(mails[1].receivers(), ["Berta@EXAMPLE.net"]);
    assert_eq!(mails[1].header("To"), "Berta@EXAMPLE.net");
    assert_eq!(mails[1].header("Subject"), "office/db: 10.0.0.5 → 10.0.0.6");
    assert!(!mails[1].0.to_string().contains("ops@"), "{:?}", mails[1]);

    // Without allow_to, no record's own address is used.
    let sink = sink_to(&server, "to: [ops@example.net]\n");
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.notified, ["ops@example.net"]);
}

#[tokio::test]
async fn unseen_and_back_are_mailed_in_matching_words() {
    let server = SmtpServer::start(Security::StartTls, true);
    let seen = |id, kind| Event {
        kind,
        last_seen: Time::parse("2026-01-02T01:00:00Z"),
        ..change(id, "db", "10.0.0.5", "10.0.0.5")
    };
    let keys = "to: [ops@example.net]\nunseen_after: 2h\nsubject: '{hostname}: {old} -> {new}'\n";
    let sink = sink_to(&server, keys);
    assert_eq!(sink.unseen_after().unwrap().as_secs(), 7200);
    for event in [seen(1, EventKind::Unseen), seen(2, EventKind::Back)] {
        assert_eq!(tell_one(&*sink, &event).await.outcome, Outcome::Done);
    }
    let own_words = "to: [ops@example.net]\nunseen_after: 90m\nsubject: '! {hostname} {event}'\n";
    let sink = sink_to(&server, own_words);
    let result = tell_one(&*sink, &seen(3, EventKind::Unseen)).await;
    assert_eq!(result.outcome, Outcome::Done);
    let events = [seen(4, EventKind::Back), change(5, "nas", "", "10.0.0.7")];
    sink.tell(&events).await;

    let mails = server.mails();
    let subjects: Vec<_> = mails.iter().map(|mail| mail.header("Subject")).collect();
    assert_eq!(
        subjects,
        [
            "office/db: not seen for 2 h",
            "office/db: back",
            "! db not seen for 1 h 30 min",
            "office: 2 events",
        ]
    );
    assert_eq!(
        mails[0].part("text/plain"),
        "2026-01-02T03:04:06.678Z  office/db: not seen for 2 h \
         (last seen 2026-01-02T01:00:00.000Z, addresses 10.0.0.5)\n"
    );
}

#[tokio::test]
async fn a_sender_that_is_refused_is_refused_for_good() {
    let server = SmtpServer::start(Security::StartTls, true);
    let keys = smtp_keys(&server).replace("silo@", "bad-sender@");
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), PASSWORD);
    let sink = open(folder.path(), &format!("{keys}to: [ops@example.net]\n"));
    let result = tell_one(&*sink, &change(1, "db", "", "10.0.0.6")).await;
    refused(&result, "MAIL FROM: 553 5.7.1 <address>");
}

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

/// A replacement for sendmail: stores its arguments and its input, then exits with the given status.
fn sendmail(folder: &Path, last_lines: &str) -> String {
    let path = folder.join("sendmail");
    let script = format!(
        "#!/bin/sh\nset -e\ncd '{}'\nprintf '%s\\n' \"$@\" > arguments\ncat > mail\n{last_lines}\n",
        folder.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    "sendmail: sendmail\nfrom: silo@example.net\nto: [ops@example.net]\nhtml: '<p>{event}</p>'\n"
        .to_owned()
}

#[tokio::test]
async fn sendmail_gets_the_mail_and_its_exit_status_is_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let event = change(1, "db", "10.0.0.5", "10.0.0.6");
    let keys = sendmail(folder.path(), "exit 0");
    let sink = open(folder.path(), &keys);
    assert!(sink.check().await.unwrap().ends_with("/sendmail exists"));
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.outcome, Outcome::Done);
    assert_eq!(result.notified, ["ops@example.net"]);
    let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert_eq!(arguments, "-i\n-f\nsilo@example.net\n--\nops@example.net\n");
    let stored = std::fs::read(folder.path().join("mail")).unwrap();
    assert!(!stored.contains(&b'\r'));
    let mail = ReceivedMail::read(&folder.path().join("mail"));
    assert_eq!(mail.header("Subject"), "office/db: 10.0.0.5 → 10.0.0.6");
    assert_eq!(mail.0["kind"], "multipart/alternative");
    assert_eq!(mail.0["defects"], serde_json::json!([]));

    sendmail(folder.path(), "echo \"who is $5?\" >&2; exit 67");
    refused(&tell_one(&*sink, &event).await, "who is <address>");
    sendmail(folder.path(), "exit 75");
    retried(&tell_one(&*sink, &event).await, Reach::Name, "75");
    sendmail(folder.path(), "exit 1");
    retried(
        &tell_one(&*sink, &event).await,
        Reach::Sink,
        "exit status: 1",
    );
    std::fs::remove_file(folder.path().join("sendmail")).unwrap();
    retried(&tell_one(&*sink, &event).await, Reach::Sink, "No such file");
    assert!(sink.check().await.unwrap_err().contains("No such file"));
}

#[tokio::test]
async fn the_status_of_a_sendmail_that_reads_nothing_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let keys = sendmail(folder.path(), "");
    let script = "#!/bin/sh\nexit 68\n";
    std::fs::write(folder.path().join("sendmail"), script).unwrap();
    let sink = open(folder.path(), &keys);
    let mut event = change(1, "db", "", "10.0.0.6");
    // More than a pipe holds.
    for number in 0..2000 {
        let name = format!("host-{number}");
        event
            .changes
            .extend(change(1, &name, "", "10.0.0.6").changes);
    }
    refused(&tell_one(&*sink, &event).await, "68");
}

#[test]
fn the_stanzas_of_the_documentation_are_settings() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "hush");
    std::fs::rename(
        folder.path().join("password"),
        folder.path().join("mail.password"),
    )
    .unwrap();
    let server = SmtpServer::start(Security::StartTls, false);
    std::fs::copy(server.ca_file(), folder.path().join("mail-ca.pem")).unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mail.md");
    let page = std::fs::read_to_string(page).unwrap();
    let stanzas: Vec<_> = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(stanzas.len() >= 3, "{}", stanzas.len());
    for stanza in stanzas {
        let file: serde_yaml::Value = serde_yaml::from_str(stanza).unwrap();
        let list = serde_yaml::from_value(file["sinks"].clone()).unwrap();
        for sink in SinkSettings::read_list(list, folder.path()).unwrap() {
            OpenSink::open(&sink).unwrap_or_else(|error| panic!("{error}:\n{stanza}"));
        }
    }
}
