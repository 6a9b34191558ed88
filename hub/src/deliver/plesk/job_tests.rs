//! Jobs and results as files: written files are read back, and nothing else is accepted.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn addresses_strategy() -> impl Strategy<Value = Addresses> {
    let v4 = any::<u32>().prop_map(Ipv4Addr::from);
    let v6 = any::<u128>().prop_map(Ipv6Addr::from);
    (proptest::option::of(v4), proptest::option::of(v6)).prop_map(|(v4, v6)| {
        let ips = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6));
        ips.filter_map(|ip| silo_shared::silo::check_address(ip).ok())
            .collect()
    })
}

fn job_strategy() -> impl Strategy<Value = Job> {
    let label = "([a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z][a-z0-9]{0,9}){0,2})?";
    (label, addresses_strategy(), addresses_strategy()).prop_map(|(label, wanted, published)| Job {
        task: Task {
            zone_name: ZoneName::parse("example.com", &label).unwrap(),
            wanted,
            published: published.iter().collect(),
        },
        nonce: Nonce::new().unwrap(),
    })
}

proptest! {
    #[test]
    fn a_job_is_read_back(job in job_strategy()) {
        let id = JobId::of(&job.task.zone_name);
        let bytes = job.to_bytes();
        prop_assert!(bytes.len() as u64 <= MAX_BYTES);
        prop_assert_eq!(Job::parse(&id, &bytes).unwrap(), job);
    }

    #[test]
    fn a_job_cut_short_anywhere_is_refused(job in job_strategy(), at in any::<prop::sample::Index>()) {
        let id = JobId::of(&job.task.zone_name);
        let bytes = job.to_bytes();
        // The last byte is a line end, which is optional.
        let cut = at.index(bytes.len() - 1);
        prop_assert!(Job::parse(&id, &bytes[..cut]).is_err());
    }

    #[test]
    fn bytes_of_any_kind_never_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let id = JobId::of(&ZoneName::parse("example.com", "db").unwrap());
        prop_assert!(Job::parse(&id, &bytes).is_err());
        prop_assert!(JobResult::parse(&bytes).is_err());
    }

    #[test]
    fn a_result_is_read_back_and_can_stand_in_a_log(why in any::<String>()) {
        let result = JobResult { nonce: Nonce::new().unwrap(), verdict: Verdict::RetryZone, why };
        let bytes = result.to_bytes();
        prop_assert!(bytes.len() as u64 <= MAX_BYTES);
        let read = JobResult::parse(&bytes).unwrap();
        prop_assert!(read.why.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(&read.why, &printable(&result.why));
        prop_assert_eq!(read.nonce, result.nonce);
    }
}

const NONCE: &str = "00112233445566778899aabbccddeeff";

fn parse(json: &str) -> Result<Job, InvalidFile> {
    let id = JobId::of(&ZoneName::parse("example.com", "db").unwrap());
    Job::parse(&id, json.as_bytes())
}

#[test]
fn the_form_of_a_job_stays() {
    let job = parse(&format!(
        r#"{{"version":1,"nonce":"{NONCE}","zone":"example.com","label":"db","wanted":["10.0.0.6","fd00::6"],"published":["10.0.0.5"]}}"#
    ))
    .unwrap();
    assert_eq!(job.task.wanted.to_string(), "10.0.0.6 fd00::6");
    assert_eq!(job.task.published, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        JobId::of(&job.task.zone_name).job_file(),
        "de9b4b06c8cd662d9417cffb0c2584b3.job"
    );
}

#[test]
fn a_job_that_is_not_to_the_letter_is_refused_by_name() {
    let file = |version: &str, nonce: &str, zone: &str, label: &str, wanted: &str| {
        format!(
            r#"{{"version":{version},"nonce":"{nonce}","zone":"{zone}","label":"{label}","wanted":{wanted},"published":[]}}"#
        )
    };
    let whole = file("1", NONCE, "example.com", "db", "[]");
    assert!(parse(&whole).is_ok());
    for (json, why) in [
        (String::new(), "not a valid job file: EOF"),
        ("[]".to_owned(), "not a valid job file: invalid length 0"),
        (
            whole.replace("}", ",\"x\":1}"),
            "not a valid job file: unknown field `x`",
        ),
        (
            whole.replace("}", ",\"label\":\"db\"}"),
            "not a valid job file: duplicate field",
        ),
        (
            format!("{whole}{whole}"),
            "not a valid job file: trailing characters",
        ),
        (
            format!("{whole}{}", " ".repeat(5000)),
            "larger than 4096 bytes",
        ),
        (
            file("2", NONCE, "example.com", "db", "[]"),
            "unknown version 2",
        ),
        (file("1", "00", "example.com", "db", "[]"), "nonce: not 32"),
        (
            file("1", NONCE, "example.com", "web", "[]"),
            "the file's name is not that of a job for web.example.com",
        ),
        (file("1", NONCE, "example.com", "-ip", "[]"), "label: "),
        (file("1", NONCE, "example.com", "db;id", "[]"), "label: "),
        (file("1", NONCE, "../../etc", "db", "[]"), "zone: "),
        (
            file("1", NONCE, "example.com", "db", r#"["10.0.0.6; id"]"#),
            "wanted: not an IPv4",
        ),
        (
            file(
                "1",
                NONCE,
                "example.com",
                "db",
                r#"["10.0.0.6","10.0.0.7"]"#,
            ),
            "wanted: more than one",
        ),
        (
            file("1", NONCE, "example.com", "db", r#"["FD00::6"]"#),
            "wanted: an address is not in canonical form",
        ),
        (
            file("1", NONCE, "example.com", "db", r#"["::ffff:10.0.0.6"]"#),
            "wanted: an address is not in canonical form",
        ),
        (
            file("1", NONCE, "example.com", "db", r#"["0.0.0.0"]"#),
            "wanted: the unspecified address",
        ),
        (
            file("1", NONCE, "example.com", "db", r#"[{}]"#),
            "not a valid job file: invalid type",
        ),
    ] {
        let error = parse(&json).unwrap_err().to_string();
        assert!(error.starts_with(why), "{json}: {error}");
    }
}

#[test]
fn ids_are_parsed_from_file_names_of_one_form_only() {
    let id = JobId::of(&ZoneName::parse("example.com", "db").unwrap());
    assert_eq!(JobId::of_job_file(&id.job_file()), Some(id.clone()));
    assert_eq!(JobId::of_result_file(&id.result_file()), Some(id.clone()));
    let hex = id.to_string();
    for bad in [
        "",
        ".job",
        "x.job",
        &hex,
        &format!("{}.job", hex.to_uppercase().replace('5', "A")),
        &format!("{hex}.result"),
        &format!(".{hex}.job"),
        &format!("{hex}.job.job"),
        &format!("{hex}f.job"),
    ] {
        assert_eq!(JobId::of_job_file(bad), None, "{bad:?}");
    }
}
