use super::*;

#[test]
fn one_address_a_line_is_read() {
    for (printed, expected) in [
        ("10.0.0.5\n", "10.0.0.5"),
        ("10.0.0.5", "10.0.0.5"),
        ("\n  10.0.0.5 \r\n\nfd00::5\n", "10.0.0.5 fd00::5"),
        ("fd00::5\n10.0.0.5\n", "fd00::5 10.0.0.5"),
        ("10.0.0.5\n::ffff:10.0.0.5\n", "10.0.0.5"),
        ("", ""),
        (
            "10.0.0.5 10.0.0.6\n",
            "printed `10.0.0.5 10.0.0.6`: not an IPv4 or IPv6 address",
        ),
        (
            "10.0.0.5\n10.0.0.6\n",
            "printed two IPv4 addresses, 10.0.0.5 and 10.0.0.6: print at most one of each family",
        ),
        (
            "<\u{1b}[31m>\n",
            "printed `< [31m>`: not an IPv4 or IPv6 address",
        ),
        (
            "0.0.0.0\n",
            "printed `0.0.0.0`: the unspecified address names no machine",
        ),
    ] {
        let words = match parse(printed) {
            Ok(found) => found
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(words, expected, "{printed:?}");
    }
}

/// A command that hangs leaves no process behind: neither itself nor its children.
#[cfg(unix)]
#[tokio::test]
async fn a_hanging_command_is_killed_with_its_children() {
    use rustix::process::{Pid, test_kill_process};
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!("sleep 600 & echo $! $$ > {}; wait", pids.display());
    let argv = ["sh", "-c", &script].map(str::to_owned);
    let error = run(&argv, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, CommandError::TooSlow), "{error}");
    let pids = std::fs::read_to_string(pids).unwrap();
    let ended = |pid: &str| {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        // A child's child is reaped by init, or stays a zombie where init does not reap.
        let zombie = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "));
        zombie || test_kill_process(pid).is_err()
    };
    let [sleep, shell] = pids.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("two ids: {pids}");
    };
    // The signal is sent, but the kernel may still be ending the process.
    let gone = async {
        while !ended(sleep) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("what the command started is killed");
    assert!(
        test_kill_process(Pid::from_raw(shell.parse().unwrap()).unwrap()).is_err(),
        "the command itself is reaped"
    );
}

/// The same on Windows. The command is a shell whose child, this very program, holds a file.
#[cfg(windows)]
mod windows {
    use std::fs::OpenOptions;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::Path;

    use super::*;

    const HOLD: &str = "SILO_TEST_HOLD";
    const LIMIT: Duration = Duration::from_secs(60);

    fn is_held(path: &Path) -> bool {
        let opened = OpenOptions::new().read(true).share_mode(0).open(path);
        opened.is_err_and(|error| error.raw_os_error() == Some(32))
    }

    async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let waited = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, waited).await.expect(what);
    }

    /// Not a test of its own: what the other one starts.
    #[test]
    fn holds_a_file_if_it_is_asked_to() {
        let Some(path) = std::env::var_os(HOLD) else {
            return;
        };
        let _held = OpenOptions::new().read(true).open(path).unwrap();
        std::thread::sleep(LIMIT * 2);
    }

    #[tokio::test]
    async fn a_hanging_command_is_killed_with_its_children() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let program = std::env::current_exe().unwrap();
        let test = "discover::command::tests::windows::holds_a_file_if_it_is_asked_to";
        let set = format!("set {HOLD}={}", path.display());
        let line = format!("{set}&& {} --exact {test} > nul", program.display());
        let argv = ["cmd", "/c", &line].map(str::to_owned);
        // The deadline, and an interrupted run.
        for timeout in [Duration::from_secs(5), LIMIT] {
            let argv = argv.clone();
            let running = tokio::spawn(async move { run(&argv, timeout).await });
            if timeout == LIMIT {
                wait_until("the child has not started", || is_held(&path)).await;
                running.abort();
            } else {
                let error = running.await.unwrap().unwrap_err();
                assert!(matches!(error, CommandError::TooSlow), "{error}");
            }
            wait_until("the child was not killed", || !is_held(&path)).await;
        }
    }
}
