//! Whatever a hub answers: nothing that is printed drives a terminal or changes the order of the text around it.

use serde_json::json;

use crate::fake_hub::{FakeHub, Reply};
use crate::sandbox::{Sandbox, agent, run};

/// Clears the screen, colours, rings, goes to the beginning of the line, and turns the text around.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\u{7}\u{8}\ry\u{85}\u{202e}z\u{2066}\u{200f}\u{2028}";

/// Whether a terminal obeys this character or displays what is beside it in another order.
fn is_unwanted(c: char) -> bool {
    let is_bidi = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c);
    is_bidi || (c.is_control() && c != '\n')
}

fn silo(id: &str, records: &[(&str, &str)]) -> String {
    let records: Vec<_> = records
        .iter()
        .map(|(hostname, ip)| json!({"hostname": hostname, "ip": ip}))
        .collect();
    let updated_at = "2026-01-02T03:04:05.678Z";
    json!({"id": id, "dnsrecords": records, "revision": 42, "updated_at": updated_at}).to_string()
}

#[test]
fn control_and_bidi_characters_of_a_hub_reach_neither_stdout_nor_stderr_nor_the_json_log() {
    let problem = json!({"type": HOSTILE, "title": HOSTILE, "status": 403, "detail": HOSTILE});
    let long = format!("{HOSTILE}.lan");
    let records = [
        (HOSTILE, "10.0.0.1"),
        (long.as_str(), "10.0.0.1"),
        ("db", HOSTILE),
        ("nas", "10.0.0.7"),
    ];
    let raw = format!("HTTP/1.1 200 {HOSTILE}\r\n{HOSTILE}: {HOSTILE}\r\n\r\n{HOSTILE}");
    let member = |value: serde_json::Value| json!({"id": "office", "dnsrecords": value, "revision": 1, "updated_at": HOSTILE});
    let answers = [
        ("a problem", 403, problem.to_string(), 1),
        ("no JSON", 500, HOSTILE.to_owned(), 1),
        (
            "a member of another type",
            200,
            member(json!(HOSTILE)).to_string(),
            1,
        ),
        (
            "a record of another type",
            200,
            member(json!([HOSTILE])).to_string(),
            1,
        ),
        ("another silo", 200, silo(HOSTILE, &[]), 1),
        ("records", 200, silo("office", &records), 0),
        ("no HTTP", 0, raw, 1),
    ];
    for (what, status, body, code) in answers {
        let hub = FakeHub::start(move |_| match status {
            0 => Reply::Raw(body.clone().into_bytes()),
            _ if status >= 400 => Reply::Whole {
                status,
                headers: vec![("Content-Type", "application/problem+json".to_owned())],
                body: body.clone(),
            },
            _ => Reply::new(status, body.clone()),
        });
        for verb in ["check", "diff", "once"] {
            for format in ["text", "json"] {
                let sandbox = Sandbox::new("127.0.0.1 localhost\n");
                sandbox.note_left(&sandbox.hosts());
                let ran =
                    run(agent()
                        .args(sandbox.flags(&hub))
                        .args([verb, "--log-format", format]));
                let case = format!("{what}, {verb}, {format}");
                assert_eq!(ran.code, code, "{case}: {ran:?}");
                for printed in [&ran.stdout, &ran.stderr] {
                    assert!(!printed.contains(is_unwanted), "{case}: {ran:?}");
                }
                // In the log, JSON escapes what is in it: read as a program reads it.
                let messages = ran.stderr.lines().filter(|_| format == "json");
                for line in messages {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    let message = line["message"].as_str().unwrap();
                    assert!(!message.contains(is_unwanted), "{case}: {ran:?}");
                }
                assert!(
                    !format!("{}{}", ran.stdout, ran.stderr).is_empty(),
                    "{case}"
                );
            }
        }
    }
}

/// What is said of a hub's answer is clean before it is printed; this is not, and so tests the printing itself.
#[cfg(unix)]
#[test]
fn control_and_bidi_characters_of_a_path_reach_neither_stdout_nor_stderr_nor_the_json_log() {
    let hub = FakeHub::office(42, &[("db", "10.0.0.5")]);
    for verb in ["check", "once"] {
        for format in ["text", "json"] {
            let sandbox = Sandbox::new("127.0.0.1 localhost\n");
            let missing = sandbox.path(&format!("etc/{HOSTILE}"));
            let hosts = sandbox.hosts().display().to_string();
            let flags = sandbox.flags(&hub).into_iter();
            let flags = flags.map(|flag| {
                if flag == hosts {
                    missing.display().to_string()
                } else {
                    flag
                }
            });
            let ran = run(agent().args(flags).args([verb, "--log-format", format]));
            let case = format!("{verb}, {format}");
            assert_eq!(ran.code, 1, "{case}: {ran:?}");
            let message = match (verb, format) {
                ("check", _) => ran.stdout,
                (_, "json") => {
                    let line: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
                    line["message"].as_str().unwrap().to_owned()
                }
                _ => ran.stderr,
            };
            assert!(message.contains("/etc/x [2J 31m"), "{case}: {message:?}");
            assert!(!message.contains(is_unwanted), "{case}: {message:?}");
        }
    }
}
