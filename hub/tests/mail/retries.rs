//! Recipients, senders and servers that refuse a mail, and what is sent again.

use std::time::Instant;

use silo_e2e::smtp::{PASSWORD, ReceivedMail, Security, SmtpServer};
use silo_e2e::{PATIENCE, PAUSE};
use silo_hub::internals::deliver::sink::{DeliveryResult, Outcome, Reach};

use super::{
    asked_for, change, open, refused, retried, sink_to, smtp_keys, tell_one, trouble, write_secret,
};

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
async fn a_recipient_at_whom_the_server_disconnects_does_not_block_others() {
    let server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(
        &server,
        "to: [a@example.net, away@example.net, b@example.net]\n",
    );
    let result = tell_one(&*sink, &change(1, "db", "10.0.0.5", "10.0.0.6")).await;
    retried(&result, Reach::Name, "to[1]: RCPT TO: 421");
    assert_eq!(result.notified, ["a@example.net", "b@example.net"]);
}

#[tokio::test]
async fn a_server_that_disconnects_at_every_recipient_is_unavailable() {
    let server = SmtpServer::start(Security::StartTls, true);
    let sink = sink_to(&server, "to: [away@example.net]\n");
    let result = tell_one(&*sink, &change(1, "db", "10.0.0.5", "10.0.0.6")).await;
    retried(&result, Reach::Sink, "RCPT TO: 421");
}

#[tokio::test]
async fn a_mail_that_is_confirmed_late_is_sent_once_and_delays_no_other_recipient() {
    let server = SmtpServer::start(Security::StartTls, true);
    server.set_late(true);
    let sink = sink_to(
        &server,
        "to: [late@example.net, busy@example.net, b@example.net]\n",
    );
    server.set_busy(true);
    let mut event = change(1, "db", "10.0.0.5", "10.0.0.6");
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.outcome, Outcome::Waiting);
    assert!(sink.is_waiting());
    assert!(result.notified.contains(&"b@example.net".to_owned()));

    // Asked again, as the worker does every few seconds: nothing is sent meanwhile.
    let before = server.log();
    event.notified = result.notified;
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.outcome, Outcome::Waiting);
    assert_eq!(server.log(), before);
    // Other changes are.
    let other = tell_one(&*sink, &change(2, "web", "", "10.0.0.7")).await;
    assert_eq!(other.outcome, Outcome::Waiting);
    assert!(other.notified.contains(&"b@example.net".to_owned()));

    server.set_late(false);
    server.set_busy(false);
    event.notified = result.notified;
    let deadline = Instant::now() + PATIENCE;
    let mut notified = loop {
        let result = tell_one(&*sink, &event).await;
        if result.outcome == Outcome::Done {
            break result.notified;
        }
        assert!(Instant::now() < deadline, "{result:?}");
        event.notified = result.notified;
        tokio::time::sleep(PAUSE).await;
    };
    notified.sort();
    assert_eq!(
        notified,
        ["b@example.net", "busy@example.net", "late@example.net"]
    );
    let mails = server.mails();
    let of_event = mails
        .iter()
        .filter(|mail| mail.header("Subject").contains("db"));
    assert_eq!(of_event.count(), 3, "{}", server.log());
}

#[tokio::test]
async fn a_mail_dropped_after_its_data_is_sent_again_later_with_the_same_id() {
    let server = SmtpServer::start(Security::StartTls, true);
    server.set_busy(true);
    let keys = "to: [dropped@example.net, b@example.net]\ndigest: 1m\n";
    let sink = sink_to(&server, keys);
    let mut first = change(1, "db", "10.0.0.5", "10.0.0.6");
    let mut other = change(2, "web", "", "10.0.0.7");
    let results = sink.tell(&[first.clone(), other.clone()]).await;
    for result in &results {
        retried(result, Reach::Name, "to[0]: the message: ");
        assert!(result.notified.contains(&"b@example.net".to_owned()));
        assert_eq!(wait(result), 300, "{result:?}");
    }
    first.notified.clone_from(&results[0].notified);
    other.notified.clone_from(&results[1].notified);

    // A third change comes: the mail that may have arrived stays as it is.
    let third = change(3, "nas", "", "10.0.0.8");
    let events = [first.clone(), other.clone(), third];
    let results = sink.tell(&events).await;
    assert!((1..=300).contains(&wait(&results[0])), "{results:?}");

    // An operator retries.
    let results = sink.tell(&events[..2]).await;
    assert_eq!(wait(&results[0]), 600, "{results:?}");
    first.notified.clone_from(&results[0].notified);
    other.notified.clone_from(&results[1].notified);
    server.set_busy(false);
    let results = sink.tell(&[first, other]).await;
    assert_eq!(results[0].outcome, Outcome::Done);
    assert_eq!(results[1].outcome, Outcome::Done);

    let mails = server.mails();
    let to = |receiver: &'static str| {
        let mails = mails
            .iter()
            .filter(move |mail| mail.receivers() == [receiver]);
        mails
            .map(|mail| mail.header("Message-ID"))
            .collect::<Vec<_>>()
    };
    let ids = to("dropped@example.net");
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids[0] == ids[2] && ids[0] == ids[3], "{ids:?}");
    assert_ne!(ids[0], ids[1], "the third change is another mail");
    assert_eq!(to("b@example.net").len(), 2);
}

/// How many seconds a delivery is not tried again.
#[track_caller]
fn wait(result: &DeliveryResult) -> u64 {
    let trouble = trouble(&result.outcome).unwrap();
    trouble.not_before.unwrap_or_default().as_secs_f64().ceil() as u64
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
