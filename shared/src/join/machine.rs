//! This machine: whether a join can succeed here, the first run of the agent, and its schedule.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;

use super::files::Places;
use super::steps::Local;
use super::{JoinError, Member};
use crate::install::{Agent, Given, InstallFlags};
use crate::output::Output;
use crate::trusted_file::Kind;

/// Who may write to the folders of the system.
const PRIVILEGED: &str = if cfg!(windows) {
    "an administrator"
} else {
    "root"
};

/// What a join does here once the configuration is there.
pub(super) struct Here<'a, T, M> {
    pub(super) member: &'a M,
    pub(super) given: &'a Given<T>,
    pub(super) output: &'a Output,
    /// How to make the schedule; `None`: none is made.
    pub(super) schedule: Option<InstallFlags>,
    /// Whether the files are those of another system, on which nothing is started.
    pub(super) is_image: bool,
    pub(super) force: bool,
    /// Whether all of it succeeded.
    pub(super) is_ok: bool,
}

impl<T, M: Member<T>> Local for Here<'_, T, M> {
    fn run_once(&mut self) -> Result<(), JoinError> {
        if !self.is_image && !run(self.member.agent(), "once", &self.given.arguments)? {
            self.is_ok = false;
            self.output
                .print_error("the first run failed; all else was done, and later runs try again");
        }
        Ok(())
    }

    fn schedule(&mut self) -> Result<(), JoinError> {
        if let Some(flags) = &self.schedule
            && !self.member.install(flags, self.force)
        {
            self.is_ok = false;
            let program = self.member.agent().program();
            self.output.print_error(format_args!(
                "no schedule was made; all else was done: run `{program} install`"
            ));
        }
        Ok(())
    }

    fn tell(&mut self, words: String) {
        self.output.print(words);
    }
}

/// Runs this program as a schedule does, without its environment variables; returns whether it succeeded.
pub(super) fn run(agent: Agent, verb: &str, arguments: &[String]) -> Result<bool, JoinError> {
    let failed = |cause| JoinError::Run {
        program: agent.program().to_owned(),
        cause,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg(verb).args(arguments).stdin(Stdio::null());
    let trusts = |word: &String| word.starts_with("--trust-owner=");
    if cfg!(windows) && agent == Agent::Upstream && !arguments.iter().any(trusts) {
        // LOCAL SERVICE runs it from then on, whose folder has configuration and token.
        command.arg("--trust-owner=S-1-5-19");
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SILO_") {
            command.env_remove(name);
        }
    }
    Ok(command.status().map_err(failed)?.success())
}

/// Refuses to begin what could not be finished here.
pub(super) fn check<T: Parser, M: Member<T>>(
    member: &M,
    given: &Given<T>,
    places: &Places,
    is_image: bool,
    output: &Output,
) -> Result<(), JoinError> {
    let agent = member.agent();
    if !may_write(places.folder()) {
        let program = agent.program();
        return Err(JoinError::Usage(format!(
            "{}: this user may not write there: run `{program} join` as {PRIVILEGED}, or give --config FILE in a folder of your own",
            places.folder().display(),
        )));
    }
    let trust = given.trust(agent);
    trust.check(Kind::Configuration, &places.config)?;
    trust.check(Kind::Token { any_owner: false }, &places.token)?;
    if is_image {
        return Ok(());
    }
    if member.is_able(&given.cli, output)? {
        Ok(())
    } else {
        Err(JoinError::NotAble)
    }
}

/// Whether files can be made in a folder, or the folder itself if it is not there.
fn may_write(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|folder| folder.exists());
    #[cfg(unix)]
    {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        existing.is_some_and(|folder| accessat(CWD, folder, wanted, AtFlags::EACCESS).is_ok())
    }
    // Windows says so when the first file is made, before the hub is asked to make the token.
    #[cfg(not(unix))]
    existing.is_some()
}
