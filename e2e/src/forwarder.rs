//! A forwarder before a database server that can go deaf: from a chosen moment on it swallows what a
//! connection sends or is sent, and closes nothing, as a firewall does that has forgotten the connection. Or
//! it resets the connection at that moment, or sends an error in the server's place before.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use url::Url;

pub use crate::wire::ServerError;
use crate::wire::{CommitAnswer, Protocol, Wire};

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When it begins a transaction, which the server does not learn of.
    Begin,
    /// After the response to a transaction's begin.
    Inside,
    /// At a `COMMIT`, which the server does not learn of.
    Commit,
    /// At the answer to a `COMMIT`, which the server has carried out.
    CommitAnswer,
}

/// How it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// No byte passes any more.
    Silence,
    /// It is closed on both sides.
    Reset,
    /// An error comes in place of the answer to a `COMMIT`, then it is closed.
    Error(ServerError),
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(Moment, How)>,
    /// The server's side of deaf connections: the server must notice by itself.
    kept: Vec<TcpStream>,
    /// The connections that may be open.
    routes: Vec<Weak<Route>>,
}

/// A running forwarder. It ends with the test's process.
#[derive(Debug)]
pub struct Forwarder {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// New connections are accepted and never answered.
    is_silent: Arc<AtomicBool>,
}

/// One connection.
#[derive(Debug)]
struct Route {
    client: TcpStream,
    server: TcpStream,
    state: Arc<Mutex<State>>,
    is_deaf: AtomicBool,
    /// Whether the client has sent something since it was asked for.
    is_used: AtomicBool,
    protocol: Protocol,
    wire: Mutex<Wire>,
    /// What to do with the next answer.
    at_answer: Mutex<Option<Awaited>>,
}

/// An answer at which a connection breaks.
#[derive(Debug)]
struct Awaited {
    moment: Moment,
    how: How,
    /// What has come of it.
    held: Vec<u8>,
}

impl Forwarder {
    /// Starts one before the server of a database's URL.
    ///
    /// # Panics
    ///
    /// If the URL names no address and port.
    pub fn start(database: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let host = database.host_str().expect("a server has a host").to_owned();
        let port = database.port().expect("the tests' server names its port");
        let state = Arc::<Mutex<State>>::default();
        let is_silent = Arc::<AtomicBool>::default();
        let (states, silent) = (Arc::clone(&state), Arc::clone(&is_silent));
        let protocol = Protocol::of(database);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if silent.load(Ordering::Acquire) {
                    lock(&states).kept.push(client);
                    continue;
                }
                // A server that is away is what some tests are about.
                if let Ok(server) = TcpStream::connect((host.as_str(), port)) {
                    let _ = pass(client, server, protocol, &states);
                }
            }
        });
        Self {
            address,
            state,
            is_silent,
        }
    }

    /// The database's URL by way of this forwarder.
    pub fn url(&self, database: &Url) -> String {
        let mut url = database.clone();
        url.set_host(Some("127.0.0.1")).expect("this is a host");
        url.set_port(Some(self.address.port()))
            .expect("such a URL has a port");
        url.to_string()
    }

    /// Every open connection goes silent, as if what lies between had forgotten it. New ones work.
    pub fn forget(&self) {
        for route in self.routes() {
            route.is_deaf.store(true, Ordering::Release);
            // It may be gone already.
            let kept = route.server.try_clone();
            lock(&self.state).kept.extend(kept);
        }
    }

    /// Asks [`Forwarder::all_were_used`] from now on.
    pub fn begin_to_watch(&self) {
        for route in self.routes() {
            route.is_used.store(false, Ordering::Release);
        }
    }

    /// Whether something was sent on every connection that is open.
    pub fn all_were_used(&self) -> bool {
        let routes = self.routes();
        let used = |route: &Arc<Route>| route.is_used.load(Ordering::Acquire);
        !routes.is_empty() && routes.iter().all(used)
    }

    fn routes(&self) -> Vec<Arc<Route>> {
        let mut state = lock(&self.state);
        state.routes.retain(|route| route.strong_count() > 0);
        state.routes.iter().filter_map(Weak::upgrade).collect()
    }

    /// The next connection that reaches the moment breaks; others continue.
    pub fn arm(&self, moment: Moment, how: How) {
        lock(&self.state).armed = Some((moment, how));
    }

    /// Whether the moment has come since it was armed.
    pub fn has_fired(&self) -> bool {
        lock(&self.state).armed.is_none()
    }

    /// Whether new connections are accepted and never answered.
    pub fn silence_new(&self, silent: bool) {
        self.is_silent.store(silent, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(
    client: TcpStream,
    server: TcpStream,
    protocol: Protocol,
    state: &Arc<Mutex<State>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut from_server) = (client.try_clone()?, server.try_clone()?);
    let route = Arc::new(Route {
        client,
        server,
        state: Arc::clone(state),
        is_deaf: AtomicBool::new(false),
        is_used: AtomicBool::new(true),
        protocol,
        wire: Mutex::new(Wire::new(protocol)),
        at_answer: Mutex::default(),
    });
    lock(state).routes.push(Arc::downgrade(&route));
    let other = Arc::clone(&route);
    // Both end when either side disconnects.
    std::thread::spawn(move || {
        each_read(&mut from_client, |bytes| route.question(bytes));
        route.hang_up(&route.server);
    });
    std::thread::spawn(move || {
        each_read(&mut from_server, |bytes| other.answer(bytes));
        other.hang_up(&other.client);
    });
    Ok(())
}

fn each_read(from: &mut TcpStream, mut take: impl FnMut(&[u8]) -> io::Result<()>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if take(&buffer[..count]).is_err() {
            return;
        }
    }
}

impl Route {
    fn question(&self, bytes: &[u8]) -> io::Result<()> {
        self.is_used.store(true, Ordering::Release);
        if self.is_deaf.load(Ordering::Acquire) {
            return Ok(());
        }
        let begins = bytes.windows(5).any(|part| part == b"BEGIN");
        let commits = lock(&self.wire).commits(bytes);
        let reached = {
            let mut state = lock(&self.state);
            let reached = state.armed.filter(|(moment, _)| match moment {
                Moment::Begin | Moment::Inside => begins,
                Moment::Commit | Moment::CommitAnswer => commits,
            });
            if reached.is_some() {
                state.armed = None;
            }
            reached
        };
        match reached {
            // The first packet of an answer has the number 1.
            Some((Moment::Begin | Moment::Commit, how)) => return self.break_off(how, 1),
            Some((moment, how)) => {
                let held = Vec::new();
                *lock(&self.at_answer) = Some(Awaited { moment, how, held });
            }
            None => {}
        }
        (&self.server).write_all(bytes)
    }

    fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_deaf.load(Ordering::Acquire) {
            return Ok(());
        }
        lock(&self.wire).note_answer(bytes);
        let Some(mut awaited) = lock(&self.at_answer).take() else {
            return (&self.client).write_all(bytes);
        };
        let Awaited { moment, how, .. } = awaited;
        if moment != Moment::CommitAnswer {
            (&self.client).write_all(bytes)?;
            return self.break_off(how, 0);
        }
        awaited.held.extend_from_slice(bytes);
        match self.protocol.commit_answer(&awaited.held) {
            CommitAnswer::Awaited => {
                *lock(&self.at_answer) = Some(awaited);
                Ok(())
            }
            CommitAnswer::At(at) => {
                if matches!(how, How::Error(_)) {
                    (&self.client).write_all(&awaited.held[..at])?;
                }
                // PostgreSQL's messages have no number.
                let sequence = awaited.held.get(at + 3).copied().unwrap_or_default();
                self.break_off(how, sequence)
            }
            CommitAnswer::Refused => {
                lock(&self.state).armed = Some((moment, how));
                (&self.client).write_all(&awaited.held)
            }
        }
    }

    fn break_off(&self, how: How, sequence: u8) -> io::Result<()> {
        match how {
            How::Silence => {
                self.is_deaf.store(true, Ordering::Release);
                lock(&self.state).kept.push(self.server.try_clone()?);
                Ok(())
            }
            How::Reset => self.reset(),
            How::Error(error) => {
                (&self.client).write_all(&self.protocol.error(error, sequence))?;
                self.reset()
            }
        }
    }

    fn reset(&self) -> io::Result<()> {
        // Either may be gone already.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
        Err(io::ErrorKind::ConnectionReset.into())
    }

    fn hang_up(&self, other: &TcpStream) {
        if !self.is_deaf.load(Ordering::Acquire) {
            // It may be gone already.
            let _ = other.shutdown(Shutdown::Both);
        }
    }
}
