//! Attempts beside a program that writes the file all the time.

use super::*;
use crate::clock::TestClock;
use crate::state::StateDir;

#[test]
fn attempts_pause_longer_each_time_once_nothing_more_is_waited_for() {
    let mut growing = WaitBudget::default();
    growing.is_growing = true;
    for (what, wait_budget, changes, pauses_ms) in [
        (
            "all of the wait is spent",
            WaitBudget::spent(),
            ATTEMPTS,
            &[100, 200, 300, 400][..],
        ),
        ("spent, changed twice", WaitBudget::spent(), 2, &[100, 200]),
        ("spent, not changed", WaitBudget::spent(), 0, &[]),
        ("some of it is left", growing, ATTEMPTS, &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "127.0.0.1 localhost\n").unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let state = state.lock().unwrap();
        let mut target = Target::find(&path).unwrap();
        target.wait_budget = wait_budget;
        let clock = TestClock::start();
        let mut count = 0;
        let done = update_by(&clock, &target, &state, InPlace::Never, |bytes: &[u8]| {
            count += 1;
            if count <= changes {
                // After it was read and before it is replaced.
                fs::write(&path, format!("127.0.0.1 localhost{count}\n")).unwrap();
            }
            Ok::<_, ReplaceError>([bytes, b"10.0.0.5 db\n"].concat())
        });
        let found: Vec<_> = clock.pauses().iter().map(Duration::as_millis).collect();
        assert_eq!(found, pauses_ms, "{what}");
        match done {
            Ok(true) => assert!(changes < ATTEMPTS, "{what}"),
            Err(ReplaceError::Busy(_)) => assert_eq!(changes, ATTEMPTS, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}
