use serde_json::{Value, json};

use super::*;
use crate::deliver::sink::SinkFailure;
use crate::deliver::test_sinks::{self, change};
use crate::domain::change::AddressChange;
use crate::domain::sink::SinkName;

fn now() -> Time {
    Time::from_millis(1_614_265_330_999)
}

fn event(kind: EventKind, changes: Vec<AddressChange>) -> Event {
    Event {
        kind,
        revision: 41.into(),
        at: Time::from_millis(1_767_323_045_678),
        notify: vec![(Hostname::parse("db").unwrap(), "me@example.net".to_owned())],
        last_seen: Some(Time::from_millis(1_767_323_000_000)),
        ..test_sinks::event(7, changes)
    }
}

fn key(text: &str) -> Result<SigningKey, &'static str> {
    SigningKey::parse(&Secret::new(text))
}

#[test]
fn a_signature_is_that_of_other_libraries() {
    // The test vector of the Standard Webhooks libraries.
    let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    assert_eq!(
        key.sign(id, 1_614_265_330, "{\"test\": 2432232314}"),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
}

#[test]
fn a_secret_is_whsec_and_base64_or_the_bytes_of_any_text() {
    let raw = "sixteen bytes are not enough here";
    let encoded = "whsec_c2l4dGVlbiBieXRlcyBhcmUgbm90IGVub3VnaCBoZXJl";
    let sign = |text: &str| key(text).unwrap().sign("id", 1, "{}");
    assert_eq!(sign(raw), sign(encoded));
    assert_ne!(sign(raw), sign("sixteen bytes are not enough there"));
    for (bad, word) in [
        ("whsec_", "shorter"),
        ("whsec_c2hvcnQ=", "shorter"),
        ("whsec_no base64 at all, but long enough", "base64"),
        ("short", "shorter"),
    ] {
        let error = key(bad).err().unwrap();
        assert!(error.contains(word), "{bad}: {error}");
    }
}

#[test]
fn a_change_message_equals_the_history() {
    let changes = vec![
        change("db", "10.0.0.5", "10.0.0.6"),
        change("db", "", "fd00::6"),
        change("web", "10.0.0.7", ""),
    ];
    let body: Value = serde_json::from_str(&body(&event(EventKind::Change, changes))).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "silo.changed",
            "at": "2026-01-02T03:04:05.678Z",
            "silo": "office",
            "revision": 41,
            "via": "rest",
            "changes": [
                {"hostname": "db", "old_ip": "10.0.0.5", "new_ip": "10.0.0.6"},
                {"hostname": "db", "old_ip": null, "new_ip": "fd00::6"},
                {"hostname": "web", "old_ip": "10.0.0.7", "new_ip": null},
            ],
        })
    );
}

#[test]
fn an_unseen_message_has_the_records_addresses() {
    for (kind, name) in [
        (EventKind::Unseen, "record.unseen"),
        (EventKind::Back, "record.back"),
    ] {
        let same = |ip| change("db", ip, ip);
        let event = event(kind, vec![same("10.0.0.5"), same("fd00::5")]);
        let body: Value = serde_json::from_str(&body(&event)).unwrap();
        assert_eq!(
            body,
            json!({
                "type": name,
                "at": "2026-01-02T03:04:05.678Z",
                "silo": "office",
                "revision": 41,
                "hostname": "db",
                "ips": ["10.0.0.5", "fd00::5"],
                "last_seen": "2026-01-02T03:03:20.000Z",
            })
        );
    }
}

#[test]
fn failure_messages_have_the_reason() {
    for (kind, name, why, all) in [
        (
            EventKind::Failing,
            "sink.failing",
            Some("no such host"),
            false,
        ),
        (
            EventKind::Failing,
            "sink.failing",
            Some("wrong password"),
            true,
        ),
        (EventKind::Recovered, "sink.recovered", None, false),
    ] {
        let failure = SinkFailure {
            sink: SinkName::parse("ovh").unwrap(),
            why: why.map(str::to_owned),
            of_all: all,
        };
        let hostnames = ["db", "web"].map(|name| Hostname::parse(name).unwrap());
        // A deleted record has no addresses.
        let event = Event {
            failure: Some((failure, hostnames.to_vec())),
            ..event(kind, Vec::new())
        };
        let body: Value = serde_json::from_str(&body(&event)).unwrap();
        assert_eq!(
            body,
            json!({
                "type": name,
                "at": "2026-01-02T03:04:05.678Z",
                "silo": "office",
                "revision": 41,
                "sink": "ovh",
                "hostnames": ["db", "web"],
                "why": why,
                "all": all,
            })
        );
    }
}

#[test]
fn a_repeated_message_differs_only_in_its_time() {
    let key = key("a text of more than twenty-four bytes").unwrap();
    let mut event = event(EventKind::Change, vec![change("db", "", "10.0.0.5")]);
    let first = Message::of(&event, now(), &key);
    assert_eq!(
        (first.id.as_str(), first.timestamp),
        ("silo_41_7", 1_614_265_330)
    );
    event.notified.push("another".to_owned());
    let again = Message::of(&event, now().plus_seconds(60), &key);
    assert_eq!((&again.id, &again.body), (&first.id, &first.body));
    assert_eq!(again.timestamp, first.timestamp + 60);
    assert_ne!(again.signature, first.signature);
}
