//! The limit of open files, which also limits connections.

/// Files needed besides connections: database, listeners, sinks, the log.
const RESERVED: usize = 128;
/// The minimum number of connections.
const LEAST: usize = 16;

/// Raises the soft limit of open files to the hard one. The default is low for the sake of select(2), which the hub
/// does not use (getrlimit(2), systemd.exec(5)).
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("cannot raise the limit of open files: {error}");
    }
}

/// This system has no such limit.
#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

/// The number of connections that the limit of open files permits, at most `wanted`.
pub(super) fn within_limit(wanted: usize) -> usize {
    let Some(files) = limit() else { return wanted };
    let room = files.saturating_sub(RESERVED).max(LEAST);
    if room < wanted {
        tracing::warn!(
            "limits.connections: {room} instead of {wanted}, since this process may have only {files} files open (ulimit -n, LimitNOFILE=)"
        );
    }
    room.min(wanted)
}

#[cfg(unix)]
fn limit() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    let current = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn limit() -> Option<usize> {
    None
}
