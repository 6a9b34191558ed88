//! Sends mail through a program with the interface of sendmail: receivers as arguments, the message
//! on standard input, the result as exit status (`sysexits.h`).

use std::path::Path;
use std::process::Stdio;

use lettre::Address;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::failure::{Failure, excerpt};
use super::flights::{FINAL_REPLY, unconfirmed};

/// The mail is refused.
const EX_DATAERR: i32 = 65;
/// Unknown user.
const EX_NOUSER: i32 = 67;
/// Unknown host.
const EX_NOHOST: i32 = 68;
/// Temporary failure.
const EX_TEMPFAIL: i32 = 75;

/// Sends one message to one receiver. The program is killed when the future is dropped.
pub(super) async fn post(
    program: &Path,
    from: &Address,
    to: &Address,
    message: &[u8],
) -> Result<(), Failure> {
    let down = |why: std::io::Error| Failure::Down(format!("{}: {why}", program.display()));
    let mut child = Command::new(program)
        // `-i`: a line with a single dot does not end the message.
        .args(["-i", "-f"])
        .arg(from)
        .arg("--")
        .arg(to)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(down)?;
    // Such programs expect the system's line ends. Messages contain no lone CR.
    let message: Vec<u8> = message.iter().copied().filter(|b| *b != b'\r').collect();
    let mut input = child.stdin.take().expect("its input is a pipe");
    let feed = async move {
        // A program that exits without reading reports the reason by its exit status.
        let _ = input.write_all(&message).await;
        drop(input);
    };
    let both = async { tokio::join!(child.wait_with_output(), feed) };
    let Ok((output, ())) = timeout(FINAL_REPLY, both).await else {
        return Err(unconfirmed(format!("{}: still runs", program.display())));
    };
    let output = output.map_err(down)?;
    if output.status.success() {
        return Ok(());
    }
    let said = excerpt(&String::from_utf8_lossy(&output.stderr));
    let why = format!("{}: {}: {said}", program.display(), output.status);
    Err(match output.status.code() {
        Some(EX_DATAERR | EX_NOUSER | EX_NOHOST) => Failure::Refused(why),
        Some(EX_TEMPFAIL) => Failure::Later(why),
        _ => Failure::Down(why),
    })
}

/// Checks that the program exists and is executable.
pub(super) fn check(program: &Path) -> Result<(), String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", program.display());
    let metadata = std::fs::metadata(program).map_err(|error| wrong(&error))?;
    #[cfg(unix)]
    let executable = {
        use std::os::unix::fs::PermissionsExt;
        metadata.permissions().mode() & 0o111 != 0
    };
    #[cfg(not(unix))]
    let executable = true;
    if metadata.is_file() && executable {
        Ok(())
    } else {
        Err(wrong(&"not a program"))
    }
}
