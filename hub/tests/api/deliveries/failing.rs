//! `tell_failures`: another sink hears once that a receiver refuses something, and once that it is over.

#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use silo_hub::internals::deliver::kinds::OpenSink;
use silo_hub::internals::deliver::sink::{Event, EventKind, Outcome, Trouble};
use silo_hub::internals::domain::sink::SinkName;
use silo_hub::internals::open_hub::OpenHub;
#[cfg(unix)]
use silo_hub::internals::sinks::SinkSettings;

use super::scripted::{Desk, Manner, Script, counts, event_sink, state_sink};
use crate::common::TestHub;

const DB: &str = "/silos/office/records/db";
const WEB: &str = "/silos/office/records/web";

/// A sink, with `ops` as the one that hears of its failures; it hears of no changes.
fn telling(sink: OpenSink) -> (OpenSink, OpenSink, Arc<Script>) {
    let (mut ops, heard) = event_sink("ops", Manner::default());
    ops.filter.silos = vec!["none".to_owned()];
    let sink = OpenSink {
        tell_failures: Some(SinkName::parse("ops").unwrap()),
        ..sink
    };
    (sink, ops, heard)
}

/// A hub with a scripted sink, and what hears of its failures.
async fn start(is_state: bool) -> (TestHub, Arc<OpenHub>, Desk, Arc<Script>, Arc<Script>) {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = if is_state {
        state_sink("dns")
    } else {
        event_sink("mail", Manner::default())
    };
    let (sink, ops, heard) = telling(sink);
    let desk = Desk::begin(&open, "a", vec![sink, ops]).await;
    (hub, open, desk, script, heard)
}

async fn put(hub: &TestHub, path: &str, ip: &str) {
    let answer = hub.put(path).json(&json!({ "ip": ip })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// What was heard since the last call, in words.
fn words(heard: &Script) -> Vec<String> {
    let events = heard.told();
    let word = |event: &Event| {
        let (failure, hostnames) = event.failure.as_ref().unwrap();
        let hostnames: Vec<&str> = hostnames.iter().map(|name| name.as_str()).collect();
        let begins = match event.kind {
            EventKind::Failing => "fails",
            EventKind::Recovered => "is over",
            other => panic!("{other:?}"),
        };
        let all = if failure.of_all { " for all" } else { "" };
        let why = failure.why.as_deref().unwrap_or("-");
        format!(
            "{} {begins}{all}: {} {}: {why}",
            failure.sink,
            event.silo,
            hostnames.join(" ")
        )
    };
    events.iter().flatten().map(word).collect()
}

fn refused() -> Outcome {
    Outcome::Refused(Trouble::of_name("no such host"))
}

#[tokio::test]
async fn a_refused_record_and_its_recovery_are_each_reported_once() {
    let outcomes: [fn() -> Outcome; 2] = [refused, || {
        Outcome::Failed(Trouble::of_name("no such host"))
    }];
    for is_state in [true, false] {
        for outcome in outcomes {
            let (hub, open, desk, script, heard) = start(is_state).await;
            let sink = if is_state { "dns" } else { "mail" };
            put(&hub, WEB, "10.0.1.1").await;
            desk.work().await;
            assert_eq!(words(&heard), [""; 0], "{sink}");
            script.will([outcome()]);
            put(&hub, DB, "10.0.0.1").await;
            desk.work().await;
            let expected = format!("{sink} fails: office db: no such host");
            assert_eq!(words(&heard), [expected]);
            // Not again, whatever is tried, by this hub or after a restart.
            script.will([outcome()]);
            put(&hub, DB, "10.0.0.2").await;
            desk.work().await;
            let restarted = if is_state {
                state_sink("dns")
            } else {
                event_sink("mail", Manner::default())
            };
            let (again, ops, heard_again) = telling(restarted.0);
            let second = Desk::begin_beside(&open, "b", vec![again, ops], false).await;
            restarted.1.will([outcome()]);
            put(&hub, DB, "10.0.0.3").await;
            second.work().await;
            assert_eq!(words(&heard_again), [""; 0], "{sink}");
            assert_eq!(words(&heard), [""; 0], "{sink}");

            put(&hub, DB, "10.0.0.4").await;
            put(&hub, WEB, "10.0.1.2").await;
            desk.work().await;
            assert_eq!(words(&heard), [format!("{sink} is over: office db: -")]);
            put(&hub, DB, "10.0.0.5").await;
            desk.work().await;
            assert_eq!(words(&heard), [""; 0], "{sink}: once");
            // And it may begin again.
            script.will([outcome()]);
            put(&hub, DB, "10.0.0.6").await;
            desk.work().await;
            assert_eq!(words(&heard).len(), 1, "{sink}");
        }
    }
}

#[tokio::test]
async fn a_sink_that_is_refused_as_a_whole_is_reported_once() {
    for is_state in [true, false] {
        let (hub, _open, desk, script, heard) = start(is_state).await;
        let sink = if is_state { "dns" } else { "mail" };
        script.will([Outcome::Refused(Trouble::of_sink("wrong password"))]);
        put(&hub, DB, "10.0.0.1").await;
        put(&hub, WEB, "10.0.1.1").await;
        desk.work().await;
        let expected = format!("{sink} fails for all: office db: wrong password");
        assert_eq!(words(&heard), [expected]);
        let failed = super::scripted::deliveries(&hub, &format!("sink={sink}&state=failed")).await;
        let retry = format!("/deliveries/{}/retry", failed[0]["id"]);
        script.will([Outcome::Refused(Trouble::of_sink("wrong password"))]);
        assert_eq!(hub.post(&retry).await.status, 200);
        desk.work().await;
        assert_eq!(words(&heard), [""; 0], "{sink}: by hand, as before");
        let failed = super::scripted::deliveries(&hub, &format!("sink={sink}&state=failed")).await;
        let retry = format!("/deliveries/{}/retry", failed[0]["id"]);
        assert_eq!(hub.post(&retry).await.status, 200);
        desk.work().await;
        let expected = format!("{sink} is over for all: office db: -");
        assert_eq!(words(&heard), [expected]);
    }
}

#[tokio::test]
async fn a_record_refused_after_the_sink_is_reported_separately() {
    let (hub, _open, desk, script, heard) = start(true).await;
    script.will([Outcome::Refused(Trouble::of_sink("wrong password"))]);
    put(&hub, DB, "10.0.0.1").await;
    desk.work().await;
    assert_eq!(words(&heard).len(), 1);
    let failed = super::scripted::deliveries(&hub, "sink=dns&state=failed").await;
    script.will([refused()]);
    let retry = format!("/deliveries/{}/retry", failed[0]["id"]);
    assert_eq!(hub.post(&retry).await.status, 200);
    desk.work().await;
    let expected = [
        "dns is over for all: office db: -",
        "dns fails: office db: no such host",
    ];
    assert_eq!(words(&heard), expected);
}

#[tokio::test]
async fn a_record_that_is_gone_fails_no_longer() {
    let (hub, _open, desk, script, heard) = start(true).await;
    script.will([refused()]);
    put(&hub, DB, "10.0.0.1").await;
    desk.work().await;
    assert_eq!(words(&heard).len(), 1);
    hub.delete(DB).await;
    desk.work().await;
    assert_eq!(words(&heard), ["dns is over: office db: -"]);
}

#[tokio::test]
async fn temporary_failures_are_not_reported() {
    let (hub, _open, desk, script, heard) = start(true).await;
    script.will([
        Outcome::Retry(Trouble::of_sink("no answer")),
        Outcome::Retry(Trouble::of_name("it is busy")),
        Outcome::Done,
    ]);
    put(&hub, DB, "10.0.0.1").await;
    for _ in 0..3 {
        desk.work().await;
        hub.pass(3600);
    }
    assert_eq!(counts(&hub).await, [0, 0, 1]);
    assert_eq!(words(&heard), [""; 0]);
}

#[tokio::test]
async fn a_failed_message_is_reported_and_two_sinks_may_report_each_other() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (mail, mail_script) = event_sink("mail", Manner::default());
    let (hook, hook_script) = event_sink("hook", Manner::default());
    let name = |text: &str| Some(SinkName::parse(text).unwrap());
    let mail = OpenSink {
        tell_failures: name("hook"),
        ..mail
    };
    let hook = OpenSink {
        tell_failures: name("mail"),
        ..hook
    };
    let desk = Desk::begin(&open, "a", vec![mail, hook]).await;
    // No sink accepts anything: the report is abandoned as well, and this is not reported.
    for script in [&mail_script, &hook_script] {
        let busy = || Outcome::Retry(Trouble::of_name("it is busy"));
        script.will(std::iter::repeat_with(busy).take(100));
    }
    put(&hub, DB, "10.0.0.1").await;
    for _ in 0..20 {
        desk.work().await;
        hub.pass(3600);
    }
    let told = |script: &Script| -> Vec<EventKind> {
        let events = script.told();
        events.iter().flatten().map(|event| event.kind).collect()
    };
    let expected = [[EventKind::Change; 3], [EventKind::Failing; 3]].concat();
    assert_eq!(told(&mail_script), expected);
    assert_eq!(told(&hook_script), expected);
    assert_eq!(counts(&hub).await, [0, 4, 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_mail_sink_without_recipients_gets_no_failure_reports() {
    let (mut hub, _open) = TestHub::start_in_parts().await;
    for (mail, is_good) in [("to: [ops@x.net]", true), ("allow_to: ['*@x.net']", false)] {
        let sinks = format!(
            "- {{name: home, kind: email, sendmail: /bin/true, from: a@x.net, to: [b@x.net], tell_failures: mail}}\n\
             - {{name: mail, kind: email, sendmail: /bin/true, from: a@x.net, {mail}}}\n"
        );
        let list = serde_yaml::from_str(&sinks).unwrap();
        hub.settings.sinks = SinkSettings::read_list(list, Path::new("")).unwrap();
        match silo_hub::internals::open_sinks(&hub.settings) {
            Ok(_) => assert!(is_good, "{mail}"),
            Err(error) => {
                assert!(!is_good, "{mail}: {error}");
                let words = "sinks: home: tell_failures: mail has no `to`";
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
}
