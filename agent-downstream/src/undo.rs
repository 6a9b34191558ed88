//! The verbs that take back what was done: `clean` and `restore`. They need no hub.

use std::path::{Path, PathBuf};

use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent::{AgentError, markers, recover};
use crate::hosts::HostsFile;
use crate::replace::{self, ReplaceError, Target};
use crate::settings::Settings;
use crate::state::StateDir;

/// Takes blocks out of the hosts file: the configured silos', or with `all` every one.
pub(crate) fn clean(settings: &Settings, all: bool, output: &Output) -> Result<bool, AgentError> {
    let silos = if all { &[] } else { settings.some_silos()? };
    let target = Target::find(&settings.hosts_file)?;
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    recover(&target, &locked)?;
    let backup = locked.backup(target.path())?;
    let mut removed: Vec<SiloId> = Vec::new();
    replace::update(&target, &locked, settings.in_place, |bytes| {
        let file = HostsFile::parse(bytes).map_err(|cause| markers(&target, cause))?;
        let goes = |silo: &SiloId| all || silos.contains(silo);
        removed = file.silos().filter(|silo| goes(silo)).cloned().collect();
        let cleaned = file.without(goes);
        Ok::<_, AgentError>(match &backup {
            Some(backup) if adds_only_a_newline(&cleaned, backup) => backup.clone(),
            _ => cleaned,
        })
    })?;
    for silo in &removed {
        output.say(format!("{silo}: block removed"));
    }
    for silo in silos.iter().filter(|silo| !removed.contains(silo)) {
        output.mention(format!("{silo}: no block"));
    }
    if all && removed.is_empty() {
        output.mention(format!("{}: no block of any silo", target.path().display()));
    }
    Ok(true)
}

/// Whether `cleaned` is `backup` with the newline that its last line needed before a block could follow.
fn adds_only_a_newline(cleaned: &[u8], backup: &[u8]) -> bool {
    matches!(cleaned.strip_prefix(backup), Some(b"\n" | b"\r\n"))
}

/// Puts back the last hosts file that this program did not write.
pub(crate) fn restore(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let target = match Target::find(&settings.hosts_file) {
        Ok(target) => Some(target),
        Err(ReplaceError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let path = match &target {
        Some(target) => target.path().to_owned(),
        None => deleted_path(&settings.hosts_file)?,
    };
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    if let Some(target) = &target {
        recover(target, &locked)?;
    }
    let backup = locked.backup(&path)?.ok_or_else(|| AgentError::NoBackup {
        path: path.clone(),
        state: locked.path().to_owned(),
    })?;
    let changed = match &target {
        Some(target) => replace::update(target, &locked, settings.in_place, |_| {
            Ok::<_, AgentError>(backup.clone())
        })?,
        None => {
            replace::create(&path, &locked, &backup)?;
            true
        }
    };
    if changed {
        output.say(format!("{}: restored from the backup", path.display()));
    } else {
        output.mention(format!("{}: equal to the backup already", path.display()));
    }
    Ok(true)
}

/// The path that a deleted hosts file had, its folder resolved.
fn deleted_path(path: &Path) -> Result<PathBuf, AgentError> {
    let missing = || ReplaceError::Missing(path.to_owned());
    let absolute = std::path::absolute(path).map_err(|_| missing())?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(missing().into());
    };
    let folder = folder.canonicalize().map_err(|_| missing())?;
    Ok(folder.join(name))
}
