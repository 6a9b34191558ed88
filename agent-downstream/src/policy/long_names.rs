//! Long names of accepted names; see [`crate::suffix`].

use silo_shared::silo::{Addresses, Hostname};

use super::skipped::Reason;
use super::{Conflicts, Guarded, Judged, Policy, Refusal, Taken};
use crate::suffix::Suffix;

impl Policy {
    /// Adds the long name of each accepted single-label name. The same rules apply to it, except that the configured
    /// suffix is accepted although it may be public. A long name that the silo itself has is left as it is.
    pub(crate) fn add_long_names(
        &self,
        judged: &mut Judged,
        suffix: &Suffix,
        guarded: &Guarded,
        taken: &Taken<'_>,
    ) -> Result<(), Refusal> {
        let short: Vec<(Hostname, Addresses)> = judged
            .accepted
            .iter()
            .filter(|(name, _)| name.is_single_label())
            .map(|(name, addresses)| (name.clone(), *addresses))
            .collect();
        for (short, addresses) in short {
            let long = match suffix.long_of(&short) {
                Ok(long) => long,
                Err(error) => {
                    judged.skip(format!("{short}{suffix}"), Reason::Hostname(error));
                    continue;
                }
            };
            if judged.offered.contains_key(&long) && !judged.unselected.contains(&long) {
                continue;
            }
            match Self::judge_reserved(&long, guarded).and_then(|()| self.judge_taken(&long, taken))
            {
                Ok(()) => {
                    judged.accepted.insert(long, addresses);
                }
                Err(reason)
                    if reason.is_conflict() && self.conflicts == Some(Conflicts::Refuse) =>
                {
                    let name = long;
                    return Err(Refusal::Conflict { name, reason });
                }
                Err(reason) => {
                    judged.refuse_name(&long, reason);
                    let at = judged.refused_names.get(&long).copied().flatten();
                    for ip in addresses.iter() {
                        judged.note_address_of_refused(at, long.clone(), Ok(ip));
                    }
                }
            }
        }
        Ok(())
    }
}
