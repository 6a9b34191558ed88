//! A hub's last response for a silo, as stored in the state folder.

use serde::{Deserialize, Serialize};
use silo_shared::api::SiloDocument;

/// A hub's last response for a silo, and what was printed about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The hub's URL; the tag is sent to no other hub.
    pub(crate) hub: String,
    /// The silo.
    pub(crate) silo: String,
    /// The entity tag of the response.
    pub(crate) tag: Option<String>,
    /// The id of the hub's database, if the hub sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
    /// The response before the policy was applied: the policy may change while the hub's response does not.
    pub(crate) document: SiloDocument,
    /// The lines about skipped records that were last printed.
    pub(crate) skipped: Vec<String>,
}
