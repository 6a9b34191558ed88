//! Reads that wait for a silo: what they cost others, memory, CPU at rest, and the time until all are answered.

use std::io::{Error, Read, Result};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::hub::{
    Client, DEADLINE, Hub, answer_on, cpu, median, milliseconds, percentile, resident, send_on,
    wrong,
};

/// How many clients write at once where PUTs are counted.
const WRITERS: usize = 16;
/// For how long they do, each round.
const WRITING: Duration = Duration::from_secs(3);
/// For how long the hub's CPU is watched at rest.
const AT_REST: Duration = Duration::from_secs(30);
/// How many changes the watchers wait for where they are timed.
const CHANGES: usize = 50;
/// How long watchers get to be back in their wait.
const SETTLING: Duration = Duration::from_millis(500);

/// Reads until standard input ends.
pub(crate) fn gets(hub: &Hub) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let waits = thread::spawn(move || {
        let end = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Release);
        end
    });
    let mut client = Client::connect(hub)?;
    let request = hub.get("/silos/other", "");
    let mut times = Vec::new();
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        client.ask(&request)?;
        times.push(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    waits
        .join()
        .map_err(|_| wrong("the reader of standard input failed"))??;
    println!("{}", percentile(&mut times, 99).as_micros());
    Ok(())
}

/// Reads that wait for the silo `watched`, on a thread of their own.
struct Watchers {
    served: Arc<Served>,
    over: Arc<tokio::sync::Notify>,
    thread: thread::JoinHandle<Result<()>>,
}

/// How many answers with a change there were, and when the last one came.
struct Served {
    since: Instant,
    answers: AtomicUsize,
    last_nanos: AtomicU64,
    waiting: AtomicUsize,
}

impl Watchers {
    fn begin(hub: &Hub, watchers: usize) -> Result<Self> {
        let tag = Client::connect(hub)?.ask(&hub.get("/silos/watched", ""))?;
        let served = Arc::new(Served {
            since: Instant::now(),
            answers: AtomicUsize::new(0),
            last_nanos: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        });
        let over = Arc::new(tokio::sync::Notify::new());
        let watching = watch(
            hub.clone(),
            watchers,
            tag,
            Arc::clone(&served),
            Arc::clone(&over),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let begun = Self {
            thread: thread::spawn(move || runtime.block_on(watching)),
            served,
            over,
        };
        let deadline = Instant::now() + DEADLINE;
        while begun.served.waiting.load(Ordering::Acquire) < watchers {
            if Instant::now() > deadline || begun.thread.is_finished() {
                begun.end()?;
                return Err(wrong("the hub does not take so many connections"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(4 * SETTLING);
        Ok(begun)
    }

    /// Waits for so many answers in all; when the last one came.
    fn answered(&self, answers: usize) -> Result<Instant> {
        let deadline = Instant::now() + DEADLINE;
        while self.served.answers.load(Ordering::Acquire) < answers {
            if Instant::now() > deadline || self.thread.is_finished() {
                return Err(wrong("not every watcher was served"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let last = self.served.last_nanos.load(Ordering::Acquire);
        Ok(self.served.since + Duration::from_nanos(last))
    }

    fn end(self) -> Result<()> {
        self.over.notify_one();
        let ended = self.thread.join();
        ended.map_err(|_| wrong("the watchers failed"))?
    }
}

async fn watch(
    hub: Hub,
    watchers: usize,
    tag: String,
    served: Arc<Served>,
    over: Arc<tokio::sync::Notify>,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        // One after another, so that the listener's queue holds them.
        let stream = tokio::net::TcpStream::connect(hub.address).await?;
        tasks.spawn(wait_on(
            stream,
            hub.clone(),
            tag.clone(),
            Arc::clone(&served),
        ));
    }
    tokio::select! {
        () = over.notified() => Ok(()),
        Some(ended) = tasks.join_next() => ended.map_err(Error::other)?,
    }
}

async fn wait_on(
    stream: tokio::net::TcpStream,
    hub: Hub,
    mut tag: String,
    served: Arc<Served>,
) -> Result<()> {
    let mut first = true;
    loop {
        let headers = format!("If-None-Match: {tag}\r\nPrefer: wait=300\r\n");
        let request = hub.get("/silos/watched", &headers);
        send_on(&stream, &request).await?;
        if std::mem::take(&mut first) {
            served.waiting.fetch_add(1, Ordering::AcqRel);
        }
        drop(request);
        let (status, new) = answer_on(&stream).await?;
        match status {
            200 => {
                let nanos = u64::try_from(served.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
                served.last_nanos.fetch_max(nanos, Ordering::AcqRel);
                served.answers.fetch_add(1, Ordering::AcqRel);
                tag = new;
            }
            304 => {}
            status => return Err(wrong(&format!("a waiting read was answered {status}"))),
        }
    }
}

/// PUTs a second of several clients, each of a record of its own in the silo `other`.
fn puts(hub: &Hub, from: usize) -> Result<f64> {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let hub = hub.clone();
            thread::spawn(move || -> Result<usize> {
                let mut client = Client::connect(&hub)?;
                let path = format!("/silos/other/records/host-{writer}");
                let mut number = from;
                while begun.elapsed() < WRITING {
                    number += 1;
                    client.ask(&hub.put(&path, number))?;
                }
                Ok(number - from)
            })
        })
        .collect();
    let mut puts = 0;
    for writer in writers {
        puts += writer.join().map_err(|_| wrong("a writer failed"))??;
    }
    Ok(puts as f64 / begun.elapsed().as_secs_f64())
}

fn spawn_gets(hub: &Hub, token_file: &str) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["gets", &hub.address.to_string(), token_file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

pub(crate) fn bench(
    hub: &Hub,
    token_file: &str,
    pid: usize,
    watchers: usize,
    rounds: usize,
) -> Result<()> {
    let mut number = 0;
    let mut change = |client: &mut Client| {
        number += 1;
        client.ask(&hub.put("/silos/watched/records/db", number))
    };
    change(&mut Client::connect(hub)?)?;
    // What the hub needs to write at all is not what watchers cost.
    let mut written = 1;
    puts(hub, written)?;
    written += 1_000_000;

    eprintln!("{watchers} waiting reads: memory, CPU at rest");
    let each = |kib: f64, before: f64| (kib - before) / watchers as f64;
    let before = resident(pid)?;
    let waiting = Watchers::begin(hub, watchers)?;
    let first = each(resident(pid)?, before);
    let used = cpu(pid)?;
    thread::sleep(AT_REST);
    let at_rest = (cpu(pid)? - used) / AT_REST.as_secs_f64() * 100.0;
    let mut answers = 0;
    // A connection that was silent since the beginning would be one of those that the hub ends.
    let mut client = Client::connect(hub)?;
    for _ in 0..3 {
        change(&mut client)?;
        answers += watchers;
        waiting.answered(answers)?;
        thread::sleep(SETTLING);
    }
    thread::sleep(Duration::from_secs(10));
    let later = each(resident(pid)?, before);

    eprintln!("{CHANGES} changes that all wait for");
    let mut reading = spawn_gets(hub, token_file)?;
    let (mut own, mut last) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        let begun = Instant::now();
        change(&mut client)?;
        own.push(begun.elapsed());
        answers += watchers;
        last.push(waiting.answered(answers)?.saturating_duration_since(begun));
        thread::sleep(SETTLING);
    }
    drop(reading.stdin.take());
    let output = reading.wait_with_output()?;
    let p99 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse::<f64>();
    let p99 = p99.map_err(|_| wrong("the reading process failed"))? / 1000.0;
    waiting.end()?;

    eprintln!("{rounds} rounds of PUTs");
    let (mut none, mut many) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        thread::sleep(2 * SETTLING);
        none.push(puts(hub, written)?);
        written += 1_000_000;
        let waiting = Watchers::begin(hub, watchers)?;
        many.push(puts(hub, written)?);
        written += 1_000_000;
        waiting.end()?;
    }
    let (none, many) = (median(&mut none), median(&mut many));
    println!("| {watchers} reads that wait for one silo | | goal |");
    println!("|---|---|---|");
    println!(
        "| PUTs on another silo, {WRITERS} clients: {many:.0}/s, against {none:.0}/s without waiting clients | **{:.2}** | ≥ 0.9 |",
        many / none
    );
    println!("| memory a waiting read, at the first wait | {first:.1} KiB | ≤ 12 |");
    println!("| memory a waiting read, after three wake-ups and 10 s | {later:.1} KiB | ≤ 12 |");
    println!("| CPU while all wait, of one core | {at_rest:.2} % | ≤ 2 % |");
    println!(
        "| a change that all wait for: the last one served, median and maximum of {CHANGES} | {:.0} ms, {:.0} ms | ≤ 200 ms |",
        milliseconds(&mut last, 50),
        milliseconds(&mut last, 100)
    );
    println!(
        "| the PUT's own answer, median and maximum | {:.1} ms, {:.1} ms | ≤ 15 ms |",
        milliseconds(&mut own, 50),
        milliseconds(&mut own, 100)
    );
    println!("| GETs of another silo by another process meanwhile, 99 % | {p99:.2} ms | ≤ 5 ms |");
    Ok(())
}
