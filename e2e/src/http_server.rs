//! A small HTTP/1.1 server for the fakes of other people's services: a thread a connection, every
//! request answered by one function, everything joined when it is dropped.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{PATIENCE, PAUSE};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query, undecoded.
    pub target: String,
    /// The headers, their names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    /// The pairs of the query, in order, undecoded.
    pub fn query(&self) -> Vec<(&str, &str)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect()
    }

    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Response {
    /// With a status, headers and a body.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers beside `Content-Length`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Not at all: the connection ends.
    HangUp,
}

impl Response {
    /// A status and a text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        match self {
            Self::HangUp => Self::HangUp,
            Self::Answer {
                status,
                mut headers,
                body,
            } => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Answer {
                    status,
                    headers,
                    body,
                }
            }
        }
    }
}

type Answerer = dyn Fn(Request) -> Response + Send + Sync;

/// A running server.
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answerer>,
    tls: Option<Arc<ServerConfig>>,
    stopping: AtomicBool,
    ended: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.url("/"))
    }
}

impl HttpServer {
    /// Starts a server on a free port of the loopback.
    pub fn start(answer: impl Fn(Request) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer)
    }

    /// Like [`HttpServer::start`], over TLS.
    pub fn start_tls(
        identity: &Identity,
        answer: impl Fn(Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Some(identity.server_config()), answer)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            tls,
            stopping: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Self {
            shared,
            address,
            scheme,
            accepting: Some(accepting),
        }
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Waits until so many connections have ended, with or without requests: whatever was sent on
    /// them has been read then.
    pub fn wait_for_ended_connections(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.shared.ended.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < deadline, "not {count} connections ended");
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes every connection and waits for its thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            if let Ok(handle) = stream.try_clone() {
                self.streams().push(handle);
            }
            let shared = Arc::clone(&self);
            threads.push(std::thread::spawn(move || shared.serve(stream)));
        }
        for stream in self.streams().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever goes wrong on a connection ends it; the other side sees that.
    fn serve(self: &Arc<Self>, stream: TcpStream) {
        let handle = stream.try_clone();
        let stream = Interruptible {
            stream,
            shared: Arc::clone(self),
        };
        let _ = match &self.tls {
            None => self.converse(BufReader::new(stream)),
            Some(config) => ServerConnection::new(Arc::clone(config))
                .map_err(std::io::Error::other)
                .and_then(|tls| self.converse(BufReader::new(StreamOwned::new(tls, stream)))),
        };
        // The list of open streams holds the connection too.
        if let Ok(handle) = handle {
            let _ = handle.shutdown(Shutdown::Both);
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn converse(&self, mut stream: BufReader<impl Read + Write>) -> std::io::Result<()> {
        while let Some(request) = read_request(&mut stream)? {
            let Response::Answer {
                status,
                headers,
                body,
            } = (self.answer)(request)
            else {
                return Ok(());
            };
            let mut head = format!(
                "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            let stream = stream.get_mut();
            stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
            stream.flush()?;
        }
        Ok(())
    }
}

/// A connection whose reads end when the server stops. On Windows the shutdown of a copy of its handle does not wake them.
struct Interruptible {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if cfg!(unix) {
            return self.stream.read(buffer);
        }
        self.stream.set_read_timeout(Some(PAUSE * 10))?;
        loop {
            let read = self.stream.read(buffer);
            let is_timeout = read.as_ref().is_err_and(|error| {
                matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
            });
            if !is_timeout || self.shared.stopping.load(Ordering::SeqCst) {
                return read;
            }
        }
    }
}

impl Write for Interruptible {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn read_request(stream: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next(), words.next());
    let (Some(method), Some(target)) = (method, target) else {
        return Err(std::io::ErrorKind::InvalidData.into());
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |n| n.parse());
    let mut body = vec![0; length.map_err(std::io::Error::other)?];
    stream.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        target,
        headers,
        body,
    }))
}

/// A certificate for 127.0.0.1, and the authority that signed it.
#[derive(Debug)]
pub struct Identity {
    folder: PathBuf,
}

impl Identity {
    /// Makes an authority and a certificate with `openssl`; the files stay in `folder`.
    pub fn make(folder: &Path) -> Self {
        let openssl = |arguments: &str| {
            let done = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("openssl is installed");
            assert!(done.success(), "openssl {arguments}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        openssl(&format!(
            "req -x509 {key} -subj /CN=Test -keyout ca.key -out ca.pem"
        ));
        openssl(&format!(
            "req -x509 {key} -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -addext \
             basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey ca.key -keyout server.key -out \
             server.pem"
        ));
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The authority's certificate, for those who shall trust it.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        // An error here means that a provider is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = CertificateDer::from_pem_file(self.folder.join("server.pem"))
            .expect("openssl wrote a certificate");
        let key = PrivateKeyDer::from_pem_file(self.folder.join("server.key"))
            .expect("openssl wrote a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("key and certificate belong together");
        Arc::new(config)
    }
}
