//! What a run prints about a silo: quiet runs print only what began and what ended since the last run.

use std::collections::BTreeSet;
use std::net::IpAddr;

use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;

use crate::change::Change;
use crate::owed_hook::changed_names;
use crate::plan::{Report, StaleBlock, Update};

/// The maximum number of lines of one kind that a run prints about a silo.
pub(crate) const NAMED: usize = 20;

/// A line about something that was skipped.
#[derive(Debug)]
pub(crate) struct Notice {
    /// The line, without the silo.
    pub(crate) text: String,
    /// Whether a name has a wrong address although the configuration does not request that.
    pub(crate) is_wrong: bool,
    /// The event: `skipped`, `left-out`, `refused` or `stale`.
    pub(crate) event: &'static str,
}

impl Notice {
    fn fact(&self, silo: &SiloId) -> Fact {
        Fact::of_silo(self.event, silo, &self.text)
            .with("message", &self.text)
            .with("wrong", self.is_wrong)
    }
}

/// The lines about skipped records.
pub(crate) fn notices(update: &Update) -> Vec<Notice> {
    let skipped = update.skipped.iter().map(|skip| Notice {
        text: skip.to_string(),
        is_wrong: skip.is_wrong(),
        event: "skipped",
    });
    let unselected = (update.unselected > 0).then(|| Notice {
        text: match update.unselected {
            1 => "left out by `hostnames`: 1 name".to_owned(),
            more => format!("left out by `hostnames`: {more} names"),
        },
        is_wrong: false,
        event: "left-out",
    });
    skipped.chain(unselected).collect()
}

/// The lines about the whole file: refused pulls, and stale blocks.
pub(crate) fn notices_of_file(reports: &[Report], stale: &[StaleBlock]) -> Vec<Notice> {
    let refused = reports.iter().filter_map(|report| {
        let refusal = report.outcome.as_ref().err()?;
        Some(Notice {
            text: format!("{}: {refusal}; the block is kept", report.silo),
            is_wrong: true,
            event: "refused",
        })
    });
    let stale = stale.iter().map(|stale| Notice {
        text: stale.to_string(),
        is_wrong: false,
        event: "stale",
    });
    refused.chain(stale).collect()
}

/// Prints the result for a silo; `before` was last printed. Returns whether it succeeded.
pub(crate) fn tell(report: &Report, before: &[String], output: &Output) -> bool {
    let silo = &report.silo;
    let Ok(update) = &report.outcome else {
        return false;
    };
    if update.change == Change::None && update.adopted.is_empty() {
        output.tell_unless_quiet(&result(silo, update));
    } else {
        output.tell(&result(silo, update));
    }
    let adopted = update.adopted.iter().map(|found| {
        let text = format!("{found} was outside the block: moved into it");
        Fact::of_silo("moved", silo, text)
            .with("line", found.line)
            .with("address", found.ip)
            .with("hostname", found.name.as_str())
    });
    tell_some(silo, "moved", adopted.collect(), |fact| output.tell(fact));
    let notices = notices(update);
    let said = |notice: &&Notice| {
        !output.is_quiet() || !before.iter().any(|old| key(old) == key(&notice.text))
    };
    let (wrong, usual): (Vec<&Notice>, Vec<&Notice>) = notices
        .iter()
        .filter(said)
        .partition(|notice| notice.is_wrong);
    let facts = |notices: Vec<&Notice>| notices.into_iter().map(|it| it.fact(silo)).collect();
    tell_some(silo, "skipped", facts(wrong), |fact| {
        output.tell_failure(fact);
    });
    tell_some(silo, "skipped", facts(usual), |fact| output.tell(fact));
    let ended = ended(before, notices.iter().map(|notice| notice.text.as_str()))
        .into_iter()
        .map(|line| Fact::of_silo("skip-ended", silo, &line).with("message", &line));
    tell_some(silo, "no longer skipped", ended.collect(), |fact| {
        output.tell(fact);
    });
    !update.is_wrong()
}

/// The result for a silo: event `changed` or `unchanged`.
fn result(silo: &SiloId, update: &Update) -> Fact {
    let event = if update.change == Change::None && update.adopted.is_empty() {
        "unchanged"
    } else {
        "changed"
    };
    let fact = Fact::of_silo(event, silo, update)
        .with("revision", update.revision)
        .with("names", update.records.len());
    if event == "unchanged" {
        return fact;
    }
    fact.with("repaired", update.change == Change::Repaired)
        .with("changes", changed_names(&update.change, &update.records))
}

/// Prints the lines about the whole file; quiet runs print only those that they did not print before.
pub(crate) fn tell_of_file(notices: &[Notice], before: &[String], output: &Output) {
    for notice in notices {
        if output.is_quiet() && before.iter().any(|old| key(old) == key(&notice.text)) {
            continue;
        }
        let fact = Fact::message(notice.event, &notice.text);
        if notice.is_wrong {
            output.tell_failure(&fact);
        } else {
            output.tell(&fact);
        }
    }
    for line in ended(before, notices.iter().map(|notice| notice.text.as_str())) {
        output.tell(&Fact::message("notice-ended", line));
    }
}

/// The facts about silos that a file of our own no longer has.
pub(crate) fn facts_of_dropped(dropped: &[SiloId]) -> impl Iterator<Item = Fact> {
    dropped.iter().map(|silo| {
        let text = "not in the configuration: its names are removed from the file";
        Fact::of_silo("dropped", silo, text)
    })
}

/// Prints at most [`NAMED`] facts of a silo, and how many more `what` there are.
pub(crate) fn tell_some(silo: &SiloId, what: &str, facts: Vec<Fact>, print: impl Fn(&Fact)) {
    for fact in facts.iter().take(NAMED) {
        print(fact);
    }
    if let more @ 1.. = facts.len().saturating_sub(NAMED) {
        let text = format!("{what} {more} more");
        print(
            &Fact::of_silo("more", silo, text)
                .with("what", what)
                .with("count", more),
        );
    }
}

/// The lines that were printed before and have ended: no line about the same subject is printed now.
fn ended<'a>(before: &[String], now: impl Iterator<Item = &'a str>) -> Vec<String> {
    let now: BTreeSet<String> = now.map(subject).collect();
    let is_over = |line: &&String| !now.contains(&subject(line));
    before
        .iter()
        .filter(is_over)
        .map(|line| match line.strip_prefix("skipped ") {
            Some(rest) => format!("no longer skipped: {rest}"),
            None if line.starts_with("left out") => format!("no longer {line}"),
            None => format!("over: {line}"),
        })
        .collect()
}

/// The subject of a line: the part before its reason.
fn subject(line: &str) -> String {
    let subject = line.split(": ").next().unwrap_or(line);
    key(subject)
}

/// A line without parts that may change while the problem continues: numbers, such as that of a line of the hosts file,
/// addresses, and what one run removed from a stale block.
fn key(line: &str) -> String {
    let line = match line.split_once("; removed ") {
        Some((before, after)) => {
            let rest = after.split_once("; ").map_or("", |(_, rest)| rest);
            format!("{before}; {rest}")
        }
        None => line.to_owned(),
    };
    let word = |word: &str| {
        let bare = word.trim_end_matches([':', ',', ';']);
        if bare.parse::<usize>().is_ok() {
            "#".to_owned()
        } else if bare.parse::<IpAddr>().is_ok() {
            "@".to_owned()
        } else {
            word.to_owned()
        }
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuing_skips_are_distinguished_from_new_and_ended_ones() {
        let line = |number: usize, ip: &str| {
            format!(
                "skipped db: line {number} of the hosts file defines it as 10.0.0.9, but the silo as {ip}: remove it"
            )
        };
        assert_eq!(key(&line(2, "10.0.0.5")), key(&line(12, "10.0.0.6")));
        let same = "skipped db: line 2 of the hosts file defines it".to_owned();
        assert_ne!(key(&line(2, "10.0.0.5")), key(&same));
        let stale = "the block of silo x is stale: no run; removed 1 line from it, whose name another silo has; `clean` removes it";
        assert_eq!(
            key(stale),
            key("the block of silo x is stale: no run; `clean` removes it")
        );
        let before = [same, "skipped tv 127.0.0.1: a loopback address".to_owned()];
        let wrong = line(3, "10.0.0.5");
        assert_eq!(
            ended(&before, [wrong.as_str()].into_iter()),
            ["no longer skipped: tv 127.0.0.1: a loopback address"]
        );
        let now = [
            "skipped tv 127.0.0.2: a loopback address",
            "skipped db: this machine's own name",
        ];
        assert!(ended(&before, now.into_iter()).is_empty());
    }
}
