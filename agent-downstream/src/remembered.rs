//! What is remembered of a silo between two runs: plain data, which `state` keeps.

use serde::{Deserialize, Serialize};
use silo_shared::api::SiloDocument;

/// What a hub last said of a silo, and what was said to the user about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The hub's URL; the tag goes to no other.
    pub(crate) hub: String,
    /// The silo.
    pub(crate) silo: String,
    /// The entity tag of the answer.
    pub(crate) tag: Option<String>,
    /// The answer, unjudged: the policy may change while the hub's answer does not.
    pub(crate) document: SiloDocument,
    /// The lines on what was passed over that were last printed.
    pub(crate) skipped: Vec<String>,
}
