//! Records of a silo whose block was lost: lines outside the blocks that this program wrote.

use std::collections::{BTreeMap, BTreeSet};

use silo_shared::silo::SiloId;

use super::{Known, NoPlan};
use crate::hosts::{HostsFile, OutsideRecords};
use crate::policy::FoundLine;

/// The lines outside the blocks that are records of these silos and lost their block: with the address and the only
/// name that was last written, missing from the block, and occurring once. With `all`, also those that occur more than
/// once.
pub(crate) fn strays<'a>(
    file: &HostsFile<'_>,
    outside: &OutsideRecords,
    silos: impl IntoIterator<Item = &'a SiloId>,
    known: &Known,
    all: bool,
) -> Result<BTreeMap<&'a SiloId, Vec<FoundLine>>, NoPlan> {
    let mut assigned = BTreeSet::new();
    let mut strays: BTreeMap<&SiloId, Vec<FoundLine>> = BTreeMap::new();
    for silo in silos {
        let Some(written) = known.written.get(silo) else {
            continue;
        };
        let present = file.records(silo).unwrap_or_default();
        let lost = written
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |ip| (name.clone(), ip)))
            .filter(|(name, ip)| {
                !present
                    .get(name)
                    .is_some_and(|had| had.iter().any(|other| other == *ip))
            });
        for record in lost {
            let lines = outside.get(&record).map_or(&[][..], Vec::as_slice);
            if lines.len() > 1 && !all {
                return Err(NoPlan::Ambiguous {
                    silo: silo.clone(),
                    record: Box::new(record),
                    lines: lines.iter().map(|line| line + 1).collect(),
                });
            }
            let (name, ip) = record;
            for line in lines.iter().copied().filter(|line| assigned.insert(*line)) {
                let (name, line) = (name.clone(), line + 1);
                strays
                    .entry(silo)
                    .or_default()
                    .push(FoundLine { line, ip, name });
            }
        }
    }
    Ok(strays)
}
