//! One pass over the spool folder: finishes started changes, then executes jobs and writes results.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use silo_shared::silo::Hostname;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::job::{JobId, JobResult, Task, Verdict};
use super::super::zone_name::ZoneName;
use super::command::{Plesk, PleskError};
use super::listing::Listing;
use super::plan::Plan;
use super::queue::Queue;
use super::state::{Entry, State};

/// Maximum pause before an unfinished change is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What the worker uses, and what it may change.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) queue: Queue,
    pub(super) state: State,
    pub(super) plesk: Plesk,
    pub(super) domains: Vec<Hostname>,
    pub(super) must_exist: bool,
    /// Changes started but not finished, and when each is tried again.
    unfinished: HashMap<JobId, Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    length: Duration,
    until: Instant,
}

/// Why a task was not done.
struct Trouble {
    verdict: Verdict,
    why: String,
}

impl Trouble {
    fn new(verdict: Verdict, why: impl ToString) -> Self {
        Self {
            verdict,
            why: why.to_string(),
        }
    }
}

impl From<PleskError> for Trouble {
    fn from(error: PleskError) -> Self {
        let verdict = if error.concerns_all() {
            Verdict::RetryZone
        } else {
            Verdict::RetryName
        };
        Self::new(verdict, error)
    }
}

/// Why a task failed: a problem to report to the hub, or an error in the worker's own folders.
enum Failure {
    DeliveryResult(Trouble),
    Own(io::Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::DeliveryResult(trouble)
    }
}

impl From<PleskError> for Failure {
    fn from(error: PleskError) -> Self {
        Self::DeliveryResult(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Own(error)
    }
}

/// The listing of each zone in this pass, until we change the zone.
#[derive(Default)]
struct Seen(HashMap<Hostname, Result<Listing, String>>);

impl Seen {
    /// A zone that could not be listed is not listed again in the same pass: each try may take the
    /// full deadline.
    async fn list(&mut self, plesk: &Plesk, zone: &Hostname) -> Result<&Listing, Trouble> {
        let listed = match self.0.entry(zone.clone()) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let listed = plesk.list(zone).await;
                slot.insert(listed.map_err(|error| error.to_string()))
            }
        };
        let listed = listed.as_ref();
        listed.map_err(|why| Trouble::new(Verdict::RetryZone, why))
    }

    fn forget(&mut self, zone: &Hostname) {
        self.0.remove(zone);
    }
}

impl Work {
    /// Resumes what an earlier worker left unfinished.
    pub(super) fn new(
        queue: Queue,
        state: State,
        plesk: Plesk,
        domains: Vec<Hostname>,
        must_exist: bool,
    ) -> io::Result<Self> {
        let now = Pause {
            length: Duration::from_secs(1),
            until: Instant::now(),
        };
        let unfinished = state.unfinished()?;
        Ok(Self {
            queue,
            state,
            plesk,
            domains,
            must_exist,
            unfinished: unfinished.into_iter().map(|id| (id, now)).collect(),
        })
    }

    /// One pass. Returns false if something failed that a retry may fix.
    pub(super) async fn pass(&mut self, ends: impl Fn() -> bool) -> io::Result<bool> {
        let mut seen = Seen::default();
        self.finish(&mut seen, &ends).await?;
        let mut is_well = true;
        for (id, job) in self.queue.open_jobs()? {
            if ends() {
                break;
            }
            // A pass may be long, and the hub may have replaced the job.
            if !self.queue.still_asks(&id, &job) {
                continue;
            }
            let (verdict, why) = match self.carry_out(&id, &job.task, &mut seen).await {
                Ok(()) => (Verdict::Done, String::new()),
                Err(Failure::DeliveryResult(trouble)) => (trouble.verdict, trouble.why),
                Err(Failure::Own(error)) => return Err(error),
            };
            if verdict != Verdict::Done {
                warn!("{}: {why}", job.task.zone_name);
            }
            is_well &= !matches!(verdict, Verdict::RetryName | Verdict::RetryZone);
            let nonce = job.nonce;
            self.queue.answer(
                &id,
                &JobResult {
                    nonce,
                    verdict,
                    why,
                },
            )?;
        }
        self.queue.clean_results()?;
        Ok(is_well && self.unfinished.is_empty())
    }

    /// Finishes started changes, including those of a killed worker.
    async fn finish(&mut self, seen: &mut Seen, ends: &impl Fn() -> bool) -> io::Result<()> {
        let now = Instant::now();
        let due: Vec<JobId> = self
            .unfinished
            .iter()
            .filter(|(_, pause)| pause.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            if ends() {
                break;
            }
            let Some(entry) = self.state.read(&id).filter(|entry| !entry.finished) else {
                self.unfinished.remove(&id);
                continue;
            };
            let task = Task {
                zone_name: entry.zone_name.clone(),
                wanted: entry.new,
                published: Vec::new(),
            };
            let ours: Vec<IpAddr> = entry.ours().collect();
            match self.make_true(&task, Some(&entry), ours, seen).await {
                Ok(()) => info!("{}: finished an interrupted update", entry.zone_name),
                Err(Failure::DeliveryResult(trouble)) => {
                    warn!("{}: not finished yet: {}", entry.zone_name, trouble.why);
                    self.wait_longer(&id);
                }
                Err(Failure::Own(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait_longer(&mut self, id: &JobId) {
        if let Some(pause) = self.unfinished.get_mut(id) {
            pause.until = Instant::now() + pause.length;
            pause.length = (pause.length * 2).min(LONGEST_PAUSE);
        }
    }

    async fn carry_out(&mut self, id: &JobId, task: &Task, seen: &mut Seen) -> Result<(), Failure> {
        let entry = self.state.read(id);
        let ours: Vec<IpAddr> = entry
            .iter()
            .flat_map(Entry::ours)
            .chain(task.published.iter().copied())
            .collect();
        self.make_true(task, entry.as_ref(), ours, seen).await
    }

    /// Brings a name at Plesk to the wanted state. Of a family that is not wanted, removes only
    /// addresses in `ours`.
    async fn make_true(
        &mut self,
        task: &Task,
        entry: Option<&Entry>,
        mut ours: Vec<IpAddr>,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let Task {
            zone_name, wanted, ..
        } = task;
        if !self.domains.contains(zone_name.zone()) {
            let why = format!("{} is not in the worker's --domains", zone_name.zone());
            return Err(Trouble::new(Verdict::FailedZone, why).into());
        }
        ours.sort();
        ours.dedup();
        let may_be_missing = !self.must_exist || entry.is_some_and(Entry::explains_absence);
        let plan = async |seen: &mut Seen, may_be_missing| -> Result<Plan, Trouble> {
            let listing = seen.list(&self.plesk, zone_name.zone()).await?;
            Plan::make(listing.at(zone_name), wanted, &ours, may_be_missing)
                .map_err(|refusal| Trouble::new(Verdict::FailedName, refusal))
        };
        let change = plan(seen, may_be_missing).await?;
        let goal = Entry {
            zone_name: zone_name.clone(),
            old: change.del.iter().map(|address| address.ip).collect(),
            new: *wanted,
            earlier: ours.clone(),
            finished: false,
        };
        if change.is_empty() {
            return Ok(self.settle(goal.finish(), entry)?);
        }
        // From here on the name may exist without records; the next worker must know why.
        self.state.write(&goal)?;
        let id = JobId::of(zone_name);
        let first_pause = Pause {
            length: Duration::from_secs(1),
            until: Instant::now() + Duration::from_secs(1),
        };
        self.unfinished.entry(id.clone()).or_insert(first_pause);
        seen.forget(zone_name.zone());
        self.apply(zone_name, &change, seen).await?;
        seen.forget(zone_name.zone());
        if !plan(seen, true).await?.is_empty() {
            let why = "plesk succeeded, but does not show the change";
            return Err(Trouble::new(Verdict::RetryName, why).into());
        }
        self.state.write(&goal.finish())?;
        self.unfinished.remove(&id);
        info!("{zone_name}: {}", said(&change));
        Ok(())
    }

    /// Records that a name is in the wanted state, though nothing had to be done.
    fn settle(&mut self, goal: Entry, entry: Option<&Entry>) -> io::Result<()> {
        let id = JobId::of(&goal.zone_name);
        let explains_absence = entry.is_some_and(Entry::explains_absence);
        if !goal.new.is_empty() || explains_absence {
            let is_new = entry.is_none_or(|entry| !entry.finished || entry.new != goal.new);
            if is_new {
                self.state.write(&goal)?;
            }
        } else if entry.is_some() {
            // Someone else removed the name at Plesk; its absence is not ours.
            self.state.forget(&id)?;
        }
        self.unfinished.remove(&id);
        Ok(())
    }

    /// Removes the old addresses, then adds the new ones.
    async fn apply(
        &self,
        zone_name: &ZoneName,
        change: &Plan,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        for old in &change.del {
            let Err(error) = self.plesk.del(zone_name, old).await else {
                continue;
            };
            // Someone else may have removed it already.
            let listing = seen.list(&self.plesk, zone_name.zone()).await?;
            if listing.at(zone_name).is_some_and(|shown| shown.has(old.ip)) {
                return Err(error.into());
            }
            seen.forget(zone_name.zone());
        }
        for new in &change.add {
            self.plesk.add(zone_name, *new).await?;
        }
        Ok(())
    }
}

/// Describes what was done.
fn said(change: &Plan) -> String {
    let old: Vec<String> = change.del.iter().map(|old| old.ip.to_string()).collect();
    let new: Vec<String> = change.add.iter().map(IpAddr::to_string).collect();
    match (old.join(" "), new.join(" ")) {
        (old, new) if new.is_empty() => format!("removed {old}"),
        (old, new) if old.is_empty() => format!("added {new}"),
        (old, new) => format!("set to {new}, was {old}"),
    }
}
