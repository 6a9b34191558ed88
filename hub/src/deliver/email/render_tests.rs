use super::super::mail::letters;
use super::*;
use crate::deliver::test_sinks::{change, event};
use silo_shared::silo::Hostname;

use crate::deliver::sink::Event;
use crate::domain::sink::SinkName;

fn template(text: &str) -> Option<Template> {
    Some(Template::parse(text).unwrap())
}

/// The message to `a@x.net`, with quoted-printable line breaks undone.
fn message(events: &[Event], templates: &Templates) -> String {
    let from = "silo@x.net".parse().unwrap();
    let stationery = MailRenderer {
        sink: "mail",
        from: &from,
        templates,
        unseen_after: Some(Duration::from_secs(7200)),
    };
    let to = ["a@x.net".parse().unwrap()];
    let letters = letters(events, &to, &[]);
    let bytes = stationery.message(&letters[0]).unwrap().formatted();
    assert!(bytes.is_ascii());
    String::from_utf8(bytes).unwrap().replace("=\r\n", "")
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let value = lines
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value);
    value.unwrap_or_else(|| panic!("no {name}:\n{head}"))
}

#[test]
fn a_subject_stays_one_line() {
    let templates = Templates {
        subject: template("a\r\nBcc: b@x.net\t{hostname}\u{85}{event}"),
        ..Templates::default()
    };
    let from = "silo@x.net".parse().unwrap();
    let stationery = MailRenderer {
        sink: "mail",
        from: &from,
        templates: &templates,
        unseen_after: None,
    };
    let events = [event(1, vec![change("db", "", "10.0.0.2")])];
    let to = ["a@x.net".parse().unwrap()];
    let mail = &letters(&events, &to, &[])[0];
    let subject = "a  Bcc: b@x.net db now 10.0.0.2";
    assert_eq!(stationery.subject(mail), subject);
    let message = message(&events, &templates);
    assert_eq!(header(&message, "Subject"), subject);
}

#[test]
fn failures_of_another_sink_have_words_of_their_own() {
    let no_event = Templates {
        subject: template("{hostname}: {old} -> {new}"),
        ..Templates::default()
    };
    let own = Templates {
        subject: template("! {hostname} {event}"),
        ..Templates::default()
    };
    for (kind, why, of_all, words) in [
        (
            EventKind::Failing,
            Some("no such host"),
            false,
            "ovh rejected it: no such host",
        ),
        (EventKind::Failing, Some("no"), true, "ovh is failing: no"),
        (EventKind::Recovered, None, false, "ovh no longer fails"),
        (
            EventKind::Recovered,
            None,
            true,
            "ovh no longer fails as a whole",
        ),
    ] {
        let failure = SinkFailure {
            sink: SinkName::parse("ovh").unwrap(),
            why: why.map(str::to_owned),
            of_all,
        };
        // Includes deleted records, and never goes to the address that a record names.
        let event = Event {
            kind,
            failure: Some((failure, vec![Hostname::parse("db").unwrap()])),
            ..event(1, Vec::new())
        };
        let subject = |templates| {
            let message = message(std::slice::from_ref(&event), templates);
            assert!(message.contains(words), "{message}");
            header(&message, "Subject").to_owned()
        };
        assert_eq!(subject(&no_event), format!("office/db: {words}"));
        assert_eq!(subject(&own), format!("! db {words}"));
        let text = message(std::slice::from_ref(&event), &no_event);
        assert!(text.contains(&format!("office/db: {words}")), "{text}");
    }
}

#[test]
fn a_long_subject_is_cut() {
    let templates = Templates {
        subject: template(&"x".repeat(1000)),
        ..Templates::default()
    };
    let message = message(&[event(1, vec![change("db", "", "10.0.0.2")])], &templates);
    assert_eq!(header(&message, "Subject").len(), MAX_SUBJECT);
}

#[test]
fn a_mail_of_very_many_changes_counts_those_left_out() {
    let changes = (0..MAX_LISTED + 7).map(|n| change(&format!("host-{n}"), "", "10.0.0.2"));
    let events = [event(1, changes.collect())];
    let templates = Templates {
        html: template("<li>{hostname}</li>"),
        ..Templates::default()
    };
    let message = message(&events, &templates);
    assert_eq!(header(&message, "Subject"), "office: 507 changes");
    assert_eq!(message.matches("<li>").count(), MAX_LISTED);
    assert_eq!(message.matches("and 7 more").count(), 2);
}

#[test]
fn several_silos_are_counted() {
    let first = event(1, vec![change("db", "", "10.0.0.2")]);
    let mut second = event(2, vec![change("db", "10.0.0.2", "")]);
    second.silo = silo_shared::silo::SiloId::parse("home").unwrap();
    let message = message(&[first, second], &Templates::default());
    assert_eq!(header(&message, "Subject"), "2 changes in 2 silos");
}

#[test]
fn the_id_is_of_the_news_the_receiver_and_the_sink() {
    let id = |sink: &str, to: &str, events: &[Event]| {
        let from = "silo@x.net".parse().unwrap();
        let stationery = MailRenderer {
            sink,
            from: &from,
            templates: &Templates::default(),
            unseen_after: None,
        };
        let to = [to.parse().unwrap()];
        stationery.message_id(&letters(events, &to, &[])[0])
    };
    let events = [
        event(1, vec![change("db", "", "10.0.0.2")]),
        event(2, vec![change("db", "10.0.0.2", "")]),
    ];
    let first = id("mail", "a@x.net", &events);
    assert_eq!(first, id("mail", "A@x.net", &events));
    for other in [
        id("mail", "b@x.net", &events),
        id("other", "a@x.net", &events),
        id("mail", "a@x.net", &events[..1]),
        id("mail", "a@x.net", &events[1..]),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn times_are_put_in_words() {
    for (seconds, words) in [
        (60, "1 min"),
        (90, "1 min 30 s"),
        (7200, "2 h"),
        (90_000, "1 d 1 h"),
    ] {
        assert_eq!(in_words(Duration::from_secs(seconds)), words);
    }
}
