//! One SQLite file is for one hub, by whatever name it is given.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use silo_hub::internals::database_url::DatabaseUrl;
use silo_hub::internals::settings::HubSettings;

use crate::common::{Home, TestHub, refusal};

/// Another name of the file `there`, in a folder of its own; made beside a hub or before.
type Name = fn(folder: &Path, there: &Path) -> PathBuf;

const NAMES: &[(&str, Name)] = &[
    ("a link", |folder, there| {
        let link = folder.join("link.db");
        symlink(there, &link).unwrap();
        link
    }),
    ("a link to a link", |folder, there| {
        symlink(there, folder.join("one.db")).unwrap();
        symlink("one.db", folder.join("two.db")).unwrap();
        folder.join("two.db")
    }),
    ("a relative link", |folder, there| {
        let name = there.file_name().unwrap();
        let data = there.parent().unwrap().file_name().unwrap();
        symlink(
            Path::new("..").join(data).join(name),
            folder.join("link.db"),
        )
        .unwrap();
        folder.join("link.db")
    }),
    ("a link to the folder", |folder, there| {
        symlink(there.parent().unwrap(), folder.join("data")).unwrap();
        folder.join("data").join(there.file_name().unwrap())
    }),
    ("a way round", |folder, there| {
        let data = there.parent().unwrap();
        let round = folder.join("..").join(data.file_name().unwrap());
        round.join(there.file_name().unwrap())
    }),
];

fn elsewhere(home: &Home, number: usize, file: &Path) -> HubSettings {
    let mut settings = home.settings_in(&format!("other-{number}"));
    settings.database = Some(DatabaseUrl::sqlite_file(file));
    settings
}

#[tokio::test]
async fn a_file_under_another_name_is_refused_too() {
    let home = Arc::new(Home::of_sqlite());
    let hub = TestHub::start_in(Arc::clone(&home), home.settings()).await;
    let there = hub.data("hub.db");
    for (number, (case, name)) in NAMES.iter().enumerate() {
        let settings = elsewhere(&home, number, &there);
        std::fs::create_dir(&settings.data_dir).unwrap();
        let file = name(&settings.data_dir, &there);
        let said = refusal(&elsewhere(&home, number, &file)).await;
        assert!(
            said.contains("another silo-hub serves this database"),
            "{case}: {said}"
        );
    }
    assert_eq!(hub.put_silo("office", &[]).await.status, 201);
}

#[tokio::test]
async fn a_link_to_a_file_that_is_not_there_yet_names_that_file() {
    for (number, (case, name)) in NAMES.iter().enumerate() {
        let home = Arc::new(Home::of_sqlite());
        let there = home.settings().data_dir.join("hub.db");
        std::fs::create_dir(home.settings().data_dir).unwrap();
        let mut settings = elsewhere(&home, number, &there);
        std::fs::create_dir(&settings.data_dir).unwrap();
        let file = name(&settings.data_dir, &there);
        settings.database = Some(DatabaseUrl::sqlite_file(&file));
        let hub = TestHub::start_in(Arc::clone(&home), settings).await;
        let said = refusal(&home.settings()).await;
        assert!(
            said.contains("another silo-hub serves this database"),
            "{case}: {said}"
        );
        let (home, first) = hub.stop().await;
        let mut settings = home.settings();
        settings.key_file = Some(first.data_dir.join("hub.key"));
        TestHub::start_in(home, settings).await;
    }
}

#[tokio::test]
async fn a_file_with_a_second_hard_link_is_refused() {
    let home = Arc::new(Home::of_sqlite());
    let hub = TestHub::start_in(Arc::clone(&home), home.settings()).await;
    let there = hub.data("hub.db");
    let other = elsewhere(&home, 0, &home.path().join("other-0/hard.db"));
    std::fs::create_dir(&other.data_dir).unwrap();
    std::fs::hard_link(&there, other.data_dir.join("hard.db")).unwrap();
    let said = refusal(&other).await;
    assert!(said.contains("hard link"), "{said}");
    hub.stop().await;
    let said = refusal(&home.settings()).await;
    assert!(said.contains("hard link"), "{said}");
    std::fs::remove_file(other.data_dir.join("hard.db")).unwrap();
    // What a restore that was killed leaves beside it is in no hub's way.
    let aside = home
        .settings()
        .data_dir
        .join("hub.db.before-2027-01-01T000000.000Z");
    std::fs::hard_link(&there, aside).unwrap();
    TestHub::start_in(Arc::clone(&home), home.settings()).await;
}
