//! The commands that undo changes: `clean` and `restore`. They do not use the hub.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;
use silo_shared::text::utf16_to_utf8;

use crate::agent_error::{AgentError, markers};
use crate::diff;
use crate::hosts::{HostsFile, outside};
use crate::own;
use crate::plan::{Known, strays};
use crate::policy::FoundLine;
use crate::recover::recover;
use crate::replace;
use crate::replace_error::ReplaceError;
use crate::settings::Settings;
use crate::state::{Backup, LockedState, StateDir};
use crate::target::{Target, deleted_path};

/// Added to the message about silos unknown to the state folder.
const UNRECORDED: &str = ", and the state folder has no record of its lines: if lines without markers are left, run `once --adopt`, then `clean`";

/// Removes blocks from the hosts file: those of the configured silos, or with `all` all of them.
pub(crate) fn clean(settings: &Settings, all: bool, output: &Output) -> Result<bool, AgentError> {
    if let Some(format) = settings.format {
        return own::clean(settings, format, all, output);
    }
    let silos = if all { &[] } else { settings.some_silos()? };
    let target = Target::find(&settings.hosts_file)?;
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    recover(&target, &locked, settings.in_place)?;
    let newest = locked.backup(target.path())?;
    let mut notes = locked.notes(target.path(), |name| settings.wants(name))?;
    let known = Known {
        written: notes.written(),
        ..Known::default()
    };
    let mut removed: Vec<SiloId> = Vec::new();
    let mut lines: BTreeMap<SiloId, Vec<FoundLine>> = BTreeMap::new();
    replace::update(&target, &locked, settings.in_place, |bytes: &[u8]| {
        let file = HostsFile::parse(bytes).map_err(|cause| markers(&target, cause))?;
        let goes = |silo: &SiloId| all || silos.contains(silo);
        removed = file.silos().filter(|silo| goes(silo)).cloned().collect();
        let written = known.written.keys().filter(|silo| goes(silo));
        let strays = strays(
            &file,
            &file.outside_records(),
            written,
            &known,
            settings.adopt,
        )
        .map_err(|cause| markers(&target, cause))?;
        let numbers: BTreeSet<usize> = strays
            .values()
            .flatten()
            .map(|found| found.line - 1)
            .collect();
        lines = strays
            .into_iter()
            .map(|(silo, found)| (silo.clone(), found))
            .collect();
        let cleaned = file.without(goes, &numbers);
        Ok::<_, AgentError>(match &newest {
            Some(backup) if adds_only_a_newline(&cleaned, backup) => backup.clone(),
            _ => cleaned,
        })
    })?;
    let before = notes.clone();
    for silo in removed.iter().chain(lines.keys()) {
        notes.cleaned(silo);
    }
    if notes != before {
        locked.put_notes(target.path(), &notes)?;
    }
    for silo in &removed {
        output.tell(&Fact::of_silo("removed", silo, "block removed"));
    }
    for (silo, found) in &lines {
        for found in found {
            let text = format!("{found}, which had lost its block, removed");
            let fact = Fact::of_silo("removed", silo, text)
                .with("line", found.line)
                .with("address", found.ip)
                .with("hostname", found.name.as_str());
            output.tell(&fact);
        }
    }
    let is_done = |silo: &SiloId| removed.contains(silo) || lines.contains_key(silo);
    for silo in silos.iter().filter(|silo| !is_done(silo)) {
        let more = if known.written.contains_key(silo) {
            ""
        } else {
            UNRECORDED
        };
        let fact = Fact::of_silo("unchanged", silo, format_args!("no block{more}"));
        output.tell_unless_quiet(&fact);
    }
    if all && removed.is_empty() && lines.is_empty() {
        let text = format!("{}: no block of any silo", target.path().display());
        output.tell_unless_quiet(&Fact::new("unchanged", text));
    }
    Ok(true)
}

/// Whether `cleaned` is `backup` plus the newline that its last line needed before a block.
fn adds_only_a_newline(cleaned: &[u8], backup: &[u8]) -> bool {
    matches!(cleaned.strip_prefix(backup), Some(b"\n" | b"\r\n"))
}

/// Lists the backups that can be restored.
pub(crate) fn list(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let (target, path) = find(settings)?;
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    let present = match &target {
        Some(target) => Some(target.read()?.bytes),
        None => None,
    };
    for (index, backup) in backups(&locked, &path)?.iter().enumerate() {
        let count = backup.bytes.len();
        let lost = present.as_deref().map(|bytes| lost(bytes, &backup.bytes));
        let what = match (&present, lost) {
            (Some(bytes), _) if *bytes == backup.bytes => ", equal to the present file".to_owned(),
            (_, Some(lost @ 1..)) => format!(", without {lost} lines of the present file"),
            _ => String::new(),
        };
        let kept_at = utc(backup.kept_at);
        let text = format!("{}  {kept_at} UTC  {count} bytes{what}", index + 1);
        let fact = Fact::new("backup", text)
            .with("number", index + 1)
            .with("kept_at", format!("{}Z", kept_at.replace(' ', "T")))
            .with("bytes", count)
            .with("lost_lines", lost);
        output.tell(&fact);
    }
    Ok(true)
}

/// Restores a backup of the hosts file, the `number`th of the list. Refuses to lose lines outside our blocks, unless
/// forced.
pub(crate) fn restore(
    settings: &Settings,
    number: usize,
    output: &Output,
) -> Result<bool, AgentError> {
    let (target, path) = find(settings)?;
    let locked = StateDir::open(&settings.state_dir)?.lock()?;
    if let Some(target) = &target {
        recover(target, &locked, settings.in_place)?;
    }
    let backups = backups(&locked, &path)?;
    let count = backups.len();
    let backup = number
        .checked_sub(1)
        .and_then(|at| backups.into_iter().nth(at));
    let Some(Backup { bytes: backup, .. }) = backup else {
        return Err(AgentError::NoSuchBackup { number, count });
    };
    let name = path.display().to_string();
    let mut shown = String::new();
    let restored = match &target {
        // The file may be read more than once before it is written.
        Some(target) => {
            replace::update_any(target, &locked, settings.in_place, |bytes: &[u8]| {
                let diff = diff::unified(&name, "restore", bytes, &backup);
                shown = diff::printable(&diff);
                match lost(bytes, &backup) {
                    lost @ 1.. if !settings.force => {
                        let path = path.clone();
                        Err(AgentError::WouldLose { path, lost })
                    }
                    _ => Ok(backup.clone()),
                }
            })
        }
        None => replace::create(&path, &locked, &backup)
            .map(|()| true)
            .map_err(AgentError::from),
    };
    if let Err(AgentError::WouldLose { .. }) = &restored {
        show_diff(&name, &shown, output);
    }
    if restored? {
        forget_blocks_not_in(&backup, settings, &locked, &path)?;
        if !output.is_quiet() {
            show_diff(&name, &shown, output);
        }
        let text = format!("{name}: restored from the backup");
        output.tell(&Fact::new("restored", text).with("file", &name));
    } else {
        let text = format!("{name}: already equal to the backup");
        output.tell_unless_quiet(&Fact::new("unchanged", text).with("file", &name));
    }
    Ok(true)
}

fn show_diff(name: &str, diff: &str, output: &Output) {
    if output.is_json() {
        output.tell(&Fact::new("diff", "").with("file", name).with("diff", diff));
    } else {
        output.write(diff.as_bytes());
    }
}

/// Forgets what was written of silos without a block in a restored file: its lines outside of blocks are the user's.
fn forget_blocks_not_in(
    restored: &[u8],
    settings: &Settings,
    locked: &LockedState,
    path: &Path,
) -> Result<(), AgentError> {
    let present: Vec<SiloId> = match HostsFile::parse(restored) {
        Ok(file) => file.silos().cloned().collect(),
        // The next run names its broken markers.
        Err(_) => return Ok(()),
    };
    let mut notes = locked.notes(path, |name| settings.wants(name))?;
    let before = notes.clone();
    for silo in notes.written().into_keys() {
        if !present.contains(&silo) {
            notes.cleaned(&silo);
        }
    }
    if notes != before {
        locked.put_notes(path, &notes)?;
    }
    Ok(())
}

/// The hosts file, if it exists, and its path.
pub(crate) fn find(settings: &Settings) -> Result<(Option<Target>, PathBuf), AgentError> {
    match Target::find(&settings.hosts_file) {
        Ok(target) => {
            let path = target.path().to_owned();
            Ok((Some(target), path))
        }
        Err(ReplaceError::Missing(_)) => Ok((None, deleted_path(&settings.hosts_file)?)),
        Err(error) => Err(error.into()),
    }
}

/// The backups of a hosts file, at least one.
fn backups(locked: &LockedState, path: &Path) -> Result<Vec<Backup>, AgentError> {
    let backups = locked.backups(path)?;
    if backups.is_empty() {
        return Err(AgentError::NoBackup {
            path: path.to_owned(),
            state: locked.path().to_owned(),
        });
    }
    Ok(backups)
}

/// How many different lines outside our blocks are in `present` but not in `backup`. Ignores blank lines, and lines of
/// only NUL bytes, which a file system can leave after a power failure.
fn lost(present: &[u8], backup: &[u8]) -> usize {
    fn lines(bytes: &[u8]) -> HashSet<&[u8]> {
        let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines
            .filter(|line| line.iter().any(|byte| *byte != 0))
            .collect()
    }
    let (present, backup) = (
        outside(&utf16_to_utf8(present)),
        outside(&utf16_to_utf8(backup)),
    );
    lines(&present).difference(&lines(&backup)).count()
}

/// `2026-11-28 23:10:02`
fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The algorithm `civil_from_days` of Howard Hinnant, for days since 1970-01-01.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * march + 2) / 5 + 1, (march + 2) % 12 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn lines_that_would_be_lost_are_counted() {
        for (present, backup, expected) in [
            (&b"a\nb\n"[..], &b"a\nb\n"[..], 0),
            (b"a\nb\n", b"b\r\na", 0),
            (b"a\na\n", b"a\n", 0),
            (b"a\n\n \n", b"a\n", 0),
            (b"a\nnew\n", b"a\n", 1),
            (b"# BEGIN silo x\n10.0.0.5 db\n# END silo x\na\n", b"a\n", 0),
            (b"# BEGIN silo x\n10.0.0.5 db\n", b"a\n", 2),
            (b"\xff\xfea\0\r\0\n\0", b"a\n", 0),
            (b"\xfe\xff\0a\0\n\0b", b"a\n", 1),
            (b"a\0\n\0", b"a\n", 0),
            (b"\0a\0\n", b"a\n", 0),
        ] {
            assert_eq!(
                lost(present, backup),
                expected,
                "{}",
                present.escape_ascii()
            );
        }
    }
}
