//! A receiver of webhooks, which checks every message by the Standard Webhooks recipe and complains, when
//! it is dropped, of those that no receiver should be sent.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::PATIENCE;
use crate::http_server::{HttpServer, Identity, Request, Response};

/// The secret that senders must know, in the form of their file.
pub const SECRET: &str = "whsec_c2l4dGVlbiBieXRlcyBhcmUgbm90IGVub3VnaCBoZXJl";

/// How far a message's time may be off, in seconds.
const TOLERANCE: u64 = 300;

/// A message that came, well signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, in seconds since the Unix epoch.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body as it came.
    pub raw: Vec<u8>,
    /// The body, parsed.
    pub body: Value,
    /// The status that it was answered; `None`: the connection was ended instead.
    pub answered: Option<u16>,
}

#[derive(Debug, Default)]
struct State {
    next: VecDeque<Response>,
    holding: bool,
    arrived: usize,
    messages: Vec<Message>,
    complaints: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    // Before the server, so that held requests end before its threads are waited for.
    release: Release,
    server: HttpServer,
}

#[derive(Debug)]
struct Release(Arc<Shared>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.hold(false);
    }
}

impl Receiver {
    /// Starts a receiver that knows [`SECRET`].
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        Self {
            server: HttpServer::start(shared.answerer()),
            release: Release(shared),
        }
    }

    /// Like [`Receiver::start`], over TLS.
    pub fn start_tls(identity: &Identity) -> Self {
        let shared = Arc::<Shared>::default();
        Self {
            server: HttpServer::start_tls(identity, shared.answerer()),
            release: Release(shared),
        }
    }

    /// Where messages go.
    pub fn url(&self) -> String {
        self.server.url("/hook")
    }

    /// Answers the next message that is not spoken for with this; without it the answer is 204.
    pub fn answer_next(&self, response: Response) {
        self.shared().state().next.push_back(response);
    }

    /// From now on messages are read, but not answered before [`Receiver::release`].
    pub fn hold(&self) {
        self.shared().hold(true);
    }

    /// Answers what is held back.
    pub fn release(&self) {
        self.shared().hold(false);
    }

    /// Every well-signed message that was answered, in order, also with an error.
    pub fn messages(&self) -> Vec<Message> {
        self.shared().state().messages.clone()
    }

    /// The messages that were taken: answered 2xx.
    pub fn taken(&self) -> Vec<Message> {
        let is_taken = |message: &Message| matches!(message.answered, Some(200..300));
        let messages = self.messages().into_iter();
        messages.filter(is_taken).collect()
    }

    /// Waits until so many messages have come, answered or not.
    pub fn wait_for_arrivals(&self, count: usize) {
        self.wait(|state| state.arrived >= count);
    }

    /// Waits until so many messages were taken.
    pub fn wait_for_taken(&self, count: usize) -> Vec<Message> {
        let is_taken = |message: &&Message| matches!(message.answered, Some(200..300));
        self.wait(|state| state.messages.iter().filter(is_taken).count() >= count);
        self.taken()
    }

    /// Waits until so many connections have ended, with or without requests.
    pub fn wait_for_ended_connections(&self, count: usize) {
        self.server.wait_for_ended_connections(count);
    }

    fn wait(&self, is_true: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared().state();
        while !is_true(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "it does not come: {state:#?}");
            state = self
                .shared()
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn shared(&self) -> &Shared {
        &self.release.0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let complaints = std::mem::take(&mut self.shared().state().complaints);
        if !std::thread::panicking() {
            assert!(
                complaints.is_empty(),
                "the receiver complains: {complaints:#?}"
            );
        }
    }
}

impl Shared {
    fn answerer(self: &Arc<Self>) -> impl Fn(Request) -> Response + Send + Sync + 'static {
        let shared = Arc::clone(self);
        move |request| shared.answer(request)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, holding: bool) {
        self.state().holding = holding;
        self.changed.notify_all();
    }

    fn answer(&self, request: Request) -> Response {
        let mut state = self.state();
        let message = read(&request);
        if let Err(complaint) = &message {
            state.complaints.push(format!("{complaint}: {request:?}"));
        }
        state.arrived += 1;
        self.changed.notify_all();
        while state.holding {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let Ok(mut message) = message else {
            return Response::text(401, "");
        };
        let no_content = || Response::text(204, "");
        let response = state.next.pop_front().unwrap_or_else(no_content);
        if let Response::Answer { status, .. } = &response {
            message.answered = Some(*status);
        }
        state.messages.push(message);
        self.changed.notify_all();
        response
    }
}

/// Checks a request as a receiver should, and takes the message out of it.
fn read(request: &Request) -> Result<Message, &'static str> {
    if request.method != "POST" || request.target != "/hook" {
        return Err("not a POST to where messages go");
    }
    if request.header("content-type") != "application/json" {
        return Err("not JSON by its type");
    }
    if request.headers.contains_key("authorization") {
        return Err("a credential");
    }
    let [id, timestamp, signature] = ["id", "timestamp", "signature"]
        .map(|name| request.header(&format!("webhook-{name}")).to_owned());
    if id.is_empty() || id.contains('.') {
        return Err("no good webhook-id");
    }
    let sent = timestamp.parse().map_err(|_| "no good webhook-timestamp")?;
    if unix_time().abs_diff(sent) > TOLERANCE {
        return Err("the message is too old, or of the future");
    }
    let given = signature
        .strip_prefix("v1,")
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or("no good webhook-signature")?;
    let key = SECRET
        .strip_prefix("whsec_")
        .and_then(|text| STANDARD.decode(text).ok())
        .expect("the secret is of the form");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&request.body);
    mac.verify_slice(&given).map_err(|_| "a wrong signature")?;
    Ok(Message {
        body: serde_json::from_slice(&request.body).map_err(|_| "not JSON")?,
        raw: request.body.clone(),
        id,
        timestamp,
        signature,
        answered: None,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a receiver goes by the machine's clock"
)]
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs()
}
