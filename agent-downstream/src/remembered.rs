//! What a hub last answered for a silo, as the state folder keeps it.

use serde::{Deserialize, Serialize};
use silo_shared::api::SiloDocument;

/// What a hub last answered for a silo, and what was printed about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The hub's URL; the tag is sent to no other hub.
    pub(crate) hub: String,
    /// The silo.
    pub(crate) silo: String,
    /// The entity tag of the answer.
    pub(crate) tag: Option<String>,
    /// The answer before the policy was applied: the policy may change while the hub's answer does not.
    pub(crate) document: SiloDocument,
    /// The lines about skipped records that were last printed.
    pub(crate) skipped: Vec<String>,
}
