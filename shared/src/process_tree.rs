//! A program together with the processes that it starts: its process group, on Windows its job object. Killing only the
//! program would leave what it started running, once more at each run.

use std::io;
use std::process::{ChildStdin, Command, ExitStatus};

#[cfg(windows)]
use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};

/// A running program.
#[derive(Debug)]
pub(crate) struct ProcessTree {
    #[cfg(unix)]
    child: std::process::Child,
    #[cfg(windows)]
    child: Box<dyn ChildWrapper>,
}

#[cfg(unix)]
impl ProcessTree {
    /// Starts the program.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn()?;
        Ok(Self { child })
    }

    /// Its standard input, if that is a pipe.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How the program ended; `None` while it runs. Others of the tree may run on.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills all of them, and reaps the program.
    pub(crate) fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // An error means that it has ended.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(windows)]
impl ProcessTree {
    /// Starts the program: suspended, until it is in its job object, so that it starts no process outside of it.
    pub(crate) fn spawn(command: Command) -> io::Result<Self> {
        let child = CommandWrap::from(command).wrap(JobObject).spawn()?;
        Ok(Self { child })
    }

    /// Its standard input, if that is a pipe.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin().take()
    }

    /// How the program ended; `None` while it runs. Others of the tree may run on.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.inner_mut().try_wait()
    }

    /// Kills all of them, and reaps the program.
    pub(crate) fn kill(&mut self) {
        // An error means that they have ended.
        let _ = self.child.start_kill();
        let _ = self.child.inner_mut().wait();
    }
}

#[cfg(all(test, windows))]
mod tests {
    use std::fs::OpenOptions;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    /// The file that a program started by the test below holds, and whether it starts another one that does.
    const HOLD: &str = "SILO_TEST_HOLD";
    const START: &str = "SILO_TEST_START";
    const LIMIT: Duration = Duration::from_secs(60);

    fn again() -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "process_tree::tests::holds_a_file_if_it_is_asked_to",
        ]);
        command
    }

    fn is_held(path: &Path) -> bool {
        let opened = OpenOptions::new().read(true).share_mode(0).open(path);
        opened.is_err_and(|error| error.raw_os_error() == Some(32))
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < LIMIT, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Not a test of its own: what the other one starts.
    #[test]
    fn holds_a_file_if_it_is_asked_to() {
        let Some(path) = std::env::var_os(HOLD) else {
            return;
        };
        if std::env::var_os(START).is_some() {
            let mut child = again().env_remove(START).spawn().unwrap();
            child.wait().unwrap();
        }
        // The other side may be looking whether it is held.
        let _held = crate::held::retry(|| OpenOptions::new().read(true).open(&path)).unwrap();
        std::thread::sleep(LIMIT * 2);
    }

    #[test]
    fn what_a_program_has_started_is_killed_with_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Closed, so that only the grandchild has it open.
        let path = file.into_temp_path();
        let mut command = again();
        command.env(HOLD, &path).env(START, "1");
        let mut tree = ProcessTree::spawn(command).unwrap();
        wait_until("the grandchild has not started", || is_held(&path));
        assert_eq!(tree.try_wait().unwrap(), None);
        tree.kill();
        wait_until("the grandchild was not killed", || !is_held(&path));
    }

    #[test]
    fn a_program_that_ends_is_reaped_with_its_status() {
        for code in [0, 3] {
            let mut command = Command::new("cmd");
            command.args(["/c", &format!("exit {code}")]);
            let mut tree = ProcessTree::spawn(command).unwrap();
            let started = Instant::now();
            let status = loop {
                if let Some(status) = tree.try_wait().unwrap() {
                    break status;
                }
                assert!(started.elapsed() < LIMIT);
                std::thread::sleep(Duration::from_millis(20));
            };
            assert_eq!(status.code(), Some(code));
        }
    }
}
