//! The notes: when a block is stale, and the effect of clock steps.

use std::slice;

use super::*;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * HOUR_MS;
/// The clock of a machine without a battery starts here.
const START: i64 = 1_700_000_000_000;

fn ids(text: &str) -> Vec<SiloId> {
    text.split(' ')
        .filter(|id| !id.is_empty())
        .map(|id| SiloId::parse(id).unwrap())
        .collect()
}

/// Runs at these times for these silos, each of which has a block; returns the stale ones at each.
fn stale(runs: &[(i64, &str)]) -> Vec<String> {
    let mut notes = Notes::default();
    let mut stale = Vec::new();
    for (at, named) in runs {
        let named = ids(named);
        let found: Vec<String> = notes
            .stale(&named, START + at)
            .iter()
            .map(ToString::to_string)
            .collect();
        stale.push(found.join(" "));
        let mut next = notes.after_run(&named, &BTreeSet::new(), START + at);
        for silo in &named {
            next.wrote(silo, &Records::new());
        }
        // As in a run: not every addition is written.
        if notes.needs_writing(&next) {
            notes = next;
        }
    }
    stale
}

#[test]
fn a_block_is_stale_when_no_run_has_named_it_for_a_day() {
    for (what, runs, expected) in [
        (
            "renamed",
            &[
                (0, "a"),
                (MINUTE, "b"),
                (DAY - HOUR_MS, "b"),
                (DAY + HOUR_MS, "b"),
            ][..],
            ["", "", "", "a"].as_slice(),
        ),
        (
            "renamed, no run between",
            &[(0, "a"), (25 * HOUR_MS, "b")],
            &["", "a"],
        ),
        (
            "renamed beside another silo",
            &[(0, "a c"), (MINUTE, "b c"), (DAY + HOUR_MS, "b c")],
            &["", "", "a"],
        ),
        (
            "named again",
            &[
                (0, "a"),
                (MINUTE, "b"),
                (20 * HOUR_MS, "a"),
                (30 * HOUR_MS, "b"),
            ],
            &["", "", "", ""],
        ),
        (
            "two schedules, the machine was off",
            &[
                (0, "a"),
                (1, "b"),
                (5 * MINUTE, "a"),
                (5 * MINUTE + 1, "b"),
                (3 * DAY, "b"),
                (3 * DAY + 1, "a"),
            ],
            &["", "", "", "", "", ""],
        ),
        (
            "one of two schedules was renamed",
            &[
                (0, "a"),
                (1, "b"),
                (MINUTE, "a"),
                (MINUTE, "c"),
                (10 * HOUR_MS, "c"),
                (20 * HOUR_MS, "c"),
                (31 * HOUR_MS, "c"),
            ],
            &["", "", "", "", "", "", "a b"],
        ),
        (
            "the clock is set back",
            &[
                (0, "a"),
                (MINUTE, "b"),
                (-500 * DAY, "b"),
                (-500 * DAY + 20 * HOUR_MS, "b"),
                (-499 * DAY + 5 * HOUR_MS, "b"),
            ],
            &["", "", "", "", "a"],
        ),
        (
            "the clock was ahead",
            &[
                (500 * DAY, "a"),
                (MINUTE, "b"),
                (DAY, "b"),
                (DAY + 2 * HOUR_MS, "b"),
            ],
            &["", "", "", "a"],
        ),
        (
            "named in every run",
            &[(0, "a"), (500 * DAY, "a"), (MINUTE, "a")],
            &["", "", ""],
        ),
    ] {
        assert_eq!(stale(runs), expected, "{what}");
    }
}

#[test]
fn a_silo_that_was_never_written_is_not_stale() {
    let named = ids("a");
    let notes = Notes::default().after_run(&named, &BTreeSet::new(), START);
    assert!(notes.stale(&[], START + 2 * DAY).is_empty());
}

#[test]
fn what_was_written_is_read_back_and_forgotten_after_months_without_a_block() {
    let silo = SiloId::parse("office").unwrap();
    let mut records = Records::new();
    for ip in ["10.0.0.5", "fd00::5"] {
        let ip = ip.parse().unwrap();
        records
            .entry(Hostname::parse("db").unwrap())
            .or_default()
            .set(ip);
    }
    let mut notes = Notes::default().after_run(slice::from_ref(&silo), &BTreeSet::new(), START);
    assert!(notes.written().is_empty());
    notes.wrote(&silo, &records);
    let text = serde_json::to_string(&notes).unwrap();
    let notes: Notes = serde_json::from_str(&text).unwrap();
    assert_eq!(notes.written()[&silo], records);
    let later = START + 91 * DAY;
    let with_block = notes.after_run(&[], &[silo.clone()].into(), later);
    assert_eq!(with_block.written().len(), 1);
    assert!(
        notes
            .after_run(&[], &BTreeSet::new(), later)
            .written()
            .is_empty()
    );
}

#[test]
fn runs_that_change_nothing_write_nothing() {
    let named = ids("a");
    let mut first = Notes::default().after_run(&named, &BTreeSet::new(), START);
    first.wrote(&named[0], &Records::new());
    let after = |minutes: i64| first.after_run(&named, &BTreeSet::new(), START + minutes * MINUTE);
    assert!(!first.needs_writing(&after(5)));
    assert!(first.needs_writing(&after(60)));
    assert!(first.needs_writing(&after(-1)));
    let mut said = after(5);
    said.said.push("x".to_owned());
    assert!(first.needs_writing(&said));
}
