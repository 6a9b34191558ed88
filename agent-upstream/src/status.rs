//! The command `status`: what the last runs did, from the state folder alone; the hub is not asked.

use std::time::Duration;

use jiff::Timestamp;
use silo_shared::fact::{Fact, seconds};
use silo_shared::output::Output;

use crate::hook::Owed;
use crate::period::Period;
use crate::record::Record;
use crate::settings::Settings;
use crate::state::{Memory, StateDir, StateError};

/// How long ago the last success was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Never.
    Never,
    /// This long ago.
    Ago(Duration),
    /// After the present, since the clock was set back.
    Ahead,
}

impl Age {
    fn of(last: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(last) = last else {
            return Self::Never;
        };
        match Duration::try_from(now.duration_since(last)) {
            Ok(ago) => Self::Ago(ago),
            Err(_) => Self::Ahead,
        }
    }

    /// Whether it is good enough.
    fn is_ok(self, max: Option<Period>) -> bool {
        match self {
            Self::Never | Self::Ahead => false,
            Self::Ago(ago) => max.is_none_or(|max| ago <= max.as_duration()),
        }
    }
}

/// Prints the state of every record; returns whether the last success of each is known and at most `max_age` ago.
pub(crate) fn status(
    settings: &Settings,
    max_age: Option<Period>,
    now: Timestamp,
    output: &Output,
) -> bool {
    let mut is_ok = true;
    for record in &settings.records {
        match recall(settings, record) {
            Ok(memory) => {
                let age = Age::of(memory.last_success(), now);
                is_ok &= age.is_ok(max_age);
                output.tell(&fact(record, &memory, age, max_age));
            }
            Err(error) => {
                is_ok = false;
                output.print_error(format_args!(
                    "{}: {}: {error}",
                    record.silo, record.hostname
                ));
            }
        }
    }
    is_ok & !is_hook_owed(settings, output)
}

fn is_hook_owed(settings: &Settings, output: &Output) -> bool {
    let dir = StateDir::probe(&settings.state_dir);
    // Without a state folder, that is printed for each record.
    let owed = dir.and_then(|dir| Owed::recall(settings, &dir));
    let is_owed = owed.is_ok_and(|owed| owed.is_owed());
    if is_owed {
        output.tell(&Fact::new(
            "hook_owed",
            "on_change has failed and is owed: the next run runs it again",
        ));
    }
    is_owed
}

fn recall(settings: &Settings, record: &Record) -> Result<Memory, StateError> {
    settings.check_state_folder()?;
    let hub = settings.connection.key().as_str();
    StateDir::probe(&settings.state_dir)?.recall(hub, &record.silo, &record.hostname)
}

fn fact(record: &Record, memory: &Memory, age: Age, max_age: Option<Period>) -> Fact {
    let Record { silo, hostname, .. } = record;
    let last = memory.last_success().map(seconds);
    let when = last.as_deref().unwrap_or_default();
    let mut text = match age {
        Age::Never => format!("{hostname} was never reported"),
        Age::Ago(ago) => {
            let reported: Vec<String> = memory.reported().iter().map(ToString::to_string).collect();
            let ago = rounded(ago);
            let late = match max_age {
                Some(max) if !age.is_ok(max_age) => format!(", longer than {max}"),
                _ => String::new(),
            };
            format!(
                "{hostname} {}, last success {when} ({ago} ago{late})",
                reported.join(" ")
            )
        }
        Age::Ahead => format!(
            "{hostname}: the last success, {when}, is after the present: the clock was set back"
        ),
    };
    if let Some(failing) = memory.failing() {
        text += &format!("; failing since {}: {}", failing.since, failing.words);
    }
    let age_seconds = match age {
        Age::Ago(ago) => Some(ago.as_secs()),
        Age::Never | Age::Ahead => None,
    };
    Fact::of_silo("status", silo, text)
        .with("hostname", hostname)
        .with("addresses", memory.reported())
        .with("last_success", &last)
        .with("age_seconds", age_seconds)
        .with("ok", age.is_ok(max_age))
        .with(
            "failing_since",
            memory.failing().map(|failing| &failing.since),
        )
        .with("failure", memory.failing().map(|failing| &failing.words))
}

/// In the largest unit of which at least two have passed.
fn rounded(ago: Duration) -> Period {
    let seconds = ago.as_secs();
    let unit = [86_400, 3600, 60, 1]
        .into_iter()
        .find(|unit| seconds >= 2 * unit)
        .unwrap_or(1);
    Period::from_seconds(seconds - seconds % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_or_unknown_success_is_not_good_enough() {
        let now: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        let hour = Some(Period::from_seconds(3600));
        for (last, max, age, is_ok) in [
            (None, None, Age::Never, false),
            (None, hour, Age::Never, false),
            (
                Some("2026-01-02T02:59:00Z"),
                None,
                Age::Ago(Duration::from_secs(60)),
                true,
            ),
            (
                Some("2026-01-02T02:00:00Z"),
                hour,
                Age::Ago(Duration::from_secs(3600)),
                true,
            ),
            (
                Some("2026-01-02T01:59:59Z"),
                hour,
                Age::Ago(Duration::from_secs(3601)),
                false,
            ),
            (
                Some("2025-01-02T03:00:00Z"),
                None,
                Age::Ago(Duration::from_secs(365 * 86_400)),
                true,
            ),
            (Some("2026-01-02T03:00:01Z"), None, Age::Ahead, false),
        ] {
            let found = Age::of(last.map(|last| last.parse().unwrap()), now);
            assert_eq!((found, found.is_ok(max)), (age, is_ok), "{last:?} {max:?}");
        }
    }
}
