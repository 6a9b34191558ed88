//! The state after an interrupted write, for every interruption, and its recovery.

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
    assert_eq!(write(&path, &state, &old, b"new\n").unwrap(), Written::Done);
    assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    assert!(!state.has_journal(&path));
    // The file has changed since it was read.
    assert_eq!(
        write(&path, &state, &old, b"newer\n").unwrap(),
        Written::Changed
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    assert!(!state.has_journal(&path));
}

#[test]
fn a_file_that_another_program_replaced_is_kept_and_so_are_the_old_contents() {
    let (folder, state) = state();
    let path = folder.path().join("hosts");
    let journal = Journal {
        old: b"127.0.0.1 localhost\n10.0.0.1 mine\n".to_vec(),
        new: b"127.0.0.1 localhost\n10.0.0.1 mine\nblock\n".to_vec(),
    };
    state.write_journal(&path, &journal).unwrap();
    std::fs::write(&path, "recreated\n").unwrap();
    assert!(recover(&path, &state, InPlace::Allowed).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"recreated\n");
    assert_eq!(state.backup(&path).unwrap(), Some(journal.old));
    assert!(!state.has_journal(&path));
    assert!(!recover(&path, &state, InPlace::Allowed).unwrap());
}

/// A journal, and the file with a mixture of its two contents.
fn torn(folder: &tempfile::TempDir, state: &LockedState, old: &[u8], new: &[u8]) -> PathBuf {
    let path = folder.path().join("hosts");
    let journal = Journal {
        old: old.to_vec(),
        new: new.to_vec(),
    };
    state.write_journal(&path, &journal).unwrap();
    let differs = old.iter().zip(new).position(|(a, b)| a != b);
    let present = match differs {
        Some(at) => [&new[..=at], &old[at + 1..]].concat(),
        None => new[..(old.len() + new.len()) / 2].to_vec(),
    };
    assert!(present != old && present != new, "not torn");
    std::fs::write(&path, present).unwrap();
    path
}

#[test]
fn only_a_journal_of_our_own_kind_is_carried_out() {
    const OLD: &[u8] = b"127.0.0.1 a\n# BEGIN silo x\n10.0.0.1 d\n# END silo x\n10.0.0.9 mine\n";
    for (old, new, ours) in [
        // Blocks are changed, added and removed; a last line gets a newline; a line moves into the block.
        (
            OLD,
            &b"127.0.0.1 a\n# BEGIN silo x\n10.0.0.22 d\n# END silo x\n10.0.0.9 mine\n"[..],
            true,
        ),
        (
            b"127.0.0.1 a",
            b"127.0.0.1 a\n# BEGIN silo x\n10.0.0.1 d\n# END silo x\n",
            true,
        ),
        (OLD, b"127.0.0.1 a\n10.0.0.9 mine\n", true),
        (
            b"127.0.0.1 a\n10.0.0.1  D\n",
            b"127.0.0.1 a\n# BEGIN silo x\n10.0.0.1 d\n# END silo x\n",
            true,
        ),
        // A line outside is changed, added, removed or moved; markers are broken.
        (
            OLD,
            b"10.66.6.6 a\n# BEGIN silo x\n10.0.0.1 d\n# END silo x\n10.0.0.9 mine\n",
            false,
        ),
        (b"127.0.0.1 a\n", b"127.0.0.1 a\n10.66.6.6 bank\n", false),
        (b"127.0.0.1 a\n10.0.0.9 mine\n", b"127.0.0.1 a\n", false),
        (
            b"127.0.0.1 a\n10.0.0.9 mine\n",
            b"10.0.0.9 mine\n127.0.0.1 a\n",
            false,
        ),
        (b"127.0.0.1 a\n", b"127.0.0.1 a\n# BEGIN silo x\n", false),
    ] {
        let shown = String::from_utf8_lossy(new);
        let journal = Journal {
            old: old.to_vec(),
            new: new.to_vec(),
        };
        assert_eq!(is_own_change(&journal), ours, "{shown}");
    }
    let (folder, state) = state();
    let path = torn(&folder, &state, b"127.0.0.1 a\n", b"10.66.6.6 bank\n");
    let before = std::fs::read(&path).unwrap();
    let error = recover(&path, &state, InPlace::Allowed)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is not applied") && error.contains("journal-"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // A write that `restore` began is completed: its contents are the backup.
    state.put_backup(&path, b"10.66.6.6 bank\n").unwrap();
    assert!(recover(&path, &state, InPlace::Allowed).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"10.66.6.6 bank\n");
}

#[test]
fn a_torn_file_is_not_finished_where_writing_in_place_is_not_allowed() {
    let (folder, state) = state();
    let new = b"127.0.0.1 a\n# BEGIN silo x\n10.0.0.1 d\n# END silo x\n";
    let path = torn(&folder, &state, b"127.0.0.1 a", new);
    let before = std::fs::read(&path).unwrap();
    let error = recover(&path, &state, InPlace::Never)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--in-place") && error.contains("remove "),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(recover(&path, &state, InPlace::Allowed).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), new);
    // A complete file needs no write, and so no permission.
    let path = torn(&folder, &state, b"127.0.0.1 a", new);
    std::fs::write(&path, new).unwrap();
    assert!(recover(&path, &state, InPlace::Never).unwrap());
    assert!(!state.has_journal(&path));
}

proptest! {
    /// Each byte of an interrupted write is old or new in any combination (a disk writes pages in any order), its
    /// length is anything in between, and another program may have appended since.
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
        prop_assert_eq!(found, if is_whole { InterruptedWrite::None } else { InterruptedWrite::Torn(b"") });
        // Other programs append after a write that was interrupted at its full length.
        let full: Vec<u8> = if length == longest { [torn, appended.clone().into_bytes()].concat() } else { Vec::new() };
        if length == longest && !appended.is_empty() && full != old.as_bytes() && full != new.as_bytes() {
            prop_assert_eq!(whole(&full, &journal), InterruptedWrite::Torn(appended.as_bytes()));
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
        prop_assert_eq!(whole(present.as_bytes(), &journal), InterruptedWrite::None);
    }
}
