//! What a mail says, and to whom it goes.

use silo_e2e::smtp::{PASSWORD, Security, SmtpServer, USER};
use silo_hub::internals::deliver::sink::{Event, EventKind, Outcome};
use silo_hub::internals::domain::time::Time;
use silo_shared::silo::Hostname;

use super::{change, open, sink_to, smtp_keys, tell_one, write_secret};

fn with_notify(mut event: Event, hostname: &str, address: &str) -> Event {
    let hostname = Hostname::parse(hostname).unwrap();
    event.notify.push((hostname, address.to_owned()));
    event
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
