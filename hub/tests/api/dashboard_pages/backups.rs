//! The page of the hub itself, and the download of a backup.

use sqlx::{Connection, Row};

use super::browser::Browser;
use crate::common::TestHub;
use crate::dashboard::Browser as Plain;

const BACKUP: &str = "/dashboard/system/backup";

/// A hub behind a proxy on its own machine that tells of TLS and of clients.
async fn hub() -> TestHub {
    TestHub::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

#[tokio::test]
async fn a_backup_is_downloaded_whole_and_noted() {
    let hub = TestHub::start_on_sqlite().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let text = browser.read("/dashboard/system").await;
    assert!(text.contains("none that this hub knows of"), "{text}");
    for word in [
        "SQLite, embedded",
        "Requests a second",
        "A commit takes",
        "Revision",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let copy = browser.download(&hub, BACKUP).await;
    assert_eq!(copy.status(), 200);
    let name = "attachment; filename=\"silo-2026-01-02.db\"";
    assert_eq!(copy.headers()["content-disposition"], name);
    assert_eq!(copy.headers()["cache-control"], "no-store");
    let copy = copy.bytes().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.db");
    std::fs::write(&file, &copy).unwrap();
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", file.display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    let row = sqlx::query("SELECT hostname FROM records")
        .fetch_one(&mut connection)
        .await;
    assert_eq!(row.unwrap().get::<String, _>(0), "db");
    let sound = sqlx::query("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await;
    assert_eq!(sound.unwrap().get::<String, _>(0), "ok");
    let left = std::fs::read_dir(&hub.settings.data_dir).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.contains("download")).collect();
    assert_eq!(left, [""; 0]);
    let text = browser.read("/dashboard/system").await;
    assert!(text.contains("Newest backup: just now"), "{text}");
}

#[tokio::test]
async fn a_backup_never_goes_over_plain_http_to_another_machine() {
    let hub = hub().await;
    let own = format!("http://{}", hub.address);
    let tls = ("x-forwarded-proto", "https");
    let away = ("x-forwarded-for", "192.0.2.7");
    let is_file = hub.get("/status").await.json()["database"]["address"]
        .as_str()
        .unwrap()
        .starts_with("sqlite:");
    for (origin, headers, is_sent) in [
        (&*own, vec![], true),
        ("http://localhost:8053", vec![], true),
        ("https://hub.test", vec![tls, away], true),
        ("http://hub.test", vec![], false),
        ("http://localhost:8053", vec![away], false),
        ("http://hub.test", vec![away], false),
    ] {
        let plain = Plain::at(&hub, origin);
        let plain = headers
            .into_iter()
            .fold(plain, |plain, (name, value)| plain.header(name, value));
        let browser = Browser::sign_in_with(plain, &hub.admin).await;
        let page = browser.get("/dashboard/system").await;
        let copy = browser.post(BACKUP, &[]).await;
        if !is_sent {
            assert_eq!(copy.status(), 403);
            assert!(
                copy.text().contains("could be read on the way"),
                "{}",
                copy.text()
            );
            assert!(!page.html().contains(BACKUP), "{page:?}");
        } else if is_file {
            assert_eq!(copy.status(), 200);
            assert!(copy.html().starts_with("SQLite format 3\0"));
            assert!(page.html().contains(BACKUP), "{page:?}");
        } else {
            assert_eq!(copy.status(), 404);
            assert!(page.text().contains("dump"), "{page:?}");
        }
    }
}
