//! Files that are no export, or not a whole one.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::transfer::{ImportError, Imported};

use super::{exported, fill, import};
use crate::common::TestHub;
use crate::dynahost::moves::start as start_dynahost;
use crate::dynahost::{ok, update};
use crate::update_keys::add;

/// An export with a line of each kind, and the hub that it is of.
struct Exported {
    from: Arc<OpenHub>,
    text: String,
    lines: Vec<Value>,
    _hub: TestHub,
    _folder: tempfile::TempDir,
}

impl Exported {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (hub, from) = start_dynahost(&folder.path().join("hub.key")).await;
        fill(&hub).await;
        let added = add(&from, "0123456789abcdef", "nas").await;
        added.expect("a key");
        let login = "secid=a-secid&host=nas.example.net&backend=ovh&login=a&pass=b";
        assert_eq!(update(&hub, login).await, ok());
        let text = exported(&from, true).await;
        let lines = text.lines();
        Self {
            from,
            lines: lines
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect(),
            text,
            _hub: hub,
            _folder: folder,
        }
    }

    /// The number of the line of a kind that holds a word.
    fn place(&self, kind: &str, word: &str) -> usize {
        self.lines
            .iter()
            .position(|line| line[kind].to_string().contains(word))
            .expect("a line of each kind")
    }

    /// The whole is read in as if nothing had been tried before.
    async fn still_comes_whole(&self, to: &OpenHub) {
        import(to, &self.text).await.expect("it is whole");
        let (have, want) = (exported(to, false).await, exported(&self.from, false).await);
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<HashSet<_>>();
        assert_eq!(lines(&have), lines(&want));
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn hostile_lines_are_named_by_number_and_change_nothing() {
    let export = Exported::new().await;
    let lines = &export.lines;
    let place = |kind: &str, word: &str| export.place(kind, word);
    let (office, gone) = (place("silo", "\"office\""), place("silo", "\"gone\""));
    let (row, token) = (place("history", "10.0.0.5"), place("token", "nas-"));
    let key = place("update_key", "\"nas\"");
    let bound = place("dynahost", "\"nas.example.net\"");
    let costly = "$argon2id$v=19$m=4194304,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$\
                  AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let record = "/silo/records/0";
    let far = json!(i64::MAX);
    let long = json!("x".repeat(1001));
    let cases = [
        (office, "/silo/id", json!("../etc")),
        (office, "/silo/revision", far.clone()),
        (office, "/silo/revision", json!(-1)),
        (office, "/silo/revision", json!(1)),
        (office, "/silo/revision", json!("7")),
        (office, "/silo/updated_at", json!("yesterday")),
        (office, "/silo/deleted", json!(true)),
        (office, "/silo/records", json!(7)),
        (office, &format!("{record}/hostname"), json!("localhost")),
        (office, &format!("{record}/ips"), json!([])),
        (
            office,
            &format!("{record}/ips"),
            json!(["10.0.0.1", "10.0.0.2"]),
        ),
        (office, &format!("{record}/ips"), json!(["0.0.0.0"])),
        (
            office,
            &format!("{record}/ips"),
            json!(["10.0.0.1\n10.0.0.2 x"]),
        ),
        (office, &format!("{record}/comment"), long.clone()),
        (office, &format!("{record}/comment"), json!("a\0b")),
        (
            office,
            &format!("{record}/notify"),
            json!("a@lan\r\nBcc: b@lan"),
        ),
        (office, &format!("{record}/notify"), json!("no-address")),
        (office, &format!("{record}/ipv6_suffix"), json!("::")),
        (office, &format!("{record}/expires_after"), json!(1)),
        (gone, "/silo", json!({"id": "gone"})),
        (gone, "/silo/root", json!(1)),
        (row, "/history/revision", far),
        (row, "/history/old_ip", json!("fd00::1")),
        (row, "/history/new_ip", json!(null)),
        (row, "/history/via", json!("'; DROP TABLE silos")),
        (row, "/history/token", json!("x")),
        (token, "/token/id", json!("short")),
        // A role of a newer version is kept as it is; this is no name of one.
        (token, "/token/role", json!("no role")),
        (token, "/token/silos", json!([])),
        (token, "/token/name", long),
        (token, "/token/credential_hash", json!("\u{1b}[2J")),
        (token, "/token/signing_key", json!("€")),
        (token, "/token/credential_hash", json!("+1".repeat(32))),
        (key, "/update_key/id", json!("short")),
        (key, "/update_key/silo", json!("../etc")),
        (key, "/update_key/hostname", json!("localhost")),
        (key, "/update_key/created_at", json!("yesterday")),
        (key, "/update_key/key_hash", json!("a".repeat(63))),
        (key, "/update_key/key_hash", json!("A".repeat(64))),
        (key, "/update_key/key_hash", json!("\u{1b}[2J")),
        (key, "/update_key/key", json!("0123456789abcdef")),
        (bound, "/dynahost/id", json!("short")),
        (bound, "/dynahost/silo", json!("../etc")),
        (bound, "/dynahost/hostname", json!("localhost")),
        (bound, "/dynahost/created_at", json!("yesterday")),
        (bound, "/dynahost/confirmed", json!(1)),
        (bound, "/dynahost/secid_hash", json!(null)),
        (bound, "/dynahost/secid_hash", json!("a-secid")),
        (bound, "/dynahost/secid_hash", json!(costly)),
        (bound, "/dynahost/login", json!({"sink": "ovh"})),
        (bound, "/dynahost/login/sink", json!("OVH")),
        (bound, "/dynahost/login/sealed", json!("€")),
        (bound, "/dynahost/login/sealed", json!("A".repeat(8192))),
        (bound, "/dynahost/login/hash", json!("A".repeat(64))),
        (bound, "/dynahost/login/pass", json!("b")),
        (lines.len() - 1, "/end/dynahosts", json!(0)),
        (lines.len() - 1, "/end/silos", json!(9)),
        (lines.len() - 1, "/end/update_keys", json!(0)),
        (lines.len() - 1, "/end", json!([])),
    ];
    let (_target, to) = TestHub::start_in_parts().await;
    for (at, pointer, value) in cases {
        let mut wrong = lines.clone();
        match wrong[at].pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => {
                let (parent, member) = pointer.rsplit_once('/').unwrap();
                wrong[at].pointer_mut(parent).unwrap()[member] = value.clone();
            }
        }
        let wrong: Vec<String> = wrong.iter().map(Value::to_string).collect();
        let error = import(&to, &wrong.join("\n")).await.unwrap_err();
        let (pointer, error) = (pointer.to_owned(), error.to_string());
        assert!(
            error.starts_with(&format!("line {}: ", at + 1)),
            "{pointer} {value}: {error}"
        );
        assert!(
            error.len() < 1000 && !error.contains(char::is_control),
            "{error:?}"
        );
    }
    export.still_comes_whole(&to).await;
}

#[tokio::test]
async fn what_is_no_whole_export_is_refused_and_changes_nothing() {
    let export = Exported::new().await;
    let Exported { text, lines, .. } = &export;
    let (_target, to) = TestHub::start_in_parts().await;
    for garbage in [
        "{",
        "null",
        "\u{feff}{}",
        "{\"format\":\"x\",\"version\":1}",
        "[]",
    ] {
        let error = import(&to, garbage).await.unwrap_err().to_string();
        assert!(error.starts_with("line 1: "), "{error}");
    }
    // A first line that names no key of a hub.
    let bare = json!({"format": "silo-export", "version": 1});
    for (kind, word) in [
        ("token", "nas-"),
        ("update_key", "\"nas\""),
        ("dynahost", "\"nas.example.net\""),
    ] {
        let at = export.place(kind, word);
        let error = import(&to, &format!("{bare}\n{}", lines[at])).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("line 2: "), "{error}");
        assert!(error.contains("names no hub key"), "{error}");
    }
    // One from before there were update keys.
    let old = format!(
        "{bare}\n{}",
        json!({"end": {"silos": 0, "history": 0, "tokens": 0}})
    );
    assert_eq!(import(&to, &old).await.unwrap(), Imported::default());
    let error = import(&to, "{\"format\":\"silo-export\",\"version\":2}").await;
    assert!(error.unwrap_err().to_string().contains("version 2"));
    let deep = format!("{}\n{}", lines[0], "[".repeat(100_000));
    assert!(
        import(&to, &deep)
            .await
            .unwrap_err()
            .to_string()
            .starts_with("line 2: ")
    );
    assert!(matches!(
        import(&to, "").await,
        Err(ImportError::CutShort(0))
    ));
    let after = format!("{text}{}", lines[export.place("silo", "\"office\"")]);
    let error = import(&to, &after).await.unwrap_err().to_string();
    assert!(error.contains("nothing may follow"), "{error}");
    export.still_comes_whole(&to).await;
}
