//! Plans a run: over the hosts file, or over a file of our own.
//!
//! Decisions are the same: a file of our own is turned into blocks, and their plan back into a file.

use std::collections::BTreeSet;

use silo_shared::silo::{Records, SiloId};

use crate::format::Format;
use crate::hosts::HostsFile;
use crate::own_text::{encode, pairs, sections};
use crate::plan::{self, Known, NoPlan, Plan, Pulled, Rules};

/// Plans a run over the bytes of the file.
pub(crate) fn plan(
    bytes: &[u8],
    pulled: &[Pulled],
    rules: &Rules,
    known: &Known,
) -> Result<Plan, NoPlan> {
    match rules.format {
        None => plan::plan(bytes, pulled, rules, known),
        Some(format) => plan_own(format, bytes, pulled, rules, known),
    }
}

/// Plans a run over a file of our own.
fn plan_own(
    format: Format,
    bytes: &[u8],
    pulled: &[Pulled],
    rules: &Rules,
    known: &Known,
) -> Result<Plan, NoPlan> {
    let present = match sections(bytes) {
        Some(present) => present,
        None if bytes.trim_ascii().is_empty() || rules.force => Vec::new(),
        None => return Err(NoPlan::NotOurs),
    };
    let is_configured = |silo: &SiloId| pulled.iter().any(|pulled| pulled.silo == *silo);
    let suffix = rules.suffix.as_ref();
    let ours: Vec<(&SiloId, &Records)> = present
        .iter()
        .filter(|section| is_configured(&section.silo))
        .map(|section| (&section.silo, &section.records))
        .collect();
    let mut blocks = HostsFile::parse(b"")?
        .with_suffix(rules.suffix.clone())
        .render(&ours, &BTreeSet::new());
    if bytes != encode(format, &pairs(&present), suffix) {
        mark_edited(&mut blocks);
    }
    let rules = Rules {
        format: None,
        ..rules.clone()
    };
    let known = Known {
        written: known.written.clone(),
        ..Known::default()
    };
    let plan = plan::plan(&blocks, pulled, &rules, &known)?;
    let planned = HostsFile::parse(&plan.bytes)?;
    let wanted: Vec<(SiloId, Records)> = pulled
        .iter()
        .filter_map(|Pulled { silo, .. }| Some((silo.clone(), planned.records(silo)?)))
        .collect();
    let wanted: Vec<(&SiloId, &Records)> = wanted.iter().map(|(silo, all)| (silo, all)).collect();
    Ok(Plan {
        bytes: encode(format, &wanted, suffix),
        dropped: present
            .into_iter()
            .map(|section| section.silo)
            .filter(|silo| !is_configured(silo))
            .collect(),
        ..plan
    })
}

/// Makes every block differ from what would be written, so that the plan reports a repair.
fn mark_edited(blocks: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(blocks).replace("# END silo", "#\n# END silo");
    *blocks = text.into_bytes();
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
