use super::super::mail::letters;
use super::super::sample::{change, event};
use super::*;
use crate::deliver::sink::Reach;

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
            Ok(()) => ledger.told(mail),
            Err(failure) => ledger.failed(mail, &failure),
        }
    }
    ledger.finish()
}

fn one(id: i64) -> Event {
    event(id, vec![change("db", "", "10.0.0.2")])
}

#[test]
fn nobody_to_tell_is_done() {
    let told = run(&[one(1)], &[], |_| Ok(()));
    assert_eq!(told[0].outcome, Outcome::Done);
    assert!(told[0].told.is_empty());
}

#[test]
fn each_event_has_its_own_answer() {
    let mut first = one(1);
    first.told = vec![A.to_owned()];
    let told = run(&[first, one(2)], &[A], |_| {
        Err(Failure::Later("451".to_owned()))
    });
    assert_eq!(told[0].outcome, Outcome::Done);
    assert_eq!(told[0].told, [A]);
    let why = Trouble::of_name("to[0]: 451");
    assert_eq!(told[1].outcome, Outcome::Retry(why));
    assert!(told[1].told.is_empty());
}

#[test]
fn the_refused_are_remembered_until_the_event_is_through() {
    let to = [A, "b@x.net", "c@x.net"];
    let mut event = one(1);
    let told = run(&[event.clone()], &to, |address| match address {
        A => Err(Failure::Refused("550 no".to_owned())),
        "b@x.net" => Err(Failure::Later("451".to_owned())),
        _ => Ok(()),
    });
    assert_eq!(told[0].told, ["c@x.net", "!a@x.net 550 no"]);
    event.told.clone_from(&told[0].told);
    let told = run(&[event], &to, |address| match address {
        "b@x.net" => Ok(()),
        other => panic!("{other} was asked again"),
    });
    assert_eq!(told[0].told, ["c@x.net", "b@x.net"]);
    let why = Trouble::of_name("to[0]: 550 no");
    assert_eq!(told[0].outcome, Outcome::Refused(why));
}

#[test]
fn a_server_that_is_away_outweighs_one_receivers_trouble() {
    let to = [A, "b@x.net"];
    let told = run(&[one(1)], &to, |address| match address {
        A => Err(Failure::Later("451".to_owned())),
        _ => Err(Failure::Down("away".to_owned())),
    });
    match &told[0].outcome {
        Outcome::Retry(trouble) => {
            assert_eq!((trouble.reach, trouble.why.as_str()), (Reach::Sink, "away"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_refusals_are_told_in_short() {
    let to = [A, "b@x.net", "c@x.net", "d@x.net", "e@x.net"];
    let told = run(&[one(1)], &to, |_| Err(Failure::Refused("550".to_owned())));
    let why = Trouble::of_name("to[0]: 550; to[1]: 550; to[2]: 550; and 2 more");
    assert_eq!(told[0].outcome, Outcome::Refused(why));
}
