//! One signed request to the server and its verified answer, over UDP, or over TCP if UDP fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::key::{FUDGE_SECONDS, Key};
use super::settings::Server;
use crate::domain::time::Clock;

/// Number of sends over UDP.
const UDP_ATTEMPTS: u32 = 2;
/// How long to wait for each answer over UDP.
const UDP_WAIT: Duration = Duration::from_secs(2);
/// Time limit of a TCP exchange, including connecting.
const TCP_WAIT: Duration = Duration::from_secs(5);
/// Time limit for resolving a server's name.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);
/// Maximum size of an answer over UDP, in bytes.
const MAX_UDP_BYTES: usize = 4096;

/// Why there is no verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The message could not be built; with the reason.
    Unsendable(String),
    /// No answer; with the reason.
    Silent(String),
    /// The server does not know the key, or the key lacks permission (BADKEY).
    BadKey,
    /// The server has another secret for the key's name (BADSIG).
    BadSignature,
    /// The clocks differ too much (BADTIME): by how many seconds the server's is ahead, if reported.
    BadTime(Option<i64>),
    /// An unsigned error, sent by servers that can't sign it.
    Unsigned(ResponseCode),
    /// The answer has no MAC, or one that is not by our key.
    Unproven,
}

/// Signs and sends a message and returns the server's verified answer, regardless of its RCODE;
/// ends by `until`.
pub(super) async fn ask(
    server: &Server,
    key: &Key,
    mut message: Message,
    clock: &Clock,
    until: Instant,
) -> Result<Message, Fault> {
    let unsendable = |error: &dyn std::fmt::Display| Fault::Unsendable(error.to_string());
    let seconds = clock.now().as_millis().div_euclid(1000);
    let seconds = u64::try_from(seconds).map_err(|error| unsendable(&error))?;
    message
        .finalize(key.signer(), seconds)
        .map_err(|error| unsendable(&error))?;
    let bytes = message.to_vec().map_err(|error| unsendable(&error))?;
    let question = Question {
        message: &message,
        bytes: &bytes,
        key,
        clock,
    };
    let mut last = Fault::Silent(format!("{server} has no address"));
    for address in addresses_of(server, until).await? {
        match question.ask_at(address, until).await {
            Err(silent @ Fault::Silent(_)) => last = silent,
            answer => return answer,
        }
    }
    Err(last)
}

async fn addresses_of(server: &Server, until: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let lookup = tokio::net::lookup_host((server.host.as_str(), server.port));
    let wait = until.min(Instant::now() + LOOKUP_WAIT);
    match timeout_at(wait, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(Fault::Silent(format!(
            "cannot look up the server {}: {error}",
            server.host
        ))),
        Err(_) => Err(Fault::Silent(format!(
            "looking up the server {} timed out",
            server.host
        ))),
    }
}

struct Question<'a> {
    message: &'a Message,
    bytes: &'a [u8],
    key: &'a Key,
    clock: &'a Clock,
}

/// The result over UDP.
enum Heard {
    /// A verified answer.
    Answer(Box<Message>),
    /// A reply that could be forged: try TCP.
    Doubt(Fault),
    /// No usable reply.
    Nothing,
}

impl Question<'_> {
    async fn ask_at(&self, address: SocketAddr, until: Instant) -> Result<Message, Fault> {
        let doubt = match self.over_udp(address, until).await {
            Ok(Heard::Answer(answer)) if !answer.truncation => return Ok(*answer),
            Ok(Heard::Doubt(fault)) => Some(fault),
            Ok(Heard::Answer(_) | Heard::Nothing) | Err(_) => None,
        };
        let wait = until.min(Instant::now() + TCP_WAIT);
        match timeout_at(wait, self.over_tcp(address)).await {
            Ok(Ok(reply)) => self.judge(&reply).unwrap_or(Err(Fault::Unproven)),
            Ok(Err(error)) => Err(doubt
                .unwrap_or_else(|| Fault::Silent(format!("{address} does not answer: {error}")))),
            Err(_) => Err(doubt
                .unwrap_or_else(|| Fault::Silent(format!("{address} does not answer in time")))),
        }
    }

    async fn over_udp(&self, address: SocketAddr, until: Instant) -> io::Result<Heard> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        // Connected: drops packets of other senders, and reports a closed port.
        socket.connect(address).await?;
        let mut buffer = vec![0; MAX_UDP_BYTES];
        for _ in 0..UDP_ATTEMPTS {
            socket.send(self.bytes).await?;
            let wait = until.min(Instant::now() + UDP_WAIT);
            while let Ok(length) = timeout_at(wait, socket.recv(&mut buffer)).await {
                match self.judge(&buffer[..length?]) {
                    Some(Ok(answer)) => return Ok(Heard::Answer(Box::new(answer))),
                    Some(Err(fault)) => return Ok(Heard::Doubt(fault)),
                    None => {}
                }
            }
        }
        Ok(Heard::Nothing)
    }

    /// Sends and receives with the two-byte length prefix (RFC 1035, section 4.2.2).
    async fn over_tcp(&self, address: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address).await?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), self.bytes].concat();
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await?;
        Ok(reply)
    }

    /// Verifies that a reply is the server's (RFC 8945, section 5.3 and 5.4). `None`: not an answer
    /// to this request.
    fn judge(&self, reply: &[u8]) -> Option<Result<Message, Fault>> {
        let answer = Message::from_vec(reply).ok()?;
        if answer.id != self.message.id
            || answer.message_type != MessageType::Response
            || answer.op_code != self.message.op_code
        {
            return None;
        }
        let verified = self.verify(reply, &answer);
        let error = answer.signature().and_then(|record| record.data.error);
        let is_not_auth = answer.response_code == ResponseCode::NotAuth;
        Some(match error.filter(|_| is_not_auth) {
            Some(TsigError::BadKey) => Err(Fault::BadKey),
            Some(TsigError::BadSig) => Err(Fault::BadSignature),
            // Signed, but by a clock that we do not trust: used for the error text only.
            Some(TsigError::BadTime) => Err(Fault::BadTime(self.clock_difference(&answer))),
            _ if verified => Ok(answer),
            _ if answer.signature().is_none() && answer.response_code != ResponseCode::NoError => {
                Err(Fault::Unsigned(answer.response_code))
            }
            _ => Err(Fault::Unproven),
        })
    }

    fn verify(&self, reply: &[u8], answer: &Message) -> bool {
        let (Some(asked), Some(answered)) = (self.message.signature(), answer.signature()) else {
            return false;
        };
        let now = self.clock.now().as_millis().div_euclid(1000);
        let signed = i64::try_from(answered.data.time).unwrap_or(i64::MAX);
        now.abs_diff(signed) <= u64::from(FUDGE_SECONDS)
            && answered.data.time >= u64::from(answered.data.fudge)
            && self
                .key
                .signer()
                .verify_message_byte(reply, Some(&asked.data.mac), true)
                .is_ok()
    }

    /// How many seconds the server's clock is ahead, according to BADTIME (RFC 8945, section 5.2.3).
    fn clock_difference(&self, answer: &Message) -> Option<i64> {
        let other = &answer.signature()?.data.other;
        let time: [u8; 6] = other.as_slice().try_into().ok()?;
        let time = time
            .into_iter()
            .fold(0_i64, |all, byte| all << 8 | i64::from(byte));
        Some(time - self.clock.now().as_millis().div_euclid(1000))
    }
}
