//! A hub that says what a test wants it to say. A hostile answer can't be had from a real one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Enough names for what counts those that go.
pub(crate) const TEN: &[(&str, &str)] = &[
    ("h0", "10.0.0.1"),
    ("h1", "10.0.0.1"),
    ("h2", "10.0.0.1"),
    ("h3", "10.0.0.1"),
    ("h4", "10.0.0.1"),
    ("h5", "10.0.0.1"),
    ("h6", "10.0.0.1"),
    ("h7", "10.0.0.1"),
    ("h8", "10.0.0.1"),
    ("h9", "10.0.0.1"),
];

/// A request as it came in; header names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

/// What the hub answers.
pub(crate) enum Reply {
    /// A whole answer; `Content-Length` is added.
    Whole {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Bytes as they are, then the end of the connection.
    Raw(Vec<u8>),
    /// Announces a body and sends a byte of it now and then, as long as the client is connected.
    Dribble,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self::Whole {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// A silo with its ETag, or 304 when the request has that tag already.
    pub(crate) fn silo(
        request: &Request,
        id: &str,
        revision: i64,
        records: &[(&str, &str)],
    ) -> Self {
        let tag = format!("\"{revision}\"");
        let (status, body) = if request.headers.get("if-none-match") == Some(&tag) {
            (304, String::new())
        } else {
            (200, document(id, revision, records))
        };
        Self::Whole {
            status,
            headers: vec![("ETag", tag)],
            body,
        }
    }

    /// An error as hubs send it.
    pub(crate) fn problem(status: u16, detail: &str) -> Self {
        Self::Whole {
            status,
            headers: vec![("Content-Type", "application/problem+json".to_owned())],
            body: format!(
                r#"{{"type":"/problems/x","title":"x","status":{status},"detail":{detail:?}}}"#
            ),
        }
    }
}

/// The JSON of a silo.
pub(crate) fn document(id: &str, revision: i64, records: &[(&str, &str)]) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|(hostname, ip)| {
            let (hostname, ip) = (hostname.replace('\n', "\\n"), ip.replace('\n', "\\n"));
            format!(r#"{{"hostname":"{hostname}","ip":"{ip}"}}"#)
        })
        .collect();
    format!(
        r#"{{"id":"{id}","dnsrecords":[{}],"revision":{revision},"updated_at":"2026-01-02T03:04:05.678Z"}}"#,
        records.join(",")
    )
}

type Answer = Box<dyn FnMut(&Request) -> Reply + Send>;

/// A listening hub; it goes on until the test's process ends.
pub(crate) struct FakeHub {
    pub(crate) port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeHub {
    pub(crate) fn start(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                // A client that disconnects early does not matter.
                std::thread::spawn(move || serve(stream, &answers, &seen));
            }
        });
        Self {
            port,
            answer,
            requests,
        }
    }

    /// A hub whose silo `office` has these records.
    pub(crate) fn office(revision: i64, records: &'static [(&'static str, &'static str)]) -> Self {
        Self::start(move |request| Reply::silo(request, "office", revision, records))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on answers otherwise.
    pub(crate) fn now(&self, answer: impl FnMut(&Request) -> Reply + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// From now on `office` has these records.
    pub(crate) fn now_office(
        &self,
        revision: i64,
        records: &'static [(&'static str, &'static str)],
    ) {
        self.now(move |request| Reply::silo(request, "office", revision, records));
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The conditional tags of all requests so far.
    pub(crate) fn tags(&self) -> Vec<Option<String>> {
        let tag = |request: &Request| request.headers.get("if-none-match").cloned();
        self.requests().iter().map(tag).collect()
    }
}

/// Answers as the request prefers: as soon as it is not 304, else after its `wait`.
fn wait_for_change(request: &Request, mut answer: impl FnMut() -> Reply) -> Reply {
    let preferred = request.headers.get("prefer");
    let wait = preferred.and_then(|preferred| preferred.strip_prefix("wait=")?.parse().ok());
    let until = Instant::now() + Duration::from_secs(wait.unwrap_or(0));
    loop {
        let reply = answer();
        let is_same = matches!(&reply, Reply::Whole { status: 304, .. });
        if !is_same || Instant::now() >= until {
            return reply;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &Mutex<Answer>,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let is_head = line.starts_with("HEAD ");
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let request = Request { path, headers };
    // A HEAD only tells what was applied.
    if !is_head {
        requests.lock().unwrap().push(request.clone());
    }
    let reply = wait_for_change(&request, || (answer.lock().unwrap())(&request));
    match reply {
        Reply::Whole {
            status,
            headers,
            body,
        } => {
            let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            if status != 304 {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            stream.write_all(format!("{head}\r\n{body}").as_bytes())
        }
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Dribble => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
