//! The state of one silo in a run: what the hub said last, and what it says now.

use silo_shared::silo::SiloId;

use crate::plan::{Pulled, Report};
use crate::pull::Fresh;
use crate::remembered::Remembered;
use crate::state::{LockedState, StateError};
use crate::tell;

/// The state of one silo in a run.
#[derive(Clone, Debug)]
pub(crate) struct SiloPull {
    pub(crate) silo: SiloId,
    /// The saved state when the run began.
    pub(crate) known: Option<Remembered>,
    /// The hub's response; `None` if the pull failed.
    pub(crate) fresh: Option<Fresh>,
}

impl SiloPull {
    /// Uses the response that another run saved while this one waited, if it is newer.
    pub(crate) fn prefer_newer(&mut self, now: Option<Remembered>) {
        if self.known == now {
            return;
        }
        if let (Some(fresh), Some(now)) = (&mut self.fresh, &now)
            && now.database == fresh.database
            && now.document.revision > fresh.document.revision
        {
            fresh.document = now.document.clone();
            fresh.tag = now.tag.clone();
        }
        self.known = now;
    }

    /// Saves the hub's response, unless it was refused: then the next run requests it again.
    pub(crate) fn remember(
        &mut self,
        hub: &str,
        report: &Report,
        state: &LockedState,
    ) -> Result<(), StateError> {
        let (Some(fresh), Ok(update)) = (&self.fresh, &report.outcome) else {
            return Ok(());
        };
        let now = Remembered {
            hub: hub.to_owned(),
            silo: self.silo.to_string(),
            tag: fresh.tag.clone(),
            database: fresh.database.clone(),
            document: fresh.document.clone(),
            skipped: tell::notices(update)
                .into_iter()
                .map(|notice| notice.text)
                .collect(),
        };
        if self.known.as_ref() == Some(&now) {
            return Ok(());
        }
        state.remember(&self.silo, &now)?;
        self.known = Some(now);
        Ok(())
    }
}

impl From<&SiloPull> for Pulled {
    fn from(pull: &SiloPull) -> Self {
        Self::new(pull.silo.clone(), pull.fresh.as_ref())
    }
}
