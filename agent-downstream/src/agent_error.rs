//! Why a command ended early.

use std::path::PathBuf;

use silo_shared::agent::CannotStart;
use silo_shared::config::ConfigError;
use thiserror::Error;

use crate::checkconf::CheckError;
use crate::in_place::InPlaceError;
use crate::plan::NoPlan;
use crate::replace_error::ReplaceError;
use crate::state::StateError;
use crate::target::Target;

/// Why a command ended early.
#[derive(Debug, Error)]
pub(crate) enum AgentError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The hosts file was not replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The blocks in the hosts file can't be identified.
    #[error("{}: {cause}; the file was not changed", .path.display())]
    Markers {
        /// The hosts file.
        path: PathBuf,
        /// The reason.
        cause: NoPlan,
    },
    /// There is nothing to restore.
    #[error("{}: there is no backup of it in the state folder {}", .path.display(), .state.display())]
    NoBackup {
        /// The hosts file.
        path: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
    /// There is no backup with this number.
    #[error(
        "there is no backup {number}, only {count}: `silo-downstream restore --list` shows which"
    )]
    NoSuchBackup {
        /// The requested number.
        number: usize,
        /// The number of backups.
        count: usize,
    },
    /// Lines of other programs or users would be lost.
    #[error("{}: {lost} lines outside our blocks would be lost, those with `-` above; the file was not changed. Use --force to restore it anyway; the present file is kept as a backup", .path.display())]
    WouldLose {
        /// The hosts file.
        path: PathBuf,
        /// The number of lines.
        lost: usize,
    },
    /// The DNS server's program does not accept a new file.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The run could not begin.
    #[error(transparent)]
    CannotStart(#[from] CannotStart),
    /// Signals can't be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
    /// The process was told to end before the file was written.
    #[error("{}: not written, since the agent was told to end", .0.display())]
    Ending(PathBuf),
}

impl From<InPlaceError> for AgentError {
    fn from(error: InPlaceError) -> Self {
        Self::Replace(error.into())
    }
}

impl silo_shared::agent::AgentError for AgentError {
    fn is_usage(&self) -> bool {
        match self {
            Self::Config(error) => error.is_usage(),
            Self::State(StateError::NotAFolder(_)) => true,
            #[cfg(unix)]
            Self::State(StateError::Open { .. }) => true,
            _ => false,
        }
    }
}

/// The error for a hosts file whose blocks can't be identified.
pub(crate) fn markers(target: &Target, cause: impl Into<NoPlan>) -> AgentError {
    let (path, cause) = (target.path().to_owned(), cause.into());
    AgentError::Markers { path, cause }
}
