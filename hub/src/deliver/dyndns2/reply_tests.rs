use super::*;
use crate::deliver::sink::Reach;
use crate::deliver::test_sinks::addresses;

fn outcome(status: u16, body: &str) -> Outcome {
    let answer = HttpAnswer {
        status,
        retry_after: None,
        body: body.as_bytes().to_vec(),
    };
    let sent = addresses("192.0.2.1 2001:db8::1");
    judge(&answer, &sent, &["hush", "me@example.net"])
}

/// The variant of an outcome, its reach and the minutes until the next attempt.
fn sort(outcome: &Outcome) -> (&'static str, Option<Reach>, u64) {
    let (sort, trouble) = match outcome {
        Outcome::Done => return ("done", None, 0),
        Outcome::Retry(trouble) => ("retry", trouble),
        Outcome::Failed(trouble) => ("failed", trouble),
        Outcome::Refused(trouble) => ("refused", trouble),
        Outcome::Found(_) | Outcome::Waiting => panic!("{outcome:?}"),
    };
    let minutes = trouble.not_before.map_or(0, |wait| wait.as_secs() / 60);
    (sort, Some(trouble.reach), minutes)
}

#[test]
fn the_word_in_the_body_decides() {
    let (sink, name) = (Some(Reach::Sink), Some(Reach::Name));
    for (status, body, expected) in [
        (200, "good 192.0.2.1", ("done", None, 0)),
        (200, "nochg 192.0.2.1", ("done", None, 0)),
        (200, "good", ("done", None, 0)),
        (200, "GOOD 192.0.2.1,2001:db8::1\r\n", ("done", None, 0)),
        (200, "\u{feff}\n  nochg 2001:DB8::1 \n", ("done", None, 0)),
        (200, "good ::ffff:192.0.2.1", ("done", None, 0)),
        (200, "good Your IP\n", ("done", None, 0)),
        (
            200,
            "good 192.0.2.1\nnochg 2001:db8::1\n",
            ("done", None, 0),
        ),
        (200, "good 192.0.2.1\n<!-- 3 ms -->", ("done", None, 0)),
        (200, "good 192.0.2.1\nnohost\n", ("refused", name, 0)),
        (200, "good 203.0.113.9", ("refused", name, 0)),
        (200, "nochg 127.0.0.1", ("refused", sink, 0)),
        (200, "badauth", ("refused", sink, 0)),
        (401, "badauth\n", ("refused", sink, 0)),
        (200, "!donator", ("refused", sink, 0)),
        (200, "abuse", ("refused", sink, 0)),
        (403, "abuse", ("refused", sink, 0)),
        (200, "badagent", ("refused", sink, 0)),
        (200, "badsys", ("refused", sink, 0)),
        (200, "nohost", ("refused", name, 0)),
        (404, "nohost", ("refused", name, 0)),
        (200, "!yours", ("refused", name, 0)),
        (200, "notfqdn", ("refused", name, 0)),
        (400, "notfqdn", ("refused", name, 0)),
        (200, "numhost", ("refused", name, 0)),
        (200, "911", ("retry", sink, 30)),
        (503, "911", ("retry", sink, 30)),
        (200, "dnserr", ("retry", sink, 30)),
        (200, "dnserr [db]", ("retry", sink, 30)),
        // Without a word, or with a success word that the status contradicts.
        (500, "good 192.0.2.1", ("retry", sink, 0)),
        (302, "good 192.0.2.1", ("failed", sink, 0)),
        (401, "", ("refused", sink, 0)),
        (401, "<html>", ("refused", sink, 0)),
        (200, "", ("failed", name, 0)),
        (200, "<html>Welcome</html>", ("failed", name, 0)),
        (200, "goodbye", ("failed", name, 0)),
        (
            400,
            "{\"class\":\"Client::BadRequest\"}",
            ("failed", name, 0),
        ),
        (301, "", ("failed", sink, 0)),
        (403, "Forbidden", ("failed", sink, 0)),
        (404, "", ("failed", sink, 0)),
        (410, "", ("failed", sink, 0)),
        (418, "teapot", ("failed", sink, 0)),
        (408, "", ("retry", sink, 0)),
        (425, "", ("retry", sink, 0)),
        (429, "", ("retry", sink, 0)),
        (500, "", ("retry", sink, 0)),
        (502, "<html>", ("retry", sink, 0)),
    ] {
        assert_eq!(sort(&outcome(status, body)), expected, "{status} {body:?}");
    }
}

#[test]
fn a_providers_retry_delay_is_kept() {
    for status in [429, 503] {
        let answer = HttpAnswer {
            status,
            retry_after: Some(Duration::from_secs(120)),
            body: Vec::new(),
        };
        let outcome = judge(&answer, &addresses("192.0.2.1"), &[]);
        assert_eq!(sort(&outcome), ("retry", Some(Reach::Sink), 2));
    }
}

#[test]
fn a_reply_is_shown_short_printable_and_without_secrets() {
    let why = |status, body: &str| match outcome(status, body) {
        Outcome::Failed(trouble) => trouble.why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(200, "what? hush! me@example.net\u{1b}[31m\u{e4}\nmore"),
        "the provider answered 200 and \"what? ***! ***?[31m?\", which is not a dyndns2 reply"
    );
    assert_eq!(
        why(200, " \n\n"),
        "the provider answered 200 and nothing, which is not a dyndns2 reply"
    );
    let long = why(403, &"a".repeat(4000));
    let expected = format!("the provider answered 403 and \"{}\"", "a".repeat(60));
    assert_eq!(long, expected);
}

#[test]
fn bytes_that_are_no_text_are_no_word() {
    let answer = HttpAnswer {
        status: 200,
        retry_after: None,
        body: vec![0xff, 0xfe, 0x00],
    };
    let outcome = judge(&answer, &addresses("192.0.2.1"), &[]);
    assert_eq!(sort(&outcome).0, "failed");
}
