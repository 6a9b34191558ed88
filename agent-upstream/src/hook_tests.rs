use super::*;
use crate::record::{AddressSettings, RecordSettings};

const HUB: &str = "http://hub/";

fn record(hostname: &str) -> Record {
    let settings = RecordSettings {
        silo: Some("office".parse().unwrap()),
        hostnames: Some(vec![hostname.parse().unwrap()]),
        records: None,
        addresses: AddressSettings::default(),
        forget: None,
    };
    settings.resolve().unwrap().remove(0)
}

fn one(ip: &str) -> Addresses {
    let ips = ip.split_whitespace();
    ips.map(|ip| ip.parse::<IpAddr>().unwrap()).collect()
}

/// What happens to a record.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A change from one address to another is about to be sent.
    Sent(&'static str, &'static str),
    /// It was made.
    Made(&'static str, &'static str),
    Refused,
    /// The hub has the right addresses.
    Confirmed,
    /// The program has succeeded.
    Paid,
}

#[test]
fn what_is_owed_is_told_once_and_never_lost() {
    use Step::{Confirmed, Made, Paid, Refused, Sent};
    let (a, b, c) = ("10.0.0.1", "10.0.0.2", "10.0.0.3");
    // What the program is told at the end: the addresses before and now.
    for (steps, told) in [
        (&[Sent(a, b)][..], None),
        (&[Sent(a, b), Refused], None),
        (&[Sent(a, b), Made(a, b)], Some((a, b))),
        (&[Sent(a, b), Confirmed], Some((a, b))),
        (&[Sent(a, b), Made(a, b), Paid], None),
        // A later change that is refused, or whose answer is missing, drops no earlier one.
        (&[Made(a, b), Sent(b, c), Refused], Some((a, b))),
        (&[Made(a, b), Sent(b, c)], Some((a, b))),
        (&[Made(a, b), Sent(b, c), Confirmed], Some((a, c))),
        (&[Made(a, b), Sent(b, c), Made(b, c)], Some((a, c))),
        (&[Sent(a, b), Sent(a, c), Made(a, c)], Some((a, c))),
        (&[Made("", a), Made(a, b)], Some(("", b))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let record = record("db");
        let mut owed = Owed {
            dir: Some(dir.clone()),
            hub: HUB.to_owned(),
            changes: Vec::new(),
        };
        for step in steps {
            match step {
                Sent(from, to) => {
                    let change = Change::planned(&record, &one(from), &one(to));
                    owed.add(&record, change).unwrap();
                }
                Made(from, to) => {
                    let change = Change::made(&record, &one(from), &one(to), Some(7));
                    owed.add(&record, change).unwrap();
                }
                Refused => owed.cancel(&record).unwrap(),
                Confirmed => owed.confirm(&record).unwrap(),
                Paid => {
                    let due = owed.due().unwrap();
                    owed.paid(&due.changes).unwrap();
                }
            }
            // The next run finds the same.
            let file = dir.hook_file(HUB, "office", "db");
            let left: Option<Vec<Change>> = dir.read_json(&file).unwrap();
            assert_eq!(left.unwrap_or_default(), owed.changes, "{steps:?}");
        }
        let found = owed.due().map(|due| {
            let change = due.changes[0].clone();
            (change.before, change.addresses)
        });
        let list = |ip: &str| one(ip).iter().collect::<Vec<_>>();
        let expected = told.map(|(before, now)| (list(before), list(now)));
        assert_eq!(found, expected, "{steps:?}");
    }
}

#[test]
fn a_change_while_the_program_runs_stays_owed() {
    let (db, web) = (record("db"), record("web"));
    let mut owed = Owed::default();
    let made = |record: &Record, from, to| Change::made(record, &one(from), &one(to), None);
    let change = made(&db, "10.0.0.1", "10.0.0.2");
    owed.add(&db, change).unwrap();
    let told = owed.due().unwrap().changes;
    for (record, from, to) in [
        (&db, "10.0.0.2", "10.0.0.3"),
        (&web, "10.0.0.8", "10.0.0.9"),
    ] {
        owed.add(record, made(record, from, to)).unwrap();
    }
    owed.paid(&told).unwrap();
    let left = owed.due().unwrap().changes;
    assert_eq!(
        left,
        [
            made(&db, "10.0.0.2", "10.0.0.3"),
            made(&web, "10.0.0.8", "10.0.0.9"),
        ]
    );
}
