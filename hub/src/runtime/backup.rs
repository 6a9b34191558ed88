//! Copies of an embedded database: made while a hub runs, restored while none does.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use silo_shared::held;
use thiserror::Error;

use crate::config::database_url::DatabaseUrl;
use crate::config::settings::HubSettings;
use crate::domain::time::Clock;
use crate::registry::{KEY_FINGERPRINT, NoteRestored};
use crate::runtime::data_dir::{
    DataDir, DataDirError, lock_database_file, make_private_file, prepare_database_file,
};
use crate::runtime::download::note_backup;
use crate::runtime::open_hub::{OpenError, OpenHub, check_key, database_url, key_file};
use crate::store::{Queries, StoreError, is_sqlite};

/// Why a copy was not made or not restored. Nothing has changed then.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The database is on a server, which has its own backup tools.
    #[error(
        "{0} is a server's database: back it up with pg_dump or mariadb-dump, restore it with pg_restore or mariadb while no hub serves it, then run `silo-hub restored`"
    )]
    Server(DatabaseUrl),
    /// There is no database to copy.
    #[error("{}: no hub database here: check --data-dir", .0.display())]
    NoDatabase(PathBuf),
    /// A file can't be created, read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The copy would overwrite a file.
    #[error("{}: the file already exists", .0.display())]
    Exists(PathBuf),
    /// The file to restore is not a copy of a hub's database.
    #[error("{}: {why}", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// A program other than a hub has the database open.
    #[error("{}: another program uses this database: stop it, then try again", .0.display())]
    InUse(PathBuf),
    /// The data directory, or the database in the copy or next to it, can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<DataDirError> for BackupError {
    fn from(error: DataDirError) -> Self {
        Self::Open(error.into())
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}

/// The result of a restore.
#[derive(Debug)]
pub struct Restored {
    /// The database file.
    pub file: PathBuf,
    /// The path of the previous database, if there was one.
    pub old: Option<PathBuf>,
    /// Why a hub can't start on it, if so: it belongs to another key.
    pub key: Result<(), DataDirError>,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |cause| BackupError::File { path, cause }
}

/// A path with a suffix appended to its file name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove_if_there(path: &Path) -> Result<(), BackupError> {
    match held::remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let sync = || File::options().write(true).open(path)?.sync_all();
    sync().map_err(failed(path))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), BackupError> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let sync = || File::open(folder)?.sync_all();
        sync().map_err(failed(folder))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Writes a copy of the current database into a new file of mode 0600, while a hub may be writing to it. The file is
/// complete or absent. Notes the time beside the database.
pub async fn backup(settings: &HubSettings, file: &Path) -> Result<(), BackupError> {
    let url = database_url(settings);
    let Some(database) = url.file() else {
        return Err(BackupError::Server(url));
    };
    if !database.exists() {
        return Err(BackupError::NoDatabase(database));
    }
    let file = std::path::absolute(file).map_err(failed(file))?;
    if file.to_str().is_none() {
        return Err(failed(&file)(std::io::Error::other("not a name in UTF-8")));
    }
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file));
    }
    let part = beside(&file, ".part");
    make_private_file(&part)?;
    let copied = async {
        url.copy_into(&part).await?;
        sync(&part)?;
        put_new(&part, &file)?;
        sync_folder(&file)
    };
    let copied = copied.await;
    // It is absent if it was renamed.
    let removed = remove_if_there(&part);
    copied.and(removed)?;
    note_backup(&database, Clock::System.now());
    Ok(())
}

/// Renames a file without overwriting another one.
fn put_new(from: &Path, to: &Path) -> Result<(), BackupError> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(BackupError::Exists(to.to_owned()))
        }
        // The file system has no hard links.
        Err(_) if to.symlink_metadata().is_ok() => Err(BackupError::Exists(to.to_owned())),
        Err(_) => held::rename(from, to).map_err(failed(to)),
    }
}

/// Replaces the database with a copy, while no hub serves it; the previous database is kept next to it.
///
/// The copy's revision counter is raised before it takes effect: even if this is interrupted, no revision that either
/// database assigned gets a second meaning.
pub async fn restore(
    settings: &HubSettings,
    clock: Clock,
    file: &Path,
) -> Result<Restored, BackupError> {
    let url = database_url(settings);
    let Some(database) = url.file() else {
        return Err(BackupError::Server(url));
    };
    let data_dir = DataDir::open(&settings.data_dir)?;
    let _lock = lock_database_file(&database)?;
    // The real path, so that a symbolic link to it is kept.
    let database = match silo_shared::folders::real(&database) {
        Ok(database) => database,
        Err(_) => std::path::absolute(&database).map_err(failed(&database))?,
    };
    let new = beside(&database, ".restoring");
    // Left over from a killed run.
    remove_copy(&new)?;
    let prepared = prepare(settings, &data_dir, &clock, &url, file, &new).await;
    let placed = match prepared {
        Ok((key, readable)) => place(&new, &database, readable, &clock).map(|old| Restored {
            file: database,
            old,
            key,
        }),
        Err(error) => Err(error),
    };
    if placed.is_err() {
        remove_copy(&new)?;
    }
    placed
}

fn remove_copy(new: &Path) -> Result<(), BackupError> {
    for end in ["", "-wal", "-shm"] {
        remove_if_there(&beside(new, end))?;
    }
    Ok(())
}

/// Turns the copy into a database that can replace the present one; returns whether its key is the hub's, and whether
/// the present database could be read.
async fn prepare(
    settings: &HubSettings,
    data_dir: &DataDir,
    clock: &Clock,
    present: &DatabaseUrl,
    file: &Path,
    new: &Path,
) -> Result<(Result<(), DataDirError>, bool), BackupError> {
    copy_backup(file, new)?;
    let past = match present.file() {
        Some(database) if database.exists() => match present.settle().await {
            Ok(revision) => Some(revision),
            Err(error) => {
                tracing::warn!("cannot read the database to be replaced: {error}");
                None
            }
        },
        _ => None,
    };
    let settings = HubSettings {
        database: Some(DatabaseUrl::sqlite_file(new)),
        ..settings.clone()
    };
    let hub = OpenHub::open_copy(&settings, clock.clone()).await?;
    let raised = async {
        if !hub.store.is_sound().await? {
            return Err(BackupError::NoBackup {
                path: file.to_owned(),
                why: "this database is damaged",
            });
        }
        let restored = NoteRestored::after(past.unwrap_or_default()).map_err(OpenError::from)?;
        hub.registry
            .apply(restored)
            .await
            .map_err(OpenError::from)?;
        let known = hub.store.fact(KEY_FINGERPRINT).await?;
        Ok(check_key(&key_file(&settings, data_dir), known.as_deref()).map(|_| ()))
    };
    let raised = raised.await;
    hub.close().await;
    let key = raised?;
    // Otherwise a part of it is still in its log.
    for end in ["-wal", "-shm"] {
        if beside(new, end).exists() {
            return Err(BackupError::InUse(new.to_owned()));
        }
    }
    sync(new)?;
    Ok((key, past.is_some()))
}

/// Copies a backup into a new file of mode 0600.
fn copy_backup(file: &Path, new: &Path) -> Result<(), BackupError> {
    let no_backup = |why| BackupError::NoBackup {
        path: file.to_owned(),
        why,
    };
    let mut from = held::retry(|| File::open(file)).map_err(failed(file))?;
    if !from.metadata().map_err(failed(file))?.is_file() {
        return Err(no_backup("not a regular file"));
    }
    if beside(file, "-wal").exists() {
        return Err(no_backup(
            "it has a log (-wal), so it is a database in use and not a copy made by `silo-hub backup`",
        ));
    }
    let mut magic = [0; 16];
    let is_database = std::io::Read::read_exact(&mut from, &mut magic).is_ok();
    if !is_database || !is_sqlite(&magic) {
        return Err(no_backup("not an SQLite database"));
    }
    prepare_database_file(new)?;
    let mut copy = || -> std::io::Result<()> {
        let mut to = File::options().write(true).truncate(true).open(new)?;
        std::io::Write::write_all(&mut to, &magic)?;
        std::io::copy(&mut from, &mut to)?;
        Ok(())
    };
    copy().map_err(failed(new))
}

/// Replaces the present database with the new one, and keeps it under another name next to it.
fn place(
    new: &Path,
    database: &Path,
    readable: bool,
    clock: &Clock,
) -> Result<Option<PathBuf>, BackupError> {
    let logs = ["-wal", "-shm"];
    let has_log = logs.iter().any(|end| beside(database, end).exists());
    if readable && has_log {
        return Err(BackupError::InUse(database.to_owned()));
    }
    let now = clock.now().to_string().replace(':', "");
    let name = beside(database, &format!(".before-{now}"));
    let old = if database.exists() {
        put_aside(database, &name)?;
        Some(name.clone())
    } else {
        None
    };
    for end in logs {
        // The log of a database that can't be read, or is missing, must not be taken for the new one's.
        let (log, aside) = (beside(database, end), beside(&name, end));
        match held::rename(&log, &aside) {
            Ok(()) if old.is_none() => tracing::warn!(
                "{} is missing; its log is kept as {}",
                database.display(),
                aside.display()
            ),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&log)(error)),
            _ => {}
        }
    }
    sync_folder(database)?;
    held::rename(new, database).map_err(failed(database))?;
    sync_folder(database)?;
    Ok(old)
}

/// Gives the present database a second name, so that its own name always exists.
fn put_aside(database: &Path, name: &Path) -> Result<(), BackupError> {
    match std::fs::hard_link(database, name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(BackupError::Exists(name.to_owned()))
        }
        // The file system has no hard links.
        Err(_) => {
            make_private_file(name)?;
            std::fs::copy(database, name).map_err(failed(name))?;
            sync(name)
        }
    }
}
