//! Which keys are which: with something behind them, with slashes, long ones, and those that no one can have.

use reqwest::Method;
use silo_e2e::logs;

use super::{add, get, start, words};
use crate::common::TestHub;

const KEY: &str = "0123456789abcdef";
const FROM: &str = "192.0.2.7";

/// Which of these records of `office` are there; they are removed, so that the next call sets one.
async fn set(hub: &TestHub, hostnames: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for hostname in hostnames {
        let path = format!("/silos/office/records/{hostname}");
        match hub.get(&path).await.status {
            404 => {}
            200 => {
                assert_eq!(hub.delete(&path).await.status, 204);
                found.push((*hostname).to_owned());
            }
            other => panic!("{other}"),
        }
    }
    found
}

/// Below `/u/` and at sftdyn's root.
const PLACES: [&str; 2] = ["/u/", "/"];

#[tokio::test]
async fn a_slash_or_question_mark_behind_a_key_is_left_out_unless_the_key_is_known_with_it() {
    let (hub, open) = start(true).await;
    add(&open, KEY, "bare").await.expect("a key");
    for before in PLACES {
        for (end, answer, record) in [
            ("", words(200, "OK"), "bare"),
            ("?", words(200, "OK"), "bare"),
            ("/", words(200, "OK"), "bare"),
            ("??", words(403, "BADKEY"), ""),
            ("x", words(403, "BADKEY"), ""),
        ] {
            let said = get(&hub, &format!("{before}{KEY}{end}"), FROM).await;
            assert_eq!(said, answer, "{before} {end}");
            assert_eq!(
                set(&hub, &["bare"]).await.concat(),
                record,
                "{before} {end}"
            );
        }
    }
    // Known as sent, each is a key of its own.
    add(&open, &format!("{KEY}?"), "asks").await.expect("a key");
    add(&open, &format!("{KEY}/"), "slash")
        .await
        .expect("a key");
    for before in PLACES {
        for (end, record) in [("", "bare"), ("?", "asks"), ("/", "slash"), ("/?", "slash")] {
            let said = get(&hub, &format!("{before}{KEY}{end}"), FROM).await;
            assert_eq!(said, words(200, "OK"), "{before} {end}");
            let found = set(&hub, &["bare", "asks", "slash"]).await;
            assert_eq!(found, [record], "{before} {end}");
        }
    }
}

#[tokio::test]
async fn keys_with_slashes_are_called_below_u_and_at_the_root() {
    let (hub, open) = start(true).await;
    for (at, key) in [
        "with/slash-0123456789",
        "more/than/one/0123456789?and=a,query&b",
        "/begins-with-one-0123456789",
        "ends-with-one-0123456789/",
        "in-the-query-01234?a=/b/c",
        // A route's name is taken only as the first segment.
        "0123456789/silos/office",
    ]
    .into_iter()
    .enumerate()
    {
        let hostname = format!("h{at}");
        add(&open, key, &hostname).await.expect("a key");
        for before in PLACES {
            let said = get(&hub, &format!("{before}{key}"), FROM).await;
            assert_eq!(said, words(200, "OK"), "{before}{key}");
            assert_eq!(set(&hub, &[&hostname]).await, [&*hostname], "{before}{key}");
        }
    }
}

/// Up to the longest that is taken.
#[tokio::test]
async fn long_keys_are_called_below_u_and_at_the_root() {
    let (hub, open) = start(true).await;
    for length in [1025, 2047, 16 * 1024, 32 * 1024] {
        let hostname = format!("h{length}");
        let key = "x".repeat(length);
        add(&open, &key, &hostname).await.expect("a key");
        for before in PLACES {
            let said = get(&hub, &format!("{before}{key}"), FROM).await;
            assert_eq!(said, words(200, "OK"), "{before} {length}");
            assert_eq!(
                set(&hub, &[&hostname]).await,
                [&*hostname],
                "{before} {length}"
            );
            let other = get(&hub, &format!("{before}{}y", &key[1..]), FROM).await;
            assert_eq!(other, words(403, "BADKEY"), "{before} {length}");
        }
    }
}

/// `silo-hub update-key add` with this key: its exit code, and what it prints and reports.
async fn add_by_program(hub: &TestHub, key: &str) -> (Option<i32>, String, String) {
    let mut program = hub.home.program(&hub.settings);
    let program = program.args(["update-key", "add", "--silo", "office", "--hostname", "nas"]);
    let output = program.args(["--key", key]).output().await;
    let output = output.expect("it runs");
    let [said, error] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("it is UTF-8"));
    (output.status.code(), said, error)
}

#[tokio::test]
async fn the_command_line_refuses_keys_that_begin_with_a_routes_name() {
    let (hub, open) = start(true).await;
    for key in [
        "ip",
        "ping?0123456789abcdef",
        "silos/0123456789abcdef",
        "u/0123456789abcdef",
        "nic/0123456789abcdef",
        "update?secid=0123456789",
        "robots.txt?0123456789abcdef",
    ] {
        let (code, said, error) = add_by_program(&hub, key).await;
        assert_eq!((code, &*said), (Some(2), ""), "{key}: {error}");
        let why = "--key: begins with the name of one of the hub's routes";
        assert!(error.contains(why), "{key}: {error}");
    }
    assert_eq!(open.store.update_keys().await.expect("a list"), []);
    let long = "silos2".repeat(1000);
    for key in ["silos-0123456789", &long] {
        let (code, said, error) = add_by_program(&hub, key).await;
        assert_eq!((code, &*said), (Some(0), &*format!("{key}\n")), "{error}");
        let said = get(&hub, &format!("/{key}"), FROM).await.1;
        assert!(matches!(&*said, "OK" | "UPTODATE"), "{said}");
    }
    let (code, _, error) = add_by_program(&hub, &"x".repeat(32 * 1024 + 1)).await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("at most 32768 bytes"), "{error}");
}

#[tokio::test]
async fn a_lockout_is_logged_once() {
    logs::keep();
    let (hub, _open) = start(true).await;
    for guess in 0..13 {
        let target = format!("{}guess-{guess}", PLACES[guess % 2]);
        let call = hub.open_call(Method::GET, &target).in_words_of(&[403]);
        let answer = call.seen_from("192.0.2.171").await;
        let retry_after = (guess >= 10).then_some("60");
        assert_eq!(answer.header("retry-after"), retry_after, "{guess}");
    }
    let lines = logs::kept(&[
        " WARN ",
        "10 wrong credentials within a minute",
        "192.0.2.171",
    ]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("refused for 60 s"), "{lines:?}");
}
