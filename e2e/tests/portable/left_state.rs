//! What the programs for Windows left in their state folders is read by this version, on either system, also if a newer
//! version has added to it.
//!
//! `e2e/fixtures/windows` is what `silo-downstream.exe` and `silo-upstream.exe` left. `SILO_TEST_WRITE_GOLDEN=1` writes it,
//! on Windows.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use silo_e2e::write_private;
use silo_shared::{folders, private_file};

use crate::{Site, said};

const SILO: &str = "left";
const FIRST: &str = "127.0.0.1 localhost\r\n10.0.0.9 printer\r\n";
const SECOND: &str = "10.0.0.10 scanner\r\n";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/windows")
}

/// The names and contents of the files in a folder, without locks.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| name(path) != "lock")
        .map(|path| (name(&path), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// By which the agents name files: the first digits of a digest.
fn digits(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digest = digest.iter().take(bytes);
    digest.map(|byte| format!("{byte:02x}")).collect()
}

/// What the names of files are made from.
struct Names {
    hub: String,
    hosts: String,
}

impl Names {
    fn of(site: &Site) -> Self {
        let hosts = folders::real(&site.hosts()).unwrap();
        Self {
            hub: site.url.clone(),
            hosts: hosts.to_str().unwrap().to_owned(),
        }
    }

    /// The parts of names that depend on the machine.
    fn parts(&self) -> [String; 3] {
        [
            digits(&self.hosts, 8),
            digits(&self.hub, 8),
            digits(&format!("{}\n{SILO}\ndb", self.hub), 12),
        ]
    }
}

/// Adds fields that this version does not know, where the files have fields: not in what is a map by silo or by family.
fn add_fields(value: &mut Value, is_map: bool) {
    let Value::Object(fields) = value else {
        if let Value::Array(items) = value {
            items.iter_mut().for_each(|item| add_fields(item, false));
        }
        return;
    };
    for (name, inner) in fields.iter_mut() {
        add_fields(
            inner,
            ["silos", "set", "missing", "told"].contains(&name.as_str()),
        );
    }
    if !is_map {
        fields.insert("added_later".to_owned(), json!({"by": [1, "two"]}));
    }
}

/// Puts the fixture's folder into one of the site.
fn put(site: &Site, from: &str, to: &str, adds_fields: bool) {
    let old: Value =
        serde_json::from_slice(&fs::read(fixture().join("names.json")).unwrap()).unwrap();
    let text = |name: &str| old[name].as_str().unwrap().to_owned();
    let old = Names {
        hub: text("hub"),
        hosts: text("hosts"),
    };
    let new = Names::of(site);
    let folder = site.path(to);
    private_file::create_folder(&folder).unwrap();
    for (name, bytes) in files(&fixture().join(from)) {
        let mut new_name = name;
        for (old, new) in old.parts().iter().zip(new.parts()) {
            new_name = new_name.replace(old, &new);
        }
        let mut text = String::from_utf8(bytes)
            .unwrap()
            .replace(&old.hub, &new.hub);
        if let (true, Ok(mut value)) = (adds_fields, serde_json::from_str(&text)) {
            add_fields(&mut value, false);
            text = value.to_string();
            assert!(text.contains("added_later"), "{text}");
        }
        write_private(&folder.join(new_name), &text);
    }
}

/// Both agents have run twice, and another program has added a line in between.
async fn leave(site: &Site) {
    fs::write(site.hosts(), FIRST).unwrap();
    site.put("db", "10.0.0.5").await;
    said(&mut site.downstream("once"));
    fs::write(site.hosts(), site.text() + SECOND).unwrap();
    said(&mut site.upstream("once", "10.0.0.6"));
    said(&mut site.downstream("once"));
}

#[cfg(windows)]
fn write_fixture(site: &Site) {
    let names = Names::of(site);
    let names = json!({"hub": names.hub, "hosts": names.hosts});
    for (from, to) in [("state", "downstream"), ("upstream-state", "upstream")] {
        let to = fixture().join(to);
        fs::create_dir_all(&to).unwrap();
        for (name, _) in files(&to) {
            fs::remove_file(to.join(name)).unwrap();
        }
        for (name, bytes) in files(&site.path(from)) {
            fs::write(to.join(name), bytes).unwrap();
        }
    }
    fs::write(fixture().join("names.json"), format!("{names}\n")).unwrap();
    fs::write(fixture().join("hosts"), fs::read(site.hosts()).unwrap()).unwrap();
}

#[tokio::test]
async fn what_programs_on_windows_left_is_read_by_a_later_version() {
    let site = Site::new(SILO);
    leave(&site).await;
    #[cfg(windows)]
    if std::env::var_os("SILO_TEST_WRITE_GOLDEN").is_some() {
        write_fixture(&site);
    }
    // What this version leaves is what the fixture has.
    let kinds = |folder: &Path| {
        let kind = |(name, _): (String, _)| name.split('-').next().unwrap().to_owned();
        files(folder).into_iter().map(kind).collect::<Vec<_>>()
    };
    for (own, left) in [("state", "downstream"), ("upstream-state", "upstream")] {
        assert_eq!(kinds(&site.path(own)), kinds(&fixture().join(left)));
    }
    for adds_fields in [false, true] {
        for folder in ["state", "upstream-state"] {
            fs::remove_dir_all(site.path(folder)).unwrap();
        }
        fs::copy(fixture().join("hosts"), site.hosts()).unwrap();
        put(&site, "downstream", "state", adds_fields);
        put(&site, "upstream", "upstream-state", adds_fields);
        goes_on(&site);
    }
}

/// The agents know what they did, and the backups are there.
fn goes_on(site: &Site) {
    let left = site.text();
    let listed = said(site.downstream("restore").arg("--list"));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let status = said(&mut site.downstream("status"));
    // When the last run of the fixture was.
    assert!(status.contains("2026-11-30T01:47:53Z"), "{status}");
    assert!(said(&mut site.upstream("once", "10.0.0.6")).contains("unchanged"));
    let once = logs_of(&mut site.downstream("once"));
    assert!(once.0.contains("unchanged"), "{once:?}");
    assert!(
        !once.1.contains(" WARN "),
        "nothing of the state is invalid: {once:?}"
    );
    assert_eq!(site.text(), left);
    said(&mut site.downstream("restore"));
    assert!(site.text().contains(SECOND), "{}", site.text());
}

/// What a run printed, and its warnings.
fn logs_of(command: &mut std::process::Command) -> (String, String) {
    let output = silo_e2e::logs::run(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}
