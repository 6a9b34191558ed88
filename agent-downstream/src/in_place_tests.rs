//! What a cut-off write leaves, for every cut, and what is made of it.

use super::*;
use crate::state::StateDir;
use proptest::prelude::*;

fn state() -> (tempfile::TempDir, LockedState) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(&folder.path().join("state"))
        .unwrap()
        .lock()
        .unwrap();
    (folder, state)
}

#[test]
fn the_journal_is_removed_after_a_write_and_the_file_keeps_its_inode() {
    let (folder, state) = state();
    let path = folder.path().join("hosts");
    std::fs::write(&path, "old contents\n").unwrap();
    let old = Snapshot::take(&path).unwrap();
    assert!(write(&path, &state, &old, b"new\n").unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    assert!(!state.has_journal(&path));
    // What was read before is no longer what lies there.
    assert!(!write(&path, &state, &old, b"newer\n").unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    assert!(!state.has_journal(&path));
}

#[test]
fn a_file_that_another_program_made_anew_is_kept_and_the_old_contents_too() {
    let (folder, state) = state();
    let path = folder.path().join("hosts");
    let journal = Journal {
        old: b"127.0.0.1 localhost\n10.0.0.1 mine\n".to_vec(),
        new: b"127.0.0.1 localhost\n10.0.0.1 mine\nblock\n".to_vec(),
    };
    state.write_journal(&path, &journal).unwrap();
    std::fs::write(&path, "made anew\n").unwrap();
    assert!(recover(&path, &state).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"made anew\n");
    assert_eq!(state.backup(&path).unwrap(), Some(journal.old));
    assert!(!state.has_journal(&path));
    assert!(!recover(&path, &state).unwrap());
}

proptest! {
    /// Each byte of a cut-off file is old or new in any combination (a disk writes pages in any order),
    /// its length anything between, and another program may have appended since.
    #[test]
    fn every_cut_is_recovered_to_the_new_contents(
        old in "[ab\n]{0,40}",
        new in "[ab\n]{0,40}",
        picks in proptest::collection::vec(any::<bool>(), 40),
        cut in 0usize..=40,
        appended in "[xy\n]{0,8}",
    ) {
        let (shortest, longest) = (old.len().min(new.len()), old.len().max(new.len()));
        let length = shortest + cut * (longest - shortest) / 40;
        let torn: Vec<u8> = (0..length)
            .map(|at| {
                let (old, new) = (old.as_bytes().get(at), new.as_bytes().get(at));
                *(if picks[at] { new.or(old) } else { old.or(new) }).unwrap()
            })
            .collect();
        let journal = Journal { old: old.clone().into(), new: new.clone().into() };
        let found = whole(&torn, &journal);
        let is_whole = torn == old.as_bytes() || torn == new.as_bytes();
        prop_assert_eq!(found, if is_whole { Wreck::None } else { Wreck::Torn(b"") });
        // Appending happens behind a write that was cut off at its full length.
        let full: Vec<u8> = if length == longest { [torn, appended.clone().into_bytes()].concat() } else { Vec::new() };
        if length == longest && !appended.is_empty() && full != old.as_bytes() && full != new.as_bytes() {
            prop_assert_eq!(whole(&full, &journal), Wreck::Torn(appended.as_bytes()));
        }
    }

    #[test]
    fn what_another_program_appended_to_whole_contents_is_no_wreck(
        old in "[ab\n]{1,40}",
        tail in "[ab\n]{1,40}",
        appended in "[xy]{1,60}",
    ) {
        let journal = Journal { old: old.clone().into(), new: format!("{old}{tail}").into() };
        let present = format!("{old}{appended}");
        prop_assert_eq!(whole(present.as_bytes(), &journal), Wreck::None);
    }
}
