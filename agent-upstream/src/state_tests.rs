use super::*;

const LIMIT: Duration = Duration::from_secs(3600);
const MINUTE: u64 = 60_000;

/// Whether IPv6 counts as missing long enough after runs at these minutes.
fn is_gone(minutes: &[u64]) -> bool {
    let mut memory = Memory::default();
    for at in minutes {
        memory.note_missing(Family::V6, at * MINUTE, LIMIT);
    }
    memory.is_gone(Family::V6, LIMIT)
}

#[test]
fn only_time_between_runs_that_found_it_missing_counts() {
    let every_five: Vec<u64> = (0..=60).step_by(5).map(|minute| 1000 + minute).collect();
    let cases: [(&[u64], bool); 10] = [
        (&every_five, true),
        (&every_five[1..], false),
        (&[1000], false),
        // Two runs do not observe the time between them.
        (&[1000, 1060], false),
        (&[1000, 11_000], false),
        (&[1000, 1030, 1060], true),
        (&[1000, 2000, 3000], true),
        // Restarted, or the wall clock was set back: the time between does not count.
        (&[1000, 1030, 10, 39], false),
        (&[1000, 1030, 10, 40], true),
        // The stored time is ahead of now.
        (&[u64::MAX / MINUTE, 1000, 1029], false),
    ];
    for (minutes, gone) in cases {
        assert_eq!(is_gone(minutes), gone, "{minutes:?}");
    }
}

#[test]
fn a_family_that_is_found_again_counts_from_the_beginning() {
    let mut memory = Memory::default();
    assert!(memory.note_missing(Family::V6, 0, LIMIT));
    assert!(!memory.note_missing(Family::V6, 30 * MINUTE, LIMIT));
    assert!(memory.note_found(Family::V6));
    assert!(!memory.note_found(Family::V6));
    assert!(memory.note_missing(Family::V6, 60 * MINUTE, LIMIT));
    assert!(!memory.is_gone(Family::V6, LIMIT));
    assert!(!memory.is_gone(Family::V4, LIMIT));
}

#[test]
fn only_an_address_set_by_this_agent_may_be_removed() {
    let addresses = |text: &str| -> Addresses {
        text.split(' ')
            .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
            .collect()
    };
    let mut memory = Memory::default();
    assert!(!memory.has_set(Family::V6, &addresses("fd00::5")));
    assert!(!memory.has_set(Family::V6, &Addresses::default()));
    memory.note_set(&addresses("10.0.0.5 fd00::5"));
    memory.note_set(&addresses("10.0.0.6"));
    assert!(memory.has_set(Family::V6, &addresses("10.0.0.5 fd00::5")));
    assert!(!memory.has_set(Family::V6, &addresses("fd00::6")));
    assert!(!memory.has_set(Family::V6, &addresses("10.0.0.5")));
    assert!(!memory.has_set(Family::V4, &addresses("10.0.0.5")));
    memory.note_removed(Family::V6);
    assert!(!memory.has_set(Family::V6, &addresses("fd00::5")));
}

#[cfg(unix)]
#[test]
fn the_state_is_private_and_read_back() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/state");
    assert!(StateDir::probe(&path).is_ok() && !path.exists());
    let state = StateDir::open(&path).unwrap();
    let (silo, name) = (
        SiloId::parse("office").unwrap(),
        Hostname::parse("db").unwrap(),
    );
    let mut memory = state.recall("http://hub", &silo, &name).unwrap();
    memory.note_failure("down", "no answer", Timestamp::UNIX_EPOCH);
    memory.note_missing(Family::V6, 7, LIMIT);
    state.remember(&silo, &name, &memory).unwrap();
    assert_eq!(state.recall("http://hub", &silo, &name).unwrap(), memory);
    assert_ne!(state.recall("http://other", &silo, &name).unwrap(), memory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(mode(&files[0]), 0o600);
    fs::write(&files[0], "{").unwrap();
    let forgotten = state.recall("http://hub", &silo, &name).unwrap();
    assert_eq!(forgotten, Memory::new("http://hub", &silo, &name));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(StateDir::open(&path).is_err() && StateDir::probe(&path).is_err());
}
