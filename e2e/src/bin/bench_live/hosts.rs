//! How long a change takes into a file of a machine that stays connected: a real downstream agent, and a watch of etcd
//! that replaces a file in the same way.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::hub::{Client, DEADLINE, Hub, address_of, milliseconds, wrong};

/// The pause before the next change, in which the followers wait again.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the file is looked at. The figures are so much too high at most.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// Changes that are not counted, such as the one that makes the block.
const WARM_UP: usize = 10;
/// The key in etcd, and the hostname in the hub's silo.
const NAME: &str = "db";

/// Changes the record through the hub.
pub(crate) fn through_an_agent(hub: &Hub, file: &Path, changes: usize) -> Result<()> {
    let client = Client::connect(hub)?;
    let mut times = measure(client, file, changes, |number| {
        hub.put("/silos/hosts/records/db", number)
    })?;
    print_row(
        &format!("a change → the hosts file of `silo-downstream watch`, {changes} changes"),
        &mut times,
        "≤ 5 ms, ≤ 20 ms",
    );
    Ok(())
}

/// Changes the key in etcd, by its JSON gateway.
pub(crate) fn through_etcd(address: &str, file: &Path, changes: usize) -> Result<()> {
    let server: SocketAddr = address
        .parse()
        .map_err(|_| wrong("an address is expected"))?;
    let watch = Command::new(std::env::current_exe()?)
        .args(["etcd-watch", address])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut watch = Ended(watch);
    // It says that it watches.
    let told = watch.0.stdout.as_mut().map(|out| out.read(&mut [0; 1]));
    if !matches!(told, Some(Ok(1))) {
        return Err(wrong("the watch of etcd does not begin"));
    }
    let mut times = measure(Client::connect_to(server)?, file, changes, |number| {
        let (key, value) = (BASE64.encode(NAME), BASE64.encode(line_of(number)));
        post(
            address,
            "/v3/kv/put",
            &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}"),
        )
    })?;
    print_row(
        "the same by a watch of etcd that replaces a file likewise",
        &mut times,
        "",
    );
    Ok(())
}

/// A child that ends with its parent.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From when on a change counts.
#[derive(Default)]
struct Times {
    since_request: Vec<Duration>,
    since_answer: Vec<Duration>,
}

fn print_row(what: &str, times: &mut Times, goal: &str) {
    let Times {
        since_request,
        since_answer,
    } = times;
    for (begun, times) in [("answer", since_answer), ("request", since_request)] {
        println!(
            "| {what}, from the PUT's {begun}: median, 99 % | {:.1} ms, {:.1} ms | {} |",
            milliseconds(times, 50),
            milliseconds(times, 99),
            Some(goal).filter(|_| begun == "answer").unwrap_or("")
        );
    }
}

fn line_of(number: usize) -> String {
    format!("{} {NAME}", address_of(number))
}

fn measure(
    mut client: Client,
    file: &Path,
    changes: usize,
    request: impl Fn(usize) -> String,
) -> Result<Times> {
    let mut times = Times::default();
    for number in 1..=changes + WARM_UP {
        let (request, line) = (request(number), line_of(number));
        let begun = Instant::now();
        let (answered, written) = thread::scope(|scope| {
            let asking = scope.spawn(|| client.ask(&request).map(|_| Instant::now()));
            let written = wait_for(file, &line);
            (asking.join(), written)
        });
        let answered = answered.map_err(|_| wrong("the client failed"))??;
        let written = written?;
        if number > WARM_UP {
            times.since_request.push(written.duration_since(begun));
            times
                .since_answer
                .push(written.saturating_duration_since(answered));
        }
        thread::sleep(PAUSE);
    }
    Ok(times)
}

/// Waits until the file has a line; when it was seen.
fn wait_for(file: &Path, line: &str) -> Result<Instant> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(file)?;
        if text.lines().any(|other| other == line) {
            return Ok(Instant::now());
        }
        if Instant::now() > deadline {
            return Err(wrong("a change did not come into the file"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn post(host: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Replaces the file at each change of the key, until it is killed. Prints a byte once it watches.
pub(crate) fn watch_etcd(address: &str, file: &Path) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let key = BASE64.encode(NAME);
    let create = format!("{{\"create_request\":{{\"key\":\"{key}\"}}}}");
    stream.write_all(post(address, "/v3/watch", &create).as_bytes())?;
    let mut unread = String::new();
    let mut bytes = [0; 4096];
    let mut is_told = false;
    loop {
        let read = stream.read(&mut bytes)?;
        if read == 0 {
            return Err(wrong("etcd closed the connection"));
        }
        unread.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if !is_told && unread.contains("\"created\":true") {
            is_told = true;
            std::io::stdout().write_all(b".")?;
            std::io::stdout().flush()?;
        }
        // One line of JSON an answer; of its events, the last one is the present value.
        while let Some((answer, rest)) = unread.split_once('\n') {
            let value = answer.rsplit_once("\"value\":\"");
            let value = value.and_then(|(_, rest)| rest.split('"').next());
            if let Some(value) = value {
                let value = BASE64.decode(value);
                replace(file, &value.map_err(|_| wrong("no base64"))?)?;
            }
            unread = rest.to_owned();
        }
    }
}

/// As the agent does: a new file beside the old one, synced, renamed, its folder synced, read back.
fn replace(file: &Path, value: &[u8]) -> Result<()> {
    let folder = file.parent().ok_or_else(|| wrong("a file in a folder"))?;
    fs::read(file)?;
    let staged = file.with_extension("staged");
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&staged)?;
    new.write_all(&[value, b"\n"].concat())?;
    new.sync_all()?;
    fs::rename(&staged, file)?;
    File::open(folder)?.sync_all()?;
    fs::read(file)?;
    Ok(())
}
