//! How many files the hub may have open, connections among them.

/// What the hub needs beside connections: database, listeners, sinks, the log.
const RESERVED: usize = 128;
/// Fewer connections than this serve nobody.
const LEAST: usize = 16;

/// Raises the soft limit of open files to the hard one. Programs get a low one for the sake of select(2),
/// which nothing here uses (getrlimit(2), systemd.exec(5)).
#[cfg(unix)]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn raise_limit() {}

/// The connections that the limit of open files leaves room for, at most as many as wanted.
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
