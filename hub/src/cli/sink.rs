//! `silo-hub sink`: adopt names at a receiver, publish everything again, or remove what was published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::secrets::random_name;
use crate::config::settings::HubSettings;
use crate::deliver::kinds::OpenSink;
use crate::deliver::sink::{Reach, SEND_DEADLINE, Sink, StateSink};
use crate::deliver::worker::{Round, Worker};
use crate::domain::sink::SinkName;
use crate::registry::{AdoptName, BeginCleaning, EndCleaning, EnqueueRemoval, PublishAll};
use crate::runtime::open_hub::{OpenError, OpenHub};
use crate::runtime::open_sinks;
use crate::store::{LedgerRow, LedgerState, Queries};
use clap::Subcommand;
use silo_shared::silo::SiloId;

use super::progress::Progress;
use super::{Failure, say, with_hub};

/// How long to wait for names that are not removed at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// The interval of checks for another worker's progress.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How many silos are read at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum SinkCommand {
    /// Adopt names that already have a silo's addresses at the receiver, as after a lost ledger
    Adopt {
        /// The sink's name in the configuration
        name: SinkName,
    },
    /// Publish everything again, as after a DNS server was restored from an old copy of its zone
    Publish {
        /// The sink's name in the configuration
        name: SinkName,
    },
    /// Remove everything that the sink published; afterwards, delete the sink from the configuration
    Clean {
        /// The sink's name in the configuration
        name: SinkName,
    },
}

pub(super) async fn sink(settings: HubSettings, command: SinkCommand) -> Result<(), Failure> {
    let (SinkCommand::Adopt { name } | SinkCommand::Publish { name } | SinkCommand::Clean { name }) =
        &command;
    let configured = settings.sinks.iter().find(|sink| sink.name == *name);
    let Some(configured) = configured else {
        return Err(Failure::Usage(format!(
            "{name}: there is no such sink in the configuration (--config)"
        )));
    };
    let open = OpenSink::open(configured)?;
    if !matches!(open.sink, Sink::State(_)) {
        return Err(Failure::Usage(format!(
            "{name}: a sink of kind {} publishes nothing that could be taken over, published again or removed",
            open.kind.as_str()
        )));
    }
    with_hub(settings, async |hub| match command {
        SinkCommand::Adopt { .. } => adopt(hub, &open).await,
        SinkCommand::Publish { .. } => publish(hub, open).await,
        SinkCommand::Clean { .. } => clean(hub, open).await,
    })
    .await
}

/// Opens every sink, and with `connect` tests its receiver without changing anything there; returns how many can't be
/// reached.
pub(super) async fn check(settings: &HubSettings, connect: bool) -> Result<usize, Failure> {
    let mut unreached = 0;
    for open in open_sinks(settings)? {
        let (name, kind) = (&open.name, open.kind.as_str());
        if !connect {
            say(format_args!("sink {name}: {kind}"))?;
            continue;
        }
        let tried = match &open.sink {
            Sink::State(sink) => sink.check(),
            Sink::Event(sink) => sink.check(),
        };
        let tried = tokio::time::timeout(SEND_DEADLINE, tried).await;
        match tried.unwrap_or_else(|_| Err("timed out".to_owned())) {
            Ok(words) => say(format_args!("sink {name}: {kind}: {words}"))?,
            Err(why) => {
                unreached += 1;
                say(format_args!("sink {name}: {kind}: failed: {why}"))?;
            }
        }
    }
    Ok(unreached)
}

fn state(open: &OpenSink) -> &dyn StateSink {
    match &open.sink {
        Sink::State(sink) => &**sink,
        Sink::Event(_) => unreachable!("the caller has checked the kind"),
    }
}

async fn adopt(hub: &OpenHub, open: &OpenSink) -> Result<(), Failure> {
    let sink = state(open);
    let (mut adopted, mut ours, mut others) = (0, 0, 0);
    let mut after = String::new();
    loop {
        let page = hub.store.silo_ids(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.to_string();
        for id in page.iter().filter(|id| open.filter.takes_silo(id)) {
            let (a, b, c) = adopt_silo(hub, open, sink, id).await?;
            adopted += a;
            ours += b;
            others += c;
        }
    }
    say(format_args!(
        "{adopted} names taken over, {ours} already published by this sink, {others} have other addresses or could not be read"
    ))?;
    Ok(())
}

async fn adopt_silo(
    hub: &OpenHub,
    open: &OpenSink,
    sink: &dyn StateSink,
    id: &SiloId,
) -> Result<(usize, usize, usize), Failure> {
    let (mut adopted, mut ours, mut others) = (0, 0, 0);
    let Some(silo) = hub.store.silo(id).await? else {
        return Ok((0, 0, 0));
    };
    let known = hub.store.ledger_of_silo(&open.name, id).await?;
    for (hostname, addresses) in silo.records {
        if !open.filter.takes(id, &hostname) {
            continue;
        }
        let Ok(name) = sink.published_name(&hostname) else {
            continue;
        };
        if known.iter().any(|row| row.name == name) {
            ours += 1;
            continue;
        }
        let stands = match sink.observe(&name).await {
            None => {
                return Err(Failure::Usage(format!(
                    "{}: a receiver of kind {} can't be queried for what it publishes",
                    open.name,
                    open.kind.as_str()
                )));
            }
            Some(Err(trouble)) if trouble.reach == Reach::Name => {
                eprintln!("silo-hub: {name}: {}", trouble.why);
                others += 1;
                continue;
            }
            Some(Err(trouble)) => return Err(Failure::Failed(format!("{name}: {}", trouble.why))),
            Some(Ok(stands)) => stands,
        };
        if stands != addresses {
            others += 1;
            continue;
        }
        let row = LedgerRow {
            name,
            silo: id.clone(),
            hostname,
            ours: LedgerState {
                published: Some(addresses),
                ..LedgerState::default()
            },
        };
        let command = AdoptName {
            sink: open.name.clone(),
            row,
        };
        adopted += usize::from(hub.registry.apply(command).await?);
    }
    Ok((adopted, ours, others))
}

async fn clean(hub: &OpenHub, open: OpenSink) -> Result<(), Failure> {
    let name = open.name.clone();
    hub.registry.apply(BeginCleaning(name.clone())).await?;
    let (mut names, mut others) = (0, 0);
    for silo in hub.store.ledger_silos(&name).await? {
        let mut hostnames = BTreeSet::new();
        for row in hub.store.ledger_of_silo(&name, &silo).await? {
            if is_named_so(&open, &row) {
                hostnames.insert(row.hostname);
            } else {
                others += 1;
                eprintln!(
                    "silo-hub: {} was published with earlier settings and cannot be removed with the current ones",
                    row.name
                );
            }
        }
        if hostnames.is_empty() {
            continue;
        }
        names += hostnames.len();
        let command = EnqueueRemoval {
            sink: name.clone(),
            silo,
            hostnames: hostnames.into_iter().collect(),
        };
        hub.registry.apply(command).await?;
    }
    let owner = random_name().map_err(OpenError::from)?;
    let open = Arc::new(open);
    let worker = Worker::new(hub.worker_context(), Arc::clone(&open), owner);
    let started = Instant::now();
    let progress = Progress::of_steps("removing", u64::try_from(names).ok());
    loop {
        let round = worker
            .round()
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        if round == Round::Again && !progress.is_shown() {
            continue;
        }
        let left = still_published(hub, &open).await?;
        progress.set(u64::try_from(names.saturating_sub(left)).unwrap_or(0));
        if round == Round::Again {
            continue;
        }
        if left == 0 {
            break;
        }
        // Another worker is processing it, or the receiver needs time or is unavailable.
        let known = hub.store.sink(&name).await?;
        let why = known.and_then(|sink| sink.why);
        if why.is_some() || started.elapsed() > PATIENCE {
            let why = why.unwrap_or_else(|| format!("see /deliveries?sink={name}"));
            return Err(Failure::Failed(format!(
                "{name}: {left} names are not removed yet ({why}); a running hub continues, otherwise run this command again"
            )));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    drop(progress);
    hub.registry.apply(EndCleaning(name.clone())).await?;
    say(format_args!(
        "{names} names removed, {others} left; remove {name} from the configuration before you start a hub"
    ))?;
    Ok(())
}

async fn publish(hub: &OpenHub, open: OpenSink) -> Result<(), Failure> {
    let name = open.name.clone();
    hub.registry.apply(PublishAll(name.clone())).await?;
    let owner = random_name().map_err(OpenError::from)?;
    let worker = Worker::new(hub.worker_context(), Arc::new(open), owner);
    let started = Instant::now();
    let progress = Progress::of_steps("publishing", None);
    loop {
        let round = worker
            .round()
            .await
            .map_err(|error| Failure::Failed(error.to_string()))?;
        if round == Round::Again {
            continue;
        }
        let known = hub.store.sink(&name).await?;
        let is_compared = known.as_ref().is_some_and(|known| known.is_compared());
        let (pending, failed) = hub.store.pending_counts(&name).await?;
        if is_compared && pending == 0 {
            drop(progress);
            if failed > 0 {
                return Err(Failure::Failed(format!(
                    "{name}: {failed} names could not be published: see /deliveries?sink={name}"
                )));
            }
            say(format_args!("everything is published"))?;
            return Ok(());
        }
        // Another worker is processing it, or the receiver is unavailable.
        let why = known.and_then(|sink| sink.why);
        if why.is_some() || started.elapsed() > PATIENCE {
            let why = why.unwrap_or_else(|| format!("see /deliveries?sink={name}"));
            return Err(Failure::Failed(format!(
                "{name}: not everything is published yet ({why}); a running hub continues, otherwise run this command again"
            )));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How many names of the sink are still in the ledger.
async fn still_published(hub: &OpenHub, open: &OpenSink) -> Result<usize, Failure> {
    let mut left = 0;
    for silo in hub.store.ledger_silos(&open.name).await? {
        let rows = hub.store.ledger_of_silo(&open.name, &silo).await?;
        left += rows.iter().filter(|row| is_named_so(open, row)).count();
    }
    Ok(left)
}

/// Whether the sink's current settings give this name to the record.
fn is_named_so(open: &OpenSink, row: &LedgerRow) -> bool {
    state(open).published_name(&row.hostname).as_deref() == Ok(row.name.as_str())
}
