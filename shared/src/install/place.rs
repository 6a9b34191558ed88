//! What runs schedules on this system, or in the folder that `--root` names.

use std::path::{Path, PathBuf};

use super::job::{Agent, Job};
use super::schedule::Schedule;
use super::units::{self, Scope};
use super::{InstallError, cron};
use crate::folders;

/// What runs a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Platform {
    /// systemd.
    Systemd(Scope),
    /// cron.
    Cron,
    /// Task Scheduler.
    TaskScheduler,
}

/// The folders of packaged units, by precedence (systemd.unit(5)).
const PACKAGED_UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
/// The service manager itself.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// There while systemd is the system's manager (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// A path of the system, below `root` if there is one.
pub(crate) fn below(root: Option<&Path>, path: &Path) -> PathBuf {
    match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    }
}

/// The program of an image: this one, if it is in the image, else the one in a usual folder, else one at the same path.
pub(super) fn program_in(root: &Path, agent: Agent, own: &Path) -> PathBuf {
    if let Ok(root) = root.canonicalize()
        && let Ok(inside) = own.strip_prefix(root)
    {
        return Path::new("/").join(inside);
    }
    let usual =
        ["/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(agent.program()));
    let found = usual
        .into_iter()
        .find(|path| below(Some(root), path).is_file());
    found.unwrap_or_else(|| own.to_owned())
}

/// Whether this process may change the system.
pub(super) fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    // Windows itself refuses what a user may not do.
    #[cfg(not(unix))]
    true
}

/// Finds what runs the schedule of a job.
pub(super) fn find(
    root: Option<&Path>,
    job: &Job,
    schedule: Schedule,
) -> Result<Platform, InstallError> {
    if cfg!(windows) {
        return match root {
            Some(_) => Err(InstallError::RootOnWindows),
            None => Ok(Platform::TaskScheduler),
        };
    }
    let exists = |path: &str| below(root, Path::new(path)).exists();
    let has_cron = below(root, cron::folder()).is_dir();
    if let Some(root) = root {
        return if SYSTEMD.into_iter().any(exists) {
            Ok(system_units(Some(root), job.agent, schedule))
        } else if has_cron {
            Ok(Platform::Cron)
        } else {
            Err(InstallError::NoSystem(root.to_owned()))
        };
    }
    if !is_root() {
        return user_units(job);
    }
    if exists(BOOTED) {
        Ok(system_units(None, job.agent, schedule))
    } else if has_cron {
        Ok(Platform::Cron)
    } else {
        Err(InstallError::NoScheduler)
    }
}

fn system_units(root: Option<&Path>, agent: Agent, schedule: Schedule) -> Platform {
    let names = units::names(agent, schedule);
    let package = PACKAGED_UNITS.into_iter().map(Path::new).find(|folder| {
        names
            .iter()
            .all(|name| below(root, folder).join(name).is_file())
    });
    let package = package.map(Path::to_owned);
    Platform::Systemd(Scope::System { package })
}

/// The manager of an ordinary user, if it runs and the agent can work as this user.
fn user_units(job: &Job) -> Result<Platform, InstallError> {
    if job.agent == Agent::Downstream {
        let hosts = job.files.hosts.clone();
        let hosts = hosts.unwrap_or_else(|| PathBuf::from("/etc/hosts"));
        if !is_own(&hosts) {
            return Err(InstallError::HostsNeedRoot(hosts));
        }
        if job.files.state.is_none() {
            return Err(InstallError::StateNeedsRoot);
        }
    }
    if !runtime_folder().join("systemd/private").exists() {
        return Err(needs_root(job));
    }
    let folder = home_folder("XDG_CONFIG_HOME", ".config")?.join("systemd/user");
    Ok(Platform::Systemd(Scope::User { folder }))
}

/// Shows the line for the user's own crontab: other than a file in `/etc/cron.d`, it names no user.
fn needs_root(job: &Job) -> InstallError {
    match cron::user_line(job) {
        Ok(line) => InstallError::NeedsRoot {
            program: job.agent.program(),
            line,
        },
        Err(error) => error,
    }
}

fn is_own(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let own = rustix::process::geteuid().as_raw();
        std::fs::metadata(file).is_ok_and(|found| found.uid() == own)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        true
    }
}

/// The user's runtime folder (pam_systemd(8)).
pub(super) fn runtime_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        return PathBuf::from(folder);
    }
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let user = 0;
    PathBuf::from(format!("/run/user/{user}"))
}

/// A folder of the XDG Base Directory Specification, by its variable or below the home folder.
fn home_folder(variable: &str, usual: &str) -> Result<PathBuf, InstallError> {
    if let Some(folder) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    home.map(|home| home.join(usual))
        .ok_or(InstallError::NoHome)
}

/// The record of what `install` wrote for an agent. Not in the state folder: that of the upstream belongs to another
/// user, who could make root remove any file.
pub(super) fn record_file(root: Option<&Path>, agent: Agent) -> Result<PathBuf, InstallError> {
    let folder = if cfg!(windows) {
        folders::program_data().join("install")
    } else if root.is_some() || is_root() {
        below(root, Path::new("/var/lib/silo-install"))
    } else {
        home_folder("XDG_STATE_HOME", ".local/state")?.join("silo-install")
    };
    Ok(folder.join(format!("{}.json", agent.program())))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::install::job::Files;

    #[test]
    fn the_program_of_an_image_is_found_in_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let find = |own: &Path| program_in(&root, Agent::Upstream, own);
        let own = Path::new("/opt/silo-upstream");
        assert_eq!(find(own), own);
        assert_eq!(find(&root.join("opt/silo-upstream")), own);
        std::fs::create_dir_all(root.join("usr/local/bin")).unwrap();
        std::fs::write(root.join("usr/local/bin/silo-upstream"), "").unwrap();
        assert_eq!(find(own), Path::new("/usr/local/bin/silo-upstream"));
    }

    // Its paths are those of Unix.
    #[cfg(unix)]
    #[test]
    fn what_an_image_contains_decides() {
        let job = Job {
            agent: Agent::Downstream,
            program: PathBuf::from("/usr/bin/silo-downstream"),
            arguments: Vec::new(),
            files: Files::default(),
        };
        let every = Schedule::Every(super::super::Interval::DEFAULT);
        let root = tempfile::tempdir().unwrap();
        let find = |schedule| super::find(Some(root.path()), &job, schedule);
        let error = find(every).unwrap_err().to_string();
        assert!(error.contains("etc/cron.d"), "{error}");
        std::fs::create_dir_all(root.path().join("etc/cron.d")).unwrap();
        assert_eq!(find(every).unwrap(), Platform::Cron);
        let units = root.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join("../systemd"), "").unwrap();
        let own = Platform::Systemd(Scope::System { package: None });
        assert_eq!(find(every).unwrap(), own);
        for name in ["silo-downstream.service", "silo-downstream.timer"] {
            assert_eq!(find(every).unwrap(), own);
            std::fs::write(units.join(name), "").unwrap();
        }
        let package = Some(PathBuf::from("/usr/lib/systemd/system"));
        let packaged = Platform::Systemd(Scope::System { package });
        assert_eq!(find(every).unwrap(), packaged);
        // An older package has no unit for it.
        assert_eq!(find(Schedule::Watch).unwrap(), own);
    }
}
