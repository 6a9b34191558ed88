//! The sink `email` against a real SMTP server, and against a program in sendmail's place.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connection;
mod content;
mod retries;
mod sendmail;

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use silo_e2e::smtp::{PASSWORD, Security, SmtpServer, USER};
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
        revision: (1000 + id).into(),
        at: Time::parse("2026-01-02T03:04:05.678Z")
            .unwrap()
            .plus_seconds(id),
        via: "rest".to_owned(),
        changes: vec![change],
        notify: Vec::new(),
        last_seen: None,
        notified: Vec::new(),
        only_to: None,
        failure: None,
    }
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
