//! The command `watch`: stays, and makes a pass over the records whenever something may have changed.
//!
//! - `look`: whether this machine's addresses differ, after the system has reported a change.
//! - `polls`: what changed at the hub; `contest`: when to stop correcting it.
//! - `hook_run`: the hook, beside the passes.
//! - `tracked`: what is known of each record, and which of them a pass reports.
//! - `timers`: the heartbeat, and the looks behind the events.

mod contest;
mod hook_run;
mod look;
mod polls;
mod timers;
mod tracked;

use std::time::Duration;

use silo_shared::api::SiloDocument;
use silo_shared::client::HubClient;
use silo_shared::config::ConfigError;
use silo_shared::fact::Fact;
use silo_shared::output::Output;
use silo_shared::silo::Addresses;
use silo_shared::stay::{
    AddressEvents, Backoff, ClockWatch, PassedToken, Signal, Signals, SystemClocks, passed_token,
    service_manager,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::{Pass, Passed, hub_client};
use crate::cli::Flags;
use crate::failures::{Finished, Kept, Notes};
use crate::plan::HEARTBEAT;
use crate::report::ips;
use crate::settings::Settings;
use crate::{EarlyEnd, begin};
use hook_run::{HookEnd, HookRun};
use look::Look;
use polls::{Polled, Polls};
use timers::{Timer, Timers};
use tracked::{Reason, Tracked, Wanted, is_changed};

/// At a heartbeat, a record that the hub last saw longer ago than this is reported again. The hub stores the time with
/// a delay of up to a minute, and heartbeats are at least nine minutes apart.
const HEARTBEAT_AGE: Duration = Duration::from_secs(5 * 60);

/// How long the end waits for a running pass.
const PASS_END: Duration = Duration::from_millis(200);

/// What ends the loop, and a pass before its time.
#[derive(Debug)]
enum Ended {
    /// A signal.
    Told,
    /// The hub refuses the token, and only another start gets a new one.
    OldToken,
}

/// What the loop waits for.
enum Wake {
    Signal(Signal),
    ClockJump,
    Addresses,
    Polled(Box<Polled>),
    Hook(Option<HookEnd>),
    Retry,
    Timer(Timer),
    Watchdog,
}

struct Watch<'f> {
    flags: &'f Flags,
    settings: Settings,
    client: HubClient,
    output: &'f Output,
    tracked: Vec<Tracked>,
    polls: Polls,
    look: Look,
    kept: Kept,
    backoff: Backoff,
    retry_at: Option<Instant>,
    signals: Signals,
    needs_reload: bool,
    hook: HookRun,
    token: PassedToken,
}

/// Stays until it is told to end. Fails only if it can't begin. Returns whether it ends because it was told to.
pub(crate) async fn watch(
    flags: &Flags,
    settings: Settings,
    output: &Output,
) -> Result<bool, EarlyEnd> {
    let client = new_client(&settings)?;
    let mut watch = Watch {
        flags,
        tracked: tracked(&settings),
        polls: Polls::default(),
        look: Look::now(),
        settings,
        client,
        output,
        kept: Kept::default(),
        backoff: Backoff::default(),
        retry_at: None,
        signals: Signals::listen().map_err(EarlyEnd::Signals)?,
        needs_reload: false,
        hook: HookRun::default(),
        token: PassedToken::new(std::time::Instant::now()),
    };
    let events = AddressEvents::listen();
    service_manager::ready();
    // The only way out.
    let Err(ended) = watch.stay(events).await;
    service_manager::stopping();
    watch.hook.end().await;
    Ok(match ended {
        Ended::Told => true,
        Ended::OldToken => {
            output.tell_failure(&Fact::error(passed_token::ENDS).with("kind", "status 401"));
            false
        }
    })
}

fn new_client(settings: &Settings) -> Result<HubClient, ConfigError> {
    hub_client(settings).map_err(|error| ConfigError::Setting(error.to_string()))
}

fn tracked(settings: &Settings) -> Vec<Tracked> {
    settings
        .records
        .iter()
        .map(|_| Tracked::default())
        .collect()
}

impl Watch<'_> {
    async fn stay(&mut self, mut events: AddressEvents) -> Result<std::convert::Infallible, Ended> {
        let mut clock = ClockWatch::new(SystemClocks);
        let mut timers = Timers::new();
        self.pass(Reason::Everything).await?;
        self.polls.begin(&self.client, &self.settings);
        loop {
            if std::mem::take(&mut self.needs_reload) {
                self.reload();
                self.pass(Reason::Everything).await?;
                continue;
            }
            self.hook
                .start(self.settings.hook.as_ref(), &self.kept.owed);
            self.tell_status();
            let retry_at = self.retry_at;
            let wake = tokio::select! {
                biased;
                signal = self.signals.next() => Wake::Signal(signal),
                _ = clock.jumped() => Wake::ClockJump,
                () = events.next() => Wake::Addresses,
                polled = self.polls.next() => Wake::Polled(Box::new(polled)),
                ended = self.hook.next() => Wake::Hook(ended),
                () = at(retry_at) => Wake::Retry,
                timer = timers.next() => Wake::Timer(timer),
                () = watchdog() => Wake::Watchdog,
            };
            service_manager::alive();
            self.handle(wake).await?;
        }
    }

    async fn handle(&mut self, wake: Wake) -> Result<(), Ended> {
        match wake {
            Wake::Signal(Signal::End) => return Err(Ended::Told),
            Wake::Signal(Signal::Reload) => self.needs_reload = true,
            Wake::ClockJump => {
                // Connections from before are probably gone, and so may be the addresses.
                self.reconnect();
                self.pass(Reason::Everything).await?;
            }
            Wake::Addresses => self.look_at_addresses("the system").await?,
            Wake::Polled(polled) => self.hear(*polled).await?,
            Wake::Hook(Some(end)) => {
                self.hook.ended(end, &mut self.kept.owed, self.output);
            }
            Wake::Retry => {
                self.retry_at = None;
                self.pass(Reason::Retry).await?;
            }
            Wake::Timer(Timer::Look) => self.look_at_addresses("a look").await?,
            Wake::Timer(Timer::Ask) if self.asks_others() => {
                self.pass(Reason::Addresses).await?;
            }
            Wake::Timer(Timer::Heartbeat) => self.pass(Reason::Heartbeat).await?,
            Wake::Hook(None) | Wake::Timer(Timer::Ask) | Wake::Watchdog => {}
        }
        Ok(())
    }

    /// The addresses of this machine may have changed, as `by` says.
    async fn look_at_addresses(&mut self, by: &str) -> Result<(), Ended> {
        let is_new = self.look.differs();
        if is_new {
            // A connection from an address that this machine no longer has is dead, and nothing says so.
            self.renew_client();
        }
        let is_failing = self.tracked.iter().any(|tracked| tracked.is_failing);
        let may_differ = is_new && (is_failing || self.asks_others());
        if may_differ || self.differs_here().await {
            tracing::debug!("{by} reports other addresses");
            self.pass(Reason::Addresses).await?;
        } else if !is_new {
            tracing::debug!("{by} found nothing that matters here");
        }
        if is_new {
            self.polls.begin(&self.client, &self.settings);
        }
        Ok(())
    }

    /// Whether a record has a source for which somebody else is asked.
    fn asks_others(&self) -> bool {
        let mut records = self.settings.records.iter();
        records.any(|record| !record.sources.are_local())
    }

    /// Whether the addresses of a record differ that this machine alone knows.
    async fn differs_here(&self) -> bool {
        let known = self.tracked.iter().map(|tracked| tracked.known);
        look::differs(&self.settings, known).await
    }

    /// A silo has changed at the hub, or could not be asked for.
    async fn hear(&mut self, polled: Polled) -> Result<(), Ended> {
        let heard = self.polls.hear(polled, &self.client);
        if heard.is_token_refused {
            self.read_token_again()?;
        }
        if let Some(document) = &heard.document {
            self.token.accepted();
            let wrong = self.wrong_in(document);
            if !wrong.is_empty() {
                self.pass(Reason::Corrections(wrong)).await?;
            }
        }
        if heard.is_back && self.asks_others() {
            // The path to the hub may be another one now.
            self.pass(Reason::Addresses).await?;
        }
        Ok(())
    }

    /// The records that others have changed, apart from those over which another agent fights.
    fn wrong_in(&self, document: &SiloDocument) -> Vec<usize> {
        let records = self.settings.records.iter().zip(&self.tracked);
        let of_silo = records
            .enumerate()
            .filter(|(_, (record, _))| record.silo.as_str() == document.id);
        let wrong = of_silo.filter(|(_, (record, tracked))| {
            let addresses = document.dnsrecords.iter();
            let held: Addresses = addresses
                .filter(|held| held.hostname == record.hostname.as_str())
                .filter_map(|held| held.ip.parse().ok())
                .collect();
            let known = tracked.known.as_ref();
            known.is_some_and(|known| is_changed(known, &held))
                && tracked.contest.corrects_at_once()
        });
        wrong.map(|(at, _)| at).collect()
    }

    /// Makes a pass; meanwhile it can be ended, and tells systemd that it is alive.
    async fn pass(&mut self, reason: Reason) -> Result<(), Ended> {
        let scope = Wanted {
            tracked: &self.tracked,
            reason: &reason,
        };
        let time = begin(match reason {
            Reason::Heartbeat => HEARTBEAT_AGE,
            _ => HEARTBEAT,
        });
        let (settings, output) = (&self.settings, self.output);
        let pass = Pass {
            settings,
            client: &self.client,
            time,
            output,
        };
        let kept = std::mem::take(&mut self.kept);
        let passing = async {
            let mut notes = Notes::resume(settings, output, time.now, kept);
            let passed = pass.run(&mut notes, &scope).await;
            (passed, notes.finish())
        };
        let mut passing = Box::pin(passing);
        let (passed, finished) = loop {
            tokio::select! {
                done = &mut passing => break done,
                signal = self.signals.next() => match signal {
                    Signal::Reload => self.needs_reload = true,
                    Signal::End => {
                        // A request that is nearly done.
                        let _ = tokio::time::timeout(PASS_END, passing).await;
                        return Err(Ended::Told);
                    }
                },
                () = watchdog() => service_manager::alive(),
            }
        };
        drop(passing);
        let is_token_refused = passed.is_token_refused;
        self.learn(&reason, passed, finished);
        if is_token_refused {
            self.read_token_again()?;
        }
        Ok(())
    }

    fn learn(&mut self, reason: &Reason, passed: Passed, finished: Finished) {
        self.kept = finished.kept;
        for at in &passed.failed {
            self.tracked[*at].known = None;
            self.tracked[*at].is_failing = true;
        }
        for (at, seen) in &passed.seen {
            self.token.accepted();
            let tracked = &mut self.tracked[*at];
            tracked.is_failing = passed.failed.contains(at);
            let known = tracked.known.replace(*seen);
            let is_ours = known.filter(|known| known.found == seen.found);
            let is_corrected = is_ours.is_some_and(|known| is_changed(&known, &seen.before));
            if is_corrected {
                if tracked.contest.corrected(Instant::now()) {
                    self.tell_contest(*at, &seen.before);
                }
            } else if *reason == Reason::Heartbeat && is_ours.is_some() {
                tracked.contest.undisturbed();
            }
        }
        let needs_retry = self.tracked.iter().any(Tracked::is_retried) || !finished.is_state_ok;
        let has_failed = !passed.failed.is_empty() || !finished.is_state_ok;
        if !needs_retry {
            self.backoff.succeeded();
            self.retry_at = None;
        } else if has_failed || self.retry_at.is_none() {
            self.retry_at = Some(Instant::now() + self.backoff.failed());
        }
    }

    fn tell_contest(&self, at: usize, theirs: &Addresses) {
        let record = &self.settings.records[at];
        let (silo, hostname) = (&record.silo, &record.hostname);
        let text = format_args!(
            "{hostname}: another program sets it to {theirs} and was corrected three times within a minute: it is corrected only every 10 minutes from now on; if another machine has the same hostname, give each its own"
        );
        let fact = Fact::of_silo("contested", silo, text)
            .with("hostname", hostname)
            .with("addresses", ips(theirs));
        self.output.tell_failure(&fact);
    }

    /// Forgets all connections.
    fn reconnect(&mut self) {
        self.renew_client();
        self.polls.begin(&self.client, &self.settings);
    }

    /// Opens new connections from now on; polls that wait keep theirs.
    fn renew_client(&mut self) {
        match new_client(&self.settings) {
            Ok(client) => self.client = client,
            Err(error) => self.output.print_error(error),
        }
    }

    /// The hub refused the token: uses the one in its file, if that is another one by now.
    fn read_token_again(&mut self) -> Result<(), Ended> {
        let is_passed = self.settings.connection.has_passed_token;
        if self.token.ends(is_passed, std::time::Instant::now()) {
            return Err(Ended::OldToken);
        }
        let Ok(new) = Settings::load(self.flags) else {
            // The pass that follows prints why the present one does not work.
            return Ok(());
        };
        let credentials = |settings: &Settings| -> Vec<_> {
            let hubs = settings.connection.hubs().iter();
            hubs.map(|hub| hub.authentication.clone()).collect()
        };
        if credentials(&new) != credentials(&self.settings) {
            self.settings.connection = new.connection;
            self.reconnect();
            self.retry_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Reads the configuration again; keeps the old one if it is wrong.
    fn reload(&mut self) {
        service_manager::reloading();
        match Settings::load(self.flags) {
            Ok(new) => {
                if new.records != self.settings.records {
                    self.tracked = tracked(&new);
                    self.kept = Kept::default();
                }
                self.settings = new;
                self.backoff.succeeded();
                self.reconnect();
            }
            Err(error) => self.output.print_error(format_args!(
                "{error}: the configuration from before stays in use"
            )),
        }
        service_manager::ready();
    }

    fn tell_status(&self) {
        let count = self.settings.records.len();
        let ok = self.tracked.iter().filter(|tracked| !tracked.is_failing);
        service_manager::status(&match self.retry_at {
            Some(_) => format!("{} of {count} records up to date; trying again", ok.count()),
            None => format!("{count} records up to date; waiting for changes"),
        });
    }
}

/// Waits until then; for ever if there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until systemd wants to hear that this process is alive; for ever if it does not.
async fn watchdog() {
    match service_manager::watchdog_interval() {
        Some(interval) => sleep(interval).await,
        None => std::future::pending().await,
    }
}
