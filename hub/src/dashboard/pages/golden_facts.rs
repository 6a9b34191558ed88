//! The pages about one thing, as they are: a record, and the hub itself.

use std::time::Duration;

use silo_shared::silo::{Hostname, SiloId};

use super::golden::{NOW, assert_golden, chrome};
use super::golden_lists::change;
use super::{record, system};
use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::silence::Tag;
use crate::dashboard::timeline::{Range, Timeline};
use crate::dashboard::when::When;
use crate::http::load::Load;
use crate::http::status::{
    Agents, Connections, DatabaseFacts, Expiring, Finding, SinkFacts, SinkState, Status, Stored,
};
use crate::store::HistoryRow;

fn history(hours_ago: i64, old: &str, new: &str) -> HistoryRow {
    HistoryRow {
        at: NOW.plus_seconds(-hours_ago * 3600),
        revision: 1.into(),
        hostname: Hostname::parse("nas").unwrap(),
        family: 4,
        old: old.parse().ok(),
        new: new.parse().ok(),
        via: "rest".to_owned(),
        token: None,
        client_ip: None,
    }
}

fn record_page(is_admin: bool) -> record::RecordPage {
    let rows = [
        history(6, "10.0.0.5", "10.0.0.6"),
        history(8, "", "10.0.0.5"),
    ];
    let present = [Some([10, 0, 0, 6].into()), "fd00::5".parse().ok()];
    record::RecordPage {
        chrome: chrome("nas", is_admin),
        id: SiloId::parse("office").unwrap(),
        hostname: Hostname::parse("nas").unwrap(),
        present: Some(record::Present {
            v4: present[0],
            v6: present[1],
            comment: "<b>Rack 3</b>".to_owned(),
            last_seen: When::new(NOW.plus_seconds(-7200), NOW),
            changed: When::new(NOW.plus_seconds(-21_600), NOW),
            silence: Some(Tag {
                class: "warn",
                words: "silent, removed in 1 h".to_owned(),
            }),
            expires: "after 3 h of silence".to_owned(),
        }),
        range: Range::Day,
        timeline: Timeline::new(Range::Day, &rows, present, NOW),
        often: "twice".to_owned(),
        changes: vec![
            change(0, "10.0.0.5", "10.0.0.6", is_admin),
            change(1, "", "10.0.0.5", is_admin),
        ],
        has_more: is_admin,
        settings: is_admin.then(|| record::Settings {
            comment: "<b>Rack 3</b>".to_owned(),
            expires: "3".to_owned(),
            unit: "hours".to_owned(),
            notify: "anna".to_owned(),
            tag: "41-nas".to_owned(),
            errors: FieldErrors::one("notify", "not a mail address: <b>"),
        }),
    }
}

#[test]
fn a_record_is_shown_with_its_addresses_over_time() {
    assert_golden("record.html", &record_page(true));
    assert_golden("record_reader.html", &record_page(false));
}

#[test]
fn a_record_that_is_gone_is_shown_with_what_it_had() {
    let page = record::RecordPage {
        present: None,
        timeline: Timeline::new(Range::All, &[], [None, None], NOW),
        range: Range::All,
        changes: Vec::new(),
        has_more: false,
        ..record_page(false)
    };
    assert_golden("record_gone.html", &page);
}

fn status() -> Status {
    Status {
        version: "VERSION".to_owned(),
        started_at: NOW.plus_seconds(-86_400 * 3),
        now: NOW,
        listen: vec!["https://hub.lan:8053".to_owned()],
        is_well: true,
        database: DatabaseFacts {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            address: "sqlite:/var/lib/silo-hub/hub.db".to_owned(),
            is_up: true,
            is_writable: true,
            bytes: Some(3_400_000),
            ..DatabaseFacts::default()
        },
        revision: 1_796_021_100_175_022,
        stored: Some(Stored {
            counted_at: NOW,
            silos: 12,
            records: 12_345,
            tokens: 40,
        }),
        connections: Connections {
            open: 12,
            limit: 8192,
        },
        agents: Agents {
            current: 30,
            behind: 2,
            silent: 1,
            ..Agents::default()
        },
        ..Status::default()
    }
}

#[test]
fn the_state_of_the_hub_is_shown() {
    let page = system::SystemPage {
        chrome: chrome("System", true),
        status: status(),
        load: Some(Load {
            over: Duration::from_secs(60),
            requests_per_second: 3.25,
            commit_seconds: Some(0.004),
        }),
        backup: system::Backup::File {
            newest: Some(NOW.plus_seconds(-3600)),
            download: system::Download::Allowed,
        },
    };
    assert_golden("system.html", &page);
}

#[test]
fn what_needs_a_hand_is_at_the_top_of_the_state() {
    let page = system::SystemPage {
        chrome: chrome("System", true),
        status: Status {
            is_well: false,
            findings: vec![Finding {
                what: "sink dns".to_owned(),
                why: "1 delivery failed: <b>REFUSED</b>".to_owned(),
            }],
            database: DatabaseFacts {
                address: "postgres://silo@db.lan/silo".to_owned(),
                silent_seconds: Some(40),
                bytes: None,
                ..status().database
            },
            stored: None,
            sinks: vec![SinkFacts {
                name: "dns".to_owned(),
                kind: "rfc2136".to_owned(),
                state: SinkState::Failed,
                pending: 3,
                failed: 1,
                why: Some("<b>REFUSED</b>".to_owned()),
                next_try: Some(NOW.plus_seconds(120)),
                ..SinkFacts::default()
            }],
            expires: vec![
                Expiring {
                    what: "certificate".to_owned(),
                    name: None,
                    id: None,
                    at: NOW.plus_seconds(-60),
                },
                Expiring {
                    what: "token".to_owned(),
                    name: Some("<b>nas</b>".to_owned()),
                    id: Some("bbbbbbbb12".to_owned()),
                    at: NOW.plus_seconds(86_400 * 7),
                },
            ],
            ..status()
        },
        load: None,
        backup: system::Backup::Server,
    };
    assert_golden("system_needs_a_hand.html", &page);
    let readable = system::SystemPage {
        status: status(),
        backup: system::Backup::File {
            newest: None,
            download: system::Download::Readable,
        },
        ..page
    };
    assert_golden("system_readable.html", &readable);
}
