//! The command `check`: checks whether `once` could work with the configuration, hub, token, state folder and hosts
//! file, and changes nothing.

use std::fs::OpenOptions;
use std::path::Path;

use silo_shared::checklist::Checklist;
use silo_shared::client::{HubClient, Route, TokenVerdict};
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent::{AgentError, known_without_lock, rules};
use crate::hosts::HostsFile;
use crate::in_place::InPlace;
use crate::plan::{NoPlan, Pulled, Rules, plan};
use crate::pull::{Fresh, PullError, pull};
use crate::room;
use crate::settings::Settings;
use crate::state::StateDir;
use crate::target::Target;
use crate::tell::{self, Notice};

/// Prints each check, and returns whether all passed.
pub(crate) async fn check(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let connection = settings.connection()?;
    connection.warn_of_open_credential(output);
    let mut said = Checklist::new(output);
    said.configuration(settings.config_file.as_deref());
    said.authentication(&connection);
    let client = match HubClient::new(&connection, Route::default()) {
        Ok(client) => client,
        Err(error) => {
            said.failed("hub", error);
            check_state(settings, &mut said);
            check_hosts(settings, &mut said);
            return Ok(false);
        }
    };

    let unknown = silos.iter().map(|silo| (silo.clone(), None)).collect();
    let results = pull(&client, unknown).await;
    let unreachable = results.iter().find_map(|(_, result)| match result {
        Err(error) if verdict(result).is_none() => Some(error),
        _ => None,
    });
    match unreachable {
        Some(error) => said.failed("hub", error),
        None => said.ok("hub", format!("{} answers", client.hub())),
    }
    said.token(results.iter().filter_map(|(_, result)| verdict(result)));
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
    check_plan(settings, &rules(settings, &connection), &results, &mut said);
    Ok(said.is_ok())
}

/// Prints what the next run would skip, refuse or leave wrong.
fn check_plan(
    settings: &Settings,
    rules: &Rules,
    results: &[(SiloId, Result<Fresh, PullError>)],
    said: &mut Checklist,
) {
    // Its errors are printed already.
    let Ok(target) = Target::find(&settings.hosts_file) else {
        return;
    };
    let (Ok(bytes), Ok(known)) = (target.read_text(), known_without_lock(settings, &target)) else {
        return;
    };
    let pulled: Vec<Pulled> = results
        .iter()
        .map(|(silo, result)| Pulled::new(silo.clone(), result.as_ref().ok()))
        .collect();
    let plan = match plan(&bytes, &pulled, rules, &known) {
        Ok(plan) => plan,
        Err(NoPlan::Markers(_)) => return,
        Err(error) => {
            return said.failed(
                "hosts file",
                format!("{}: {error}", target.path().display()),
            );
        }
    };
    for stale in &plan.stale {
        said.ok("hosts file", stale);
    }
    for report in &plan.reports {
        let what = format!("silo {}", report.silo);
        let update = match &report.outcome {
            Ok(update) => update,
            Err(refusal) => {
                said.failed(&what, refusal);
                continue;
            }
        };
        for found in &update.adopted {
            said.ok(
                &what,
                format!("{found} is outside the block: the next run moves it there"),
            );
        }
        let (wrong, usual): (Vec<Notice>, Vec<Notice>) = tell::notices(update)
            .into_iter()
            .partition(|notice| notice.is_wrong);
        for notice in wrong {
            said.failed(&what, notice.text);
        }
        for notice in usual.iter().take(tell::NAMED) {
            said.ok(&what, &notice.text);
        }
        if let more @ 1.. = usual.len().saturating_sub(tell::NAMED) {
            said.ok(&what, format!("{more} more like these"));
        }
    }
}

/// Whether the hub accepted the token.
fn verdict<T>(result: &Result<T, PullError>) -> Option<TokenVerdict> {
    match result {
        Ok(_) => Some(TokenVerdict::Accepted),
        Err(PullError::Client(error)) => error.token(),
        Err(_) => None,
    }
}

fn check_state(settings: &Settings, said: &mut Checklist) {
    let path = &settings.state_dir;
    if let Err(error) = settings.check_state_folder() {
        return said.failed("state folder", error);
    }
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
    let read =
        Target::find(&settings.hosts_file).and_then(|target| Ok((target.read_text()?, target)));
    let (bytes, target) = match read {
        Ok(read) => read,
        Err(error) => return said.failed(WHAT, error),
    };
    let path = target.path().display();
    if let Err(error) = HostsFile::parse(&bytes) {
        return said.failed(WHAT, format!("{path}: {error}"));
    }
    // Opened without writing, which does not change even the file's times. Not opened to append, which an append-only
    // file (`chattr +a`) allows.
    let writable = OpenOptions::new().write(true).open(target.path());
    let in_place_only = if settings.in_place == InPlace::Always {
        Some("`in_place: always` asks for it".to_owned())
    } else if is_mount_point(target.path()) {
        Some("something is mounted on it".to_owned())
    } else if !takes_files(target.folder()) {
        Some("its folder takes no new file".to_owned())
    } else {
        room::unmapped_owner(target.path())
    };
    let full = match in_place_only {
        Some(_) => None,
        None => room::lacking(target.folder(), bytes.len()),
    };
    match (in_place_only, writable) {
        // Root may open any file but an immutable one; other users may replace a file that they can't write, but could
        // not keep its owner.
        (_, Err(error)) => said.failed(
            WHAT,
            format!("{path}: not writable: {error}; run as root, and look whether it is immutable or append-only (lsattr)"),
        ),
        (None, Ok(_)) => match full {
            None => said.ok(WHAT, format!("{path} can be replaced")),
            Some(why) => said.failed(WHAT, format!("{path}: cannot be replaced: {why}")),
        },
        (Some(why), Ok(_)) if settings.in_place.is_allowed() => {
            said.ok(WHAT, format!("{path} is written in place only ({why}), which is allowed"));
        }
        (Some(why), Ok(_)) => said.failed(
            WHAT,
            format!("{path}: can be written in place only ({why}): allow it with `in_place: true` or --in-place"),
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

/// Whether something is mounted on the file itself: renaming a file over it then fails with EBUSY.
#[cfg(unix)]
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // proc_pid_mountinfo(5): the fifth field, with spaces and the like as octal escapes.
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
