//! Invalidates changed silos and wakes those waiting for them, in one step.

use silo_shared::silo::SiloId;

use crate::domain::revision::Revision;
use crate::follow::bus::Bus;
use crate::read::view::View;

/// Invalidates changed silos in the view, then wakes those waiting for them.
#[derive(Clone, Debug)]
pub struct Invalidation {
    view: View,
    bus: Bus,
}

impl Invalidation {
    /// For this view and the bus of its readers.
    pub fn new(view: View, bus: Bus) -> Self {
        Self { view, bus }
    }

    /// A silo was changed by this hub: later reads see the change. `revision` is one that the silo
    /// has reached by then, if the change took any.
    pub(crate) fn silo_changed(&self, id: &SiloId, revision: Option<Revision>) {
        self.view.forget(id);
        self.bus.silo_changed(id, revision);
    }

    /// A silo was changed by another program. It may have been read since and already be cached at
    /// this revision or a newer one, without a wake-up for those waiting for it.
    pub(crate) fn silo_changed_elsewhere(&self, id: &SiloId, revision: Revision) {
        self.view.forget_older(id, revision);
        self.bus.silo_changed(id, Some(revision));
    }

    /// Any silo may have changed.
    pub(crate) fn anything_changed(&self) {
        self.view.forget_all();
        self.bus.announce_gap();
    }
}
