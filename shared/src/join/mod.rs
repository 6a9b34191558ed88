//! The commands `join` and `leave` of both agents: from an invitation to an agent that runs, and away again.
//!
//! - `input`: where the line of an invitation comes from. `terms`: what the hub grants, checked, and the configuration.
//! - `files`: the files of a join. `steps`: their order, so that a join that was killed is finished by the next run.
//! - `inviter`: the calls of the hub. `machine`: this machine's rights, the first run and the schedule.
//! - `verb`, `leave`: the commands.
//!
//! The exchange is [`crate::invitation`]'s. What differs between the agents is in a [`Member`].

mod files;
mod input;
mod inviter;
mod leave;
mod machine;
mod steps;
mod terms;
mod verb;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::agent::{AgentError, CannotStart};
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::connection::Connection;
use crate::install::{Agent, InstallError};
use crate::invitation::{ExchangeError, InvalidInvitation};
use crate::output::Output;
use crate::trusted_file::NotTrusted;

pub use input::JoinFlags;
pub use leave::leave;
pub use verb::join;

/// What differs between the agents. `T` is the command line, as a schedule has it: without environment variables.
pub trait Member<T> {
    /// Which agent it is.
    fn agent(&self) -> Agent;
    /// Whether this machine lets the agent do its work, apart from the hub; prints what does not. Called before anything
    /// is asked of the hub. There is no configuration yet: all settings are from flags.
    fn is_able(&self, cli: &T, output: &Output) -> Result<bool, ConfigError>;
    /// Makes the schedule as `install` does; returns whether it did.
    fn install(&self, flags: &crate::install::InstallFlags, force: bool) -> bool;
    /// The connection to the hub of the configuration at a path.
    fn connection(&self, cli: &T) -> Result<Connection, ConfigError>;
}

/// Why a join or leave ended early.
#[derive(Debug, Error)]
pub(crate) enum JoinError {
    /// The text is not an invitation.
    #[error(transparent)]
    Invitation(#[from] InvalidInvitation),
    /// The invitation can't be read.
    #[error("cannot read the invitation: {place}: {cause}")]
    Input {
        /// Where from.
        place: String,
        /// Why.
        cause: io::Error,
    },
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong, or files of others are in the way.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No schedule can be made.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The agent could not do its work on this machine.
    #[error("the agent could not do its work here, see above; nothing was asked of the hub")]
    NotAble,
    /// Files are there already.
    #[error("{0}; nothing was changed. Use --force to overwrite it")]
    Present(String),
    /// The invitation is for the other agent.
    #[error("this invitation is for {program}: run `{program} join` with it", program = .0.program())]
    OtherProgram(Agent),
    /// What the hub answers is not what this program knows.
    #[error("the answer of the hub is not understood: {0}: install a newer version")]
    NotUnderstood(&'static str),
    /// The call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The exchange has no result.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The invitation has ended for this machine.
    #[error("{0}: ask for a new one")]
    Ended(String),
    /// The hub does not know the invitation, or another server answers.
    #[error(
        "{0}: the hub does not know this invitation: it ended more than a day ago, or the hub has another database by now; make a new one, and use it with --force"
    )]
    Unknown(String),
    /// A file is not as `join` writes it.
    #[error("{}: not as this version of `join` writes it: remove it", .0.display())]
    Malformed(PathBuf),
    /// A file can't be read or written.
    #[error("{}: {cause}{}", .path.display(), crate::held::advice(.cause))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The system lacks resources.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// The first run can't be started.
    #[error("cannot run {program}: {cause}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        cause: io::Error,
    },
}

impl JoinError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io { path, cause }
    }
}

impl From<NotTrusted> for JoinError {
    fn from(error: NotTrusted) -> Self {
        Self::Config(error.into())
    }
}

impl AgentError for JoinError {
    fn is_usage(&self) -> bool {
        match self {
            Self::Invitation(_) | Self::Usage(_) | Self::OtherProgram(_) => true,
            Self::Config(error) => error.is_usage(),
            Self::Install(error) => error.is_usage(),
            _ => false,
        }
    }
}
