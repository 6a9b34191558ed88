//! A fuzz target: takes bytes and panics if an invariant is violated. The package `silo-fuzz` runs it under libFuzzer;
//! the test below runs it briefly.

use std::collections::BTreeSet;

use silo_shared::api::DnsRecord;
use silo_shared::silo::{Hostname, SiloId};

use crate::change::Change;
use crate::glob::Glob;
use crate::hosts::HostsFile;
use crate::plan::{Answer, Known, NoPlan, Pulled, Rules, plan};
use crate::policy::{Guarded, Policy};
use crate::suffix::{Suffix, SuffixOrder};

/// A plan keeps every byte outside of the blocks that it writes, and a second run changes nothing.
///
/// The input is the hub's responses, a line `SILO HOSTNAME IP` per record or only `SILO` for a failed pull, or the word
/// `+force`, `+names` (every name is accepted) or `+suffix` (long names under `lan`); an empty line; the hosts file.
pub fn hosts(data: &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (said, file) = match end {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (&b""[..], data),
    };
    let (pulled, rules) = read(said);
    let parsed = HostsFile::parse(file);
    let run = match (plan(file, &pulled, &rules, &Known::default()), parsed) {
        (Ok(run), Ok(_)) => run,
        (Err(broken), Err(same)) => return assert_eq!(broken, NoPlan::Markers(same)),
        (run, parsed) => panic!("{run:?}, but {parsed:?}"),
    };
    let ours: BTreeSet<&str> = run
        .reports
        .iter()
        .filter(|report| report.outcome.is_ok())
        .map(|report| report.silo.as_str())
        .collect();
    assert_kept(file, &run.bytes, &ours);

    let written = run.reports.iter().filter_map(|report| {
        let update = report.outcome.as_ref().ok()?;
        Some((report.silo.clone(), update.records.clone()))
    });
    let known = Known {
        written: written.collect(),
        ..Known::default()
    };
    let again = plan(&run.bytes, &pulled, &rules, &known).expect("what a plan writes can be read");
    assert_eq!(shown(&again.bytes), shown(&run.bytes));
    for (first, second) in run.reports.iter().zip(&again.reports) {
        match (&first.outcome, &second.outcome) {
            (Ok(_), Ok(update)) => assert_eq!(update.change, Change::None, "{}", second.silo),
            (first, second) => assert_eq!(first.is_ok(), second.is_ok()),
        }
    }
}

/// Parses the responses and the rules; ignores invalid lines.
fn read(said: &[u8]) -> (Vec<Pulled>, Rules) {
    let mut rules = Rules {
        policy: Policy::default(),
        hostnames: Vec::new(),
        guarded: Guarded::default(),
        force: false,
        adopt: false,
        suffix: None,
        format: None,
    };
    let mut pulled: Vec<Pulled> = Vec::new();
    for line in String::from_utf8_lossy(said).lines() {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or("");
        match first {
            "+force" => rules.force = true,
            "+names" => {
                let every = Glob::parse("*").expect("a star is a glob");
                rules.policy.names = vec![every];
            }
            "+suffix" => {
                let domain = Hostname::parse("lan").expect("a label is a hostname");
                let order = SuffixOrder::Before;
                rules.suffix = Some(Suffix { domain, order });
            }
            _ => {}
        }
        let Ok(silo) = SiloId::parse(first) else {
            continue;
        };
        let record = words.next().zip(words.next()).map(|(hostname, ip)| {
            let (hostname, ip) = (hostname.to_owned(), ip.to_owned());
            DnsRecord { hostname, ip }
        });
        let known = pulled.iter().position(|pulled| pulled.silo == silo);
        let known = known.unwrap_or_else(|| {
            let answer = None;
            pulled.push(Pulled { silo, answer });
            pulled.len() - 1
        });
        if let Some(record) = record {
            let answer = pulled[known].answer.get_or_insert(Answer {
                records: Vec::new(),
                revision: 1,
            });
            answer.records.push(record);
        }
    }
    (pulled, rules)
}

/// Panics unless every byte outside the blocks of these silos is kept. Only a newline before a new block may be added.
pub(crate) fn assert_kept(before: &[u8], after: &[u8], silos: &BTreeSet<&str>) {
    let (before, after) = (outside(before, silos), outside(after, silos));
    match after.strip_prefix(before.as_slice()) {
        Some(b"") => {}
        Some(b"\n" | b"\r\n") if before.last() != Some(&b'\n') => {}
        _ => assert_eq!(shown(&before), shown(&after)),
    }
}

/// The bytes outside the blocks of these silos, found between marker lines without the code under test.
fn outside(file: &[u8], silos: &BTreeSet<&str>) -> Vec<u8> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let mut inside = false;
    let bom = if file.starts_with(BOM) { BOM.len() } else { 0 };
    let mut out = file[..bom].to_vec();
    for line in file[bom..].split_inclusive(|byte| *byte == b'\n') {
        // `#`, the word, `silo` and the id, with any whitespace between them.
        let text = String::from_utf8_lossy(line);
        let words = text.trim_ascii_start().strip_prefix('#').unwrap_or("");
        let words: Vec<&str> = words.split_ascii_whitespace().take(3).collect();
        let is = |word: &str| matches!(words.as_slice(), [first, "silo", id] if *first == word && silos.contains(id));
        inside |= is("BEGIN");
        if !inside {
            out.extend_from_slice(line);
        }
        inside &= !is("END");
    }
    out
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use silo_e2e::fuzz::try_target;

    #[test]
    fn a_plan_keeps_what_is_not_its_own_and_a_second_changes_nothing() {
        try_target("hosts", super::hosts);
    }
}
