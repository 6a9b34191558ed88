//! Errors of commands.

use crate::registry::ApplyError;
use crate::runtime::RunError;
use crate::runtime::data_dir::DataDirError;
use crate::runtime::open_hub::OpenError;
use crate::serve::ServeError;
use crate::store::StoreError;
use crate::tls::TlsError;
use silo_shared::config::ConfigError;

/// Why a command failed, by exit code.
#[derive(Debug)]
pub(super) enum Failure {
    /// A later try may succeed: 1.
    Failed(String),
    /// The command line or configuration must be changed first: 2.
    Usage(String),
    /// What is wrong was printed already: 1.
    Printed,
    /// The reader closed standard output, as with `| head`: 0, without a message.
    BrokenPipe,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::DataDir(
                DataDirError::Key { .. }
                | DataDirError::NotAFolder(_)
                | DataDirError::Open { .. }
                | DataDirError::NotTrusted(_)
                | DataDirError::OfOther { .. }
                | DataDirError::SeveralNames(_),
            )
            | OpenError::NoHub(_)
            | OpenError::Lost { .. }
            | OpenError::Store(StoreError::Schema(_) | StoreError::NoHub { .. }) => {
                Self::Usage(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    /// An error from writing to standard output.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Open(error) => error.into(),
            RunError::Sinks(error) => error.into(),
            RunError::Serve(ServeError::Tls(error)) => error.into(),
            error @ (RunError::Serve(_) | RunError::Ended(_)) => Self::Failed(error.to_string()),
        }
    }
}
