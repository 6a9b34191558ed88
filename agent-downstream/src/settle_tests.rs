//! What a run waits for, and for how long.

use super::*;
use crate::clock::TestClock;
use std::path::Path;

fn snapshot(path: &Path) -> Snapshot {
    Snapshot::take(path).unwrap()
}

#[test]
fn a_mark_round_trips_and_distinguishes_growth_from_other_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "127.0.0.1 localhost\n").unwrap();
    let mark = Mark::of(&snapshot(file.path()));
    assert_eq!(Mark::parse(&mark.to_line()), Some(mark.clone()));
    for (bytes, grew, cut) in [
        (&b"127.0.0.1 localhost\n"[..], true, false),
        (b"127.0.0.1 localhost\n10.0.0.9 theirs\n", true, false),
        (b"127.0.0.1 LOCALHOST\n10.0.0.9 theirs\n", false, false),
        (b"127.0.0.1 localh", false, false),
        (b"127.0.0.1 ", false, true),
        (b"", false, true),
    ] {
        assert_eq!(mark.is_beginning_of(bytes), grew, "{bytes:?}");
        assert_eq!(mark.is_cut_to(bytes), cut, "{bytes:?}");
    }
    for wrong in ["", "x", "1", "1 2", "a b c"] {
        assert_eq!(Mark::parse(wrong), None, "{wrong:?}");
    }
    // Rewriting the same bytes changes the file's identity.
    std::fs::write(file.path(), "10.0.0.1 localhost2\n").unwrap();
    std::fs::write(file.path(), "127.0.0.1 localhost\n").unwrap();
    #[cfg(unix)]
    {
        let moved = file.path().with_extension("moved");
        std::fs::copy(file.path(), &moved).unwrap();
        std::fs::rename(&moved, file.path()).unwrap();
        assert_ne!(Mark::of(&snapshot(file.path())), mark);
    }
}

/// How waiting for a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stable,
    Growing,
    Unstable,
    Missing,
}

/// Waits for a file on a clock of its own. `writes` are what other programs write, and when, in milliseconds;
/// without bytes they remove the file. Answers how it ended, and after how many milliseconds.
fn wait_on(path: &Path, before: Option<&str>, writes: &[(u64, Option<String>)]) -> (End, u128) {
    let clock = TestClock::start();
    let before = before.map(|before| Mark::of_bytes(before.as_bytes()));
    let mut writes = writes.iter().peekable();
    let look = || {
        let is_due = |at: u64| Duration::from_millis(at) <= clock.passed();
        while let Some((_, bytes)) = writes.next_if(|(at, _)| is_due(*at)) {
            match bytes {
                Some(bytes) => std::fs::write(path, bytes)?,
                None => std::fs::remove_file(path)?,
            }
        }
        Snapshot::look(path)
    };
    let end = match wait(&clock, look, before.as_ref(), Stillness::FOUND, LIMIT) {
        Ok(WaitResult::Stable(_)) => End::Stable,
        Ok(WaitResult::Growing(_)) => End::Growing,
        Ok(WaitResult::Unstable(_)) => End::Unstable,
        Err(error) if error.kind() == io::ErrorKind::NotFound => End::Missing,
        Err(error) => panic!("{error}"),
    };
    (end, clock.passed().as_millis())
}

const BEFORE: &str = "127.0.0.1 localhost\n";

/// A write at a time in milliseconds.
fn at(at_ms: u64, bytes: &str) -> (u64, Option<String>) {
    (at_ms, Some(bytes.to_owned()))
}

/// A write of as many other bytes.
fn other(at_ms: u64) -> (u64, Option<String>) {
    at(at_ms, "127.0.0.1 LOCALHOST\n")
}

#[test]
fn a_file_must_be_still_for_one_second_and_for_ten_if_it_is_empty_or_has_halved() {
    let (known, unknown) = (Some(BEFORE), None);
    let (half, more) = (&BEFORE[..10], &BEFORE[..11]);
    for (what, before, writes, after_ms) in [
        ("the same", known, vec![at(0, BEFORE)], 1_000),
        ("the same, unknown", unknown, vec![at(0, BEFORE)], 1_000),
        ("other bytes", known, vec![other(0)], 1_000),
        ("half and one byte", known, vec![at(0, more)], 1_000),
        ("half", known, vec![at(0, half)], 10_000),
        ("half, unknown", unknown, vec![at(0, half)], 1_000),
        ("one byte", known, vec![at(0, "1")], 10_000),
        ("empty", known, vec![at(0, "")], 10_000),
        ("empty, unknown", unknown, vec![at(0, "")], 10_000),
        ("late", known, vec![at(0, BEFORE), other(900)], 1_900),
        ("very late", known, vec![at(0, ""), other(9_900)], 10_900),
        ("emptied", known, vec![at(0, BEFORE), at(500, "")], 10_500),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let found = wait_on(&folder.path().join("hosts"), before, &writes);
        assert_eq!(found, (End::Stable, after_ms), "{what}");
    }
}

#[test]
fn a_file_that_is_not_still_within_twelve_seconds_may_only_have_grown() {
    let every = |text: fn(u64) -> String| -> Vec<_> {
        let times = (0..30).map(|count| (count * 900, Some(text(count))));
        times.collect()
    };
    let grown = every(|count| BEFORE.to_owned() + &"10.0.0.9 x\n".repeat(count as usize));
    let rewritten = every(|count| format!("127.0.0.1 localhost{count}\n"));
    let emptied = vec![at(0, BEFORE), other(900), at(1_800, BEFORE), at(2_100, "")];
    let removed = vec![at(0, BEFORE), (500, None)];
    for (what, before, writes, end, after_ms) in [
        ("grows", Some(BEFORE), &grown, End::Growing, 12_000),
        ("grows, unknown", None, &grown, End::Unstable, 12_000),
        ("rewritten", Some(BEFORE), &rewritten, End::Unstable, 12_000),
        ("emptied", Some(BEFORE), &emptied, End::Unstable, 12_000),
        ("removed", Some(BEFORE), &removed, End::Missing, 1_500),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let found = wait_on(&folder.path().join("hosts"), before, writes);
        assert_eq!(found, (end, after_ms), "{what}");
    }
}

#[test]
fn the_time_of_day_plays_no_part_in_how_long_a_file_is_waited_for() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let epoch = std::time::UNIX_EPOCH;
    for (what, modified) in [
        ("1970", epoch),
        ("before 1970", epoch - YEAR),
        ("2262", epoch + 292 * YEAR),
    ] {
        for (bytes, after_ms) in [("127.0.0.1 localhost\n", 1_000), ("", 10_000)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            file.as_file().set_modified(modified).unwrap();
            let clock = TestClock::start();
            let found = wait(
                &clock,
                || Snapshot::look(file.path()),
                None,
                Stillness::FOUND,
                LIMIT,
            )
            .unwrap();
            assert!(matches!(found, WaitResult::Stable(_)), "{what}: {found:?}");
            assert_eq!(clock.passed().as_millis(), after_ms, "{what}, {bytes:?}");
        }
    }
}
