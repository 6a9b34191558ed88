//! The command `watch`: stays, and brings the hosts file up to date when a silo changes at the hub, and when another
//! program changes the file.
//!
//! Pollers ([`poller`]) wait at the hub, one for each silo. [`hosts_watch`] waits for the file. The main loop
//! ([`Watch::run`]) owns all state, and starts at most one write ([`write_job`]) and one hook at a time. What a failure
//! changes is printed once when it begins and once when it ends.

mod configuration;
mod hooks;
mod hosts_watch;
mod pace;
mod poller;
mod repairs;
mod standing;
mod write_job;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use silo_shared::client::TokenVerdict;
use silo_shared::connection::{Authentication, Connection};
use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::SiloId;
use silo_shared::stay::{
    AddressEvents, AddressLook, Backoff, ClockWatch, PassedToken, Signal, Signals, SystemClocks,
    passed_token, service_manager,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::agent::{connect, writer};
use crate::agent_error::AgentError;
use crate::cli::Flags;
use crate::hook::OwedHookError;
use crate::outage::Outage;
use crate::owed_hook::OwedHook;
use crate::progress::Progress;
use crate::pull::PullError;
use crate::run_status::RunStatus;
use crate::run_time::run_time;
use crate::settings::Settings;
use crate::silo_pull::SiloPull;
use crate::state::StateError;
use crate::writer::Writer;
use configuration::remembered_pulls;
use hosts_watch::HostsWatch;
use poller::{Polled, Reply, SharedClient};
use repairs::Repairs;
use write_job::{KnownFile, WriteEnd};

/// How many requests over plain HTTP, each on a connection of its own, wait at the hub.
const MAX_WAITING: usize = 16;
/// How many requests that do not wait are made at once.
const MAX_ASKING: usize = 16;
/// How long after its last change a file counts as not being written.
const STILL: Duration = Duration::from_millis(400);
/// How often this machine's addresses are compared, in case the system reports no change.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the end waits for a hook that was told to stop.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// Stays until a signal ends it. Returns whether one did: it also ends if the hub refuses the token, and only another
/// start gets a new one.
pub(crate) async fn watch(
    flags: &Flags,
    settings: &Settings,
    output: &Output,
) -> Result<bool, AgentError> {
    let mut signals = Signals::listen().map_err(AgentError::Signals)?;
    let mut watch = Watch::new(flags, settings, output)?;
    service_manager::ready();
    watch.start();
    watch.run(&mut signals).await;
    watch.end().await;
    if watch.has_old_token {
        let fact = Fact::error(passed_token::ENDS).with("kind", "status 401");
        watch.output.tell_failure(&fact);
    }
    Ok(!watch.has_old_token)
}

/// Why the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Another program changed it.
    File,
    /// A write failed before.
    Retry,
    /// The hub has news, or the configuration.
    News,
}

/// What the hosts file is known to be.
#[derive(Debug, Default)]
struct FileState {
    known: Option<KnownFile>,
    /// When it was last seen to change by another program.
    changed_at: Option<Instant>,
    /// Whether the program that changed it last was seen to close it.
    is_closed: bool,
}

/// A running write.
struct RunningWrite {
    task: JoinHandle<WriteEnd>,
    cause: Cause,
    /// Of the configuration for which it was started.
    generation: u64,
    progress: Progress,
}

/// The hook: one at a time.
#[derive(Default)]
struct HookState {
    task: Option<JoinHandle<Result<Vec<OwedHook>, OwedHookError>>>,
    /// Tells it to end.
    stop: Arc<AtomicBool>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// The failure that was printed.
    trouble: Option<String>,
}

struct Watch {
    flags: Flags,
    output: Output,
    writer: Writer,
    client: SharedClient,
    token: PassedToken,
    has_old_token: bool,
    addresses: AddressLook,
    connection: Connection,
    /// Counts the configurations.
    generation: u64,
    hosts: HostsWatch,
    file: FileState,
    pollers: JoinSet<()>,
    answers: mpsc::Receiver<Polled>,
    sender: mpsc::Sender<Polled>,
    pulls: Vec<SiloPull>,
    applied: BTreeMap<SiloId, String>,
    /// The silos whose last request failed, with the reason.
    failing: BTreeMap<SiloId, String>,
    /// Silos for which the hub has answered since the start.
    heard: BTreeSet<SiloId>,
    /// Pollers that wait for a write.
    waiting: Vec<(SiloId, oneshot::Sender<Reply>)>,
    wanted: Option<Cause>,
    write: Option<RunningWrite>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    repair_at: Option<Instant>,
    repairs: Repairs,
    /// The failure to write that was printed.
    trouble: Option<String>,
    is_complete: bool,
    hook: HookState,
    status: RunStatus,
    saved_status: RunStatus,
    status_line: String,
}

impl Watch {
    fn new(flags: &Flags, settings: &Settings, output: &Output) -> Result<Self, AgentError> {
        settings.some_silos()?;
        let output = output.quieted();
        let (connection, client) = connect(settings, &output)?;
        let writer = writer(settings, &connection, &client, &output)?;
        let (sender, answers) = mpsc::channel(MAX_ASKING);
        let pulls = remembered_pulls(&writer)?;
        Ok(Self {
            flags: flags.clone(),
            hosts: HostsWatch::new(&settings.hosts_file),
            output,
            client: SharedClient::new(client),
            token: PassedToken::new(Instant::now()),
            has_old_token: false,
            addresses: AddressLook::now(),
            connection,
            generation: 0,
            file: FileState::default(),
            pollers: JoinSet::new(),
            answers,
            sender,
            pulls,
            applied: BTreeMap::new(),
            failing: BTreeMap::new(),
            heard: BTreeSet::new(),
            waiting: Vec::new(),
            wanted: None,
            write: None,
            backoff: Backoff::default(),
            retry_at: None,
            repair_at: None,
            repairs: Repairs::default(),
            trouble: None,
            is_complete: true,
            hook: HookState::default(),
            status: RunStatus::default(),
            saved_status: RunStatus::default(),
            status_line: String::new(),
            writer,
        })
    }

    /// Reads the state of earlier runs, finishes an interrupted write, repairs the file by what was known then, and begins
    /// to ask.
    fn start(&mut self) {
        self.read_state();
        self.start_pollers();
        if self.pulls.iter().any(|pull| pull.fresh.is_some()) {
            self.want(Cause::News);
        }
        self.start_hook();
        self.show_status();
    }

    async fn run(&mut self, signals: &mut Signals) {
        let mut clock = ClockWatch::new(SystemClocks);
        let mut events = AddressEvents::listen();
        let mut look_at = tokio::time::Instant::now() + LOOK_EVERY;
        let alive = service_manager::watchdog_interval();
        let mut alive_at = tokio::time::Instant::now();
        while !self.has_old_token {
            self.start_write();
            let due = self.next_due();
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::End => return,
                    Signal::Reload => self.reload(),
                },
                step = write_step(&mut self.write) => match step {
                    WriteStep::InPlace(applied) => self.in_place(applied),
                    WriteStep::Ended(end) => self.written(*end),
                },
                done = hook_done(&mut self.hook.task) => self.hook_ended(done),
                Some(polled) = self.answers.recv() => self.polled(polled),
                event = self.hosts.changed() => self.file_event(event),
                jump = clock.jumped() => {
                    tracing::info!("the clock moved by {} s: asking the hub again", jump.by.as_secs());
                    self.ask_again();
                }
                () = events.next() => self.look_at_addresses(),
                () = tokio::time::sleep_until(look_at) => {
                    look_at = tokio::time::Instant::now() + LOOK_EVERY;
                    self.look_at_addresses();
                }
                () = sleep_until(due) => self.due(),
                () = tokio::time::sleep_until(alive_at), if alive.is_some() => {
                    service_manager::alive();
                    alive_at = tokio::time::Instant::now() + alive.unwrap_or_default();
                }
            }
        }
    }

    /// This machine's addresses may have changed. A request that waits on a connection from an address that is gone gets
    /// no answer.
    fn look_at_addresses(&mut self) {
        if self.addresses.differs() {
            tracing::info!("this machine's addresses have changed: asking the hub again");
            self.ask_again();
        }
    }

    /// The time of the next retry.
    fn next_due(&self) -> Option<Instant> {
        let idle = self.write.is_none();
        let retry = self.retry_at.filter(|_| idle);
        let repair = self.repair_at.filter(|_| idle);
        let hook = self
            .hook
            .retry_at
            .filter(|_| idle && self.hook.task.is_none());
        [retry, repair, hook].into_iter().flatten().min()
    }

    fn due(&mut self) {
        let now = Instant::now();
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if is_due(&mut self.retry_at) {
            self.want(Cause::Retry);
        }
        if is_due(&mut self.repair_at) {
            self.want(Cause::File);
        }
        if is_due(&mut self.hook.retry_at) {
            self.start_hook();
        }
    }

    fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
        if let (Cause::News, Some(write)) = (cause, &self.write) {
            write.progress.hurry();
        }
    }

    /// An answer of the hub, or none.
    fn polled(&mut self, polled: Polled) {
        let Polled {
            silo,
            generation,
            result,
            reply,
        } = polled;
        // An answer for the configuration before; its poller ends without a reply.
        if generation != self.generation {
            return;
        }
        let now_ms = run_time().wall_ms;
        let said = result.as_ref().map(|_| ()).map_err(ToString::to_string);
        if let Err(error) = self.tell_outage(&silo, result.as_ref().err()) {
            self.output.tell_failure(&Fact::error(error));
        }
        self.status.pulled(&silo, said, now_ms);
        let answered = match result {
            Ok(answered) => answered,
            Err(error) => {
                self.look_for_new_token(&error);
                let applied = self.applied.get(&silo).cloned();
                // The poller may have been ended.
                let _ = reply.send(Reply { applied });
                self.status.ended(Ok(false), now_ms);
                self.save_status();
                self.show_status();
                return;
            }
        };
        self.token.accepted();
        if let Err(error) = self.writer.state.keep_database(&self.client.borrow()) {
            self.output.tell_failure(&Fact::error(error));
        }
        let is_first = self.heard.insert(silo.clone());
        if let Some(pull) = self.pulls.iter_mut().find(|pull| pull.silo == silo) {
            pull.fresh = Some(answered.fresh);
        }
        if !answered.is_unchanged || is_first {
            self.want(Cause::News);
            self.waiting.push((silo, reply));
        } else {
            let applied = self.applied.get(&silo).cloned();
            let _ = reply.send(Reply { applied });
            self.end_run(now_ms);
        }
    }

    /// Prints a failure to pull once when it begins, and once when it ends.
    fn tell_outage(&mut self, silo: &SiloId, error: Option<&PullError>) -> Result<(), StateError> {
        let is_known = match error {
            None => self.heard.contains(silo) && !self.failing.contains_key(silo),
            Some(error) => self.failing.get(silo) == Some(&error.kind()),
        };
        if is_known {
            return Ok(());
        }
        let (state, hub) = (&self.writer.state, &self.writer.hub);
        let mut outage = Outage::recall(state, hub, &self.output)?;
        match error {
            None => {
                self.failing.remove(silo);
                outage.pulled(silo);
            }
            Some(error) => {
                self.failing.insert(silo.clone(), error.kind());
                outage.failed(silo, error);
            }
        }
        outage.finish(state, hub)
    }

    /// Reads the token again if the hub refused it. If it is another one, all silos are asked for with it at once.
    fn look_for_new_token(&mut self, error: &PullError) {
        let PullError::Client(error) = error else {
            return;
        };
        if error.token() != Some(TokenVerdict::Refused) {
            return;
        }
        if self
            .token
            .ends(self.connection.has_passed_token, Instant::now())
        {
            self.has_old_token = true;
            return;
        }
        match connect(&self.writer.settings, &self.output) {
            Ok((connection, client)) => {
                if authentications(&connection) != authentications(&self.connection) {
                    self.connection = connection;
                    self.client.send_replace(client);
                }
            }
            Err(error) => tracing::info!("cannot read the token again: {error}"),
        }
    }

    /// Ends: a running write is finished, a hook is stopped and stays owed.
    async fn end(&mut self) {
        service_manager::stopping();
        self.pollers = JoinSet::new();
        self.hook.stop.store(true, Ordering::Relaxed);
        let is_writing = self.writer.gate.close();
        if let Some(write) = self.write.take()
            && is_writing
            && let Ok(end) = write.task.await
        {
            self.written((end, write.cause, write.generation));
        }
        if let Some(hook) = self.hook.task.take() {
            // If it does not end now, the system ends its thread with this process; it stays owed.
            let _ = tokio::time::timeout(END_TIMEOUT, hook).await;
        }
    }
}

/// How the requests to each hub are authenticated.
fn authentications(connection: &Connection) -> Vec<&Authentication> {
    let hubs = connection.hubs().iter();
    hubs.map(|hub| &hub.authentication).collect()
}

/// What a running write has come to.
enum WriteStep {
    /// The file is in place, with these entity tags.
    InPlace(BTreeMap<SiloId, String>),
    /// It has ended.
    Ended(Box<(WriteEnd, Cause, u64)>),
}

/// Waits for a running write. Cancel-safe.
async fn write_step(write: &mut Option<RunningWrite>) -> WriteStep {
    let Some(running) = write else {
        return std::future::pending().await;
    };
    let end = tokio::select! {
        biased;
        end = &mut running.task => joined(end),
        applied = running.progress.in_place() => return WriteStep::InPlace(applied),
    };
    let (cause, generation) = (running.cause, running.generation);
    *write = None;
    WriteStep::Ended(Box::new((end, cause, generation)))
}

/// Waits for the end of a running hook. Cancel-safe.
async fn hook_done(
    task: &mut Option<JoinHandle<Result<Vec<OwedHook>, OwedHookError>>>,
) -> Result<Vec<OwedHook>, OwedHookError> {
    let Some(running) = task else {
        return std::future::pending().await;
    };
    let done = joined(running.await);
    *task = None;
    done
}

/// The result of a task that is never cancelled; a panic in it goes on.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
