//! A new hub is only created on request; and the errors when its database is missing.

use std::process::Output;
use std::sync::Arc;

#[cfg(unix)]
use serde_json::json;
use silo_hub::internals::settings::HubSettings;

use crate::common::{DEADLINE, Home, TestHub, refusal};

#[cfg(unix)]
const DB: &str = "/silos/office/records/db";

async fn run(home: &Home, settings: &HubSettings, words: &[&str]) -> Output {
    let mut program = home.program(settings);
    let output = program.args(words).output();
    let output = tokio::time::timeout(DEADLINE, output).await;
    output.expect("it ends in time").expect("it can be run")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const TOKEN: [&str; 6] = ["token", "create", "--name", "n", "--role", "admin"];
const KEY: [&str; 6] = ["update-key", "add", "--silo", "home", "--hostname", "nas"];

#[tokio::test]
async fn the_command_line_makes_no_hub_in_a_mistyped_place() {
    let home = Home::new();
    let settings = home.settings();
    for words in [
        &TOKEN[..],
        &KEY[..],
        &["token", "list"],
        &["update-key", "list"],
        &["silo", "export"],
        &["silo", "revert", "office", "1"],
        &["key", "reset"],
        &["restored"],
    ] {
        let output = run(&home, &settings, words).await;
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(said(&output).contains("--init"), "{words:?}: {output:?}");
        assert_eq!(output.stdout, b"", "{words:?}");
        assert!(!settings.data_dir.join("hub.db").exists(), "{words:?}");
        assert!(!settings.data_dir.join("hub.key").exists(), "{words:?}");
    }
    for words in [&TOKEN[..], &KEY[..]] {
        let output = run(&home, &settings, &[words, &["--init"]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    }
    // It is there now.
    let output = run(&home, &settings, &TOKEN).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_hub_whose_database_is_lost_begins_no_new_one() {
    let (home, settings) = TestHub::start_on_sqlite().await.stop().await;
    let file = settings.data_dir.join("hub.db");
    let aside = settings.data_dir.join("aside");
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(settings.data_dir.join(format!("hub.db{end}")));
    }
    std::fs::rename(&file, &aside).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            std::fs::write(&file, "").unwrap();
        }
        let why = refusal(&settings).await;
        assert!(why.contains("hub.db") && why.contains("--init"), "{why}");
    }
    std::fs::rename(&aside, &file).unwrap();
    let (home, mut settings) = TestHub::start_in(home, settings).await.stop().await;
    std::fs::remove_file(&file).unwrap();
    settings.init = true;
    TestHub::start_in(home, settings).await;
}

#[tokio::test]
async fn an_import_makes_a_hub_beside_a_key_that_was_put_there() {
    let hub = TestHub::start_on_sqlite().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let (home, settings) = hub.stop().await;
    let export = run(&home, &settings, &["silo", "export"]).await.stdout;
    let other = Home::of_sqlite();
    let others = other.settings();
    std::fs::create_dir(&others.data_dir).unwrap();
    std::fs::copy(
        settings.data_dir.join("hub.key"),
        others.data_dir.join("hub.key"),
    )
    .unwrap();
    let file = other.path().join("export");
    std::fs::write(&file, export).unwrap();
    let output = run(&other, &others, &["silo", "import", file.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    TestHub::start_in(Arc::new(other), others).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_that_is_moved_away_takes_no_writes_until_it_is_back() {
    let hub = TestHub::start_on_sqlite().await;
    let body = json!({"ip": "10.0.0.5"});
    assert_eq!(hub.put(DB).json(&body).await.status, 201);
    let (file, aside) = (hub.data("hub.db"), hub.data("aside"));
    let readyz = async |status: u16| {
        let reached = async {
            while hub.get("/readyz").await.status != status {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, reached).await.unwrap();
    };
    for replaced in [false, true] {
        std::fs::rename(&file, &aside).unwrap();
        if replaced {
            std::fs::copy(&aside, &file).unwrap();
        }
        readyz(503).await;
        for call in [hub.put(DB).json(&json!({"ip": "10.0.0.6"})), hub.delete(DB)] {
            let answer = call.await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("retry-after").is_some());
        }
        let read = hub.get(DB).await;
        assert_eq!(read.status, 200, "{replaced}: {read:?}");
        assert_eq!(read.json()["ips"], json!(["10.0.0.5"]));
        std::fs::rename(&aside, &file).unwrap();
        readyz(200).await;
        assert_eq!(hub.put(DB).json(&body).await.status, 200);
    }
}

/// What root's command line leaves where it runs before the service's first start.
#[cfg(unix)]
#[tokio::test]
async fn files_of_another_user_are_named_with_their_owner() {
    use std::os::unix::fs::{MetadataExt, chown};
    let (home, settings) = TestHub::start_on_sqlite().await.stop().await;
    let file = settings.data_dir.join("hub.db");
    if std::fs::metadata(&file).unwrap().uid() != 0 {
        // Only root can give files away; CI runs as root.
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        return;
    }
    const SERVICE: u32 = 65_534;
    for path in [home.path(), &settings.data_dir] {
        chown(path, Some(SERVICE), None).unwrap();
    }
    chown(settings.data_dir.join("hub.key"), Some(SERVICE), None).unwrap();
    let mut program = tokio::process::Command::new("setpriv");
    program
        .kill_on_drop(true)
        .args(["--reuid=65534", "--clear-groups", "--"])
        .arg(env!("CARGO_BIN_EXE_silo-hub"))
        .args(["--listen", "127.0.0.1:0", "serve", "--data-dir"])
        .arg(&settings.data_dir);
    let output = tokio::time::timeout(DEADLINE, program.output())
        .await
        .unwrap();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = said(&output);
    assert!(
        said.contains("belongs to user 0") && said.contains("chown 65534"),
        "{said}"
    );
}
