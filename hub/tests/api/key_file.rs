//! The hub's key file: cut short by a power cut, and replaced by `key reset`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::common::{DEADLINE, Home, TestHub, refusal};

/// What a power cut may leave of a key that was being written.
fn cut_short() -> Vec<(&'static str, Vec<u8>)> {
    let whole = b"c2lsby1odWItdGVzdC1rZXktb2YtMzItYnl0ZXMhISE=\n";
    vec![
        ("empty", Vec::new()),
        ("a newline", b"\n".to_vec()),
        ("one character", whole[..1].to_vec()),
        ("half", whole[..20].to_vec()),
        ("all but the padding", whole[..43].to_vec()),
        ("a block of zeros", vec![0; 45]),
        ("half, then zeros", [&whole[..20], &[0; 25]].concat()),
    ]
}

/// Files that can't be a truncated key: a wrong `key_file`, which must not be replaced.
fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("PEM", b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ\n".to_vec()),
        ("a credential", b"silo_abcdefgh12_0123\n".to_vec()),
        ("bytes", vec![0xff, 0xfe, 0x80, 0x01]),
        ("too long", b"QUJD".repeat(20)),
        ("a password", b"correct horse\n".to_vec()),
    ]
}

async fn reset(home: &Home, hub: &silo_hub::internals::settings::HubSettings) {
    let mut program = home.program(hub);
    program.args(["key", "reset"]);
    let output = tokio::time::timeout(DEADLINE, program.output())
        .await
        .expect("it ends in time")
        .expect("it can be run");
    assert!(output.status.success(), "{output:?}");
}

/// The contents of every file beside the key whose name begins with the key's.
fn kept(key: &Path) -> BTreeSet<Vec<u8>> {
    let name = key.file_name().unwrap().to_str().unwrap();
    std::fs::read_dir(key.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with(name))
        .map(|entry| std::fs::read(entry.path()).unwrap())
        .collect()
}

#[tokio::test]
async fn every_reset_keeps_the_key_that_it_replaces() {
    for name in ["hub.key", "shared"] {
        let home = Arc::new(Home::new());
        let mut settings = home.settings();
        let file = home.path().join("data").join(name);
        settings.key_file = Some(file.clone());
        let hub = TestHub::start_in(home, settings).await;
        let (home, settings) = hub.stop().await;
        let mut keys = BTreeSet::from([std::fs::read(&file).unwrap()]);
        for _ in 0..4 {
            reset(&home, &settings).await;
            assert!(keys.insert(std::fs::read(&file).unwrap()), "a new key");
        }
        assert_eq!(kept(&file), keys, "{name}");
        #[cfg(unix)]
        for entry in std::fs::read_dir(home.path().join("data")).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        // What is broken or gone is replaced as well.
        std::fs::write(&file, "half").unwrap();
        reset(&home, &settings).await;
        assert!(kept(&file).contains(b"half".as_slice()));
        std::fs::remove_file(&file).unwrap();
        reset(&home, &settings).await;
        TestHub::start_in(home, settings).await;
    }
}

#[tokio::test]
async fn a_key_that_was_cut_short_before_its_first_use_is_replaced() {
    for (case, text) in cut_short() {
        let home = Arc::new(Home::new());
        let settings = home.settings();
        std::fs::create_dir(&settings.data_dir).unwrap();
        let file = settings.data_dir.join("hub.key");
        std::fs::write(&file, &text).unwrap();
        let hub = TestHub::start_in(home, settings).await;
        let key = hub.read("hub.key");
        assert_eq!(key.len(), 45, "{case}");
        let hub = hub.restart().await;
        assert_eq!(hub.read("hub.key"), key, "{case}");
    }
}

#[tokio::test]
async fn a_truncated_known_key_is_reported_and_kept() {
    let hub = TestHub::start().await;
    let good = hub.read("hub.key");
    let (home, settings) = hub.stop().await;
    let file = settings.data_dir.join("hub.key");
    for (case, text) in cut_short() {
        std::fs::write(&file, &text).unwrap();
        let said = refusal(&settings).await;
        for word in [file.to_str().unwrap(), "truncated", "silo-hub key reset"] {
            assert!(said.contains(word), "{case}: no {word} in: {said}");
        }
        let mut program = home.program(&settings);
        program.args(["--listen", "127.0.0.1:0", "serve"]);
        let output = tokio::time::timeout(DEADLINE, program.output())
            .await
            .expect("it ends in time")
            .expect("it can be run");
        assert_eq!(output.status.code(), Some(2), "{case}: {output:?}");
        assert_eq!(std::fs::read(&file).unwrap(), text, "{case}");
    }
    std::fs::write(&file, good).unwrap();
    TestHub::start_in(home, settings).await;
}

#[tokio::test]
async fn a_file_that_is_no_key_is_never_replaced() {
    for (case, text) in foreign() {
        let home = Arc::new(Home::new());
        let settings = home.settings();
        std::fs::create_dir(&settings.data_dir).unwrap();
        let file = settings.data_dir.join("hub.key");
        std::fs::write(&file, &text).unwrap();
        let mut program = home.program(&settings);
        program.args(["--listen", "127.0.0.1:0", "serve"]);
        let output = tokio::time::timeout(DEADLINE, program.output())
            .await
            .expect("it ends in time")
            .expect("it can be run");
        assert_eq!(output.status.code(), Some(2), "{case}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("not a valid hub key"));
        assert_eq!(std::fs::read(&file).unwrap(), text, "{case}");
        assert_eq!(kept(&file), BTreeSet::from([text]), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_at_once_on_a_broken_key_agree_on_a_new_one() {
    const STARTS: usize = 8;
    for (case, text) in cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(folder.path().join("hub.key"));
        std::fs::write(&*file, &text).unwrap();
        let starts: Vec<_> = (0..STARTS)
            .map(|_| {
                let file = Arc::clone(&file);
                std::thread::spawn(move || {
                    silo_hub::internals::key_file::make_key(&file)
                        .unwrap()
                        .encode()
                })
            })
            .collect();
        let keys: BTreeSet<String> = starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect();
        let there = std::fs::read_to_string(&*file).unwrap();
        assert_eq!(keys, BTreeSet::from([there.trim().to_owned()]), "{case}");
    }
}
