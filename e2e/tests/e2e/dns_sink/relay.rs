//! A relay between the sink and its server that loses or forges answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What the relay does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Passes questions and answers on.
    Pass,
    /// Takes questions and does nothing.
    Silent,
    /// Passes on all but the first answer.
    LoseFirstAnswer,
    /// Says that all went well, whatever the server says, and leaves the signature.
    Flip,
    /// Says that all went well, and takes the signature away.
    Unsign,
}

/// A relay on a port of its own, which ends when it goes.
pub(crate) struct Relay {
    port: u16,
    lost: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Starts one to the server on a port.
    pub(crate) async fn start(server: u16, udp_way: Way, tcp_way: Way) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let port = udp.local_addr().unwrap().port();
        let lost = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let counter = lost.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                if udp_way == Way::Silent {
                    continue;
                }
                let to_server = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
                to_server.connect(("127.0.0.1", server)).await.unwrap();
                to_server.send(&buffer[..length]).await.unwrap();
                let length = to_server.recv(&mut buffer).await.unwrap();
                if udp_way == Way::LoseFirstAnswer && counter.fetch_max(1, Ordering::AcqRel) == 0 {
                    continue;
                }
                let answer = changed(udp_way, &buffer[..length]);
                udp.send_to(&answer, from).await.unwrap();
            }
        });
        tasks.spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                if tcp_way == Way::Silent {
                    held.push(stream);
                    continue;
                }
                let mut to_server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let question = read(&mut stream).await;
                write(&mut to_server, &question).await;
                let answer = read(&mut to_server).await;
                write(&mut stream, &changed(tcp_way, &answer)).await;
            }
        });
        Self {
            port,
            lost,
            _tasks: tasks,
        }
    }

    /// Its port, for UDP and TCP alike.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many answers it lost.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Ordering::Acquire)
    }
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(bytes).await.unwrap();
}

/// Forges an answer: its RCODE is the lower half of the fourth byte, the count of additional records,
/// of which the signature is the last, the last two of the header (RFC 1035, section 4.1.1).
fn changed(way: Way, answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    match way {
        Way::Pass | Way::Silent | Way::LoseFirstAnswer => {}
        // An ignored bit is flipped too, so that it differs when the RCODE was 0.
        Way::Flip => answer[3] = (answer[3] & 0xf0) ^ 0x20,
        Way::Unsign => {
            answer[3] &= 0xf0;
            // The header and the zone or question alone: its name, its type and class.
            let name = answer[12..].iter().position(|byte| *byte == 0).unwrap();
            answer.truncate(12 + name + 1 + 4);
            answer[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        }
    }
    answer
}
