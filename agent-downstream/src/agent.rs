//! The commands that pull silos from the hub: `once` and `diff`.
//!
//! Steps of `once`: load the state → pull (without the lock) → write ([`crate::writer`]) → run the hook → tell the hub.
//! A silo that can't be pulled keeps its block and does not delay the others.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use silo_shared::agent_name::AgentKind;
use silo_shared::client::{HubClient, Route};
use silo_shared::config::ConfigError;
use silo_shared::connection::Connection;
use silo_shared::fact::Fact;
use silo_shared::hook::Hook;
use silo_shared::output::Output;
use silo_shared::stay::{Signal, Signals};

use crate::agent_error::{AgentError, markers};
use crate::diff;
use crate::hook::{self, OwedHookError};
use crate::known::known_without_lock;
use crate::outage::Outage;
use crate::owed_hook::OwedHook;
use crate::own;
use crate::own_plan::plan;
use crate::plan::{Pulled, Rules};
use crate::pull::pull;
use crate::run_status::RunStatus;
use crate::run_time::run_time;
use crate::settings::{Settings, guarded};
use crate::silo_pull::SiloPull;
use crate::state::{StateDir, StateError};
use crate::target::Target;
use crate::tell;
use crate::write_gate::WriteGate;
use crate::writer::{Writer, Written};

/// How long a run waits for others that hold the lock, to save its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a run that has written tells the hub so.
const TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Pulls every silo and updates the hosts file. Returns whether everything succeeded.
pub(crate) async fn once(settings: &Settings, output: &Output) -> Result<bool, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = own::find(settings)?;
    let writer = writer(settings, &connection, &client, output)?;
    let hosts = target.path().to_owned();
    let saved = writer.state.status(&hosts)?;
    let mut status = saved.clone();
    status.keep_only(silos);
    let done = pull_and_write(&writer, &client, target, &mut status).await;
    let ended = done.as_ref().copied().map_err(ToString::to_string);
    status.ended(ended, run_time().wall_ms);
    if status.needs_saving(&saved) {
        let kept = writer.state.save_status(&hosts, &status, STATUS_TIMEOUT);
        if done.is_ok() {
            kept?;
        }
    }
    done
}

/// What writes the hosts file for these settings.
pub(crate) fn writer(
    settings: &Settings,
    connection: &Connection,
    client: &HubClient,
    output: &Output,
) -> Result<Writer, AgentError> {
    Ok(Writer {
        settings: settings.clone(),
        rules: rules(settings, connection),
        state: own::state_dir(settings)?,
        hub: client.key().to_owned(),
        output: output.clone(),
        gate: WriteGate::default(),
    })
}

async fn pull_and_write(
    writer: &Writer,
    client: &HubClient,
    target: Target,
    status: &mut RunStatus,
) -> Result<bool, AgentError> {
    // An interrupted write is repaired even if the hub is down.
    writer.recover_if_interrupted(&target)?;
    let mut pulls = pull_all(writer, client, status).await?;
    let hosts = target.path().to_owned();
    let is_pulled = pulls.iter().all(|pull| pull.fresh.is_some());
    let mut written = Ok(Written::default());
    if pulls.iter().any(|pull| pull.fresh.is_some()) {
        written = writer.write(target, &mut pulls, status);
    }
    // A failed write delays no hook that an earlier one owes.
    let is_paid = run_hook(writer, &hosts).await?;
    let written = written?;
    if written.is_replaced {
        tell_hub(client, &written).await;
    }
    Ok(is_pulled && is_paid && written.is_complete)
}

/// Runs the owed hook; it is stopped, and stays owed, if this process is told to end. Returns whether none is owed.
async fn run_hook(writer: &Writer, hosts: &Path) -> Result<bool, AgentError> {
    let Writer {
        settings,
        state,
        output,
        ..
    } = writer;
    let is_owed = matches!(state.owed_hook(hosts), Ok(Some(_)));
    let ran = match &settings.on_change {
        Some(hook) if is_owed => run_until_told(hook, state, hosts).await?,
        // On this thread, which has nothing to wait for.
        hook => hook::run_owed(hook.as_ref(), state, hosts, &AtomicBool::new(false)),
    };
    Ok(match ran {
        Ok(done) => {
            for owed in &done {
                output.tell_unless_quiet(&hook::succeeded(owed));
            }
            true
        }
        Err(error) => {
            output.tell_failure(&hook::failed(&error));
            false
        }
    })
}

/// Runs the hook, and stops it if this process is told to end.
async fn run_until_told(
    hook: &Hook,
    state: &StateDir,
    hosts: &Path,
) -> Result<Result<Vec<OwedHook>, OwedHookError>, AgentError> {
    let (hook, state, hosts) = (hook.clone(), state.clone(), hosts.to_owned());
    let mut signals = Signals::listen().map_err(AgentError::Signals)?;
    let stop = Arc::<AtomicBool>::default();
    let stopped = Arc::clone(&stop);
    let mut running =
        tokio::task::spawn_blocking(move || hook::run_owed(Some(&hook), &state, &hosts, &stopped));
    loop {
        tokio::select! {
            ran = &mut running => {
                return Ok(ran.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
            }
            signal = signals.next() => if signal == Signal::End {
                stop.store(true, Ordering::Relaxed);
            },
        }
    }
}

/// Tells the hub which states the hosts file has now, so that it does not list this machine as behind until the next
/// run. The next run says the same, so a failure is only logged.
async fn tell_hub(client: &HubClient, written: &Written) {
    let tell_all = async {
        for (silo, tag) in &written.applied {
            if let Err(error) = client.tell_applied(silo, tag).await {
                tracing::info!(%silo, "cannot tell the hub what was applied: {error}");
            }
        }
    };
    if tokio::time::timeout(TELL_TIMEOUT, tell_all).await.is_err() {
        tracing::info!("cannot tell the hub what was applied: no answer in time");
    }
}

/// Pulls the silos and prints which ones could not be pulled.
async fn pull_all(
    writer: &Writer,
    client: &HubClient,
    status: &mut RunStatus,
) -> Result<Vec<SiloPull>, AgentError> {
    let (state, hub) = (&writer.state, &writer.hub);
    let silos = writer.settings.silos.iter();
    let known = silos
        .map(|silo| Ok((silo.clone(), state.remembered(hub, silo)?)))
        .collect::<Result<Vec<_>, StateError>>()?;
    let results = pull(client, known.clone()).await;
    let mut outage = Outage::recall(state, hub, &writer.output)?;
    let now_ms = run_time().wall_ms;
    let pulls = known
        .into_iter()
        .zip(results)
        .map(|((silo, known), (_, fresh))| {
            match &fresh {
                Ok(_) => outage.pulled(&silo),
                Err(error) => outage.failed(&silo, error),
            }
            let result = fresh.as_ref().map(|_| ()).map_err(ToString::to_string);
            status.pulled(&silo, result, now_ms);
            let fresh = fresh.ok();
            SiloPull { silo, known, fresh }
        })
        .collect();
    outage.finish(state, hub)?;
    state.keep_database(client)?;
    Ok(pulls)
}

/// What `diff` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiffResult {
    /// Whether every silo could be pulled and was accepted.
    pub(crate) is_complete: bool,
    /// Whether `once` would change the file.
    pub(crate) differs: bool,
}

/// Prints what `once` would change.
pub(crate) async fn diff(settings: &Settings, output: &Output) -> Result<DiffResult, AgentError> {
    let silos = settings.some_silos()?;
    let (connection, client) = connect(settings, output)?;
    let target = own::find(settings)?;
    let bytes = own::read(settings, &target)?;
    let unknown = silos.iter().map(|silo| (silo.clone(), None)).collect();
    let mut is_complete = true;
    let mut answers = Vec::new();
    for (silo, fresh) in pull(&client, unknown).await {
        let fresh = fresh
            .map_err(|error| {
                let text = format!("{silo}: {error}; the block is kept");
                output.tell_failure(&Fact::error(text).about(&silo).with("kind", error.kind()));
            })
            .ok();
        is_complete &= fresh.is_some();
        let known = None;
        answers.push(Pulled::from(&SiloPull { silo, known, fresh }));
    }
    let known = known_without_lock(settings, &target)?;
    let plan = plan(&bytes, &answers, &rules(settings, &connection), &known)
        .map_err(|cause| markers(&target, cause))?;
    // stdout contains only the diff.
    for stale in &plan.stale {
        output.tell_note(&Fact::message("stale", stale));
    }
    for fact in tell::facts_of_dropped(&plan.dropped) {
        output.tell_note(&fact);
    }
    for report in &plan.reports {
        match &report.outcome {
            Ok(update) => {
                let silo = &report.silo;
                let skipped = update.skipped.iter().map(|skip| {
                    let text = skip.to_string();
                    Fact::of_silo("skipped", silo, &text)
                        .with("message", &text)
                        .with("wrong", skip.is_wrong())
                });
                tell::tell_some(silo, "skipped", skipped.collect(), |fact| {
                    output.tell_note(fact);
                });
            }
            Err(refusal) => {
                is_complete = false;
                let text = format!("{}: {refusal}; the block is kept", report.silo);
                output.tell_failure(&Fact::message("refused", text).about(&report.silo));
            }
        }
    }
    let name = target.path().display().to_string();
    let text = diff::unified(&name, "once", &bytes, &plan.bytes);
    if output.is_json() {
        let fact = Fact::new("diff", "")
            .with("file", &name)
            .with("diff", String::from_utf8_lossy(&text));
        output.tell(&fact);
    } else {
        output.write(&diff::for_stdout(text, std::io::stdout().is_terminal()));
    }
    Ok(DiffResult {
        is_complete,
        differs: plan.bytes != bytes,
    })
}

/// Creates the client; warns if the credential will be sent unencrypted.
pub(crate) fn connect(
    settings: &Settings,
    output: &Output,
) -> Result<(Connection, HubClient), AgentError> {
    let connection = settings.connection()?;
    let client = HubClient::new(&connection, AgentKind::Downstream, &Route::default())
        .map_err(|error| ConfigError::Setting(error.to_string()))?;
    connection.warn_of_open_credential(output);
    expect_database(settings, &client)?;
    Ok((connection, client))
}

/// Lets the client expect the database of the last run.
pub(crate) fn expect_database(settings: &Settings, client: &HubClient) -> Result<(), StateError> {
    match StateDir::existing(&settings.state_dir)? {
        Some(state) => state.expect_database(client),
        None => Ok(()),
    }
}

pub(crate) fn rules(settings: &Settings, connection: &Connection) -> Rules {
    Rules {
        policy: settings.policy.clone(),
        hostnames: settings.hostnames.clone(),
        guarded: guarded(connection),
        force: settings.force,
        adopt: settings.adopt,
        suffix: settings.suffix.clone(),
        format: settings.format,
    }
}
