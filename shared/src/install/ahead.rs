//! What `join` and `leave` have to know of `install` before they begin: the flags that go into a schedule, whether one can
//! be made here, and how it would run the agent.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Parser};

use super::job::{Agent, Job};
use super::place::{self, Platform};
use super::schedule::{Interval, Schedule};
use super::verbs::{self, InstallFlags};
use super::{InstallError, carried, files};
use crate::folders;
use crate::trusted_file::{Kind, Trust};

/// The command line of an agent, without its environment: what a schedule has of it.
#[derive(Debug)]
pub(crate) struct Given<T> {
    /// Its values.
    pub(crate) cli: T,
    /// The flags that a schedule gets, as `--flag=value`; paths are absolute.
    pub(crate) arguments: Vec<String>,
    /// The configuration file, which need not be there; without the folder that `--root` names.
    pub(crate) config: PathBuf,
    matches: ArgMatches,
}

impl<T: Parser> Given<T> {
    /// Reads the command line of this process.
    pub(crate) fn read(agent: Agent) -> Result<Self, InstallError> {
        let matches = T::command().get_matches();
        let arguments = carried::arguments(&T::command(), &matches)?;
        let flag = arguments
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix("--config="));
        let config = flag.map_or_else(|| folders::config_file(agent.config_name()), PathBuf::from);
        Ok(Self {
            cli: T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()),
            arguments,
            config,
            matches,
        })
    }

    /// Whose files a scheduled agent may use.
    pub(crate) fn trust(&self, agent: Agent) -> Trust {
        verbs::trust_of(agent, verbs::trusted_owner(&self.matches))
    }

    /// Checks that `install` can make a schedule of the agent with this token file and configuration, neither of which
    /// need be there yet. Returns the flags with which to call it: with `watch` if a service manager runs here and
    /// nothing else was asked for.
    pub(crate) fn plan_ahead(
        &self,
        agent: Agent,
        flags: &InstallFlags,
        token: &Path,
    ) -> Result<InstallFlags, InstallError> {
        let root = flags.root.as_deref();
        let mut job = verbs::job::<T>(agent, &self.matches, root)?;
        job.files = files::Files {
            config: Some(self.config.clone()),
            token: Some(token.to_owned()),
            has_inline_token: false,
            ..files::of_flags(&self.arguments)
        };
        let trust = self.trust(agent);
        verbs::check_files(&job, &trust, root)?;
        trust.check(Kind::Record, &place::record_file(root, agent)?)?;
        let schedule = chosen(&job, flags, root)?;
        let platform = place::find(root, &job, schedule)?;
        verbs::plan(&job, schedule, &platform)?;
        Ok(InstallFlags {
            watch: schedule == Schedule::Watch,
            ..flags.clone()
        })
    }
}

/// The schedule that was asked for; by default the agent stays where systemd runs.
fn chosen(job: &Job, flags: &InstallFlags, root: Option<&Path>) -> Result<Schedule, InstallError> {
    let asked = flags.schedule();
    if flags.watch || flags.every.is_some() {
        return Ok(asked);
    }
    let usual = Schedule::Every(Interval::DEFAULT);
    match place::find(root, job, usual)? {
        Platform::Systemd(_) => Ok(Schedule::Watch),
        Platform::Cron | Platform::TaskScheduler => Ok(usual),
    }
}
