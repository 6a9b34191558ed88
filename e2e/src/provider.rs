//! A DDNS provider that speaks dyndns2, as a server: it keeps what it is told, answers as the protocol
//! has it, and complains, when it is dropped, of every request that no client should send.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http_server::{HttpServer, Identity, Request, Response};

/// The user name of the one account.
pub const USERNAME: &str = "example.net-silo";
/// Its password.
pub const PASSWORD: &str = "correct horse: battery-staple";

/// An update that came with the right login for a host of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The host.
    pub hostname: String,
    /// The addresses that it was told, in order.
    pub addresses: Vec<IpAddr>,
    /// Whether the host held these already: what providers call abuse when it is done often.
    pub is_repeat: bool,
}

/// What happens to the next request.
#[derive(Clone, Debug)]
enum Next {
    /// This is answered and nothing is kept.
    Answer(Response),
    /// It is done, but the connection ends before the answer.
    HangUp,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<String, Vec<IpAddr>>,
    next: VecDeque<Next>,
    requests: usize,
    updates: Vec<Update>,
    complaints: Vec<String>,
}

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

impl Provider {
    /// Starts a provider whose one account has these hosts.
    pub fn start(hosts: &[&str]) -> Self {
        Self::start_on(hosts, HttpServer::start)
    }

    /// Like [`Provider::start`], over TLS.
    pub fn start_tls(identity: &Identity, hosts: &[&str]) -> Self {
        Self::start_on(hosts, |answer| HttpServer::start_tls(identity, answer))
    }

    fn start_on(
        hosts: &[&str],
        start: impl FnOnce(Box<dyn Fn(Request) -> Response + Send + Sync>) -> HttpServer,
    ) -> Self {
        let state = Arc::new(Mutex::new(State {
            hosts: hosts
                .iter()
                .map(|host| ((*host).to_owned(), Vec::new()))
                .collect(),
            ..State::default()
        }));
        let server = start(Box::new({
            let state = Arc::clone(&state);
            move |request| lock(&state).answer(&request)
        }));
        Self { server, state }
    }

    /// Where updates go.
    pub fn url(&self) -> String {
        self.server.url("/nic/update")
    }

    /// Answers the next request that is not spoken for with this, and keeps nothing of it.
    pub fn answer_next(&self, response: Response) {
        self.state().next.push_back(Next::Answer(response));
    }

    /// Does what the next request asks for, and ends the connection instead of answering.
    pub fn hang_up_after_next(&self) {
        self.state().next.push_back(Next::HangUp);
    }

    /// How many requests came, whatever their worth.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// Waits until so many connections have ended, with or without requests.
    pub fn wait_for_ended_connections(&self, count: usize) {
        self.server.wait_for_ended_connections(count);
    }

    /// What was kept, in order.
    pub fn updates(&self) -> Vec<Update> {
        self.state().updates.clone()
    }

    /// The state of a host.
    pub fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.state().hosts.get(host).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let complaints = std::mem::take(&mut self.state().complaints);
        if !std::thread::panicking() {
            assert!(
                complaints.is_empty(),
                "the provider complains: {complaints:#?}"
            );
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        self.requests += 1;
        self.check(request);
        match self.next.pop_front() {
            Some(Next::Answer(response)) => response,
            Some(Next::HangUp) => {
                self.update(request);
                Response::HangUp
            }
            None => self.update(request),
        }
    }

    fn check(&mut self, request: &Request) {
        let mut complain = |is_wrong: bool, what: &str| {
            if is_wrong {
                self.complaints.push(format!("{what}: {request:?}"));
            }
        };
        complain(request.method != "GET", "not GET");
        complain(!request.body.is_empty(), "a body");
        complain(request.path() != "/nic/update", "another path");
        let agent = request.header("user-agent");
        let version = agent.strip_prefix("silo-hub/").unwrap_or("");
        complain(
            !version.starts_with(|c: char| c.is_ascii_digit()),
            "no User-Agent with a version",
        );
        let query = request.query();
        let known = ["system", "hostname", "myip", "myipv6"];
        complain(
            query.iter().any(|(key, _)| !known.contains(key)),
            "an unknown parameter",
        );
        for key in ["hostname", "myip"] {
            let given = query.iter().filter(|(other, _)| *other == key).count();
            complain(given != 1, &format!("not one {key}"));
        }
        let mut addresses: Vec<_> = addresses(request);
        complain(addresses.iter().any(Option::is_none), "no address");
        addresses.sort();
        addresses.dedup_by_key(|ip| ip.map(|ip| ip.is_ipv4()));
        complain(
            addresses.len() != self::addresses(request).len(),
            "two addresses of a family",
        );
    }

    fn update(&mut self, request: &Request) -> Response {
        let login = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
        if request.header("authorization") != format!("Basic {login}") {
            return Response::text(401, "badauth")
                .with_header("WWW-Authenticate", "Basic realm=\"DynDNS\"");
        }
        let query = request.query();
        let name = query.iter().find(|(key, _)| *key == "hostname");
        let Some((name, held)) = name.and_then(|(_, name)| self.hosts.get_key_value(*name)) else {
            return Response::text(200, "nohost");
        };
        let addresses: Vec<IpAddr> = addresses(request).into_iter().flatten().collect();
        let is_repeat = addresses.iter().all(|ip| held.contains(ip));
        self.updates.push(Update {
            hostname: name.clone(),
            addresses: addresses.clone(),
            is_repeat,
        });
        let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let list = list.join(",");
        if let Some(held) = self.hosts.get_mut(&name.clone()) {
            held.retain(|ip| !addresses.iter().any(|new| new.is_ipv4() == ip.is_ipv4()));
            held.extend(&addresses);
            held.sort();
        }
        let word = if is_repeat { "nochg" } else { "good" };
        Response::text(200, format!("{word} {list}\n"))
    }
}

/// Every address that a request tells; `None` for other values.
fn addresses(request: &Request) -> Vec<Option<IpAddr>> {
    request
        .query()
        .iter()
        .filter(|(key, _)| matches!(*key, "myip" | "myipv6"))
        .flat_map(|(_, list)| list.split(','))
        .map(|text| text.parse().ok())
        .collect()
}
