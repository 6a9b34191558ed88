//! Replacing on Windows: files that other programs hold, attributes, and access control lists.

use std::fs::File;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::mpsc;

use super::*;
use crate::state::StateDir;

const OLD: &[u8] = b"127.0.0.1 localhost\r\n";
const NEW: &[u8] = b"127.0.0.1 localhost\r\n10.0.0.5 db\r\n";
// FILE_ATTRIBUTE_… (winnt.h).
const READ_ONLY: u32 = 0x1;
const HIDDEN: u32 = 0x2;
const SYSTEM: u32 = 0x4;

struct Place {
    _folder: tempfile::TempDir,
    hosts: PathBuf,
    state: LockedState,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let state = StateDir::open(&folder.path().join("state")).unwrap();
    Place {
        hosts,
        state: state.lock().unwrap(),
        _folder: folder,
    }
}

/// Creates the file with these attributes.
fn make(path: &Path, attributes: u32) {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .attributes(attributes)
        .open(path)
        .unwrap();
    io::Write::write_all(&mut file, OLD).unwrap();
}

fn attributes(path: &Path) -> u32 {
    fs::metadata(path).unwrap().file_attributes() & (READ_ONLY | HIDDEN | SYSTEM)
}

fn add_db(place: &Place) -> Result<bool, ReplaceError> {
    let target = Target::find(&place.hosts)?;
    update(&target, &place.state, InPlace::Never, |bytes: &[u8]| {
        Ok::<_, ReplaceError>([bytes, b"10.0.0.5 db\r\n"].concat())
    })
}

/// Names beside the hosts file.
fn beside(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.hosts.parent().unwrap()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Holds a file without sharing it for `time`, from when `work` begins.
fn while_held<T>(path: &Path, time: Duration, work: impl FnOnce() -> T) -> T {
    let held = OpenOptions::new()
        .read(true)
        .write(true)
        .share_mode(0)
        .open(path)
        .unwrap();
    let (begin, begins) = mpsc::channel();
    let holder = std::thread::spawn(move || {
        begins.recv().unwrap();
        std::thread::sleep(time);
        drop(held);
    });
    begin.send(()).unwrap();
    let done = work();
    holder.join().unwrap();
    done
}

#[test]
fn a_file_that_another_program_holds_for_two_seconds_is_written_in_the_end() {
    let place = place();
    make(&place.hosts, 0);
    let done = while_held(&place.hosts, Duration::from_secs(2), || add_db(&place));
    assert!(done.unwrap());
    assert_eq!(fs::read(&place.hosts).unwrap(), NEW);
    assert_eq!(beside(&place), ["hosts", "state"]);
}

#[test]
fn a_file_that_can_be_read_but_not_replaced_is_written_once_it_can_be() {
    let place = place();
    make(&place.hosts, 0);
    // Shares reading, so that only the rename fails.
    let mut held = OpenOptions::new()
        .read(true)
        .append(true)
        .share_mode(1)
        .open(&place.hosts)
        .unwrap();
    let (begin, begins) = mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        begins.recv().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        // An editor that saves: the new file must contain it.
        io::Write::write_all(&mut held, b"10.0.0.9 printer\r\n").unwrap();
    });
    begin.send(()).unwrap();
    let done = add_db(&place);
    holder.join().unwrap();
    assert!(done.unwrap());
    let text = fs::read_to_string(&place.hosts).unwrap();
    assert_eq!(
        text,
        "127.0.0.1 localhost\r\n10.0.0.9 printer\r\n10.0.0.5 db\r\n"
    );
}

#[test]
fn state_files_that_are_held_for_a_moment_do_no_harm() {
    let place = place();
    make(&place.hosts, 0);
    assert!(add_db(&place).unwrap());
    let folder = place.state.path().to_owned();
    for name in beside_state(&folder) {
        let path = folder.join(&name);
        let mark = Mark::of(&Snapshot::take(&place.hosts).unwrap());
        let (hosts, state) = (&place.hosts, &place.state);
        while_held(&path, Duration::from_millis(300), || {
            state.left(hosts).unwrap();
            state.keep_backup(hosts, OLD, NEW).unwrap();
            state.put_backup(hosts, name.as_bytes()).unwrap();
            state.note_left(hosts, &mark).unwrap();
        });
    }
}

/// The files of the state folder but for the lock.
fn beside_state(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| name != "lock").collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

#[test]
fn attributes_are_kept() {
    for wanted in [
        0,
        HIDDEN,
        SYSTEM,
        READ_ONLY,
        HIDDEN | SYSTEM,
        HIDDEN | SYSTEM | READ_ONLY,
    ] {
        let place = place();
        make(&place.hosts, wanted);
        assert_eq!(attributes(&place.hosts), wanted, "as it was made");
        assert!(add_db(&place).unwrap());
        assert_eq!(fs::read(&place.hosts).unwrap(), NEW);
        assert_eq!(attributes(&place.hosts), wanted, "{wanted:#x}");
        assert_eq!(beside(&place), ["hosts", "state"]);
    }
}

#[test]
fn a_read_only_file_that_can_not_be_replaced_stays_read_only() {
    let place = place();
    make(&place.hosts, READ_ONLY);
    let target = Target::find(&place.hosts).unwrap();
    let mut staged =
        Staged::write(&target.temp_path(&place.state), Some(&place.hosts), NEW).unwrap();
    let _held = OpenOptions::new()
        .read(true)
        .share_mode(1)
        .open(&place.hosts)
        .unwrap();
    assert!(staged.rename(&place.hosts).is_err());
    assert_eq!(attributes(&place.hosts), READ_ONLY);
    drop(staged);
    assert_eq!(beside(&place), ["hosts", "state"]);
}

#[test]
fn a_read_only_file_is_so_again_after_a_run_that_was_killed() {
    let place = place();
    make(&place.hosts, READ_ONLY);
    let target = Target::find(&place.hosts).unwrap();
    // The run was killed after it had cleared the attribute, and before it renamed its own file.
    let staged = Staged::write(&target.temp_path(&place.state), Some(&place.hosts), NEW).unwrap();
    metadata::copy(&place.hosts, &staged.file, staged.path()).unwrap();
    let (part, aside) = (
        staged.path().to_owned(),
        place.hosts.with_file_name("aside"),
    );
    fs::copy(&part, &aside).unwrap();
    drop(staged);
    fs::rename(&aside, &part).unwrap();
    assert_eq!(attributes(&part), READ_ONLY);
    clear_read_only(&place.hosts);
    let unchanged = update(&target, &place.state, InPlace::Never, |bytes: &[u8]| {
        Ok::<_, ReplaceError>(bytes.to_vec())
    });
    assert!(!unchanged.unwrap());
    assert_eq!(attributes(&place.hosts), READ_ONLY);
    assert_eq!(fs::read(&place.hosts).unwrap(), OLD);
    assert_eq!(beside(&place), ["hosts", "state"]);
}

/// Clears the attribute, as a run does before it writes.
fn clear_read_only(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "the lint is about Unix"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn a_read_only_file_is_written_in_place_and_stays_read_only() {
    let place = place();
    make(&place.hosts, READ_ONLY | HIDDEN);
    let target = Target::find(&place.hosts).unwrap();
    let write = |in_place, new: &[u8]| {
        update(&target, &place.state, in_place, |_: &[u8]| {
            Ok::<_, ReplaceError>(new.to_vec())
        })
    };
    assert!(write(InPlace::Always, NEW).unwrap());
    assert_eq!(fs::read(&place.hosts).unwrap(), NEW);
    assert_eq!(attributes(&place.hosts), READ_ONLY | HIDDEN);
    assert!(!place.state.was_read_only(&place.hosts));
    // Whether it could be written is found out without clearing the attribute.
    in_place::probe(&place.hosts).unwrap();
    assert_eq!(attributes(&place.hosts), READ_ONLY | HIDDEN);
}

#[test]
fn a_write_in_place_that_was_killed_is_finished_and_the_file_is_read_only_again() {
    // When the run was killed: before it had cleared the attribute, while it wrote, and after it.
    for (cleared, text, has_journal) in [
        (false, OLD, true),
        (true, OLD, true),
        (true, &NEW[..25], true),
        (true, NEW, true),
        (true, NEW, false),
    ] {
        let place = place();
        fs::write(&place.hosts, text).unwrap();
        place.state.note_read_only(&place.hosts).unwrap();
        if has_journal {
            let journal = crate::state::Journal {
                old: OLD.to_vec(),
                new: NEW.to_vec(),
            };
            place.state.write_journal(&place.hosts, &journal).unwrap();
            // As `restore` leaves it: any other journal changes blocks alone.
            place.state.put_backup(&place.hosts, NEW).unwrap();
        }
        if !cleared {
            let mut permissions = fs::metadata(&place.hosts).unwrap().permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&place.hosts, permissions).unwrap();
        }
        in_place::recover(&place.hosts, &place.state, InPlace::Always).unwrap();
        let is_torn = text != OLD && text != NEW;
        assert_eq!(
            fs::read(&place.hosts).unwrap(),
            if is_torn { NEW } else { text }
        );
        assert_eq!(attributes(&place.hosts), READ_ONLY, "{text:?}");
        assert!(!place.state.was_read_only(&place.hosts));
        assert!(place.state.journal(&place.hosts).unwrap().is_none());
    }
}

#[test]
fn people_see_paths_as_they_write_them() {
    let place = place();
    make(&place.hosts, 0);
    let target = Target::find(&place.hosts).unwrap();
    let shown = target.path().display().to_string();
    assert!(!shown.contains(r"\\?\"), "{shown}");
}

#[test]
fn a_file_in_utf_16_is_refused_with_the_reason() {
    let place = place();
    fs::write(&place.hosts, b"\xff\xfe1\x002\x007\x00").unwrap();
    let error = add_db(&place).unwrap_err().to_string();
    assert!(error.contains("UTF-16, as PowerShell's"), "{error}");
}

#[test]
fn a_deleted_file_inherits_the_permissions_of_its_folder() {
    let place = place();
    make(&place.hosts, 0);
    let beside = place.hosts.with_file_name("other");
    create(&beside, &place.state, NEW).unwrap();
    // Readable for all who can read the folder: the resolver runs as another user.
    File::open(&beside).unwrap();
    assert_eq!(fs::read(&beside).unwrap(), NEW);
}
