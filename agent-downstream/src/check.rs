//! The verb `check`: says of configuration, hub, token, state folder and hosts file whether `once` could
//! do its work with them, and changes nothing.

use std::fs::OpenOptions;
use std::path::Path;

use silo_shared::checklist::Checklist;
use silo_shared::output::Output;

use crate::agent::{AgentError, connect};
use crate::hosts::HostsFile;
use crate::pull::{PullError, pull};
use crate::replace::Target;
use crate::settings::Settings;
use crate::state::StateDir;

/// Says each, and answers whether all is well.
pub(crate) async fn check(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let mut said = Checklist::new(output);
    said.configuration(settings.config_file.as_deref());
    said.authentication(&connection);

    let unknown = silos.iter().map(|silo| (silo.clone(), None)).collect();
    let results = pull(&client, unknown).await;
    let unreachable = results.iter().find_map(|(_, result)| match result {
        Err(error) if status(result).is_none() => Some(error),
        _ => None,
    });
    match unreachable {
        Some(error) => said.failed("hub", error),
        None => said.ok("hub", format!("{} answers", client.hub())),
    }
    said.token(results.iter().filter_map(|(_, result)| status(result)));
    for (silo, result) in &results {
        let what = format!("silo {silo}");
        match result {
            Ok(fresh) => {
                let count = fresh.document.dnsrecords.len();
                let records = if count == 1 { "record" } else { "records" };
                let revision = fresh.document.revision;
                said.ok(&what, format!("{count} {records}, revision {revision}"));
            }
            Err(error) => said.failed(&what, error),
        }
    }
    check_state(settings, &mut said);
    check_hosts(settings, &mut said);
    Ok(said.is_well())
}

/// The status of the hub's answer; `None` when there was none.
fn status<T>(result: &Result<T, PullError>) -> Option<u16> {
    match result {
        Ok(_) => Some(200),
        Err(PullError::Client(error)) => error.status(),
        Err(_) => None,
    }
}

fn check_state(settings: &Settings, said: &mut Checklist) {
    let path = &settings.state_dir;
    match StateDir::existing(path) {
        Ok(Some(state)) if takes_files(state.path()) => said.ok("state folder", path.display()),
        Ok(Some(state)) => said.failed(
            "state folder",
            format!("{}: this user may not write there", state.path().display()),
        ),
        Ok(None) => said.ok(
            "state folder",
            format!(
                "{} is not there yet; the first run makes it",
                path.display()
            ),
        ),
        Err(error) => said.failed("state folder", error),
    }
}

fn check_hosts(settings: &Settings, said: &mut Checklist) {
    const WHAT: &str = "hosts file";
    let read = Target::find(&settings.hosts_file).and_then(|target| Ok((target.read()?, target)));
    let (snapshot, target) = match read {
        Ok(read) => read,
        Err(error) => return said.failed(WHAT, error),
    };
    let path = target.path().display();
    if let Err(error) = HostsFile::parse(&snapshot.bytes) {
        return said.failed(WHAT, format!("{path}: {error}"));
    }
    // Opened without a byte written, which leaves even the file's times alone.
    let writable = OpenOptions::new().append(true).open(target.path());
    let replaceable = takes_files(target.folder()) && !is_mount_point(target.path());
    match (replaceable, writable) {
        (true, Ok(_)) => said.ok(WHAT, format!("{path} can be replaced")),
        // Root may open any file but an immutable one; others may replace a file that is not theirs
        // to write, but could not keep its owner.
        (_, Err(error)) => said.failed(
            WHAT,
            format!("{path}: not writable: {error}; run as root, and look whether it is immutable (lsattr)"),
        ),
        (false, Ok(_)) if settings.in_place => {
            said.ok(WHAT, format!("{path} can be written in place only, which is allowed"));
        }
        (false, Ok(_)) => said.failed(
            WHAT,
            format!("{path}: can be written in place only (a mount point, or its folder takes no new file): allow it with `in_place: true` or --in-place"),
        ),
    }
}

#[cfg(unix)]
fn takes_files(folder: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, folder, wanted, AtFlags::EACCESS).is_ok()
}

#[cfg(not(unix))]
fn takes_files(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// Whether something is mounted on the file itself: a rename over it then gives EBUSY.
#[cfg(unix)]
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // proc_pid_mountinfo(5): the fifth field, with blanks and the like as octal escapes.
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return false;
    };
    let escaped: Vec<u8> = path
        .as_os_str()
        .as_bytes()
        .iter()
        .flat_map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
            other => vec![*other],
        })
        .collect();
    mounts
        .split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&escaped))
}

#[cfg(not(unix))]
fn is_mount_point(_path: &Path) -> bool {
    false
}
