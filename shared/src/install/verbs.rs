//! The commands `install` and `uninstall`, as both agents have them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Parser};

use super::apply::{Refused, System};
use super::command::RealCommands;
use super::job::{Agent, Job};
use super::place::{self, Platform};
use super::plan::{Manager, Plan};
use super::schedule::{Interval, Schedule};
use super::{InstallError, carried, cron, files, task, units};
use crate::config::ConfigError;
use crate::flags::OutputFlags;
use crate::folders;
use crate::output::Output;
use crate::private_file::create_folder;
use crate::program::{DONE, OWN_WARNINGS, failed, misused, start_logging};
use crate::trusted_file::{Kind, Owner, Trust};

/// The flags of `install`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct InstallFlags {
    /// Run `once` at this interval: minutes, hours or a day, such as 5m or 1h [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub every: Option<Interval>,

    /// Run `watch` as a service that stays, instead of a timer
    #[arg(long, conflicts_with = "every")]
    pub watch: bool,

    /// Print what would be written; change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Write below this folder, the root of an installed system, and start nothing
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// The flags of `uninstall`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct UninstallFlags {
    /// Remove what `install --root DIR` wrote below this folder
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl InstallFlags {
    pub(super) fn schedule(&self) -> Schedule {
        if self.watch {
            Schedule::Watch
        } else {
            Schedule::Every(self.every.unwrap_or(Interval::DEFAULT))
        }
    }
}

/// Makes the schedule of an agent.
///
/// `check` reads and checks the agent's settings from flags that were read without environment variables, which a
/// schedule does not have. It is not called with `--root`, where neither configuration nor token need to be there yet.
pub fn install<T: Parser>(
    agent: Agent,
    flags: &InstallFlags,
    force: bool,
    output: &OutputFlags,
    check: impl FnOnce(&T) -> Result<(), ConfigError>,
) -> ExitCode {
    finish(agent, output, |output| {
        let matches = T::command().get_matches();
        let job = job::<T>(agent, &matches, flags.root.as_deref())?;
        let trust = trust_of(agent, trusted_owner(&matches));
        if flags.root.is_none() && !flags.dry_run {
            make_own_folder(agent, output)?;
        }
        if flags.root.is_none() {
            let cli = T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
            check(&cli).map_err(|cause| InstallError::Config {
                cause: Box::new(cause),
                variables: carried::variables(agent.variables()),
            })?;
        }
        check_files(&job, &trust, flags.root.as_deref())?;
        let platform = place::find(flags.root.as_deref(), &job, flags.schedule())?;
        let plan = plan(&job, flags.schedule(), &platform)?;
        for name in carried::variables(agent.variables()) {
            output.print_note(format_args!(
                "{name} is set here and not carried into the schedule: use the flag, or the configuration"
            ));
        }
        if flags.dry_run {
            output.write(plan.to_string().as_bytes());
        } else {
            let system = system(agent, flags.root.as_deref(), force, &trust)?;
            tell_installed(&system, &plan, flags, output)?;
        }
        for note in &plan.notes {
            output.print_note(note);
        }
        Ok(())
    })
}

/// Removes what `install` wrote; its record may belong to `owner` too.
pub fn uninstall(
    agent: Agent,
    flags: &UninstallFlags,
    force: bool,
    owner: Option<Owner>,
    output: &OutputFlags,
) -> ExitCode {
    finish(agent, output, |output| {
        let trust = trust_of(agent, owner);
        let system = system(agent, flags.root.as_deref(), force, &trust)?;
        let Some(done) = system
            .uninstall()
            .map_err(|refused| tell_refused(refused, output))?
        else {
            let record = system.record.display();
            output.print_unless_quiet(format_args!("nothing to remove: there is no {record}"));
            return Ok(());
        };
        for item in &done.removed {
            output.print(format_args!("removed {item}"));
        }
        output.print(format_args!("{} is no longer scheduled", agent.program()));
        Ok(())
    })
}

fn finish(
    agent: Agent,
    flags: &OutputFlags,
    verb: impl FnOnce(&Output) -> Result<(), InstallError>,
) -> ExitCode {
    let format = flags.log_format.unwrap_or_default();
    let output = Output::new(agent.program(), flags.quiet.unwrap_or_default(), format);
    start_logging(format, OWN_WARNINGS);
    let code = match verb(&output) {
        Ok(()) => DONE,
        Err(error) => {
            output.print_error(&error);
            if error.is_usage() {
                misused()
            } else {
                failed()
            }
        }
    };
    output.finish(code)
}

/// What is to be scheduled: this program, with the flags that it was given.
pub(super) fn job<T: Parser>(
    agent: Agent,
    matches: &ArgMatches,
    root: Option<&Path>,
) -> Result<Job, InstallError> {
    let arguments = carried::arguments(&T::command(), matches)?;
    let program = std::env::current_exe().map_err(InstallError::io(Path::new(agent.program())))?;
    Ok(Job {
        agent,
        program: match root {
            Some(root) => place::program_in(root, agent, &program),
            None => program,
        },
        files: files::find(agent, &arguments, root)?,
        arguments,
    })
}

pub(super) fn trusted_owner(matches: &ArgMatches) -> Option<Owner> {
    matches.try_get_one("trust_owner").ok().flatten().cloned()
}

/// Makes the folder of an agent's configuration, token and state on Windows: made by hand in `%ProgramData%`, others
/// could write to it.
fn make_own_folder(agent: Agent, output: &Output) -> Result<(), InstallError> {
    let config = folders::config_file(agent.config_name());
    if let Some(folder) = config
        .parent()
        .filter(|folder| cfg!(windows) && !folder.exists())
    {
        create_folder(folder).map_err(InstallError::io(folder))?;
        output.print(format_args!(
            "made {}, closed to other users",
            folder.display()
        ));
    }
    Ok(())
}

/// Whose files a scheduled agent may use.
pub(super) fn trust_of(agent: Agent, owner: Option<Owner>) -> Trust {
    let trust = Trust::new(owner).without_caller();
    match agent {
        // The task runs as LOCAL SERVICE, whose folder holds its configuration, token and state.
        Agent::Upstream => trust.with_services(),
        Agent::Downstream => trust,
    }
}

/// Refuses files that users other than root could change, if root or SYSTEM will use them.
pub(super) fn check_files(
    job: &Job,
    trust: &Trust,
    root: Option<&Path>,
) -> Result<(), InstallError> {
    for file in job.read_files() {
        let kind = match file {
            _ if file == job.program => Kind::Program,
            _ if Some(file) == job.files.token.as_deref() => Kind::Token { any_owner: false },
            _ if Some(file) == job.files.ca.as_deref() => Kind::CaFile,
            _ => Kind::Configuration,
        };
        let path = place::below(root, file);
        match root {
            // The folders above are those of the machine that makes the image.
            Some(_) => trust.check(kind, &path)?,
            None => trust.check_with_folders(kind, &path)?,
        }
    }
    Ok(())
}

pub(super) fn plan(
    job: &Job,
    schedule: Schedule,
    platform: &Platform,
) -> Result<Plan, InstallError> {
    match platform {
        Platform::Systemd(scope) => units::plan(job, schedule, scope),
        Platform::Cron => cron::plan(job, schedule),
        Platform::TaskScheduler => task::plan(job, schedule, &folders::program_data()),
    }
}

fn system<'a>(
    agent: Agent,
    root: Option<&'a Path>,
    force: bool,
    trust: &Trust,
) -> Result<System<'a>, InstallError> {
    let record = place::record_file(root, agent)?;
    trust.check(Kind::Record, &record)?;
    Ok(System {
        root,
        record,
        commands: &RealCommands,
        force,
    })
}

fn tell_installed(
    system: &System,
    plan: &Plan,
    flags: &InstallFlags,
    output: &Output,
) -> Result<(), InstallError> {
    let done = system
        .install(plan)
        .map_err(|refused| tell_refused(refused, output))?;
    for item in &done.removed {
        output.print(format_args!("removed {item}"));
    }
    for item in &done.wrote {
        output.print(format_args!("wrote {item}"));
    }
    if done.wrote.is_empty() && done.removed.is_empty() {
        for item in &plan.items {
            output.print_unless_quiet(format_args!("unchanged: {item}"));
        }
    }
    let when = match flags.schedule() {
        Schedule::Every(interval) => format!("every {interval}"),
        Schedule::Watch => "as a service that stays".to_owned(),
    };
    match (system.start(plan, &done)?, plan.manager) {
        (Some(unit), _) => output.print(format_args!("started {unit}: runs {when}")),
        (None, Manager::Cron) if system.root.is_none() && !cron::is_running() => {
            output.print_note(
                "no cron seems to run: there is no /run/crond.pid; start it, or nothing will run",
            );
        }
        (None, _) => {}
    }
    Ok(())
}

/// Shows the differences, and returns the error.
fn tell_refused(refused: Refused, output: &Output) -> InstallError {
    for difference in &refused.differences {
        output.print(difference.text.trim_end());
    }
    refused.error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        install: InstallFlags,
    }

    #[test]
    fn five_minutes_are_the_default_and_watch_excludes_an_interval() {
        for (words, expected) in [
            (vec!["x"], Some(Schedule::Every(Interval::DEFAULT))),
            (
                vec!["x", "--every", "1h"],
                Some(Schedule::Every("1h".parse().unwrap())),
            ),
            (vec!["x", "--watch"], Some(Schedule::Watch)),
            (vec!["x", "--watch", "--every=1h"], None),
            (vec!["x", "--every=7"], None),
        ] {
            let parsed = Cli::try_parse_from(&words).ok();
            let schedule = parsed.map(|cli| cli.install.schedule());
            assert_eq!(schedule, expected, "{words:?}");
        }
    }
}
