//! What a run waits for, and for how long.

use super::*;
use crate::clock::TestClock;
use std::path::Path;

fn snapshot(path: &Path) -> Snapshot {
    Snapshot::take(path).unwrap()
}

#[test]
fn a_mark_is_read_back_and_tells_growth_from_other_changes() {
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
    let end = match wait(&clock, look, before.as_ref(), LIMIT) {
        Ok(WaitResult::Stable(_)) => End::Stable,
        Ok(WaitResult::Growing(_)) => End::Growing,
        Ok(WaitResult::Unstable(_)) => End::Unstable,
        Err(error) if error.kind() == io::ErrorKind::NotFound => End::Missing,
        Err(error) => panic!("{error}"),
    };
    (end, clock.passed().as_millis())
}

#[test]
fn a_file_must_be_still_for_one_second_and_for_ten_if_it_is_empty_or_has_halved() {
    use End::{Growing, Missing, Stable, Unstable};
    const BEFORE: &str = "127.0.0.1 localhost\n";
    let at = |at: u64, bytes: &str| (at, Some(bytes.to_owned()));
    let whole = |ms: u64| at(ms, "127.0.0.1 LOCALHOST\n");
    let every = |step: u64, text: fn(u64) -> String| -> Vec<_> {
        let times = (0..30).map(|count| (count * step, Some(text(count))));
        times.collect()
    };
    let grow = |count: u64| BEFORE.to_owned() + &"10.0.0.9 x\n".repeat(count as usize);
    let rewrite = |count: u64| format!("127.0.0.1 localhost{count}\n");
    for (what, before, writes, end, after_ms) in [
        ("the same", Some(BEFORE), vec![at(0, BEFORE)], Stable, 1_000),
        (
            "the same, unknown",
            None,
            vec![at(0, BEFORE)],
            Stable,
            1_000,
        ),
        ("other bytes", Some(BEFORE), vec![whole(0)], Stable, 1_000),
        (
            "half and one byte",
            Some(BEFORE),
            vec![at(0, &BEFORE[..11])],
            Stable,
            1_000,
        ),
        (
            "half",
            Some(BEFORE),
            vec![at(0, &BEFORE[..10])],
            Stable,
            10_000,
        ),
        (
            "half, unknown",
            None,
            vec![at(0, &BEFORE[..10])],
            Stable,
            1_000,
        ),
        ("one byte", Some(BEFORE), vec![at(0, "1")], Stable, 10_000),
        ("empty", Some(BEFORE), vec![at(0, "")], Stable, 10_000),
        ("empty, unknown", None, vec![at(0, "")], Stable, 10_000),
        (
            "written at 0.9 s",
            Some(BEFORE),
            vec![at(0, BEFORE), whole(900)],
            Stable,
            1_900,
        ),
        (
            "written at 9.9 s",
            Some(BEFORE),
            vec![at(0, ""), whole(9_900)],
            Stable,
            10_900,
        ),
        (
            "emptied at 0.5 s",
            Some(BEFORE),
            vec![at(0, BEFORE), at(500, "")],
            Stable,
            10_500,
        ),
        (
            "emptied at 2.1 s",
            Some(BEFORE),
            vec![at(0, BEFORE), whole(900), at(1_800, BEFORE), at(2_100, "")],
            Unstable,
            12_000,
        ),
        ("grows", Some(BEFORE), every(900, grow), Growing, 12_000),
        ("grows, unknown", None, every(900, grow), Unstable, 12_000),
        (
            "rewritten",
            Some(BEFORE),
            every(900, rewrite),
            Unstable,
            12_000,
        ),
        (
            "removed",
            Some(BEFORE),
            vec![at(0, BEFORE), (500, None)],
            Missing,
            1_500,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let found = wait_on(&folder.path().join("hosts"), before, &writes);
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
            let found = wait(&clock, || Snapshot::look(file.path()), None, LIMIT).unwrap();
            assert!(matches!(found, WaitResult::Stable(_)), "{what}: {found:?}");
            assert_eq!(clock.passed().as_millis(), after_ms, "{what}, {bytes:?}");
        }
    }
}
