//! One write of the hosts file, on a thread of its own: it may wait for other programs and for the lock, while the main
//! loop goes on.

use std::path::Path;

use silo_shared::folders::real;
use tokio::task::JoinHandle;

use crate::agent_error::AgentError;
use crate::metadata::Identity;
use crate::own;
use crate::progress::Progress;
use crate::run_status::RunStatus;
use crate::settle::Stillness;
use crate::silo_pull::SiloPull;
use crate::snapshot::{Mark, Snapshot};
use crate::writer::{Writer, Written};

/// What a write needs.
pub(super) struct WriteJob {
    pub(super) writer: Writer,
    pub(super) pulls: Vec<SiloPull>,
    pub(super) status: RunStatus,
    pub(super) stillness: Stillness,
    /// The state of the file in which it was not written for a while.
    pub(super) still: Option<Mark>,
    pub(super) progress: Progress,
}

/// How a write ended.
pub(super) struct WriteEnd {
    pub(super) result: Result<Written, AgentError>,
    pub(super) pulls: Vec<SiloPull>,
    pub(super) status: RunStatus,
    /// The file's state that this write has seen or made; `None` if another program may have written it since.
    pub(super) known: Option<KnownFile>,
}

/// A state of the hosts file.
#[derive(Clone, Debug)]
pub(super) struct KnownFile {
    pub(super) identity: Identity,
    pub(super) mark: Mark,
}

impl WriteJob {
    /// Starts it.
    pub(super) fn spawn(mut self) -> JoinHandle<WriteEnd> {
        tokio::task::spawn_blocking(move || {
            let before = look(&self.writer.settings.hosts_file);
            let result = self.write();
            let known = self.known_now(before, result.as_ref().is_ok_and(|it| it.is_replaced));
            WriteEnd {
                result,
                pulls: self.pulls,
                status: self.status,
                known,
            }
        })
    }

    fn write(&mut self) -> Result<Written, AgentError> {
        let target = own::find(&self.writer.settings)?;
        let target = target.watched(self.stillness, self.still.take(), self.progress.clone());
        self.writer.write(target, &mut self.pulls, &mut self.status)
    }

    /// The file as it is now, if it is as this write has left or found it.
    fn known_now(&self, before: Option<KnownFile>, is_replaced: bool) -> Option<KnownFile> {
        let now = look(&self.writer.settings.hosts_file)?;
        if is_replaced {
            let path = real(&self.writer.settings.hosts_file).ok()?;
            let left = self.writer.state.left(&path).ok()?;
            return (left.as_ref() == Some(&now.mark)).then_some(now);
        }
        (before?.identity == now.identity).then_some(now)
    }
}

/// The file as it is now.
pub(super) fn look(path: &Path) -> Option<KnownFile> {
    let snapshot = Snapshot::look(path).ok()??;
    Some(KnownFile {
        mark: Mark::of(&snapshot),
        identity: snapshot.identity,
    })
}
