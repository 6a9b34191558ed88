//! A relay before a hub: clients that find out their own address see one that the test chooses. It adds one
//! header to each request and leaves every other byte as it is, and keeps what it passed on.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::PATIENCE;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

#[derive(Debug)]
struct State {
    hub: SocketAddr,
    client: IpAddr,
    heads: Vec<String>,
}

/// A running relay; its hub must trust the loopback as a proxy.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to the hub at a URL; clients seem to come from `client`.
    pub fn start(hub: &str, client: &str) -> Self {
        Self::start_at("127.0.0.1:0", hub, client)
    }

    /// Like [`Relay::start`], at a known address.
    pub fn start_at(listen: &str, hub: &str, client: &str) -> Self {
        let listener = TcpListener::bind(listen).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State {
            hub: address_of(hub),
            client: client.parse().expect("this is an address"),
            heads: Vec::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // A client or hub that breaks off is what some tests are about.
                    let _ = pass(stream, &state);
                }
            })
        };
        Self {
            address,
            state,
            stop,
            accepting: Some(accepting),
        }
    }

    /// Address and port, as clients are told them.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on clients seem to come from elsewhere.
    pub fn move_clients(&self, client: &str) {
        self.lock().client = client.parse().expect("this is an address");
    }

    /// From now on the hub is to be found elsewhere.
    pub fn lead_to(&self, hub: &str) {
        self.lock().hub = address_of(hub);
    }

    /// The heads of all requests to a path so far, as the clients sent them.
    pub fn requests(&self, path: &str) -> Vec<String> {
        let is_for = |head: &&String| {
            let target = head.split(' ').nth(1).unwrap_or("");
            target.split('?').next() == Some(path)
        };
        self.lock().heads.iter().filter(is_for).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; an error means that it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn address_of(hub: &str) -> SocketAddr {
    let address = hub.trim_start_matches("http://").parse();
    address.expect("the hub's URL is an address and a port")
}

/// One connection with one request.
fn pass(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(at) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at;
        }
        let count = client.read(&mut buffer)?;
        if count == 0 || head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&buffer[..count]);
    };
    let (address, from) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        state.heads.push(text);
        (state.hub, state.client)
    };
    let mut hub = TcpStream::connect(address)?;
    hub.set_read_timeout(Some(PATIENCE))?;
    hub.write_all(&head[..end])?;
    write!(hub, "\r\nX-Forwarded-For: {from}")?;
    hub.write_all(&head[end..])?;
    let sending = {
        let (mut client, mut hub) = (client.try_clone()?, hub.try_clone()?);
        std::thread::spawn(move || {
            // Ends when either side disconnects.
            let _ = io::copy(&mut client, &mut hub);
            // A client that has gone away needs no connection kept for its next request.
            let _ = hub.shutdown(Shutdown::Write);
        })
    };
    let passed = io::copy(&mut hub, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = hub.shutdown(Shutdown::Both);
    let _ = sending.join();
    passed.map(drop)
}
