//! The sink's settings, and the mapping of results to outcomes.

use serde_yaml::Mapping;
use silo_shared::silo::SiloId;

use super::job::Nonce;
use super::*;
use crate::config::sinks::SinkSettings;
use crate::deliver::kinds::OpenSink;
use crate::domain::delivery::UncertainFamilies;

fn open_with(keys: &str) -> Result<Sink, String> {
    let text = format!("- {{ name: plesk, kind: plesk, {keys} }}");
    let list: Vec<Mapping> = serde_yaml::from_str(&text).unwrap();
    let settings = SinkSettings::read_list(list, std::path::Path::new("/etc/silo")).unwrap();
    let opened = OpenSink::open(&settings[0]).map_err(|error| error.to_string())?;
    Ok(opened.sink)
}

#[test]
fn wrong_settings_are_named() {
    assert!(open_with("spool: spool, zone: example.com").is_ok());
    for (keys, why) in [
        ("zone: example.com", "missing field `spool`"),
        ("spool: spool", "missing field `zone`"),
        ("spool: '', zone: example.com", "spool: must name a folder"),
        ("spool: spool, zone: 'a b'", "zone: "),
        (
            "spool: spool, zone: example.com, ttl: 30",
            "unknown field `ttl`",
        ),
    ] {
        let error = open_with(keys).unwrap_err();
        assert!(
            error.starts_with("sinks: plesk: ") && error.contains(why),
            "{keys}: {error}"
        );
    }
}

fn sink() -> PleskSink {
    PleskSink {
        spool: Spool::new(std::path::Path::new("/nowhere"), Clock::System),
        zone: Hostname::parse("example.com").unwrap(),
    }
}

fn addresses(ips: &str) -> Addresses {
    let ips = ips
        .split_whitespace()
        .map(|ip| ip.parse::<IpAddr>().unwrap());
    ips.collect()
}

fn publication(wanted: &str, standing: ReceiverState) -> Publication {
    Publication {
        login: None,
        silo: SiloId::parse("office").unwrap(),
        hostname: Hostname::parse("db").unwrap(),
        name: "db.example.com".to_owned(),
        wanted: addresses(wanted),
        standing,
    }
}

#[test]
fn names_get_the_zone_or_a_reason() {
    let name = |host| sink().published_name(&Hostname::parse(host).unwrap());
    assert_eq!(name("db").unwrap(), "db.example.com");
    assert_eq!(name("db.example.com").unwrap(), "db.example.com");
    assert_eq!(
        name("db.example.org").unwrap_err(),
        "db.example.org is not in the zone example.com"
    );
}

#[test]
fn the_task_lists_removable_addresses_and_is_fixed_once_claimed() {
    let (a, b) = (addresses("10.0.0.5 fd00::5"), addresses("10.0.0.6"));
    let task = |wanted, standing| sink().task(&publication(wanted, standing)).unwrap();
    let published = task("10.0.0.6", ReceiverState::Published(a));
    assert_eq!(published.published, a.iter().collect::<Vec<_>>());
    let replacing = ReceiverState::Replacing {
        published: a,
        sent: b,
        unsure: UncertainFamilies::BOTH,
    };
    assert_eq!(task("10.0.0.6", replacing), published);
    assert_eq!(task("", replacing).published.len(), 3);
    assert_eq!(
        task("10.0.0.6", ReceiverState::Claimed(b)),
        task("10.0.0.6", ReceiverState::Nothing)
    );
}

#[test]
fn each_verdict_has_its_outcome() {
    let answered = |verdict| {
        outcome(Progress::Answered(JobResult {
            nonce: Nonce::new().unwrap(),
            verdict,
            why: "so".to_owned(),
        }))
    };
    assert_eq!(answered(Verdict::Done), Outcome::Done);
    assert_eq!(
        answered(Verdict::RetryName),
        Outcome::Retry(Trouble::of_name("so"))
    );
    assert_eq!(
        answered(Verdict::RetryZone),
        Outcome::Retry(Trouble::of_sink("so"))
    );
    assert_eq!(
        answered(Verdict::FailedName),
        Outcome::Failed(Trouble::of_name("so"))
    );
    assert_eq!(
        answered(Verdict::FailedZone),
        Outcome::Failed(Trouble::of_sink("so"))
    );
    assert_eq!(outcome(Progress::Waiting), Outcome::Waiting);
    assert!(matches!(outcome(Progress::Forgotten), Outcome::Retry(_)));
}

#[tokio::test]
async fn a_spool_that_is_not_there_is_a_trouble_of_the_sink() {
    let outcome = sink()
        .publish(&publication("10.0.0.6", ReceiverState::Nothing))
        .await;
    let Outcome::Retry(trouble) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(trouble.reach, super::super::sink::Reach::Sink);
    assert!(trouble.why.starts_with("/nowhere/jobs/"), "{}", trouble.why);
    assert!(
        sink()
            .check()
            .await
            .unwrap_err()
            .starts_with("/nowhere/results")
    );
    assert_eq!(sink().observe("db.example.com").await, None);
}
