//! The notes: when a block is stale, and the effect of clock steps.

use std::slice;

use silo_e2e::clock::STEPS;

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

/// The clocks of a machine that has run for so long, with a wall clock that is off by so much.
fn clocks(uptime: i64, off_by: i64) -> RunTime {
    RunTime {
        wall_ms: START + uptime + off_by,
        uptime: Some(Uptime {
            boot: 7,
            ms: uptime,
        }),
    }
}

/// Runs at these times that name these silos, each of which has a block; answers what is stale at each.
fn stale(runs: impl IntoIterator<Item = (RunTime, &'static str)>) -> Vec<String> {
    let mut notes = Notes::default();
    let mut stale = Vec::new();
    for (at, named) in runs {
        let named = ids(named);
        let found: Vec<String> = notes
            .stale(&named, at)
            .iter()
            .map(ToString::to_string)
            .collect();
        stale.push(found.join(" "));
        let mut next = notes.after_run(&named, &BTreeSet::new(), at);
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
            "named in every run",
            &[(0, "a"), (500 * DAY, "a"), (MINUTE, "a")],
            &["", "", ""],
        ),
    ] {
        let runs = runs.iter().map(|(at, named)| (clocks(*at, 0), *named));
        assert_eq!(stale(runs), expected, "{what}");
    }
}

#[test]
fn a_step_of_the_clock_makes_no_block_stale_and_keeps_none() {
    for step in STEPS.map(|seconds| seconds * 1000) {
        // The clock is wrong from the start on, is stepped later, is wrong for a while, and is stepped each time.
        for off_by in [
            [step, 0, 0, 0, 0],
            [0, 0, step, step, step],
            [0, 0, step, 0, 0],
            [0, step, 0, step, 0],
        ] {
            let runs = [
                (0, "a"),
                (MINUTE, "b"),
                (2 * HOUR_MS, "b"),
                (24 * HOUR_MS, "b"),
                (24 * HOUR_MS + MINUTE, "b"),
            ];
            let runs = runs.into_iter().zip(off_by);
            let runs = runs.map(|((at, named), off_by)| (clocks(at, off_by), named));
            let what = format!("{step} {off_by:?}");
            // Counted from the last run that named it.
            assert_eq!(stale(runs), ["", "", "", "a", "a"], "{what}");
        }
    }
}

#[test]
fn between_two_starts_of_the_machine_at_most_six_hours_count() {
    // The boot, the wall clock, and for how long the machine has run.
    let at = |boot: u128, wall: i64, ms: i64| RunTime {
        wall_ms: START + wall,
        uptime: Some(Uptime { boot, ms }),
    };
    for (what, runs, expected) in [
        (
            "an agent that runs once after each start, once a day",
            [
                (at(0, 0, 5 * MINUTE), "a"),
                (at(1, DAY, 4 * MINUTE), "b"),
                (at(2, 2 * DAY, 3 * MINUTE), "b"),
                (at(3, 3 * DAY, 2 * MINUTE), "b"),
                (at(4, 4 * DAY, MINUTE), "b"),
            ],
            ["", "", "", "", "a"],
        ),
        (
            "a clock that is years ahead at one start",
            [
                (at(0, 0, 5 * MINUTE), "a"),
                (at(1, 500 * DAY, 4 * MINUTE), "b"),
                (at(2, HOUR_MS, 3 * MINUTE), "b"),
                (at(3, 500 * DAY, 2 * MINUTE), "b"),
                (at(4, 2 * HOUR_MS, MINUTE), "b"),
            ],
            ["", "", "", "", ""],
        ),
        (
            "a machine without a battery whose clock is put right after each start",
            [
                (at(0, 0, 5 * HOUR_MS), "a"),
                (at(1, -500 * DAY, MINUTE), "b"),
                (at(1, 5 * HOUR_MS, 2 * MINUTE), "b"),
                (at(2, -500 * DAY, MINUTE), "b"),
                (at(2, 10 * HOUR_MS, 2 * MINUTE), "b"),
            ],
            ["", "", "", "", ""],
        ),
        (
            "starts at which the machine has run a little longer than at the last one",
            [
                (at(0, 0, MINUTE), "a"),
                (at(1, DAY, MINUTE + 1), "b"),
                (at(2, 2 * DAY, MINUTE + 2), "b"),
                (at(3, 3 * DAY, MINUTE + 3), "b"),
                (at(4, 4 * DAY, MINUTE + 4), "b"),
            ],
            ["", "", "", "", "a"],
        ),
        (
            "a state folder that is moved to a machine that has run for longer",
            [
                (at(0, 0, 2 * DAY), "a"),
                (at(1, 5 * MINUTE, 100 * DAY), "b"),
                (at(1, 10 * MINUTE, 100 * DAY + 5 * MINUTE), "b"),
                (at(0, 15 * MINUTE, 2 * DAY + 15 * MINUTE), "b"),
                (at(1, 20 * MINUTE, 100 * DAY + 15 * MINUTE), "b"),
            ],
            ["", "", "", "", ""],
        ),
    ] {
        assert_eq!(stale(runs), expected, "{what}");
    }
}

#[test]
fn without_uptime_a_clock_step_counts_at_most_six_hours() {
    for step in STEPS.map(|seconds| seconds * 1000) {
        let at = |at: i64, off_by: i64| RunTime {
            uptime: None,
            ..clocks(at, off_by)
        };
        let runs = [
            (at(0, 0), "a"),
            (at(MINUTE, 0), "b"),
            (at(2 * MINUTE, step), "b"),
            (at(3 * MINUTE, 0), "b"),
            (at(4 * MINUTE, step), "b"),
        ];
        assert_eq!(stale(runs), [""; 5], "{step}");
        let runs = (0..5).map(|day| (at(day * DAY, step), if day == 0 { "a" } else { "b" }));
        assert_eq!(stale(runs), ["", "", "", "", "a"], "{step}");
    }
}

#[test]
fn notes_of_0_1_0_are_read_and_it_reads_these() {
    // As 0.1.0 writes them.
    let old = format!(
        r#"{{"counted_at_ms":{START},"silos":{{"a":{{"lines":[],"unnamed_ms":64800000,"is_missed":true,"alternates":false}}}},"said":[]}}"#
    );
    let notes: Notes = serde_json::from_str(&old).unwrap();
    // 18 h by 0.1.0, and 6 h at most of what came after.
    assert!(notes.stale(&[], clocks(6 * HOUR_MS - 1, 0)).is_empty());
    let at = clocks(6 * HOUR_MS, 500 * DAY);
    assert_eq!(notes.stale(&[], at), ids("a").into_iter().collect());
    let next = notes.after_run(&[], &BTreeSet::new(), at);
    let text = serde_json::to_value(&next).unwrap();
    assert_eq!(text["counted_at_ms"], at.wall_ms);
    assert_eq!(text["counted_uptime_ms"], 6 * HOUR_MS);
    assert_eq!(serde_json::from_value::<Notes>(text).unwrap(), next);
}

#[test]
fn a_silo_that_was_never_written_is_not_stale() {
    let named = ids("a");
    let notes = Notes::default().after_run(&named, &BTreeSet::new(), clocks(0, 0));
    assert!(notes.stale(&[], clocks(2 * DAY, 0)).is_empty());
}

#[test]
fn notes_round_trip_and_expire_after_months_without_a_block() {
    let silo = SiloId::parse("office").unwrap();
    let mut records = Records::new();
    for ip in ["10.0.0.5", "fd00::5"] {
        let ip = ip.parse().unwrap();
        records
            .entry(Hostname::parse("db").unwrap())
            .or_default()
            .set(ip);
    }
    let mut notes =
        Notes::default().after_run(slice::from_ref(&silo), &BTreeSet::new(), clocks(0, 0));
    assert!(notes.written().is_empty());
    notes.wrote(&silo, &records);
    let text = serde_json::to_string(&notes).unwrap();
    let notes: Notes = serde_json::from_str(&text).unwrap();
    assert_eq!(notes.written()[&silo], records);
    let later = clocks(91 * DAY, 0);
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
    let mut first = Notes::default().after_run(&named, &BTreeSet::new(), clocks(0, 0));
    first.wrote(&named[0], &Records::new());
    let after =
        |minutes: i64| first.after_run(&named, &BTreeSet::new(), clocks(minutes * MINUTE, 0));
    assert!(!first.needs_writing(&after(5)));
    assert!(first.needs_writing(&after(60)));
    assert!(first.needs_writing(&after(-1)));
    // One of the two clocks has gone on, or back.
    for (uptime, off_by) in [(60, -60), (0, 60), (0, -1), (-1, 1)] {
        let at = clocks(uptime * MINUTE, off_by * MINUTE);
        let next = first.after_run(&named, &BTreeSet::new(), at);
        assert!(first.needs_writing(&next), "{uptime} {off_by}");
    }
    let mut said = after(5);
    said.said.push("x".to_owned());
    assert!(first.needs_writing(&said));
}
