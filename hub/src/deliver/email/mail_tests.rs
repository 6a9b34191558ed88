use super::*;
use crate::deliver::test_sinks::{change, event};

fn boxes(list: &[&str]) -> Vec<Mailbox> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// Receiver and hostnames of each mail.
fn planned(events: &[Event], to: &[&str], allow_to: &[&str]) -> Vec<(String, Vec<String>)> {
    let allow_to: Vec<_> = allow_to.iter().map(|&text| text.to_owned()).collect();
    let letters = letters(events, &boxes(to), &allow_to);
    let hostnames = |mail: &Mail<'_>| {
        let names = mail.news.iter().map(|item| item.hostname.to_string());
        (mail.to.to_string(), names.collect())
    };
    letters.iter().map(hostnames).collect()
}

fn expected(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let row = |(to, names): &(&str, &[&str])| ((*to).to_owned(), owned(names));
    list.iter().map(row).collect()
}

#[test]
fn operators_hear_of_all_and_records_of_themselves() {
    let mut first = event(1, vec![change("db", "10.0.0.1", "10.0.0.2")]);
    first.changes.push(change("nas", "", "10.0.0.3"));
    first.notify = vec![
        (first.changes[0].hostname.clone(), "d@x.net".to_owned()),
        (first.changes[1].hostname.clone(), "n@x.net".to_owned()),
    ];
    let mut second = event(2, vec![change("db", "10.0.0.2", "")]);
    second.notify = vec![(second.changes[0].hostname.clone(), "D@x.NET".to_owned())];
    let events = [first, second];
    assert_eq!(
        planned(
            &events,
            &["a@x.net", "B <b@x.net>", "A@X.net"],
            &["*@x.net"]
        ),
        expected(&[
            ("a@x.net", &["db", "nas", "db"]),
            ("B <b@x.net>", &["db", "nas", "db"]),
            ("d@x.net", &["db", "db"]),
            ("n@x.net", &["nas"]),
        ])
    );
    // An operator gets one mail.
    assert_eq!(
        planned(&events, &["d@x.net"], &["d@*"]),
        expected(&[("d@x.net", &["db", "nas", "db"])])
    );
    assert_eq!(planned(&events, &[], &["*@y.net"]), expected(&[]));
}

#[test]
fn patterns_cover_the_whole_address_and_fold_case() {
    let events = |address: &str| {
        let mut event = event(1, vec![change("db", "", "10.0.0.2")]);
        event.notify = vec![(event.changes[0].hostname.clone(), address.to_owned())];
        [event]
    };
    for (address, glob, heard) in [
        ("a@x.net", "*@x.net", true),
        ("A@X.NET", "*@x.net", true),
        ("a@x.net.evil.example", "*@x.net", false),
        ("a@sub.x.net", "*@x.net", false),
        ("a@sub.x.net", "*@*.x.net", true),
        ("a@x.net", "b@x.net", false),
        ("a@evil.example,b@x.net", "*@x.net", false),
        ("a@evil.example b@x.net", "*@x.net", false),
        ("a@evil.example>@x.net", "*@x.net", false),
        ("@x.net", "*", false),
        ("no-address", "*", false),
    ] {
        let count = planned(&events(address), &[], &[glob]).len();
        assert_eq!(count, usize::from(heard), "{address} {glob}");
    }
}

#[test]
fn a_notified_recipient_is_skipped_only_for_that_event() {
    let mut first = event(1, vec![change("db", "", "10.0.0.2")]);
    first.notified = vec!["a@x.net".to_owned()];
    let second = event(2, vec![change("nas", "", "10.0.0.3")]);
    assert_eq!(
        planned(&[first.clone(), second], &["A@x.net", "b@x.net"], &[]),
        expected(&[("A@x.net", &["nas"]), ("b@x.net", &["db", "nas"])])
    );
    assert_eq!(planned(&[first], &["a@x.net"], &[]), expected(&[]));
}

#[test]
fn both_families_of_a_hostname_are_one_item() {
    let changes = vec![
        change("db", "10.0.0.1", "10.0.0.2"),
        change("db", "", "fd00::2"),
        change("nas", "fd00::3", ""),
    ];
    let events = [event(1, changes)];
    let to = boxes(&["a@x.net"]);
    let letters = letters(&events, &to, &[]);
    let items: Vec<_> = letters[0]
        .news
        .iter()
        .map(|item| (item.old.iter().count(), item.new.iter().count()))
        .collect();
    assert_eq!(items, [(1, 2), (1, 0)]);
}
