//! Agents whose hub was away: each asks as an agent that stays does, with its backoff, on a connection of its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Result, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use silo_shared::stay::{Backoff, SystemJitter, spread};
use tokio::net::TcpStream;

use crate::hub::{Client, Hub, answer_on, cpu, percentile, send_on, wrong};

/// A wait at the hub, as the downstream asks for it.
const WAIT: [Duration; 2] = [Duration::from_secs(40), Duration::from_secs(50)];
/// The deadline of a request in addition to its wait.
const DEADLINE: Duration = Duration::from_secs(25);
/// By when all agents must be connected, at first and again.
const ALL_WAITING: Duration = Duration::from_secs(300);
/// The pause between the first requests of two agents.
const BETWEEN: Duration = Duration::from_micros(500);
/// How long all wait before the hub goes away.
const SETTLING: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);

/// The hub's program, which is ended and started again.
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) data_dir: &'a Path,
}

/// A hub that runs.
struct Running(Child);

impl Program<'_> {
    /// Starts it and waits until it listens. Its database and configuration are those of the environment.
    fn start(&self, hub: &Hub) -> Result<Running> {
        let log = self.data_dir.with_extension("returning.log");
        let child = Command::new(self.path)
            .args(["serve", "--listen", &hub.address.to_string(), "--data-dir"])
            .arg(self.data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut running = Running(child);
        while !fs::read_to_string(&log)?.contains("listening on ") {
            if running.0.try_wait()?.is_some() {
                return Err(wrong(&format!(
                    "the hub ended: {}",
                    fs::read_to_string(&log)?
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(running)
    }
}

impl Running {
    fn cpu(&self) -> Result<f64> {
        cpu(usize::try_from(self.0.id()).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What happened to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// It tried to connect.
    Attempt,
    /// No program listened.
    Refused,
    /// A connection or request failed otherwise.
    Failed,
    /// The hub answered after a failure, or for the first time.
    Back,
}

struct Log {
    waiting: AtomicUsize,
    events: Mutex<Vec<(Instant, What)>>,
}

impl Log {
    fn note(&self, what: What) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push((Instant::now(), what));
    }

    fn take(&self) -> Vec<(Instant, What)> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut events)
    }

    /// Waits until so many agents wait at the hub, and calls `each_second` meanwhile.
    fn all_wait(
        &self,
        agents: usize,
        mut each_second: impl FnMut() -> Result<()>,
    ) -> Result<Instant> {
        let begun = Instant::now();
        let mut seconds = 1;
        while self.waiting.load(Ordering::Acquire) < agents {
            if begun.elapsed() > ALL_WAITING {
                return Err(wrong("not every agent came back"));
            }
            if begun.elapsed() > SECOND * seconds {
                seconds += 1;
                each_second()?;
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(Instant::now())
    }
}

/// Asks until the process ends.
async fn agent(hub: Hub, tag: String, log: Arc<Log>) {
    let mut backoff = Backoff::default();
    loop {
        log.note(What::Attempt);
        let mut is_waiting = false;
        let ended = visit(&hub, &tag, &log, &mut backoff, &mut is_waiting).await;
        if is_waiting {
            log.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        if let Err(error) = ended {
            log.note(match error.kind() {
                ErrorKind::ConnectionRefused => What::Refused,
                _ => What::Failed,
            });
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}

/// The first request does not wait, all later ones do.
async fn visit(
    hub: &Hub,
    tag: &str,
    log: &Log,
    backoff: &mut Backoff,
    is_waiting: &mut bool,
) -> Result<()> {
    let late = |_| ErrorKind::TimedOut;
    let first = async {
        let stream = TcpStream::connect(hub.address).await?;
        let headers = format!("If-None-Match: {tag}\r\n");
        send_on(&stream, &hub.get("/silos/watched", &headers)).await?;
        let (status, _) = answer_on(&stream).await?;
        good(status).map(|()| stream)
    };
    let stream = tokio::time::timeout(DEADLINE, first)
        .await
        .map_err(late)??;
    log.note(What::Back);
    backoff.succeeded();
    log.waiting.fetch_add(1, Ordering::AcqRel);
    *is_waiting = true;
    loop {
        let wait = spread(&SystemJitter, WAIT[0], WAIT[1]);
        let prefer = format!(
            "If-None-Match: {tag}\r\nPrefer: wait={}\r\n",
            wait.as_secs()
        );
        let asked = async {
            send_on(&stream, &hub.get("/silos/watched", &prefer)).await?;
            answer_on(&stream).await
        };
        let (status, _) = tokio::time::timeout(DEADLINE + wait, asked)
            .await
            .map_err(late)??;
        good(status)?;
    }
}

fn good(status: u16) -> Result<()> {
    match status {
        200 | 304 => Ok(()),
        status => Err(wrong(&format!("an agent was answered {status}"))),
    }
}

/// Connects the agents, lets the hub be away for so many seconds, and prints how they come back. Writes a line a second
/// to `figures`, from the hub's end on: the second, attempts to connect, and how many agents are back.
pub(crate) fn returning(
    hub: &Hub,
    program: &Program<'_>,
    agents: usize,
    away: usize,
    figures: &Path,
) -> Result<()> {
    eprintln!("{agents} agents, {away} s without the hub");
    let running = program.start(hub)?;
    let tag = Client::connect(hub)?.ask(&hub.get("/silos/watched", ""))?;
    let log = Arc::new(Log {
        waiting: AtomicUsize::new(0),
        events: Mutex::default(),
    });
    begin(hub, tag, agents, &log)?;
    log.all_wait(agents, || Ok(()))?;
    thread::sleep(SETTLING);
    let _ = log.take();

    let ended = Instant::now();
    drop(running);
    let return_at = ended + Duration::from_secs(away as u64);
    thread::sleep(return_at.saturating_duration_since(Instant::now()));
    let running = program.start(hub)?;
    let listening = Instant::now();
    let (mut used, mut busiest) = (running.cpu()?, 0.0_f64);
    let before = used;
    let back_at = log.all_wait(agents, || {
        let now = running.cpu()?;
        busiest = busiest.max(now - used);
        used = now;
        Ok(())
    })?;
    let seconds = running.cpu()? - before;
    let events = log.take();
    write_figures(figures, ended, &events)?;
    let cpu = Cpu { seconds, busiest };
    print_rows(agents, away, &events, listening, back_at, &cpu);
    Ok(())
}

/// Runs the agents on a thread of their own, until the process ends.
fn begin(hub: &Hub, tag: String, agents: usize, log: &Arc<Log>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (hub, log) = (hub.clone(), Arc::clone(log));
    thread::spawn(move || {
        runtime.block_on(async {
            let mut next = tokio::time::interval(BETWEEN);
            for _ in 0..agents {
                next.tick().await;
                tokio::spawn(agent(hub.clone(), tag.clone(), Arc::clone(&log)));
            }
            std::future::pending::<()>().await;
        });
    });
    Ok(())
}

/// The hub's, from its return until all agents are back.
struct Cpu {
    seconds: f64,
    /// The most of one second.
    busiest: f64,
}

fn print_rows(
    agents: usize,
    away: usize,
    events: &[(Instant, What)],
    listening: Instant,
    back_at: Instant,
    cpu: &Cpu,
) {
    let count = |what: What, is_before: bool| {
        let is_it =
            |event: &&(Instant, What)| event.1 == what && (event.0 < listening) == is_before;
        events.iter().filter(is_it).count()
    };
    let since = |event: &(Instant, What)| event.0.saturating_duration_since(listening);
    let is_back = |event: &&(Instant, What)| event.1 == What::Back;
    let mut back: Vec<Duration> = events.iter().filter(is_back).map(since).collect();
    let seconds = |time: Duration| time.as_secs_f64();
    let took = seconds(back_at.duration_since(listening));
    println!(
        "| {agents} agents after {away} s without the hub: half of them are back, 99 %, all | {:.1} s, {:.1} s, {took:.1} s | |",
        seconds(percentile(&mut back, 50)),
        seconds(percentile(&mut back, 99)),
    );
    println!(
        "| the hub's CPU until all are back: in all, on average, in its busiest second | {:.2} s, {:.1} %, {:.0} % of one core | |",
        cpu.seconds,
        cpu.seconds / took.max(0.001) * 100.0,
        cpu.busiest * 100.0
    );
    println!(
        "| connections refused: while it was away, after its return; requests that failed after its return | {}, {}; {} | |",
        count(What::Refused, true),
        count(What::Refused, false),
        count(What::Failed, false)
    );
}

fn write_figures(file: &Path, ended: Instant, events: &[(Instant, What)]) -> Result<()> {
    let second = |at: Instant| at.saturating_duration_since(ended).as_secs();
    let last = events.iter().map(|event| second(event.0)).max();
    let mut file = File::create(file)?;
    let mut back = 0;
    for now in 0..=last.unwrap_or(0) {
        let count = |what| {
            let is_it = |event: &&(Instant, What)| event.1 == what && second(event.0) == now;
            events.iter().filter(is_it).count()
        };
        back += count(What::Back);
        writeln!(file, "{now}\t{}\t{back}", count(What::Attempt))?;
    }
    Ok(())
}
