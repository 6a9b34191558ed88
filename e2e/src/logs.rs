//! No secret gets into a log, whatever is done with the programs: every hub that a test starts logs all
//! that it can say, and the test fails if a credential, a login, a signature or a secret that the test
//! made is among it. For hubs in a test's own process, [`capture`] does the same.

use std::collections::VecDeque;
use std::io;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The filter under which a program says the most.
pub const EVERYTHING: &str = "trace";
/// Shorter words are in logs for other reasons.
const SHORTEST: usize = 8;
/// Fewer characters of a secret than this may be chance.
const TELLING: usize = 16;

/// Secrets without a form of their own, of all tests in this process.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The lines with a secret that this process has logged.
static LEAKED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The newest warnings and errors of hubs in this process, for a test that fails.
static WARNED: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
/// How many of them are kept.
const WARNINGS: usize = 50;

/// The lines of hubs that this process has logged since a test asked for them.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Remembers a secret that has no form of its own, such as an update key.
pub fn is_secret(secret: &str) {
    if secret.len() >= SHORTEST {
        lock(&TOLD).push(secret.to_owned());
    }
}

/// Fails the test if a secret is in what a program has logged.
pub fn assert_clean(program: &str, log: &str) {
    if let Some(line) = leak(log) {
        panic!("a secret is in the log of {program}: {line}");
    }
}

/// Runs a program that says all that it can; fails the test if a secret is in it.
pub fn run(command: &mut Command) -> Output {
    // No state of an upstream agent stays on this machine.
    if cfg!(unix) {
        command.env("STATE_DIRECTORY", "/dev/null/state");
    }
    let output = command.env("RUST_LOG", EVERYTHING).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    for said in [&output.stdout, &output.stderr] {
        assert_clean("an agent", &String::from_utf8_lossy(said));
    }
    output
}

/// The first line with a secret in it.
pub fn leak(log: &str) -> Option<&str> {
    let told = lock(&TOLD);
    log.lines().find(|line| {
        // The library's search is fast in a build without optimisation too; hubs log many lines.
        line.contains("silo_") && has_credential(line.as_bytes())
            || has_login(line)
            || has_signature(line)
            || told.iter().any(|secret| line.contains(secret.as_str()))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed meanwhile changes nothing about what is in there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `silo_<id>_<secret>`, also cut short.
fn has_credential(bytes: &[u8]) -> bool {
    let is_id = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_secret = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    bytes.windows(16).enumerate().any(|(at, window)| {
        window.starts_with(b"silo_")
            && window[5..15].iter().all(is_id)
            && window[15] == b'_'
            && bytes[at + 16..].iter().take_while(is_secret).count() >= TELLING
    })
}

/// The value of `Authorization`, or a credential in what else is base64.
fn has_login(line: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let is_told = |at: usize| {
        let value = &line[at..];
        let end = value.find(|c| !is_base64(c) && c != '_' && c != '-');
        end.unwrap_or(value.len()) >= TELLING
    };
    let named = ["Basic ", "basic ", "Bearer ", "bearer "]
        .iter()
        .filter(|scheme| line.contains(**scheme))
        .any(|scheme| {
            let mut found = line.match_indices(scheme);
            found.any(|(at, _)| is_told(at + scheme.len()))
        });
    named || has_long_run(line.as_bytes()) && has_encoded_credential(line, is_base64)
}

/// Whether there are at least 44 characters of base64 in a row.
fn has_long_run(bytes: &[u8]) -> bool {
    let mut length = 0;
    for byte in bytes {
        length = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'/' | b'=' => length + 1,
            _ => 0,
        };
        if length == 44 {
            return true;
        }
    }
    false
}

fn has_encoded_credential(line: &str, is_base64: impl Fn(char) -> bool) -> bool {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let base64 = GeneralPurpose::new(&STANDARD, lenient);
    line.split(|c| !is_base64(c))
        .filter(|run| run.len() >= 44)
        .filter_map(|run| base64.decode(run.trim_end_matches('=')).ok())
        .any(|decoded| has_credential(&decoded))
}

/// The value of `Signature` (RFC 9421), label `silo`.
fn has_signature(line: &str) -> bool {
    line.contains("silo=:")
        && line.match_indices("silo=:").any(|(at, label)| {
            let value = line[at + label.len()..].bytes();
            value.take_while(u8::is_ascii_alphanumeric).count() >= 4
        })
}

/// Looks through all that this process logs from now on, at every level.
pub fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a test has set up logging of its own.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Reader)
            .try_init();
    });
}

/// Takes each line as it is logged.
struct Reader;

impl io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        if let Some(line) = leak(&line) {
            lock(&LEAKED).push(line.to_owned());
        }
        if (line.contains(" WARN silo_hub") || line.contains("ERROR silo_hub"))
            && !std::thread::panicking()
        {
            let mut warned = lock(&WARNED);
            if warned.len() == WARNINGS {
                warned.pop_front();
            }
            warned.push_back(line.trim_end().to_owned());
        }
        if let Some(kept) = &mut *lock(&KEPT)
            && line.contains(" silo_hub")
        {
            kept.push(line.trim_end().to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what hubs in this process log from now on.
pub fn keep() {
    capture();
    lock(&KEPT).get_or_insert_default();
}

/// The lines since [`keep`] that have all of these in them. Other tests may run in this process: what a test looks
/// for has something of its own in it, such as an address.
pub fn kept(marks: &[&str]) -> Vec<String> {
    let kept = lock(&KEPT);
    let lines = kept.iter().flatten();
    let marked = |line: &&String| marks.iter().all(|mark| line.contains(mark));
    lines.filter(marked).cloned().collect()
}

/// Fails the test that drops it if this process has logged a secret.
#[derive(Debug)]
pub struct Captured(());

impl Captured {
    /// Starts the search if it is not running.
    pub fn begin() -> Self {
        capture();
        Self(())
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        let leaked = std::mem::take(&mut *lock(&LEAKED));
        if std::thread::panicking() {
            eprintln!("what the hubs of this process warned of:");
            for line in &*lock(&WARNED) {
                eprintln!("  {line}");
            }
        } else {
            assert!(leaked.is_empty(), "secrets were logged: {leaked:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: &str = "silo_abcdefgh12_0123456789-123456789_123456789012345678901";

    #[test]
    fn every_form_of_a_secret_is_found() {
        is_secret("update-key-7d1f");
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("home:{CREDENTIAL}"));
        for line in [
            format!("token {CREDENTIAL}."),
            format!("token {}…", &CREDENTIAL[..40]),
            format!("authorization: \"Bearer {}\"", &CREDENTIAL[16..]),
            format!("Authorization: Basic {basic}"),
            format!("value=\"{basic}\""),
            "Basic cGFzc3dvcmQtZDE0YWM5".to_owned(),
            "signature: silo=:dGhpcyBpcyBhIHNpZ25hdHVyZQ==:".to_owned(),
            "GET /u/update-key-7d1f".to_owned(),
        ] {
            let log = format!("INFO before\nDEBUG {line}\nINFO after");
            assert_eq!(leak(&log), Some(&*format!("DEBUG {line}")));
        }
    }

    #[test]
    fn logs_without_secrets_pass() {
        for line in [
            "token_id=abcdefgh12 silo_id=office silo_abcdefgh12",
            "www-authenticate: Basic realm=\"silo\", charset=\"UTF-8\"",
            "www-authenticate: Bearer realm=\"silo\"",
            "signature-input: silo=(\"@method\");created=1;keyid=\"abcdefgh12\"",
            "pin_sha256: sha256//n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            "silo_hub::http::signing: begins",
        ] {
            assert_eq!(leak(line), None);
        }
    }
}
