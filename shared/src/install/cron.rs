//! The file in `/etc/cron.d`, where no systemd runs.

use std::path::{Path, PathBuf};

use super::InstallError;
use super::job::Job;
use super::plan::{Item, Manager, Plan};
use super::quote;
use super::schedule::{Interval, Schedule};

/// The five fields of crontab(5): cron repeats only what divides an hour or a day.
fn fields(interval: Interval) -> Result<String, InstallError> {
    let minutes = interval.minutes();
    match minutes {
        1 => Ok("* * * * *".to_owned()),
        1440 => Ok("0 0 * * *".to_owned()),
        60 => Ok("0 * * * *".to_owned()),
        _ if minutes < 60 && 60 % minutes == 0 => Ok(format!("*/{minutes} * * * *")),
        _ if minutes.is_multiple_of(60) && 1440 % minutes == 0 => {
            Ok(format!("0 */{} * * *", minutes / 60))
        }
        _ => Err(InstallError::NotForCron(interval)),
    }
}

/// The file `/etc/cron.d/silo-…`. It runs as root, as every token file that only root can read requires.
pub(super) fn plan(job: &Job, schedule: Schedule) -> Result<Plan, InstallError> {
    let Schedule::Every(interval) = schedule else {
        return Err(InstallError::WatchWithCron);
    };
    let name = job.agent.program();
    let line = format!("{} root {}", fields(interval)?, command(job)?);
    let contents = format!(
        "# Written by `{name} install`. To change it, run that again; `{name} uninstall` removes it.\n{line}\n"
    );
    Ok(Plan {
        manager: Manager::Cron,
        items: vec![Item::File {
            path: path(name),
            contents,
        }],
        unit: None,
        notes: Vec::new(),
    })
}

/// The line for the crontab of a user, which runs as that user.
pub(super) fn user_line(job: &Job) -> Result<String, InstallError> {
    Ok(format!("{} {}", fields(Interval::DEFAULT)?, command(job)?))
}

fn command(job: &Job) -> Result<String, InstallError> {
    let program = super::text(&job.program)?.to_owned();
    let words = std::iter::once(program).chain(job.words("once"));
    let quoted: Result<Vec<String>, InstallError> = words.map(|word| quote::cron(&word)).collect();
    Ok(quoted?.join(" "))
}

/// Whether a cron daemon seems to run: Debian's and cronie hold this file.
pub(super) fn is_running() -> bool {
    ["/run/crond.pid", "/run/cron.pid"]
        .into_iter()
        .any(|file| Path::new(file).exists())
}

/// Letters, digits, `_` and `-` only: Debian's cron ignores files with other names.
fn path(name: &str) -> PathBuf {
    folder().join(name)
}

/// The folder of packages' crontabs.
pub(super) fn folder() -> &'static Path {
    Path::new("/etc/cron.d")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::job::{Agent, Files};

    #[test]
    fn intervals_become_fields_or_are_refused() {
        for (interval, expected) in [
            ("1m", Some("* * * * *")),
            ("5m", Some("*/5 * * * *")),
            ("30m", Some("*/30 * * * *")),
            ("1h", Some("0 * * * *")),
            ("6h", Some("0 */6 * * *")),
            ("1d", Some("0 0 * * *")),
            ("7m", None),
            ("45m", None),
            ("90m", None),
            ("5h", None),
        ] {
            let fields = fields(interval.parse().unwrap());
            assert_eq!(fields.ok().as_deref(), expected, "{interval}");
        }
        let error = super::fields("7m".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--every 7m") && error.contains("5m"),
            "{error}"
        );
    }

    #[test]
    fn the_line_holds_the_flags_quoted_for_cron() {
        let job = Job {
            agent: Agent::Downstream,
            program: PathBuf::from("/opt/si lo/silo-downstream"),
            arguments: vec!["--config=/etc/50%/it's.yaml".to_owned()],
            files: Files::default(),
        };
        let plan = plan(&job, Schedule::Every(Interval::DEFAULT)).unwrap();
        let [Item::File { path, contents }] = &plan.items[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(path, Path::new("/etc/cron.d/silo-downstream"));
        assert_eq!(
            contents,
            "# Written by `silo-downstream install`. To change it, run that again; `silo-downstream uninstall` removes it.\n\
             */5 * * * * root '/opt/si lo/silo-downstream' once --quiet '--config=/etc/50\\%/it'\"'\"'s.yaml'\n"
        );
        let error = super::plan(&job, Schedule::Watch).unwrap_err().to_string();
        assert!(error.contains("--every"), "{error}");
    }
}
