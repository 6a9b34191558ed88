//! What is to be scheduled: a program, its arguments, and the files that it uses.

use std::path::{Path, PathBuf};

/// One of the two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// `silo-upstream`.
    Upstream,
    /// `silo-downstream`.
    Downstream,
}

impl Agent {
    /// The name of the program, of its units, of the file in `/etc/cron.d` and of the task.
    pub fn program(self) -> &'static str {
        match self {
            Self::Upstream => "silo-upstream",
            Self::Downstream => "silo-downstream",
        }
    }

    /// The prefix of its environment variables.
    pub fn variables(self) -> &'static str {
        match self {
            Self::Upstream => "SILO_UPSTREAM_",
            Self::Downstream => "SILO_DOWNSTREAM_",
        }
    }

    /// The name of its configuration file.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream.yaml",
            Self::Downstream => "downstream.yaml",
        }
    }

    /// Its state folder in the packaged units.
    pub(super) fn unit_state_dir(self) -> &'static Path {
        match self {
            Self::Upstream => Path::new("/var/lib/silo-upstream"),
            Self::Downstream => Path::new("/var/lib/silo"),
        }
    }
}

/// A program to schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Which agent.
    pub(crate) agent: Agent,
    /// The program, an absolute path.
    pub(crate) program: PathBuf,
    /// Its flags, as `--flag=value`; paths are absolute. None of them is a secret.
    pub(crate) arguments: Vec<String>,
    /// The files that it uses.
    pub(crate) files: Files,
}

/// The files that an agent uses, as absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// The configuration, if there is one.
    pub(crate) config: Option<PathBuf>,
    /// Whether the configuration contains the token itself.
    pub(crate) has_inline_token: bool,
    /// The token file.
    pub(crate) token: Option<PathBuf>,
    /// The certificates to trust.
    pub(crate) ca: Option<PathBuf>,
    /// The state folder, if it was chosen.
    pub(crate) state: Option<PathBuf>,
    /// The hosts file, if it was chosen.
    pub(crate) hosts: Option<PathBuf>,
}

impl Job {
    /// The words after the program: the command and the flags. A schedule is quiet unless `--quiet=false` was given.
    pub(super) fn words(&self, verb: &str) -> Vec<String> {
        let mut words = vec![verb.to_owned()];
        if !self
            .arguments
            .iter()
            .any(|word| word.starts_with("--quiet"))
        {
            words.push("--quiet".to_owned());
        }
        words.extend(self.arguments.iter().cloned());
        words
    }

    /// All files that it reads or runs.
    pub(super) fn read_files(&self) -> impl Iterator<Item = &Path> {
        let Files {
            config, token, ca, ..
        } = &self.files;
        let given = [config, token, ca].into_iter().flatten();
        std::iter::once(&self.program)
            .chain(given)
            .map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_quiet_unless_it_was_told_otherwise() {
        let mut job = Job {
            agent: Agent::Upstream,
            program: PathBuf::from("/usr/bin/silo-upstream"),
            arguments: vec!["--silo=a".to_owned()],
            files: Files::default(),
        };
        assert_eq!(job.words("once"), ["once", "--quiet", "--silo=a"]);
        job.arguments.push("--quiet=false".to_owned());
        assert_eq!(job.words("watch"), ["watch", "--silo=a", "--quiet=false"]);
    }
}
