//! A hub, as the load sees it: requests and answers of HTTP/1.1, and what a process costs.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// By when every client must have been served.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Ticks of utime and stime a second (proc(5), sysconf(3): USER_HZ is 100 everywhere that Linux runs).
const TICKS: f64 = 100.0;

pub(crate) fn wrong(words: &str) -> Error {
    Error::new(ErrorKind::InvalidData, words)
}

pub(crate) fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| wrong("a number is expected"))
}

/// The address that stands for a number, of 10.0.0.0/8.
pub(crate) fn address_of(number: usize) -> String {
    let [_, a, b, c] = u32::try_from(number).unwrap_or(0).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// The hub that is measured.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) bearer: String,
}

impl Hub {
    pub(crate) fn at(address: &str, token_file: &str) -> Result<Self> {
        Ok(Self {
            address: address
                .parse()
                .map_err(|_| wrong("an address is expected"))?,
            bearer: std::fs::read_to_string(token_file)?.trim().to_owned(),
        })
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        let Self { address, bearer } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\n{headers}\r\n"
        )
    }

    pub(crate) fn put(&self, path: &str, number: usize) -> String {
        let Self { address, bearer } = self;
        let body = format!("{{\"ip\":\"{}\"}}", address_of(number));
        let length = body.len();
        format!(
            "PUT {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }
}

/// The bytes of an answer as they come.
#[derive(Default)]
pub(crate) struct Answer(Vec<u8>);

impl Answer {
    /// The status and the tag, once all has come.
    pub(crate) fn whole(&self) -> Result<Option<(u16, String)>> {
        let Some(end) = self.0.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&self.0[..end]).map_err(|_| wrong("no head of HTTP"))?;
        let field = |name: &str| {
            let line = |line: &'_ &str| {
                let start = line.get(..name.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(name))
            };
            let line = head.lines().find(line)?;
            Some(line[name.len()..].trim().to_owned())
        };
        let length = field("content-length:").and_then(|length| length.parse().ok());
        if self.0.len() < end + 4 + length.unwrap_or(0) {
            return Ok(None);
        }
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| wrong("no status line of HTTP"))?;
        Ok(Some((status, field("etag:").unwrap_or_default())))
    }
}

/// Sends a request, which fits into an empty socket.
pub(crate) async fn send_on(stream: &tokio::net::TcpStream, request: &str) -> Result<()> {
    stream.writable().await?;
    if stream.try_write(request.as_bytes())? != request.len() {
        return Err(wrong("a request was sent in part"));
    }
    Ok(())
}

/// Reads an answer: its status and tag.
pub(crate) async fn answer_on(stream: &tokio::net::TcpStream) -> Result<(u16, String)> {
    let mut answer = Answer::default();
    loop {
        stream.readable().await?;
        let mut bytes = [0; 1024];
        match stream.try_read(&mut bytes) {
            Ok(0) => return Err(wrong("the hub closed the connection")),
            Ok(read) => answer.0.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if let Some(whole) = answer.whole()? {
            return Ok(whole);
        }
    }
}

/// A connection of a thread of its own.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(hub: &Hub) -> Result<Self> {
        Self::connect_to(hub.address)
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self(stream))
    }

    pub(crate) fn ask(&mut self, request: &str) -> Result<String> {
        self.0.write_all(request.as_bytes())?;
        let mut answer = Answer::default();
        let mut bytes = [0; 4096];
        loop {
            let read = self.0.read(&mut bytes)?;
            if read == 0 {
                return Err(wrong("the hub closed the connection"));
            }
            answer.0.extend_from_slice(&bytes[..read]);
            match answer.whole()? {
                Some((200 | 201, tag)) => return Ok(tag),
                Some((status, _)) => return Err(wrong(&format!("the hub answered {status}"))),
                None => {}
            }
        }
    }
}

pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

pub(crate) fn milliseconds(times: &mut [Duration], percent: usize) -> f64 {
    percentile(times, percent).as_secs_f64() * 1000.0
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// Resident memory, in KiB.
pub(crate) fn resident(pid: usize) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.ok_or_else(|| wrong("the hub's memory is not shown"))
}

/// CPU time so far, in seconds.
pub(crate) fn cpu(pid: usize) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program is in brackets and may hold blanks.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) / TICKS),
        _ => Err(wrong("the hub's CPU time is not shown")),
    }
}
