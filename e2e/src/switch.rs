//! A switch before a server, as the name that leads to a database wherever it has moved to. Connections that are
//! open stay where they were led to.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;

/// A running switch.
#[derive(Debug)]
pub struct Switch {
    port: u16,
    target: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts one that leads to a port of the loopback.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let target = Arc::new(AtomicU16::new(target));
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (target, stop) = (Arc::clone(&target), Arc::clone(&stop));
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    // Without a listener, the client is disconnected.
                    if let Ok(server) =
                        TcpStream::connect(("127.0.0.1", target.load(Ordering::Acquire)))
                    {
                        join(client, server);
                    }
                }
            })
        };
        Self {
            port,
            target,
            stop,
            accepting: Some(accepting),
        }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another port from now on.
    pub fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Release);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; an error means that it has ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Passes bytes on both ways until either side disconnects.
fn join(client: TcpStream, server: TcpStream) {
    let pass = |from: &TcpStream, to: &TcpStream| -> io::Result<()> {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            // A side that breaks off is what the tests are about.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
        Ok(())
    };
    // Without a second handle the connection ends here.
    let _ = pass(&client, &server).and_then(|()| pass(&server, &client));
}
