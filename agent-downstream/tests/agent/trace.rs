//! Runs under `strace`: which system calls there were, and faults injected into them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::sandbox::{BINARY, Ran, clean, ran};

/// One system call of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its name.
    pub(crate) name: String,
    /// How many calls of this name there have been, this one counted.
    pub(crate) ordinal: usize,
    /// The whole line, without the process id.
    pub(crate) line: String,
}

/// A run under strace.
pub(crate) struct Traced {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
}

/// Starts the agent under strace, with these options of strace.
pub(crate) fn start(log: &Path, options: &[String], arguments: &[String]) -> Traced {
    start_in(Command::new("strace"), log, options, arguments)
}

/// The same, where `strace` is a command that ends in a call of strace.
fn start_in(strace: Command, log: &Path, options: &[String], arguments: &[String]) -> Traced {
    let mut command = clean(strace);
    // -y names the file behind each descriptor; strings long enough that no path is cut off.
    command
        .args(["-f", "-y", "-s", "300", "-o"])
        .arg(log)
        .args(options);
    command.arg(BINARY).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("these tests need strace (Debian package strace): {error}"));
    Traced {
        child,
        log: log.to_owned(),
    }
}

impl Traced {
    /// The log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log shows something for the `count`th time.
    pub(crate) fn wait_for(&mut self, what: &str, count: usize) {
        let started = Instant::now();
        while self.log().matches(what).count() < count {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "no {count}. {what:?} in:\n{}",
                self.log()
            );
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "ended with {status} before the {count}. {what:?}:\n{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The traced process.
    pub(crate) fn process(&self) -> rustix::process::Pid {
        let log = self.log();
        let id = log.split(' ').next().unwrap().parse().unwrap();
        rustix::process::Pid::from_raw(id).unwrap()
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> (Ran, Vec<Call>) {
        let Self { child, log } = self;
        let ran = ran(child.wait_with_output().unwrap());
        let text = std::fs::read_to_string(&log).unwrap_or_else(|error| {
            panic!("strace wrote no trace ({error}); may it trace here? {ran:?}")
        });
        (ran, calls(&text))
    }
}

/// Lets a run that was stopped go on to its end, through all further stops.
pub(crate) fn run_to_end(mut traced: Traced) -> Ran {
    let process = traced.process();
    while traced.child.try_wait().unwrap().is_none() {
        // It may have ended meanwhile.
        let _ = kill_process(process, Signal::CONT);
        std::thread::sleep(Duration::from_millis(10));
    }
    traced.finish().0
}

/// Runs the agent under strace to its end; `strace` is a command that ends in a call of strace.
pub(crate) fn trace(
    strace: Command,
    log: &Path,
    options: &[String],
    arguments: &[String],
) -> (Ran, Vec<Call>) {
    start_in(strace, log, options, arguments).finish()
}

fn calls(log: &str) -> Vec<Call> {
    let mut counts = std::collections::HashMap::new();
    let processes: std::collections::HashSet<_> = log
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        processes.len(),
        1,
        "the agent works on one thread, by which calls are counted:\n{log}"
    );
    log.lines()
        .filter_map(|line| {
            let line = line.split_once(' ')?.1.trim_start();
            let name = line.split_once('(')?.0;
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return None;
            }
            let count = counts.entry(name.to_owned()).or_insert(0);
            *count += 1;
            Some(Call {
                name: name.to_owned(),
                ordinal: *count,
                line: line.to_owned(),
            })
        })
        .collect()
}
