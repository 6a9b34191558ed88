//! The command `check`: checks whether `once` could work with the configuration, hub, token, state folder and hosts
//! file, and changes nothing.

use std::path::Path;

use silo_shared::agent_name::AgentKind;
use silo_shared::checklist::Checklist;
use silo_shared::client::{HubClient, Route, TokenVerdict};
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent::{expect_database, rules};
use crate::agent_error::AgentError;
use crate::checkconf;
use crate::format::Format;
use crate::hosts::HostsFile;
use crate::in_place::{self, InPlace};
use crate::known::known_without_lock;
use crate::own;
use crate::own_plan::plan;
use crate::plan::{NoPlan, Pulled, Rules};
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
    let client = match HubClient::new(&connection, AgentKind::Downstream, &Route::default()) {
        Ok(client) => client,
        Err(error) => {
            said.failed("hub", error);
            check_state(settings, &mut said);
            check_hosts(settings, &mut said);
            check_hook(settings, &mut said);
            return Ok(false);
        }
    };

    if let Err(error) = expect_database(settings, &client) {
        said.failed("state folder", error);
    }
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
    check_hook(settings, &mut said);
    check_plan(settings, &rules(settings, &connection), &results, &mut said);
    Ok(said.is_ok())
}

/// Whether state folder and hosts file can be written; prints what can't.
pub(crate) fn is_able(settings: &Settings, output: &Output) -> bool {
    let output = output.quieted();
    let mut said = Checklist::new(&output);
    check_state(settings, &mut said);
    check_hosts(settings, &mut said);
    said.is_ok()
}

/// Prints what the next run would skip, refuse or leave wrong.
fn check_plan(
    settings: &Settings,
    rules: &Rules,
    results: &[(SiloId, Result<Fresh, PullError>)],
    said: &mut Checklist,
) {
    // Its errors are printed already.
    let Ok(target) = own::find(settings) else {
        return;
    };
    let (Ok(bytes), Ok(known)) = (
        own::read(settings, &target),
        known_without_lock(settings, &target),
    ) else {
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
                what(settings),
                format!("{}: {error}", target.path().display()),
            );
        }
    };
    for stale in &plan.stale {
        said.ok(what(settings), stale);
    }
    for fact in tell::facts_of_dropped(&plan.dropped) {
        said.ok(what(settings), fact);
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

/// Whether the hook can be run, and is owed.
fn check_hook(settings: &Settings, said: &mut Checklist) {
    let Some(hook) = &settings.on_change else {
        return;
    };
    match hook.program() {
        Ok(program) => said.ok("on_change", program.display()),
        Err(error) => said.failed("on_change", error),
    }
    // What else is wrong with the state folder or the file is printed already.
    let (Ok(Some(state)), Ok(target)) =
        (StateDir::existing(&settings.state_dir), own::find(settings))
    else {
        return;
    };
    match state.owed_hook(target.path()) {
        Ok(None) => {}
        Ok(Some(owed)) => said.failed(
            "on_change",
            format!(
                "it is owed for {}: the next run runs it again",
                owed.silo_ids().join(", ")
            ),
        ),
        Err(error) => said.failed("state folder", error),
    }
}

/// What the managed file is called.
fn what(settings: &Settings) -> &'static str {
    match settings.format {
        None => "hosts file",
        Some(_) => "file",
    }
}

/// Whether a new file for unbound is checked.
fn check_program() -> String {
    match checkconf::find_program() {
        Some(program) => format!("{} checks it before it is replaced", program.display()),
        None => "unbound-checkconf is not installed: a new file is not checked".to_owned(),
    }
}

/// Whether a file of our own can be created.
fn check_folder(what: &str, target: &Target, said: &mut Checklist) {
    let path = target.path().display();
    if takes_files(target.folder()) {
        let detail = format!("{path} is not there yet; the first run makes it");
        said.ok(what, detail);
    } else {
        let detail = format!("{path}: this user may not create it; run as {PRIVILEGED}");
        said.failed(what, detail);
    }
}

/// Who may write the system's hosts file.
const PRIVILEGED: &str = if cfg!(windows) {
    "an administrator"
} else {
    "root"
};
/// What to do if the file can't be written.
const NOT_WRITABLE: &str = if cfg!(windows) {
    "run this as an administrator; if it is elevated already, another program has the file open, or Defender's controlled folder access does not allow this program"
} else {
    "run as root, and look whether it is immutable or append-only (lsattr)"
};

fn check_hosts(settings: &Settings, said: &mut Checklist) {
    let what = what(settings);
    let read = own::find(settings).and_then(|target| Ok((own::read(settings, &target)?, target)));
    let (bytes, target) = match read {
        Ok(read) => read,
        Err(error) => return said.failed(what, error),
    };
    if settings.format == Some(Format::Unbound) {
        said.ok(what, check_program());
    }
    if !target.path().exists() {
        return check_folder(what, &target, said);
    }
    let path = target.path().display();
    if settings.format.is_none()
        && let Err(error) = HostsFile::parse(&bytes)
    {
        return said.failed(what, format!("{path}: {error}"));
    }
    // Opened without writing, which does not change even the file's times. Not opened to append, which an append-only
    // file (`chattr +a`) allows.
    let writable = in_place::probe(target.path());
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
            what,
            format!("{path}: not writable: {error}; {NOT_WRITABLE}"),
        ),
        (None, Ok(_)) => match full {
            None => said.ok(what, format!("{path} can be replaced")),
            Some(why) => said.failed(what, format!("{path}: cannot be replaced: {why}")),
        },
        (Some(why), Ok(_)) if settings.in_place.is_allowed() => {
            said.ok(what, format!("{path} is written in place only ({why}), which is allowed"));
        }
        (Some(why), Ok(_)) => said.failed(
            what,
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
