//! What a run waits for, and for how long.

use super::*;
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

#[test]
fn a_file_that_changes_is_waited_for_and_one_that_only_grows_is_told_apart() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path();
    std::fs::write(path, "127.0.0.1 localhost\n").unwrap();
    let before = Mark::of(&snapshot(path));
    let limit = Duration::from_millis(300);
    let look = |text: &'static str, append: bool| {
        let mut count = 0;
        move || {
            count += 1;
            let old = if append {
                std::fs::read_to_string(path)?
            } else {
                String::new()
            };
            std::fs::write(path, format!("{old}{text}{count}\n"))?;
            Snapshot::take(path).map(Some)
        }
    };
    let growing = wait(look("10.0.0.9 theirs", true), Some(&before), limit).unwrap();
    assert!(matches!(growing, WaitResult::Growing(_)), "{growing:?}");
    let unknown = wait(look("10.0.0.9 theirs", true), None, limit).unwrap();
    assert!(matches!(unknown, WaitResult::Unstable(_)), "{unknown:?}");
    let rewritten = wait(look("10.0.0.9 theirs", false), Some(&before), limit).unwrap();
    assert!(
        matches!(rewritten, WaitResult::Unstable(_)),
        "{rewritten:?}"
    );
    let still = wait(|| Snapshot::take(path).map(Some), Some(&before), LIMIT).unwrap();
    assert!(matches!(still, WaitResult::Stable(_)), "{still:?}");
    let missing = wait(|| Ok(None), Some(&before), LIMIT).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn an_empty_file_is_given_its_writer_ten_seconds() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let started = Instant::now();
    let mut looks = 0;
    let look = || {
        looks += 1;
        if looks == 20 {
            std::fs::write(file.path(), "127.0.0.1 localhost\n")?;
        }
        Snapshot::take(file.path()).map(Some)
    };
    // The writer comes after about two seconds; a file that is unchanged for one second would be accepted.
    match wait(look, None, LIMIT).unwrap() {
        WaitResult::Stable(found) => assert_eq!(found.bytes, b"127.0.0.1 localhost\n"),
        other => panic!("{other:?} after {:?}", started.elapsed()),
    }
}
