//! Interprets a provider's reply. The word in the body decides; the HTTP status counts only if
//! there is no word.
//!
//! The words are those of Dyn's "Remote Access API" (help.dyn.com, "Return Codes"), which other
//! providers adopted.

use std::net::IpAddr;
use std::time::Duration;

use silo_shared::silo::Addresses;

use crate::deliver::http_client::HttpAnswer;
use crate::deliver::sink::{Outcome, Trouble};

/// Maximum number of bytes read from a reply.
pub(super) const MAX_REPLY_BYTES: usize = 4096;

/// How long to wait after a provider reports a problem of its own.
const PROVIDERS_TROUBLE: Duration = Duration::from_secs(30 * 60);

/// Maximum length of the excerpt of an unknown reply, in characters.
const EXCERPT_CHARS: usize = 60;

/// The outcome of an attempt. `secrets` are texts that a reply may repeat and that must not be shown.
pub(super) fn judge(answer: &HttpAnswer, sent: &Addresses, secrets: &[&str]) -> Outcome {
    let body = String::from_utf8_lossy(&answer.body);
    let mut lines = body
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("");
    match of_line(first, sent) {
        // Most providers answer with one line per host, some with one line per address.
        Some(Outcome::Done) if (200..300).contains(&answer.status) => lines
            .filter_map(|line| of_line(line, sent))
            .find(|outcome| *outcome != Outcome::Done)
            .unwrap_or(Outcome::Done),
        Some(outcome) if outcome != Outcome::Done => outcome,
        _ => of_status(answer, first, secrets),
    }
}

/// The meaning of a line that begins with a word of the protocol.
fn of_line(line: &str, sent: &Addresses) -> Option<Outcome> {
    let mut words = line.split_ascii_whitespace();
    let word = words.next()?.to_ascii_lowercase();
    let refused_sink = |why: &str| Outcome::Refused(Trouble::of_sink(why));
    let refused_name = |why: &str| Outcome::Refused(Trouble::of_name(why));
    let later = |why: &str| Outcome::Retry(Trouble::of_sink(why).not_before(PROVIDERS_TROUBLE));
    Some(match word.as_str() {
        "good" | "nochg" => taken(words.next().unwrap_or(""), sent),
        "badauth" => {
            refused_sink("the provider refuses the login (badauth): check user name and password")
        }
        "!donator" => refused_sink("the account does not include this feature (!donator)"),
        "abuse" => refused_sink("the provider has blocked updates for abuse (abuse)"),
        "badagent" => refused_sink(
            "the provider does not accept this client (badagent): some require a `contact`",
        ),
        "badsys" => refused_sink("the provider does not know the `system` in the URL (badsys)"),
        "nohost" => refused_name("the account has no such host (nohost)"),
        "!yours" => refused_name("the host belongs to another account (!yours)"),
        "notfqdn" => refused_name("the provider does not accept this as a full hostname (notfqdn)"),
        "numhost" => refused_name("the provider can't update this host (numhost)"),
        "911" => later("the provider reports an internal error (911)"),
        "dnserr" => later("the provider reports a DNS error (dnserr)"),
        _ => return None,
    })
}

/// Whether the provider accepted the sent addresses. It may list addresses, separated by commas.
fn taken(list: &str, sent: &Addresses) -> Outcome {
    let mut named = list.split(',').filter_map(|ip| ip.parse::<IpAddr>().ok());
    let Some(first) = named.next() else {
        return Outcome::Done;
    };
    let is_sent = |ip: IpAddr| sent.iter().any(|sent| sent == ip.to_canonical());
    if is_sent(first) || named.any(is_sent) {
        Outcome::Done
    } else if first == IpAddr::from([127, 0, 0, 1]) {
        // Dyn's answer to clients that it blocks.
        Outcome::Refused(Trouble::of_sink(
            "the provider ignores this client (good 127.0.0.1): some require a `contact`",
        ))
    } else {
        Outcome::Refused(Trouble::of_name(format!(
            "the provider set {first}, which was not sent: check that it supports `myip`"
        )))
    }
}

/// The outcome of a reply without a word of the protocol.
fn of_status(answer: &HttpAnswer, line: &str, secrets: &[&str]) -> Outcome {
    let status = answer.status;
    let said = || match excerpt(line, secrets) {
        text if text.is_empty() => "nothing".to_owned(),
        text => format!("{text:?}"),
    };
    let later = |why: String| {
        Outcome::Retry(Trouble {
            not_before: answer.retry_after,
            ..Trouble::of_sink(why)
        })
    };
    let failed = |why: String| Outcome::Failed(Trouble::of_sink(why));
    match status {
        200..300 | 400 => Outcome::Failed(Trouble::of_name(format!(
            "the provider answered {status} and {}, which is not a dyndns2 reply",
            said()
        ))),
        300..400 => failed(format!(
            "the provider answered {status}, a redirect, which is not followed: check `url`"
        )),
        401 => Outcome::Refused(Trouble::of_sink(
            "the provider refuses the login (401): check user name and password",
        )),
        404 | 410 => failed(format!("the provider answered {status}: check `url`")),
        408 | 425 | 429 => later(format!(
            "the provider answered {status}: temporarily unavailable"
        )),
        500.. => later(format!("the provider has an internal error ({status})")),
        _ => failed(format!("the provider answered {status} and {}", said())),
    }
}

/// The beginning of a reply, safe to show.
fn excerpt(line: &str, secrets: &[&str]) -> String {
    let mut text = line.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    let printable = |c: char| match c {
        ' ' => ' ',
        c if c.is_ascii_graphic() => c,
        _ => '?',
    };
    text.chars().map(printable).take(EXCERPT_CHARS).collect()
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
