//! Databases with the schema of this build, which its own `silo-hub migrate` makes once; tests copy them, since a copy
//! takes less time than the migrations. A build never gets those of another one.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use url::Url;

use crate::binary;

/// Takes back what a hub writes when it opens a new database: where the revisions begin, by the clock.
pub(crate) const AS_MIGRATED: &str = "UPDATE counters SET value = 0 WHERE name = 'revision'";

/// An SQLite file, to be copied.
///
/// # Panics
///
/// If it can't be made.
pub fn sqlite_file() -> PathBuf {
    once("sqlite", |part| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        migrate(folder.path(), None);
        let file = folder.path().join("hub.db");
        let mut sqlite = Command::new("sqlite3");
        let output = sqlite.arg(&file).arg(AS_MIGRATED).output();
        let output = output.expect("sqlite3 is installed (scripts/test installs it)");
        assert!(output.status.success(), "{output:?}");
        std::fs::copy(file, part).expect("the file can be copied");
    })
}

/// The name of a database on a server, to be copied, which `make` makes with the schema unless it is there.
pub(crate) fn on_server(server: &Url, make: impl FnOnce(&str)) -> String {
    let name = format!("silo_template_{}", hash(&(build(), server.as_str())));
    once(&name, |part| {
        make(&name);
        File::create(part).expect("a file in the target folder can be made");
    });
    name
}

/// Brings the schema of a database to this build, by default of the file in the folder.
pub(crate) fn migrate(data_dir: &Path, database: Option<&Url>) {
    let mut command = Command::new(binary("silo-hub"));
    command.arg("migrate").arg("--data-dir").arg(data_dir);
    command.env_remove("SILO_HUB_DATABASE");
    if let Some(database) = database {
        command.env("SILO_HUB_DATABASE", database.as_str());
    }
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("the hub can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "silo-hub migrate: {said}");
}

/// What tells this build of the hub, and so its migrations, from others.
fn build() -> String {
    let hub = std::fs::metadata(binary("silo-hub")).expect("the hub was built");
    let built = hub.modified().expect("the system knows when");
    hash(&(hub.len(), built, AS_MIGRATED))
}

fn hash(what: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The file `name` of this build, which `make` writes unless it is there; one process at a time does so.
fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let hub = binary("silo-hub");
    let folder = hub.with_file_name("silo-templates");
    let build = build();
    let ready = folder.join(format!("{build}-{name}"));
    if ready.exists() {
        return ready;
    }
    std::fs::create_dir_all(&folder).expect("a folder beside the hub can be made");
    let lock = File::create(folder.join("lock")).expect("a file there can be made");
    lock.lock().expect("a file there can be locked");
    if !ready.exists() {
        for entry in folder.read_dir().expect("the folder can be listed") {
            let path = entry.expect("the folder can be listed").path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if file != "lock" && !file.starts_with(&build) {
                std::fs::remove_file(&path).expect("an old file can be removed");
            }
        }
        let part = folder.join(format!("{build}-part"));
        make(&part);
        std::fs::rename(&part, &ready).expect("a file can be renamed");
    }
    ready
}
