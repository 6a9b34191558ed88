//! Recipients, senders and servers that refuse a mail, and what is sent again.

use silo_e2e::smtp::{PASSWORD, ReceivedMail, Security, SmtpServer};
use silo_hub::internals::deliver::sink::{Outcome, Reach};

use super::{
    asked_for, change, open, refused, retried, sink_to, smtp_keys, tell_one, write_secret,
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
async fn a_sender_that_is_refused_is_refused_for_good() {
    let server = SmtpServer::start(Security::StartTls, true);
    let keys = smtp_keys(&server).replace("silo@", "bad-sender@");
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), PASSWORD);
    let sink = open(folder.path(), &format!("{keys}to: [ops@example.net]\n"));
    let result = tell_one(&*sink, &change(1, "db", "", "10.0.0.6")).await;
    refused(&result, "MAIL FROM: 553 5.7.1 <address>");
}
