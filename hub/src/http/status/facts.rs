//! The document of `GET /status`. A command line of another version reads it too: what it does not know is ignored, and
//! what it misses is empty.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::time::Time;

/// All that a hub tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Status {
    /// The version of the hub.
    #[schema(required = true, example = "0.2.0")]
    pub(crate) version: String,
    /// Its process id.
    #[schema(required = true)]
    pub(crate) pid: u32,
    /// When it started.
    #[schema(required = true)]
    pub(crate) started_at: Time,
    /// Its clock.
    #[schema(required = true)]
    pub(crate) now: Time,
    /// The URLs that it listens at.
    #[schema(required = true)]
    pub(crate) listen: Vec<String>,
    /// Whether nothing needs a hand.
    #[schema(required = true)]
    pub(crate) is_well: bool,
    /// What needs a hand.
    #[schema(required = true)]
    pub(crate) findings: Vec<Finding>,
    /// The database.
    #[schema(required = true)]
    pub(crate) database: DatabaseFacts,
    /// The last revision that it knows of.
    #[schema(required = true, minimum = 0)]
    pub(crate) revision: i64,
    /// What is stored; absent until it was counted.
    #[schema(required = true)]
    pub(crate) stored: Option<Stored>,
    /// The connections of clients.
    #[schema(required = true)]
    pub(crate) connections: Connections,
    /// The clients that wait for changes.
    #[schema(required = true)]
    pub(crate) watchers: Watchers,
    /// The agents.
    #[schema(required = true)]
    pub(crate) agents: Agents,
    /// The sinks.
    #[schema(required = true)]
    pub(crate) sinks: Vec<SinkFacts>,
    /// The silos in memory.
    #[schema(required = true)]
    pub(crate) view: ViewFacts,
    /// Wrong credentials since the start.
    #[schema(required = true)]
    pub(crate) refused_credentials: u64,
    /// The certificate, and the tokens that expire within 30 days.
    #[schema(required = true)]
    pub(crate) expires: Vec<Expiring>,
}

/// Something that needs a hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Finding {
    /// What it is about, such as `database` or `sink dns`.
    #[schema(required = true, example = "sink dns")]
    pub(crate) what: String,
    /// What is wrong.
    #[schema(required = true, example = "the server answers REFUSED")]
    pub(crate) why: String,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DatabaseStatus)]
#[serde(default)]
pub(crate) struct DatabaseFacts {
    /// Its id.
    #[schema(required = true, example = "0123456789abcdef0123456789abcdef")]
    pub(crate) id: String,
    /// Its URL without a password.
    #[schema(required = true, example = "sqlite:/var/lib/silo/silo.db")]
    pub(crate) address: String,
    /// Whether it answers.
    #[schema(required = true)]
    pub(crate) is_up: bool,
    /// For how many seconds it has been silent, while it is.
    #[schema(required = true)]
    pub(crate) silent_seconds: Option<u64>,
    /// Whether it takes writes.
    #[schema(required = true)]
    pub(crate) is_writable: bool,
    /// Whether the file of an embedded database was moved or deleted.
    #[schema(required = true)]
    pub(crate) is_file_gone: bool,
    /// Its size, in bytes; `null`: not known.
    #[schema(required = true, minimum = 0)]
    pub(crate) bytes: Option<i64>,
}

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = StoredCounts)]
#[serde(default)]
pub(crate) struct Stored {
    /// When it was counted.
    #[schema(required = true)]
    pub(crate) counted_at: Time,
    /// Number of silos.
    #[schema(required = true, minimum = 0)]
    pub(crate) silos: i64,
    /// Number of records.
    #[schema(required = true, minimum = 0)]
    pub(crate) records: i64,
    /// Number of tokens that are neither revoked nor expired.
    #[schema(required = true, minimum = 0)]
    pub(crate) tokens: i64,
}

/// The connections of clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConnectionCounts)]
#[serde(default)]
pub(crate) struct Connections {
    /// How many are open.
    #[schema(required = true)]
    pub(crate) open: usize,
    /// How many may be.
    #[schema(required = true)]
    pub(crate) limit: usize,
}

/// The clients that wait for changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WatcherCounts)]
#[serde(default)]
pub(crate) struct Watchers {
    /// Reads with `Prefer: wait`.
    #[schema(required = true)]
    pub(crate) read: usize,
    /// Event streams of a silo.
    #[schema(required = true)]
    pub(crate) silo_events: usize,
    /// Event streams of all silos.
    #[schema(required = true)]
    pub(crate) all_events: usize,
}

/// The agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AgentsStatus)]
#[serde(default)]
pub(crate) struct Agents {
    /// How many have the present state of their silo, or only report addresses.
    #[schema(required = true, minimum = 0)]
    pub(crate) current: i64,
    /// How many have another one.
    #[schema(required = true, minimum = 0)]
    pub(crate) behind: i64,
    /// How many have sent no request for two hours.
    #[schema(required = true, minimum = 0)]
    pub(crate) silent: i64,
    /// At most ten of those that are behind.
    #[schema(required = true)]
    pub(crate) some_behind: Vec<AgentFacts>,
    /// At most ten of those that are silent, last seen first.
    #[schema(required = true)]
    pub(crate) some_silent: Vec<AgentFacts>,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AgentStatus)]
pub(crate) struct AgentFacts {
    /// Its silo.
    #[schema(required = true, example = "office")]
    pub(crate) silo: String,
    /// Its name.
    #[schema(required = true, example = "laptop-7")]
    pub(crate) name: String,
    /// When it was last seen.
    #[schema(required = true)]
    pub(crate) last_seen: Time,
    /// When its silo last changed.
    #[schema(required = true)]
    pub(crate) silo_changed_at: Time,
}

/// How a sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SinkState {
    /// Nothing fails.
    #[default]
    Ok,
    /// Something failed and is tried again.
    Retrying,
    /// Something failed for good.
    Failed,
}

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SinkStatus)]
#[serde(default)]
pub(crate) struct SinkFacts {
    /// Its name.
    #[schema(required = true, example = "dns")]
    pub(crate) name: String,
    /// Its kind.
    #[schema(required = true, example = "rfc2136")]
    pub(crate) kind: String,
    /// How it is.
    #[schema(required = true)]
    pub(crate) state: SinkState,
    /// Number of pending deliveries.
    #[schema(required = true, minimum = 0)]
    pub(crate) pending: i64,
    /// Number of failed deliveries.
    #[schema(required = true, minimum = 0)]
    pub(crate) failed: i64,
    /// When the oldest pending delivery was made.
    #[schema(required = true)]
    pub(crate) oldest_pending_at: Option<Time>,
    /// Since when it fails.
    #[schema(required = true)]
    pub(crate) failing_since: Option<Time>,
    /// The reason.
    #[schema(required = true, example = "the server answers REFUSED")]
    pub(crate) why: Option<String>,
    /// When it is tried again, if it fails as a whole.
    #[schema(required = true)]
    pub(crate) next_try: Option<Time>,
}

/// The silos in memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ViewStatus)]
#[serde(default)]
pub(crate) struct ViewFacts {
    /// Their memory, in bytes.
    #[schema(required = true)]
    pub(crate) bytes: u64,
    /// Reads from memory since the start.
    #[schema(required = true)]
    pub(crate) hits: u64,
    /// Reads from the database since the start.
    #[schema(required = true)]
    pub(crate) misses: u64,
}

/// Something that expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Expiring {
    /// `certificate` or `token`.
    #[schema(required = true, example = "token")]
    pub(crate) what: String,
    /// The name of a token.
    #[schema(required = true, example = "nas")]
    pub(crate) name: Option<String>,
    /// The id of a token.
    #[schema(required = true, example = "k3f9a0b2c1")]
    pub(crate) id: Option<String>,
    /// When.
    #[schema(required = true)]
    pub(crate) at: Time,
}
