use std::time::Duration;

use super::super::mail::letters;
use super::*;
use crate::deliver::sink::Reach;
use crate::deliver::test_sinks::{change, event};

const A: &str = "a@x.net";

fn run(
    events: &[Event],
    to: &[&str],
    answer: impl Fn(&str) -> Result<(), Failure>,
) -> Vec<DeliveryResult> {
    let to: Vec<_> = to.iter().map(|text| text.parse().unwrap()).collect();
    let mut ledger = Ledger::new(events);
    let mut letters = letters(events, &to, &[]);
    letters.retain_mut(|mail| ledger.take_refused(mail));
    for mail in &letters {
        match answer(mail.to.email.as_ref()) {
            Ok(()) => ledger.sent(mail),
            Err(failure) => ledger.failed(mail, "<id>", &failure),
        }
    }
    ledger.finish()
}

fn one(id: i64) -> Event {
    event(id, vec![change("db", "", "10.0.0.2")])
}

#[test]
fn an_event_without_recipients_is_done() {
    let results = run(&[one(1)], &[], |_| Ok(()));
    assert_eq!(results[0].outcome, Outcome::Done);
    assert!(results[0].notified.is_empty());
}

#[test]
fn each_event_has_its_own_answer() {
    let mut first = one(1);
    first.notified = vec![A.to_owned()];
    let results = run(&[first, one(2)], &[A], |_| {
        Err(Failure::Later("451".to_owned()))
    });
    assert_eq!(results[0].outcome, Outcome::Done);
    assert_eq!(results[0].notified, [A]);
    let why = Trouble::of_name("to[0]: 451");
    assert_eq!(results[1].outcome, Outcome::Retry(why));
    assert!(results[1].notified.is_empty());
}

#[test]
fn the_refused_are_remembered_until_the_event_is_through() {
    let to = [A, "b@x.net", "c@x.net"];
    let mut event = one(1);
    let results = run(&[event.clone()], &to, |address| match address {
        A => Err(Failure::Refused("550 no".to_owned())),
        "b@x.net" => Err(Failure::Later("451".to_owned())),
        _ => Ok(()),
    });
    assert_eq!(results[0].notified, ["c@x.net", "!a@x.net 550 no"]);
    event.notified.clone_from(&results[0].notified);
    let results = run(&[event], &to, |address| match address {
        "b@x.net" => Ok(()),
        other => panic!("{other} was asked again"),
    });
    assert_eq!(results[0].notified, ["c@x.net", "b@x.net"]);
    let why = Trouble::of_name("to[0]: 550 no");
    assert_eq!(results[0].outcome, Outcome::Refused(why));
}

#[test]
fn a_server_that_is_away_outweighs_one_receivers_trouble() {
    let to = [A, "b@x.net"];
    let results = run(&[one(1)], &to, |address| match address {
        A => Err(Failure::Later("451".to_owned())),
        _ => Err(Failure::Down("away".to_owned())),
    });
    match &results[0].outcome {
        Outcome::Retry(trouble) => {
            assert_eq!((trouble.reach, trouble.why.as_str()), (Reach::Sink, "away"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unconfirmed_mail_delays_no_other_receiver_and_keeps_its_id() {
    let to = [A, "b@x.net"];
    let unconfirmed = Failure::Unconfirmed {
        why: "no reply".to_owned(),
        tries: 2,
        wait: Duration::from_secs(600),
    };
    for first in [A, "b@x.net"] {
        let results = run(&[one(1)], &to, |address| {
            if address == first {
                return Err(unconfirmed.clone());
            }
            Err(Failure::Later("451".to_owned()))
        });
        match &results[0].outcome {
            Outcome::Retry(trouble) => assert_eq!(trouble.not_before, None, "{trouble:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(results[0].notified, [format!("?{first} 2 <id>")]);
        // The note remains while the other one fails.
        let mut event = one(1);
        event.notified.clone_from(&results[0].notified);
        let results = run(&[event], &to, |_| Err(Failure::Later("451".to_owned())));
        assert_eq!(results[0].notified, [format!("?{first} 2 <id>")]);
    }
}

#[test]
fn many_refusals_are_abbreviated() {
    let to = [A, "b@x.net", "c@x.net", "d@x.net", "e@x.net"];
    let results = run(&[one(1)], &to, |_| Err(Failure::Refused("550".to_owned())));
    let why = Trouble::of_name("to[0]: 550; to[1]: 550; to[2]: 550; and 2 more");
    assert_eq!(results[0].outcome, Outcome::Refused(why));
}
