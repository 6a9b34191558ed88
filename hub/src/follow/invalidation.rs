//! Invalidates changed silos and wakes those waiting for them, in one step.

use silo_shared::silo::SiloId;

use crate::follow::revision::Revision;
use crate::read::view::View;

/// Invalidates changed silos in the view, then wakes those waiting for them.
#[derive(Clone, Debug)]
pub struct Invalidation {
    view: View,
    revision: Revision,
}

impl Invalidation {
    /// For this view and the bus of its readers.
    pub fn new(view: View, revision: Revision) -> Self {
        Self { view, revision }
    }

    /// A silo was changed by this hub: later reads see the change. `revision` is one that the silo
    /// has reached by then, if the change took any.
    pub(crate) fn silo_changed(&self, id: &SiloId, revision: Option<i64>) {
        self.view.forget(id);
        self.revision.silo_changed(id, revision);
    }

    /// A silo was changed by another program. It may have been read since and already be cached at
    /// this revision or a newer one, without a wake-up for those waiting for it.
    pub(crate) fn silo_changed_elsewhere(&self, id: &SiloId, revision: i64) {
        self.view.forget_older(id, revision);
        self.revision.silo_changed(id, Some(revision));
    }

    /// Any silo may have changed.
    pub(crate) fn anything_changed(&self) {
        self.view.forget_all();
        self.revision.announce_gap();
    }
}
