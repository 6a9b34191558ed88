//! Writes a plan, and removes what was written.
//!
//! Order: the record of all that is about to be written comes first, so that `uninstall` finds everything after a run
//! that was killed; then what is no longer wanted goes, then the new is written and started, and at the end the record
//! has only what is there. A file that is not as it was written is refused, unless with `force`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use similar::TextDiff;

use super::command::Commands;
use super::disk::{make_folder_of, write_file, write_link};
use super::place::below;
use super::plan::{Item, Manager, Plan, link_text};
use super::record::Record;
use super::task;
use super::{InstallError, cron};

/// How often a task that was just made is looked for, since Task Scheduler may be busy with it.
const LOOKS: u32 = 5;
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The system to write to.
pub(super) struct System<'a> {
    /// The folder in which all paths begin; nothing is started then.
    pub(super) root: Option<&'a Path>,
    /// The record's path.
    pub(super) record: PathBuf,
    /// Programs of the system.
    pub(super) commands: &'a dyn Commands,
    /// Whether to overwrite and remove files that were edited.
    pub(super) force: bool,
}

/// What a command wrote and removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// What was written.
    pub(super) wrote: Vec<Item>,
    /// What was removed.
    pub(super) removed: Vec<Item>,
}

/// The difference to a file that was edited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The file.
    pub(super) path: PathBuf,
    /// In the format of `patch`.
    pub(super) text: String,
}

/// Why nothing was done, with the differences to show.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: InstallError,
    pub(super) differences: Vec<Difference>,
}

impl From<InstallError> for Refused {
    fn from(error: InstallError) -> Self {
        Self {
            error,
            differences: Vec::new(),
        }
    }
}

impl System<'_> {
    /// Writes what the plan has, and removes what an earlier one had. [`Self::start`] is the second half.
    pub(super) fn install(&self, plan: &Plan) -> Result<Done, Refused> {
        let before = Record::read(&self.record)?;
        let before = before.unwrap_or_else(|| Record::new(plan.manager, plan.unit.clone()));
        let planned: BTreeMap<&Path, &Item> =
            plan.items.iter().map(|item| (item.key(), item)).collect();
        let stale: Vec<&Item> = before
            .items
            .iter()
            .filter(|item| !planned.contains_key(item.key()))
            .collect();
        let mut differences = Vec::new();
        let mut changed = Vec::new();
        for item in &plan.items {
            let present = self.look(item, &before)?;
            if present.as_deref() == Some(&item.text()) {
                continue;
            }
            let written = before.items.iter().find(|old| old.key() == item.key());
            if let Some(present) = present
                && written.map(Item::text).as_ref() != Some(&present)
            {
                differences.push(difference(item, &present, &item.text()));
            }
            changed.push(item);
        }
        for item in &stale {
            differences.extend(self.edit(item, &before)?);
        }
        self.refuse(differences)?;

        let mut record = Record::new(plan.manager, plan.unit.clone());
        record.items.clone_from(&plan.items);
        record.folders.clone_from(&before.folders);
        record.registered.clone_from(&before.registered);
        let of_other = Record::folders_of_others(&self.record)?;
        for item in &plan.items {
            self.note_folders(item, &of_other, &mut record.folders);
        }
        if record == before && changed.is_empty() {
            return Ok(Done::default());
        }
        let mut both = record.clone();
        both.items.extend(stale.iter().map(|item| (*item).clone()));
        both.write(&self.record)?;
        // A task that runs would go on with its old flags, and keep the new ones from being started (`IgnoreNew`).
        let is_task = plan.manager == Manager::TaskScheduler;
        if is_task || before.unit != plan.unit || before.manager != plan.manager {
            self.stop(&before)?;
        }
        let read_at = self.cron_folder_time();
        for item in &stale {
            self.remove(item)?;
        }
        for item in &changed {
            self.write(item, &mut record)?;
        }
        self.tell_cron(read_at)?;
        record.folders = self.remove_empty(record.folders);
        record.write(&self.record)?;
        Ok(Done {
            wrote: changed.into_iter().cloned().collect(),
            removed: stale.into_iter().cloned().collect(),
        })
    }

    /// Starts what was written, or what is installed and was stopped meanwhile; returns its name if it was started.
    pub(super) fn start(&self, plan: &Plan, done: &Done) -> Result<Option<String>, InstallError> {
        if self.root.is_some() {
            return Ok(None);
        }
        let is_changed = *done != Done::default();
        match (&plan.unit, &plan.items[..]) {
            (Some(unit), _) => {
                let is_active = || self.systemctl(plan.manager, &["is-active", "--quiet", unit]);
                if !is_changed && is_active().is_ok() {
                    return Ok(None);
                }
                self.reload(plan.manager)?;
                self.systemctl(plan.manager, &["restart", unit])?;
                Ok(Some(unit.clone()))
            }
            (None, [Item::Task { name, .. }]) if is_changed => {
                self.commands.run(&["schtasks", "/run", "/tn", name])?;
                Ok(Some(name.clone()))
            }
            // cron looks at its folder each minute.
            (None, _) => Ok(None),
        }
    }

    /// Removes what was written; `None` if nothing was.
    pub(super) fn uninstall(&self) -> Result<Option<Done>, Refused> {
        let Some(record) = Record::read(&self.record)? else {
            return Ok(None);
        };
        let mut differences = Vec::new();
        for item in &record.items {
            differences.extend(self.edit(item, &record)?);
        }
        self.refuse(differences)?;
        self.stop(&record)?;
        let read_at = self.cron_folder_time();
        let mut removed = Vec::new();
        for item in &record.items {
            if self.remove(item)? {
                removed.push(item.clone());
            }
        }
        self.tell_cron(read_at)?;
        self.remove_empty(record.folders.clone());
        self.reload(record.manager)?;
        Record::remove(&self.record)?;
        Ok(Some(Done {
            removed,
            ..Done::default()
        }))
    }

    fn refuse(&self, differences: Vec<Difference>) -> Result<(), Refused> {
        if differences.is_empty() || self.force {
            return Ok(());
        }
        let paths = differences
            .iter()
            .map(|difference| difference.path.clone())
            .collect();
        Err(Refused {
            error: InstallError::Edited(paths),
            differences,
        })
    }

    /// The difference between what was written and what is there; `None` if it is the same, or gone.
    fn edit(&self, item: &Item, record: &Record) -> Result<Option<Difference>, InstallError> {
        let present = self.look(item, record)?;
        let written = item.text();
        Ok(present
            .filter(|present| *present != written)
            .map(|present| difference(item, &written, &present)))
    }

    /// The text of what is there; `None` if nothing is.
    fn look(&self, item: &Item, record: &Record) -> Result<Option<String>, InstallError> {
        let path = match item {
            Item::File { path, .. } | Item::Link { path, .. } => self.path(path)?,
            Item::Task { name, contents } => return Ok(self.look_at_task(name, contents, record)),
        };
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(InstallError::io(&path)(error)),
        };
        if found.is_symlink() {
            let target = fs::read_link(&path).map_err(InstallError::io(&path))?;
            return Ok(Some(link_text(&target)));
        }
        if !found.is_file() {
            return Err(InstallError::NotAFile(path));
        }
        let bytes = fs::read(&path).map_err(InstallError::io(&path))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Task Scheduler shows a task in its own words: they are compared with those at its creation.
    fn look_at_task(&self, name: &str, contents: &str, record: &Record) -> Option<String> {
        let shown = self.show_task(name)?;
        match record.registered.get(name) {
            Some(registered) if *registered == shown => {
                let written = record
                    .items
                    .iter()
                    .find(|item| item.key() == Path::new(name));
                Some(written.map_or_else(|| contents.to_owned(), Item::text))
            }
            _ => Some(shown),
        }
    }

    /// A task as Task Scheduler has it; `None` if there is none, which `schtasks` reports as a failure.
    fn show_task(&self, name: &str) -> Option<String> {
        self.query_task(name).ok()
    }

    fn query_task(&self, name: &str) -> Result<String, InstallError> {
        self.commands
            .run(&["schtasks", "/query", "/tn", name, "/xml"])
    }

    /// The same of a task that was just made. Without it, later runs would take the task for one that was edited.
    fn show_new_task(&self, name: &str) -> Result<String, InstallError> {
        for _ in 1..LOOKS {
            if let Some(shown) = self.show_task(name) {
                return Ok(shown);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.query_task(name)
    }

    fn write(&self, item: &Item, record: &mut Record) -> Result<(), InstallError> {
        match item {
            Item::File { path, contents } => {
                let path = self.path(path)?;
                make_folder_of(&path)?;
                write_file(&path, contents.as_bytes()).map_err(InstallError::io(&path))
            }
            Item::Link { path, target } => {
                let path = self.path(path)?;
                make_folder_of(&path)?;
                write_link(&path, target).map_err(InstallError::io(&path))
            }
            Item::Task { name, contents } => {
                let file = self.record.with_extension("xml");
                fs::write(&file, task::file_bytes(contents)).map_err(InstallError::io(&file))?;
                let shown = file.display().to_string();
                let created = self
                    .commands
                    .run(&["schtasks", "/create", "/tn", name, "/xml", &shown, "/f"]);
                // It is in the task library now.
                let removed = fs::remove_file(&file).map_err(InstallError::io(&file));
                created?;
                removed?;
                let shown = self.show_new_task(name)?;
                record.registered.insert(name.clone(), shown);
                Ok(())
            }
        }
    }

    /// Removes what is there; whether something was.
    fn remove(&self, item: &Item) -> Result<bool, InstallError> {
        match item {
            Item::File { path, .. } | Item::Link { path, .. } => {
                let path = self.path(path)?;
                match fs::remove_file(&path) {
                    Ok(()) => Ok(true),
                    Err(error) if is_absent(&error) => Ok(false),
                    Err(error) => Err(InstallError::io(&path)(error)),
                }
            }
            Item::Task { name, .. } => {
                if self.show_task(name).is_none() {
                    return Ok(false);
                }
                self.commands
                    .run(&["schtasks", "/delete", "/tn", name, "/f"])?;
                Ok(true)
            }
        }
    }

    fn cron_folder(&self) -> PathBuf {
        below(self.root, cron::folder())
    }

    /// When files of cron's folder were last added or removed; `None` if it is not there.
    fn cron_folder_time(&self) -> Option<SystemTime> {
        fs::metadata(self.cron_folder()).ok()?.modified().ok()
    }

    /// Debian's cron reads its folder again if the folder's time, in whole seconds, is another one than at its last
    /// look: a second change within the same second would be missed. Each change advances it by a second at least.
    fn tell_cron(&self, before: Option<SystemTime>) -> Result<(), InstallError> {
        let after = self.cron_folder_time();
        let (Some(latest), true) = (before.max(after), before != after) else {
            return Ok(());
        };
        let folder = self.cron_folder();
        fs::File::open(&folder)
            .and_then(|opened| opened.set_modified(latest + Duration::from_secs(1)))
            .map_err(InstallError::io(&folder))
    }

    /// A path of the plan in this system. Under `--root` no link may lead out of that folder.
    fn path(&self, path: &Path) -> Result<PathBuf, InstallError> {
        let full = below(self.root, path);
        let Some(root) = self.root else {
            return Ok(full);
        };
        let root = root.canonicalize().map_err(InstallError::io(root))?;
        let existing = full
            .ancestors()
            .skip(1)
            .find_map(|folder| folder.canonicalize().ok());
        match existing {
            Some(folder) if folder.starts_with(&root) => Ok(full),
            _ => Err(InstallError::Escapes(full)),
        }
    }

    /// Adds the folders that an item needs and that are not there, the outermost first. As paths of the plan. Those that
    /// were made for the other agent count too: the last one removes them.
    fn note_folders(&self, item: &Item, of_other: &[PathBuf], folders: &mut Vec<PathBuf>) {
        let (Item::File { path, .. } | Item::Link { path, .. }) = item else {
            return;
        };
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .map(Path::to_owned)
            .take_while(|folder| !below(self.root, folder).exists() || of_other.contains(folder))
            .filter(|folder| !folders.contains(folder))
            .collect();
        missing.reverse();
        folders.extend(missing);
    }

    /// Removes those of our folders that are empty; returns the others.
    fn remove_empty(&self, folders: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut kept: Vec<PathBuf> = folders
            .into_iter()
            .rev()
            // Not empty, or gone.
            .filter(|folder| fs::remove_dir(below(self.root, folder)).is_err())
            .filter(|folder| below(self.root, folder).exists())
            .collect();
        kept.reverse();
        kept
    }

    fn systemctl(&self, manager: Manager, words: &[&str]) -> Result<String, InstallError> {
        let mut command = vec!["systemctl"];
        if manager == Manager::User {
            command.push("--user");
        }
        command.extend(words);
        self.commands.run(&command)
    }

    fn reload(&self, manager: Manager) -> Result<(), InstallError> {
        match manager {
            Manager::System | Manager::User if self.root.is_none() => {
                self.systemctl(manager, &["daemon-reload"]).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// After a run that was killed the unit may not be there: that is no failure.
    fn stop_unit(&self, manager: Manager, unit: &str) -> Result<(), InstallError> {
        let Err(error) = self.systemctl(manager, &["stop", unit]) else {
            return Ok(());
        };
        let state = self.systemctl(manager, &["show", "--value", "-p", "LoadState", unit])?;
        match state.trim() {
            "not-found" => Ok(()),
            _ => Err(error),
        }
    }

    /// Stops what a record names.
    fn stop(&self, record: &Record) -> Result<(), InstallError> {
        if self.root.is_some() {
            return Ok(());
        }
        if let Some(unit) = &record.unit {
            self.stop_unit(record.manager, unit)?;
        }
        for item in &record.items {
            if let Item::Task { name, .. } = item
                && self.show_task(name).is_some()
            {
                self.commands.run(&["schtasks", "/end", "/tn", name])?;
            }
        }
        Ok(())
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn difference(item: &Item, old: &str, new: &str) -> Difference {
    let path = item.key().to_owned();
    let name = path.display().to_string();
    let text = TextDiff::from_lines(old, new)
        .unified_diff()
        .header(&name, &name)
        .to_string();
    Difference { path, text }
}

#[cfg(unix)]
#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
