use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
#[cfg(unix)]
use std::process::{Command, Stdio};

use serde_json::json;
#[cfg(unix)]
use silo_e2e::http_server::Identity;
use silo_e2e::http_server::Response;
use silo_e2e::webhook_receiver::{Receiver, SECRET};

use super::*;
use crate::deliver::sink::Reach;
#[cfg(unix)]
use crate::deliver::test_sinks::blocks;
use crate::deliver::test_sinks::{self, change, open, open_event_sink, write_secret};
use crate::domain::time::Time;

fn sink(folder: &Path, url: &str, more_keys: &str) -> Box<dyn EventSink> {
    write_secret(folder, "secret", &format!("{SECRET}\n"));
    let yaml = format!(
        "sinks:\n- {{name: w, kind: webhook, url: {url:?}, secret_file: secret, {more_keys}}}\n"
    );
    open_event_sink(folder, &yaml)
}

fn receiver_and_sink(more_keys: &str) -> (Receiver, Box<dyn EventSink>) {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path(), &receiver.url(), more_keys);
    (receiver, sink)
}

fn event(id: i64) -> Event {
    Event {
        revision: 41.into(),
        at: Time::from_millis(1_767_323_045_678),
        ..test_sinks::event(id, vec![change("db", "", "10.0.0.5")])
    }
}

async fn tell(sink: &dyn EventSink, event: Event) -> Outcome {
    let mut results = sink.tell(&[event]).await;
    assert_eq!(results.len(), 1);
    results.remove(0).outcome
}

fn retry(outcome: Outcome) -> Trouble {
    match outcome {
        Outcome::Retry(trouble) => trouble,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_is_sent_signed() {
    let (receiver, sink) = receiver_and_sink("");
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
    // The receiver reports a wrong signature, time, type or method.
    let messages = receiver.taken();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].id, "silo_41_7");
    assert_eq!(
        messages[0].body,
        json!({
            "type": "silo.changed",
            "at": "2026-01-02T03:04:05.678Z",
            "silo": "office",
            "revision": 41,
            "via": "rest",
            "changes": [{"hostname": "db", "old_ip": null, "new_ip": "10.0.0.5"}],
        })
    );
    assert_eq!(sink.gather(), Duration::ZERO);
    assert_eq!(sink.max_attempts(), 20);
    assert_eq!(sink.unseen_after(), None);
}

#[tokio::test]
async fn a_message_is_the_same_after_ten_failures() {
    let (receiver, sink) = receiver_and_sink("");
    for _ in 0..10 {
        receiver.answer_next(Response::text(500, "later"));
    }
    for _ in 0..10 {
        let trouble = retry(tell(sink.as_ref(), event(7)).await);
        assert_eq!(trouble, Trouble::of_sink("the receiver answered 500"));
    }
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
    assert_eq!(tell(sink.as_ref(), event(8)).await, Outcome::Done);
    let messages = receiver.messages();
    assert_eq!(messages.len(), 12);
    for message in &messages[..11] {
        assert_eq!(
            (&message.id, &message.raw),
            (&messages[0].id, &messages[0].raw)
        );
    }
    assert_ne!(messages[11].id, messages[0].id);
    assert_eq!(receiver.taken().len(), 2);
}

#[tokio::test]
async fn several_events_have_an_outcome_each() {
    let (receiver, sink) = receiver_and_sink("");
    receiver.answer_next(Response::text(204, ""));
    receiver.answer_next(Response::text(422, ""));
    let mut known = event(1);
    known.notified.push("another".to_owned());
    let results = sink.tell(&[known, event(2), event(3)]).await;
    assert_eq!(results[0].notified, ["another"]);
    assert_eq!(results[0].outcome, Outcome::Done);
    let trouble = Trouble::of_name("the receiver rejected the message: 422");
    assert_eq!(results[1].outcome, Outcome::Retry(trouble));
    assert_eq!(results[2].outcome, Outcome::Done);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, sink) = receiver_and_sink("");
    for status in [301, 302, 307, 308] {
        let elsewhere = receiver.url() + "/elsewhere";
        let redirect = Response::text(status, "").with_header("Location", &elsewhere);
        receiver.answer_next(redirect);
        let trouble = retry(tell(sink.as_ref(), event(7)).await);
        assert!(trouble.why.contains("redirect"), "{trouble:?}");
    }
    assert_eq!(receiver.messages().len(), 4);
}

#[tokio::test]
async fn a_receivers_retry_delay_is_at_most_an_hour() {
    let (receiver, sink) = receiver_and_sink("");
    for (status, header, seconds) in [(429, "7", 7), (503, "86400", 3600), (500, "60", 60)] {
        let later = Response::text(status, "").with_header("Retry-After", header);
        receiver.answer_next(later);
        let trouble = retry(tell(sink.as_ref(), event(7)).await);
        assert_eq!(trouble.not_before, Some(Duration::from_secs(seconds)));
    }
}

#[test]
fn a_status_decides() {
    let outcome = |status| {
        let answer = HttpAnswer {
            status,
            ..HttpAnswer::default()
        };
        judge(&answer)
    };
    for status in [200, 202, 204, 299] {
        assert_eq!(outcome(status), Outcome::Done);
    }
    let gone = outcome(410);
    assert!(
        matches!(&gone, Outcome::Refused(trouble) if trouble.reach == Reach::Sink),
        "{gone:?}"
    );
    for status in [
        300, 304, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504, 599,
    ] {
        assert_eq!(retry(outcome(status)).reach, Reach::Sink, "{status}");
    }
    for status in [400, 409, 413, 422] {
        assert_eq!(retry(outcome(status)).reach, Reach::Name, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_is_waited_for() {
    let (receiver, sink) = receiver_and_sink("timeout: 25s");
    receiver.hold();
    let telling = tokio::spawn(async move { tell(sink.as_ref(), event(7)).await });
    let receiver = tokio::task::spawn_blocking(move || {
        receiver.wait_for_arrivals(1);
        receiver
    });
    let receiver = receiver.await.unwrap();
    assert!(!telling.is_finished());
    receiver.release();
    assert_eq!(telling.await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_receiver_slower_than_the_timeout_is_tried_again() {
    let (receiver, sink) = receiver_and_sink("timeout: 1s");
    receiver.hold();
    let trouble = retry(tell(sink.as_ref(), event(7)).await);
    assert_eq!(trouble.reach, Reach::Sink);
    assert!(trouble.why.ends_with("timed out"), "{trouble:?}");
    receiver.release();
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
}

#[tokio::test]
async fn the_answers_body_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin";
        stream.write_all(endless).unwrap();
        // Until the client closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path(), &url, "timeout: 3s");
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
    tokio::task::spawn_blocking(|| server.join().unwrap())
        .await
        .unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_receiver_is_reached_over_tls_and_a_check_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::make(folder.path());
    let receiver = Receiver::start_tls(&identity);
    let sink = sink(folder.path(), &receiver.url(), "ca_file: ca.pem");
    let words = sink.check().await.unwrap();
    assert!(words.contains("nothing was sent"), "{words}");
    receiver.wait_for_ended_connections(1);
    assert_eq!(receiver.messages(), Vec::new());
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
}

#[test]
fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "secret", SECRET);
    write_secret(folder.path(), "weak", "hush");
    let url = "url: https://h/hook";
    for (keys, word) in [
        ("secret_file: secret".to_owned(), "`url`"),
        (url.to_owned(), "`secret_file`"),
        ("url: ftp://h, secret_file: secret".to_owned(), "http://"),
        (format!("{url}, secret_file: missing"), "secret_file"),
        (format!("{url}, secret_file: weak"), "24 bytes"),
        (
            format!("{url}, secret_file: secret, timeout: 0s"),
            "1s to 25s",
        ),
        (
            format!("{url}, secret_file: secret, timeout: 26s"),
            "1s to 25s",
        ),
        (
            format!("{url}, secret_file: secret, timeout: -5s"),
            "1s to 25s",
        ),
        (
            format!("{url}, secret_file: secret, timeout: soon"),
            "1s to 25s",
        ),
        (
            format!("{url}, secret_file: secret, max_attempts: 0"),
            "max_attempts",
        ),
        (
            format!("{url}, secret_file: secret, colour: red"),
            "`colour`",
        ),
        (
            format!("{url}, secret_file: secret, ca_file: secret"),
            "ca_file",
        ),
    ] {
        let yaml = format!("sinks:\n- {{name: w, kind: webhook, {keys}}}\n");
        let error = open(folder.path(), &yaml).unwrap_err();
        assert!(
            error.starts_with("sinks: w: ") && error.contains(word),
            "{keys}: {error}"
        );
        assert!(
            !error.contains("hush") && !error.contains(SECRET),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn the_pages_stanza_is_valid_and_names_every_setting() {
    let page = include_str!("../../../docs/webhooks.md");
    let folder = tempfile::tempdir().unwrap();
    Identity::make(folder.path());
    let stanzas = blocks(page, "yaml");
    assert_eq!(stanzas.len(), 1);
    for key in ["url", "secret_file", "timeout", "max_attempts", "ca_file"] {
        assert!(stanzas[0].contains(&format!(" {key}: ")), "{key}");
    }
    // Generates the secret as described on the page.
    let made = Command::new("sh")
        .arg("-c")
        .arg(blocks(page, "sh")[0])
        .current_dir(folder.path())
        .status();
    assert!(made.unwrap().success());
    let sinks = open(folder.path(), stanzas[0]).unwrap();
    let Sink::Event(sink) = &sinks[0].sink else {
        panic!("webhook is an event sink");
    };
    assert_eq!(sink.max_attempts(), 20);
}

#[cfg(unix)]
#[tokio::test]
async fn the_pages_example_and_its_ways_to_verify_hold() {
    let page = include_str!("../../../docs/webhooks.md");
    let (receiver, sink) = receiver_and_sink("");
    assert_eq!(tell(sink.as_ref(), event(7)).await, Outcome::Done);
    let message = receiver.taken().remove(0);
    let example: serde_json::Value = serde_json::from_str(blocks(page, "json")[0]).unwrap();
    let members = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(members(&example), members(&message.body));
    let first = |value: &serde_json::Value| members(&value["changes"][0]);
    assert_eq!(first(&example), first(&message.body));

    let folder = tempfile::tempdir().unwrap();
    let python = blocks(page, "python")[0].to_owned()
        + "\nimport sys\nhead = dict(zip(['webhook-id', 'webhook-timestamp', 'webhook-signature'], sys.argv[2:5]))\n\
           secret, body = open(sys.argv[1]).read(), open(sys.argv[5], 'rb').read()\n\
           sys.exit(not is_genuine(secret, head, body))\n";
    let shell = blocks(page, "sh")[1].to_owned() + "\nis_genuine \"$@\"\n";
    std::fs::write(folder.path().join("verify.py"), python).unwrap();
    std::fs::write(folder.path().join("verify.sh"), shell).unwrap();
    let other = [&message.raw[..], b" "].concat();
    for (program, script) in [("python3", "verify.py"), ("sh", "verify.sh")] {
        for (secret, body, is_genuine) in [
            (SECRET, &message.raw, true),
            ("sixteen bytes are not enough here", &message.raw, true),
            (SECRET, &other, false),
            ("sixteen bytes are enough everywhere", &message.raw, false),
        ] {
            std::fs::write(folder.path().join("secret"), format!("{secret}\n")).unwrap();
            std::fs::write(folder.path().join("body"), body).unwrap();
            let status = Command::new(program)
                .args([script, "secret", &message.id, &message.timestamp])
                .args([&message.signature, "body"])
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .status()
                .unwrap();
            let expected = Some(i32::from(!is_genuine));
            assert_eq!(status.code(), expected, "{program} {secret}");
        }
    }
}
