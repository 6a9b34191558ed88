//! A hub of a few lines: answers what the test says and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// One request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Method and path, such as `GET /ip`.
    pub(crate) line: String,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The `If-Match` header.
    pub(crate) if_match: Option<String>,
    /// The `If-None-Match` header.
    pub(crate) if_none_match: Option<String>,
    /// The `Prefer` header.
    pub(crate) prefer: Option<String>,
    /// The body.
    pub(crate) body: String,
    /// Who calls.
    pub(crate) peer: IpAddr,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: String,
    body: String,
    silent: bool,
}

impl Answer {
    /// 200 with JSON.
    pub(crate) fn json(body: impl Into<String>) -> Self {
        Self::status(200, "application/json", body)
    }

    /// The address that the hub sees.
    pub(crate) fn ip(ip: &str) -> Self {
        Self::json(format!(r#"{{"ip":"{ip}"}}"#))
    }

    /// A record, last seen at the given time.
    pub(crate) fn record(hostname: &str, ips: &[&str], last_seen: &str) -> Self {
        let record = serde_json::json!({
            "hostname": hostname, "ips": ips, "revision": 42,
            "updated_at": "2026-01-02T03:04:05.678Z", "last_seen": last_seen,
        });
        Self::json(record.to_string())
    }

    /// An error as the hub makes them (RFC 9457).
    pub(crate) fn problem(status: u16, detail: &str) -> Self {
        let problem = serde_json::json!({
            "type": "/problems/x", "title": "x", "status": status, "detail": detail,
        });
        Self::status(status, "application/problem+json", problem.to_string())
    }

    /// Anything.
    pub(crate) fn status(status: u16, kind: &str, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: format!("Content-Type: {kind}\r\n"),
            body: body.into(),
            silent: false,
        }
    }

    /// With one more header.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push_str(line);
        self.headers.push_str("\r\n");
        self
    }

    /// No answer at all; the connection stays open until the caller gives up.
    pub(crate) fn silence() -> Self {
        Self {
            silent: true,
            ..Self::json("")
        }
    }
}

/// The hub; stops when dropped.
pub(crate) struct Hub {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    /// A hub on 127.0.0.1.
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer)
    }

    /// A hub at this address; port 0 takes a free one.
    pub(crate) fn start_at(
        address: &str,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        // A port that was free before may have become that of an outgoing connection for a moment.
        let mut listener = None;
        crate::run::until(&format!("{address} is free"), || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        let listener = listener.expect("it is bound");
        let address = listener.local_addr().expect("a bound address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (requests, stopping) = (requests.clone(), stopping.clone());
            let answer = Arc::new(answer);
            move || {
                for stream in listener.incoming().flatten() {
                    if stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let (answer, requests) = (answer.clone(), requests.clone());
                    // A caller that goes away early is the test's business, not the hub's.
                    std::thread::spawn(move || serve(stream, &*answer, &requests));
                }
            }
        });
        Self {
            address,
            requests,
            stopping,
            thread: Some(thread),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Everything asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic before").clone()
    }

    /// Methods and paths of everything asked so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port()))
            .or_else(|_| TcpStream::connect(("::1", self.port())));
        if let Some(thread) = self.thread.take() {
            assert!(
                thread.join().is_ok() || std::thread::panicking(),
                "the hub panicked"
            );
        }
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip().to_canonical();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut authorization = None;
    let mut if_match = None;
    let mut if_none_match = None;
    let mut prefer = None;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.to_owned()),
            "if-match" => if_match = Some(value.to_owned()),
            "if-none-match" => if_none_match = Some(value.to_owned()),
            "prefer" => prefer = Some(value.to_owned()),
            "content-length" => length = value.parse().expect("a length"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request = Request {
        line: line.trim().trim_end_matches(" HTTP/1.1").to_owned(),
        authorization,
        if_match,
        if_none_match,
        prefer,
        body: String::from_utf8(body).expect("UTF-8"),
        peer,
    };
    // Before the answer, which may be held back.
    requests
        .lock()
        .expect("no panic before")
        .push(request.clone());
    let answer = answer(&request);
    if answer.silent {
        // Ends when the caller closes.
        let _ = reader.read(&mut [0]);
        return Ok(());
    }
    write!(
        stream,
        "HTTP/1.1 {} X\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        answer.status,
        answer.headers,
        answer.body.len(),
        answer.body
    )
}
