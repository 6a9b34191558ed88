//! The command `status`: when a run last succeeded, what it wrote and skipped, and what fails since when. Does not call
//! the hub.

use std::time::Duration;

use jiff::Timestamp;
use silo_shared::fact::{Fact, seconds};
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::agent_error::AgentError;
use crate::run_status::{RunStatus, SiloStatus};
use crate::run_time::run_time;
use crate::settings::Settings;
use crate::state::StateDir;
use crate::tell::NAMED;
use crate::undo::find;

/// Prints the status. Returns whether the last run succeeded, owes no hook, and is at most `max_age` old.
pub(crate) fn status(
    settings: &Settings,
    max_age: Option<Duration>,
    output: &Output,
) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (target, path) = find(settings)?;
    let now_ms = run_time().wall_ms;
    let state = StateDir::existing(&settings.state_dir)?;
    let (mut status, owed) = match &state {
        Some(state) => (state.status(&path)?, state.owed_hook(&path)?),
        None => (RunStatus::default(), None),
    };
    status.keep_only(silos);
    let mut is_ok = tell_last_success(&status, max_age, now_ms, output);
    for silo in silos {
        is_ok &= tell_silo(silo, &status.silos[silo.as_str()], now_ms, output);
    }
    if target.is_none() {
        is_ok = false;
        let text = format!("{}: there is no such file", path.display());
        output.tell_failure(&Fact::error(text));
    }
    if let Some(owed) = owed.filter(|_| settings.on_change.is_some()) {
        is_ok = false;
        let silos = owed.silo_ids();
        let text = format!(
            "on_change: owed for {}; the next run tries it again",
            silos.join(", ")
        );
        output.tell_failure(&Fact::new("hook-owed", text).with("silos", silos));
    }
    Ok(is_ok)
}

fn tell_last_success(
    status: &RunStatus,
    max_age: Option<Duration>,
    now_ms: i64,
    output: &Output,
) -> bool {
    let age = status.succeeded_at_ms.map(|at| age(at, now_ms));
    let text = match (status.succeeded_at_ms, age) {
        (Some(at), Some(age)) => format!("last success {} ({} ago)", time(at), words(age)),
        _ => "no run has succeeded yet".to_owned(),
    };
    let failing = status.failing_since_ms.map(|since| {
        let why = status.failure.as_ref();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        format!("; failing since {}{why}", time(since))
    });
    let is_too_old = age.is_none_or(|age| max_age.is_some_and(|most| age > most));
    let is_ok = !is_too_old && failing.is_none();
    let fact = Fact::new("status", format!("{text}{}", failing.unwrap_or_default()))
        .with("ok", is_ok)
        .with("succeeded_at", status.succeeded_at_ms.map(time))
        .with("age_seconds", age.map(|age| age.as_secs()))
        .with("failing_since", status.failing_since_ms.map(time))
        .with("failure", &status.failure);
    if is_ok {
        output.tell_unless_quiet(&fact);
    } else {
        output.tell(&fact);
    }
    is_ok
}

fn tell_silo(silo: &SiloId, status: &SiloStatus, now_ms: i64, output: &Output) -> bool {
    let written = match (status.revision, status.names) {
        (None, _) => "nothing written yet".to_owned(),
        (Some(revision), 1) => format!("revision {revision}, 1 name written"),
        (Some(revision), names) => format!("revision {revision}, {names} names written"),
    };
    let pulled = match status.pulled_at_ms {
        None => String::new(),
        Some(at) => format!(", the hub answered {} ago", words(age(at, now_ms))),
    };
    let failing = status.failing_since_ms.map(|since| {
        let why = status.trouble().unwrap_or("unknown");
        format!("; failing since {}: {why}", time(since))
    });
    let is_ok = failing.is_none();
    let text = format!("{written}{pulled}{}", failing.unwrap_or_default());
    let fact = Fact::of_silo("status", silo, text)
        .with("ok", is_ok)
        .with("revision", status.revision)
        .with("names", status.names)
        .with("pulled_at", status.pulled_at_ms.map(time))
        .with("failing_since", status.failing_since_ms.map(time))
        .with("failure", status.trouble())
        .with("skipped", &status.skipped);
    if is_ok {
        output.tell_unless_quiet(&fact);
    } else {
        output.tell(&fact);
    }
    // The object holds them already.
    if !output.is_json() {
        for line in status.skipped.iter().take(NAMED) {
            output.tell_unless_quiet(&Fact::of_silo("skipped", silo, line));
        }
        if let more @ 1.. = status.skipped.len().saturating_sub(NAMED) {
            output.tell_unless_quiet(&Fact::of_silo("more", silo, format!("skipped {more} more")));
        }
    }
    is_ok
}

/// A time in RFC 3339.
fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), seconds)
}

/// How long ago a time was; none if it lies in the future, as after a step of the clock.
fn age(at_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0))
}

/// `2 days`, `3 h`, `4 min` or `5 s`.
fn words(age: Duration) -> String {
    match age.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
