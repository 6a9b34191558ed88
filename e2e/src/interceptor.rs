//! An interceptor between agents and a hub: records the traffic, and can forge responses.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::PATIENCE;

/// A request and the hub's answer to it, byte for byte.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: Vec<u8>,
    /// The answer.
    pub answer: Vec<u8>,
}

impl Exchange {
    /// Method and target.
    pub fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.request);
        let line = text.split(" HTTP/1.1").next().unwrap_or_default();
        line.to_owned()
    }
}

type Forge = Box<dyn Fn(&Exchange) -> Vec<u8> + Send>;

/// A running interceptor. Clients seem to come from 10.0.0.7 to a hub that trusts the loopback as a proxy.
pub struct Interceptor {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Exchange>>>,
    forge: Arc<Mutex<Forge>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interceptor({})", self.address)
    }
}

impl Interceptor {
    /// Starts one in front of the hub at a URL; it forwards unchanged at first.
    pub fn start(hub: &str) -> Self {
        let hub: SocketAddr = hub
            .trim_start_matches("http://")
            .parse()
            .expect("the hub's URL is an address and a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::<Mutex<Vec<Exchange>>>::default();
        let honest: Forge = Box::new(|exchange| exchange.answer.clone());
        let forge = Arc::new(Mutex::new(honest));
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (seen, forge, stop) = (Arc::clone(&seen), Arc::clone(&forge), Arc::clone(&stop));
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // A client that disconnects is not an error of the interceptor.
                    let _ = pass(client, hub, &seen, &forge);
                }
            })
        };
        Self {
            address,
            seen,
            forge,
            stop,
            accepting: Some(accepting),
        }
    }

    /// Its URL, as that of another machine by its looks, so that agents sign.
    pub fn url(&self) -> String {
        format!("http://0.0.0.0:{}", self.address.port())
    }

    /// Its URL on the loopback.
    pub fn loopback_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on clients are handed what this makes of the hub's answers.
    pub fn forge(&self, forge: impl Fn(&Exchange) -> Vec<u8> + Send + 'static) {
        *self.forge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(forge);
    }

    /// What passed since this was last asked.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; an error means that it has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// One connection with one request.
fn pass(
    mut client: TcpStream,
    hub: SocketAddr,
    seen: &Mutex<Vec<Exchange>>,
    forge: &Mutex<Forge>,
) -> io::Result<()> {
    let request = read_message(&mut client, false)?;
    let answer = send(hub, &with_header(&request, "X-Forwarded-For: 10.0.0.7"))?;
    let exchange = Exchange { request, answer };
    let forged = forge.lock().unwrap_or_else(PoisonError::into_inner)(&exchange);
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(exchange);
    client.write_all(&with_header(&forged, "Connection: close"))
}

/// Sends a request as it is and reads the answer.
pub fn send(hub: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut hub = TcpStream::connect(hub)?;
    hub.write_all(request)?;
    let head = request.starts_with(b"HEAD ");
    read_message(&mut hub, head)
}

/// A message with one more header, which no signature covers.
fn with_header(message: &[u8], header: &str) -> Vec<u8> {
    let end = end_of_head(message).expect("it was read to the end of its head");
    let (head, rest) = message.split_at(end);
    [head, b"\r\n", header.as_bytes(), rest].concat()
}

fn end_of_head(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|bytes| bytes == b"\r\n\r\n")
}

/// A head, and the content whose length it tells.
fn read_message(stream: &mut TcpStream, head_only: bool) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = end_of_head(&message) {
            let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let length = if head_only { 0 } else { length.unwrap_or(0) };
            if message.len() >= end + 4 + length {
                return Ok(message);
            }
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(&buffer[..count]);
    }
}
