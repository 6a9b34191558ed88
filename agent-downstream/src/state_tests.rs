//! The state folder: who may own it, what is stored, what is never lost.

use super::*;
use silo_shared::api::{DnsRecord, SiloDocument};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn silo() -> SiloId {
    SiloId::parse("office").unwrap()
}

fn said(hub: &str, revision: i64) -> Remembered {
    Remembered {
        hub: hub.to_owned(),
        silo: "office".to_owned(),
        tag: Some(format!("\"{revision}\"")),
        database: None,
        document: SiloDocument {
            id: "office".to_owned(),
            dnsrecords: vec![DnsRecord {
                hostname: "db".to_owned(),
                ip: "10.0.0.5".to_owned(),
            }],
            revision,
            updated_at: "2026-01-02T03:04:05.678Z".to_owned(),
        },
        skipped: Vec::new(),
    }
}

#[test]
fn a_response_is_stored_only_for_its_hub() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap().lock().unwrap();
    state.remember(&silo(), &said("http://a:1", 41)).unwrap();
    state.remember(&silo(), &said("http://b:1", 7)).unwrap();
    let tag = |hub| {
        state
            .remembered(hub, &silo())
            .unwrap()
            .and_then(|found| found.tag)
    };
    assert_eq!(tag("http://a:1").as_deref(), Some("\"41\""));
    assert_eq!(tag("http://b:1").as_deref(), Some("\"7\""));
    assert_eq!(tag("http://c:1"), None);
}

#[test]
fn a_damaged_memory_is_as_good_as_none() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap().lock().unwrap();
    state.remember(&silo(), &said("http://a:1", 41)).unwrap();
    let path = state.remembered_path("http://a:1", &silo());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(state.remembered("http://a:1", &silo()).unwrap(), None);
    // A response stored under another hub's name is not trusted.
    fs::write(&path, serde_json::to_vec(&said("http://b:1", 41)).unwrap()).unwrap();
    assert_eq!(state.remembered("http://a:1", &silo()).unwrap(), None);
}

#[test]
fn a_backup_is_kept_of_each_state_that_others_left() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap().lock().unwrap();
    let hosts = Path::new("/etc/hosts");
    let backups = || -> Vec<String> {
        let found = state.backups(hosts).unwrap();
        found
            .into_iter()
            .map(|backup| String::from_utf8(backup.bytes).unwrap())
            .collect()
    };
    let block = |line: &str| format!("# BEGIN silo office\n{line}\n# END silo office\n");
    assert!(backups().is_empty());
    state.keep_backup(hosts, b"theirs", b"ours 1").unwrap();
    assert_eq!(backups(), ["theirs"]);
    state.keep_backup(hosts, b"ours 1", b"ours 2").unwrap();
    // A run killed before its rename: the file is still what the previous run wrote.
    state.keep_backup(hosts, b"ours 1", b"ours 3").unwrap();
    // And one killed after it.
    state.keep_backup(hosts, b"ours 3", b"ours 4").unwrap();
    assert_eq!(backups(), ["theirs"]);
    // Only our block was edited; the rest equals the newest backup.
    let edited = format!("theirs\n{}", block("10.6.6.6 db"));
    state
        .keep_backup(hosts, edited.as_bytes(), b"ours 5")
        .unwrap();
    assert_eq!(backups(), ["theirs"]);
    state.keep_backup(hosts, b"edited", b"ours 6").unwrap();
    assert_eq!(backups(), ["edited", "theirs"]);
    // The path where version 0.1.0 looks for the previous backup.
    let previous = state.backup_path(hosts).with_extension("previous");
    assert_eq!(fs::read(previous).unwrap(), b"theirs");
    for number in 0..20 {
        state
            .keep_backup(hosts, format!("edit {number}").as_bytes(), b"ours")
            .unwrap();
    }
    let expected: Vec<String> = (10..20)
        .rev()
        .map(|number| format!("edit {number}"))
        .collect();
    assert_eq!(backups(), expected);
    // Another hosts file has separate backups.
    assert!(state.backups(Path::new("/other/hosts")).unwrap().is_empty());
}

#[test]
fn notes_are_kept_for_each_hosts_file_and_damaged_ones_are_as_good_as_none() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap().lock().unwrap();
    let hosts = Path::new("/etc/hosts");
    let notes = |hosts: &str| state.notes(Path::new(hosts), |_| true).unwrap();
    let mut some = Notes::default();
    some.wrote(&silo(), &silo_shared::silo::Records::new());
    state.put_notes(hosts, &some).unwrap();
    assert_eq!(notes("/etc/hosts"), some);
    assert_eq!(notes("/other/hosts"), Notes::default());
    fs::write(state.file("notes", hosts), "{").unwrap();
    assert_eq!(notes("/etc/hosts"), Notes::default());
}

#[test]
fn lines_of_an_older_version_are_recognized_from_the_stored_response() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap().lock().unwrap();
    let hosts = Path::new("/etc/hosts");
    let mut answer = said("http://a:1", 41);
    for (hostname, ip) in [
        ("nas", "10.0.0.7"),
        ("tv", "127.0.0.1"),
        ("tv", "fd00::8"),
        ("web", "10.0.0.8"),
    ] {
        let (hostname, ip) = (hostname.to_owned(), ip.to_owned());
        answer.document.dnsrecords.push(DnsRecord { hostname, ip });
    }
    answer.skipped = vec![
        "skipped nas: line 2 of the hosts file defines it".to_owned(),
        "skipped tv 127.0.0.1: a loopback address".to_owned(),
    ];
    state.remember(&silo(), &answer).unwrap();
    let written = || state.notes(hosts, |name| name != "web").unwrap().written();
    // Not this hosts file.
    assert!(written().is_empty());
    state.keep_backup(hosts, b"theirs", b"ours").unwrap();
    let records = &written()[&silo()];
    let lines: Vec<String> = records
        .iter()
        .map(|(name, ips)| format!("{name} {ips}"))
        .collect();
    assert_eq!(lines, ["db 10.0.0.5", "tv fd00::8"]);
    // Two hubs: it is unknown which one the block came from.
    state.remember(&silo(), &said("http://b:1", 7)).unwrap();
    assert!(written().is_empty());
}

#[test]
fn a_journal_is_read_back_whatever_its_bytes() {
    for (old, new) in [(&b""[..], &b""[..]), (b"a\nb", b"\xff\0\n"), (b"\n\n", b"")] {
        let journal = Journal {
            old: old.to_vec(),
            new: new.to_vec(),
        };
        assert_eq!(Journal::parse(&journal.to_bytes()), Some(journal));
    }
    for wrong in [
        &b""[..],
        b"x\n",
        b"silo-downstream journal 1 3 4\nabc",
        b"silo-downstream journal 1 1\na",
    ] {
        assert_eq!(Journal::parse(wrong), None);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_is_made_private_and_one_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("a/b");
    let state = StateDir::open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    let locked = state.lock().unwrap();
    locked.remember(&silo(), &said("http://a:1", 1)).unwrap();
    assert_eq!(mode(&path.join("lock")), 0o600);
    assert_eq!(mode(&locked.remembered_path("http://a:1", &silo())), 0o600);
    for (open, refused) in [(0o755, false), (0o775, true), (0o702, true), (0o1777, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        assert_eq!(StateDir::open(&path).is_err(), refused, "{open:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_state_path_that_is_not_a_folder_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("state");
    for (path, words) in [
        (&file, "the state folder is not a folder"),
        (&below, "cannot inspect the state folder: "),
    ] {
        for error in [
            StateDir::open(path).unwrap_err(),
            StateDir::existing(path).unwrap_err(),
        ] {
            let expected = format!("{}: {words}", path.display());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
}
