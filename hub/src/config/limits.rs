//! The hub's limits for all clients.

mod memory;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use silo_shared::config::ConfigError;

pub use memory::{default_body_mib, default_connections};

/// The default deadline for the first request's head, in seconds.
pub const DEFAULT_HEAD_SECONDS: u64 = 10;
/// How long a connection may wait for its next request by default, in seconds: longer than the 60 that proxies keep
/// theirs.
pub const DEFAULT_IDLE_SECONDS: u64 = 75;
/// How long a client may leave its response unread by default, in seconds.
pub const DEFAULT_STALL_SECONDS: u64 = 30;
/// The minimum of `body_mib`: a body has up to 1 MiB, and those of unauthenticated clients have a separate share.
const LEAST_BODY_MIB: usize = 4;
/// The maximum of `body_mib`.
const MOST_BODY_MIB: usize = 65_536;

/// `limits:` of the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    connections: Option<usize>,
    body_mib: Option<usize>,
    head_seconds: Option<u64>,
    idle_seconds: Option<u64>,
    stall_seconds: Option<u64>,
    requests_per_minute: Option<u32>,
}

/// The limits of what clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of connections of all listeners together.
    pub connections: usize,
    /// The maximum memory for request bodies over all connections, in bytes.
    pub body_bytes: usize,
    /// The deadline for the first request's head, from the connection on.
    pub head: Duration,
    /// The deadline for the next request's head, from the last response on.
    pub idle: Duration,
    /// How long a client may leave data that it is sent unread.
    pub stall: Duration,
    /// The maximum number of requests of a token per minute; `None`: no limit.
    pub requests_per_minute: Option<NonZeroU32>,
}

impl LimitsFile {
    pub(crate) fn check(self) -> Result<Limits, ConfigError> {
        let seconds = |key, given: Option<u64>, default| match given.unwrap_or(default) {
            seconds @ 1..=86_400 => Ok(Duration::from_secs(seconds)),
            _ => Err(wrong(key, "from 1 to 86400 seconds")),
        };
        let memory = match (self.connections, self.body_mib) {
            (Some(_), Some(_)) => None,
            _ => memory::available(),
        };
        let connections = match self.connections {
            Some(0) => return Err(wrong("connections", "at least 1")),
            Some(connections) => connections,
            None => default_connections(memory),
        };
        let body_mib = match self.body_mib {
            Some(mib @ LEAST_BODY_MIB..=MOST_BODY_MIB) => mib,
            Some(_) => return Err(wrong("body_mib", "from 4 to 65536 MiB")),
            None => default_body_mib(memory),
        };
        let requests_per_minute = self
            .requests_per_minute
            .map(|requests| {
                NonZeroU32::new(requests)
                    .ok_or_else(|| wrong("requests_per_minute", "at least 1, or left out"))
            })
            .transpose()?;
        Ok(Limits {
            connections,
            body_bytes: body_mib * 1024 * 1024,
            head: seconds("head_seconds", self.head_seconds, DEFAULT_HEAD_SECONDS)?,
            idle: seconds("idle_seconds", self.idle_seconds, DEFAULT_IDLE_SECONDS)?,
            stall: seconds("stall_seconds", self.stall_seconds, DEFAULT_STALL_SECONDS)?,
            requests_per_minute,
        })
    }
}

fn wrong(key: &str, words: &str) -> ConfigError {
    ConfigError::Setting(format!("limits.{key}: {words}"))
}
