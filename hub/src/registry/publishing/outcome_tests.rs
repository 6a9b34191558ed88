use std::time::Duration;

use silo_shared::silo::{Hostname, SiloId};

use super::*;
use crate::domain::delivery::Publication;

const NOW: Time = Time::from_millis(1_000_000);

fn addresses(text: &str) -> Addresses {
    let ips = text.split_whitespace();
    ips.map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
        .collect()
}

/// Has 10.0.0.5 at the receiver, and wants 10.0.0.6 there.
fn taken_up() -> TakenUp {
    TakenUp {
        publication: Publication {
            login: None,
            silo: SiloId::parse("office").unwrap(),
            hostname: Hostname::parse("db").unwrap(),
            name: "db.example".to_owned(),
            wanted: addresses("10.0.0.6"),
            standing: ReceiverState::Published(addresses("10.0.0.5")),
        },
        before: surely(addresses("10.0.0.5")),
    }
}

/// `done`, `in 500 ms, 3 attempts` or `failed: why, in 1000 ms, 3 attempts`.
fn text(again: Option<&Later>) -> String {
    let Some(later) = again else {
        return "done".to_owned();
    };
    let failed = if later.failed { "failed: " } else { "" };
    let why = later
        .why
        .as_ref()
        .map_or(String::new(), |why| format!("{why}, "));
    let when = match later.next_at {
        NEVER => "never".to_owned(),
        at => format!("in {} ms", at - NOW.as_millis()),
    };
    format!("{failed}{why}{when}, {} attempts", later.attempts)
}

#[test]
fn each_outcome_decides_what_is_ours_and_when_the_name_is_due_again() {
    let no = || Trouble::of_name("no");
    let slow = || no().not_before(Duration::from_secs(90));
    let down = || Trouble::of_sink("down");
    let published = |text: &str| ReceiverState::Published(addresses(text));
    let before = Some(taken_up().before);
    // Without jitter, the first wait is 1 s, and each one is twice as long as the last.
    for (outcome, attempts, ours, again) in [
        (
            Outcome::Done,
            3,
            Some(surely(addresses("10.0.0.6"))),
            "done",
        ),
        (
            Outcome::Found(published("10.0.0.9")),
            3,
            Some(surely(addresses("10.0.0.9"))),
            "in 0 ms, 3 attempts",
        ),
        (
            Outcome::Found(ReceiverState::Nothing),
            0,
            Some(LedgerState::default()),
            "in 0 ms, 0 attempts",
        ),
        (
            Outcome::Found(published("10.0.0.5")),
            0,
            before,
            "cannot determine what the receiver publishes, in 1000 ms, 1 attempts",
        ),
        (Outcome::Waiting, 0, None, "in 250 ms, 1 attempts"),
        (Outcome::Waiting, 1, None, "in 500 ms, 2 attempts"),
        (Outcome::Waiting, 5, None, "in 8000 ms, 5 attempts"),
        (Outcome::Waiting, 9, None, "in 8000 ms, 9 attempts"),
        (Outcome::Retry(no()), 0, None, "no, in 1000 ms, 1 attempts"),
        (Outcome::Retry(no()), 1, None, "no, in 2000 ms, 2 attempts"),
        (
            Outcome::Retry(slow()),
            0,
            None,
            "no, in 90000 ms, 1 attempts",
        ),
        (Outcome::Retry(down()), 0, None, "down, in 0 ms, 1 attempts"),
        (
            Outcome::Failed(no()),
            0,
            before,
            "failed: no, in 3600000 ms, 1 attempts",
        ),
        (
            Outcome::Failed(down()),
            0,
            before,
            "failed: down, in 0 ms, 1 attempts",
        ),
        (
            Outcome::Refused(no()),
            2,
            before,
            "failed: no, never, 3 attempts",
        ),
        (
            Outcome::Refused(down()),
            2,
            before,
            "failed: down, never, 3 attempts",
        ),
    ] {
        let after = after(&taken_up(), &outcome, attempts, 0, NOW);
        assert_eq!(after.ours, ours, "{outcome:?}");
        assert_eq!(text(after.again.as_ref()), again, "{outcome:?}");
    }
}
