//! A hub to talk to.

mod answer;
mod described;
mod guarded;
mod home;
#[cfg(unix)]
mod page;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::ServiceExt;
use axum::extract::Request;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use silo_e2e::logs::Captured;
use silo_hub::internals::RunError;
use silo_hub::internals::domain::time::Clock;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::settings::HubSettings;
use silo_hub::internals::upkeep::Periods;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use answer::{Answer, Call};
pub(crate) use described::{DOCUMENT, properties, resolve};
pub(crate) use guarded::Guarded;
pub(crate) use home::Home;
#[cfg(unix)]
pub(crate) use page::{printed, shell};
pub(crate) use silo_e2e::PAUSE;
pub(crate) use silo_e2e::database::Kind;

/// When every hub's clock begins: 2026-01-02T03:04:05.678Z, in milliseconds.
pub(crate) const START_MS: i64 = 1_767_323_045_678;
/// The same as it travels.
pub(crate) const START: &str = "2026-01-02T03:04:05.678Z";
/// By when anything that a test waits for must have come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running hub.
pub(crate) struct TestHub {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its first admin token.
    pub(crate) admin: String,
    /// How it was started.
    pub(crate) settings: HubSettings,
    /// Its files and its database.
    pub(crate) home: Arc<Home>,
    clock: Arc<AtomicI64>,
    stepped: Arc<AtomicI64>,
    client: Client,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
    /// No secret was logged while it ran.
    _logs: Captured,
}

/// A client with connections of its own.
pub(crate) fn client() -> Client {
    // An error here means that a provider is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It speaks plain HTTP: without the system's certificates it is made far sooner.
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(DEADLINE)
        .build()
        .expect("a plain client can be made")
}

/// A listener on a free port of the loopback.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port")
}

impl TestHub {
    /// A new hub with a new database.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A new hub with changed settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut HubSettings)) -> Self {
        let home = Home::migrated();
        let mut settings = home.settings();
        change(&mut settings);
        home.put_migrated_file(&settings);
        Self::start_in(Arc::new(home), settings).await
    }

    /// A new hub with a new SQLite file whatever the tests run on, for messages about that file.
    pub(crate) async fn start_on_sqlite() -> Self {
        let home = Home::of_sqlite();
        let settings = home.settings();
        home.put_migrated_file(&settings);
        Self::start_in(Arc::new(home), settings).await
    }

    /// A new hub that believes `X-Forwarded-For` of the tests, which so come from any address.
    pub(crate) async fn start_behind_a_proxy() -> Self {
        Self::start_with(|settings| {
            settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("this is a network")];
        })
        .await
    }

    /// A hub on files and a database that may be there already.
    pub(crate) async fn start_in(home: Arc<Home>, settings: HubSettings) -> Self {
        Self::start_on(listener(), home, settings).await
    }

    /// A hub on a listener.
    pub(crate) async fn start_on(
        listener: TcpListener,
        home: Arc<Home>,
        settings: HubSettings,
    ) -> Self {
        Self::start_at(listener, home, settings, 0, Periods::default()).await
    }

    /// Stops the hub and starts another one in the same place, whose wall clock is off by so many seconds.
    pub(crate) async fn restart_off_by(self, seconds: i64) -> Self {
        let (home, settings) = self.stop().await;
        Self::start_at(listener(), home, settings, seconds, Periods::default()).await
    }

    /// The same, with other periods of its upkeep.
    pub(crate) async fn restart_with(self, seconds: i64, periods: Periods) -> Self {
        let (home, settings) = self.stop().await;
        Self::start_at(listener(), home, settings, seconds, periods).await
    }

    async fn start_at(
        listener: TcpListener,
        home: Arc<Home>,
        settings: HubSettings,
        step: i64,
        periods: Periods,
    ) -> Self {
        let logs = Captured::begin();
        let address = listener.local_addr().expect("it is bound");
        let (clock, stepped) = (
            Arc::new(AtomicI64::new(START_MS)),
            Arc::new(AtomicI64::new(step * 1000)),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(silo_hub::internals::run_at(
            listener,
            settings.clone(),
            Clock::Stepped {
                passed: Arc::clone(&clock),
                stepped: Arc::clone(&stepped),
            },
            periods,
            async {
                // A dropped sender stops the hub too.
                let _ = stopped.await;
            },
        ));
        let client = client();
        match client.get(format!("http://{address}/healthz")).send().await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(error) => {
                let ended = tokio::time::timeout(DEADLINE, running).await;
                panic!("the hub does not come up: {error}: {ended:?}");
            }
        }
        let mut hub = Self {
            address,
            admin: String::new(),
            settings,
            home,
            clock,
            stepped,
            client,
            stop,
            running,
            _logs: logs,
        };
        hub.admin = std::fs::read_to_string(hub.data("admin.token"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        hub
    }

    /// A hub whose parts a test holds in its hands: what [`silo_hub::internals::run`] does, but for its tasks.
    pub(crate) async fn start_in_parts() -> (Self, Arc<OpenHub>) {
        Self::start_in_parts_with(|_| {}).await
    }

    /// Like [`TestHub::start_in_parts`], with changed settings.
    pub(crate) async fn start_in_parts_with(
        change: impl FnOnce(&mut HubSettings),
    ) -> (Self, Arc<OpenHub>) {
        let home = Arc::new(Home::migrated());
        let mut settings = home.settings();
        change(&mut settings);
        home.put_migrated_file(&settings);
        Self::in_parts_of(home, settings, 0).await
    }

    /// Like [`TestHub::start_in_parts`], on files and a database that may be there already, with a wall clock that
    /// is off by so many seconds.
    pub(crate) async fn in_parts_of(
        home: Arc<Home>,
        settings: HubSettings,
        step: i64,
    ) -> (Self, Arc<OpenHub>) {
        let logs = Captured::begin();
        let (clock, stepped) = (
            Arc::new(AtomicI64::new(START_MS)),
            Arc::new(AtomicI64::new(step * 1000)),
        );
        let of_both = Clock::Stepped {
            passed: Arc::clone(&clock),
            stepped: Arc::clone(&stepped),
        };
        let open = OpenHub::open(&settings, of_both).await.expect("it opens");
        let key = open.key().await.expect("a key can be made");
        open.first_admin_token(&key).await.expect("so can a token");
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("it can be set");
        let listener = tokio::net::TcpListener::from_std(listener).expect("it can be taken over");
        let sinks = silo_hub::internals::open_sinks(&settings).expect("the settings are good");
        let sinks: Vec<_> = sinks
            .into_iter()
            .map(|sink| Arc::new(sink.keyed(&key)))
            .collect();
        let http = open.http(&settings, key);
        let mut foreign = silo_hub::internals::compat::routes(&settings.compat, &sinks);
        if settings.dashboard {
            foreign.pages = silo_hub::internals::dashboard::routes();
        }
        let front = silo_hub::internals::http::front(http, foreign);
        let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(front);
        let (stop, _) = oneshot::channel();
        let wake_ups = open.wake_ups().expect("nothing else runs them");
        let running = tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.expect("it serves"),
                () = wake_ups => unreachable!("they never end"),
            }
            Ok(())
        });
        let mut hub = Self {
            address,
            admin: String::new(),
            settings,
            home,
            clock,
            stepped,
            client: client(),
            stop,
            running,
            _logs: logs,
        };
        hub.admin = hub.read("admin.token").trim().to_owned();
        (hub, Arc::new(open))
    }

    /// Stops the hub, and answers its home and settings for another start.
    pub(crate) async fn stop(self) -> (Arc<Home>, HubSettings) {
        drop(self.stop);
        tokio::time::timeout(DEADLINE, self.running)
            .await
            .expect("the hub stops in time")
            .expect("the hub does not panic")
            .expect("the hub ends without an error");
        (self.home, self.settings)
    }

    /// Stops the hub and starts another one in the same place.
    pub(crate) async fn restart(self) -> Self {
        let (home, settings) = self.stop().await;
        Self::start_in(home, settings).await
    }

    /// A path in its data directory.
    pub(crate) fn data(&self, name: &str) -> std::path::PathBuf {
        self.settings.data_dir.join(name)
    }

    /// A text in its data directory.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.data(name)).expect("the file is there")
    }

    /// Moves its clock forward.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::AcqRel);
    }

    /// Its clock, for other parts of the same hub.
    pub(crate) fn clock(&self) -> Clock {
        Clock::Stepped {
            passed: Arc::clone(&self.clock),
            stepped: Arc::clone(&self.stepped),
        }
    }

    /// Steps its wall clock, forward or back; no time passes.
    pub(crate) fn step(&self, seconds: i64) {
        self.stepped.fetch_add(seconds * 1000, Ordering::AcqRel);
    }

    /// A request without a credential.
    pub(crate) fn open_call(&self, method: Method, path: &str) -> Call {
        let url = format!("http://{}{path}", self.address);
        let head = method == Method::HEAD;
        Call::new(head, self.client.request(method, url))
    }

    /// A request of the admin.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let call = self.open_call(method, path);
        if self.admin.is_empty() {
            call
        } else {
            call.bearer(&self.admin)
        }
    }

    /// `GET` of the admin.
    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// `HEAD` of the admin.
    pub(crate) fn head(&self, path: &str) -> Call {
        self.call(Method::HEAD, path)
    }

    /// `PUT` of the admin.
    pub(crate) fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    /// `POST` of the admin.
    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    /// `DELETE` of the admin.
    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Sets a silo to these hostname/address pairs.
    pub(crate) async fn put_silo(&self, id: &str, records: &[(&str, &str)]) -> Answer {
        let answer = self
            .put(&format!("/silos/{id}"))
            .json(&dnsrecords(records))
            .await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer
    }

    /// Makes a token: its id and its credential.
    pub(crate) async fn token(&self, spec: Value) -> (String, String) {
        let answer = self.post("/tokens").json(&spec).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let body = answer.json();
        (text(&body["id"]), text(&body["secret"]))
    }

    /// The credential of a new token with a role, for silos, writing only these hostnames.
    pub(crate) async fn credential(&self, role: &str, silos: &[&str], names: &[&str]) -> String {
        let mut spec = json!({"name": format!("a {role} token"), "role": role});
        if !silos.is_empty() {
            spec["silos"] = json!(silos);
        }
        if !names.is_empty() {
            spec["hostnames"] = json!(names);
        }
        self.token(spec).await.1
    }

    /// All of a silo's history, by following the links.
    pub(crate) async fn history(&self, id: &str) -> Vec<Value> {
        self.walk(&format!("/silos/{id}/history?limit=1000"))
            .await
            .concat()
    }

    /// The pages of a list, by following `Link: rel="next"`.
    pub(crate) async fn walk(&self, path: &str) -> Vec<Vec<Value>> {
        let admin = self.admin.clone();
        self.walk_as(&admin, path).await
    }

    /// The pages that a token sees of a list.
    pub(crate) async fn walk_as(&self, credential: &str, path: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let answer = self.open_call(Method::GET, &path).bearer(credential).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let page = answer.json();
            pages.push(page.as_array().expect("a list is an array").clone());
            next = answer.next_link();
            assert!(pages.len() < 1000, "the links lead in a circle");
        }
        pages
    }

    /// Sends bytes, without closing: the hub sees the client go away.
    pub(crate) async fn broken_off(&self, request: &str) {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("the hub listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the hub reads");
        stream.shutdown().await.expect("the end can be told");
        // Whether the hub answers this or hangs up at once does not matter.
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .expect("the hub closes the connection in time");
    }

    /// Sends bytes as they are and returns the response bytes until the hub closes the connection.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("the hub listens");
        let (mut reading, mut writing) = stream.into_split();
        let request = request.as_ref().to_owned();
        let sending = tokio::spawn(async move {
            // The hub may close the connection before everything is sent.
            let _ = writing.write_all(&request).await;
            writing
        });
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = tokio::time::timeout(DEADLINE, reading.read_to_end(&mut answer))
            .await
            .expect("the hub answers and closes the connection in time");
        sending.abort();
        String::from_utf8(answer).expect("the answer is UTF-8")
    }
}

/// Why a hub on these settings does not start.
pub(crate) async fn refusal(settings: &HubSettings) -> String {
    let clock = Clock::Set(Arc::new(AtomicI64::new(START_MS)));
    let run = silo_hub::internals::run(listener(), settings.clone(), clock, std::future::pending());
    tokio::time::timeout(DEADLINE, run)
        .await
        .expect("it gives up in time")
        .expect_err("it must not start")
        .to_string()
}

/// The body that sets a silo to these hostname/address pairs.
pub(crate) fn dnsrecords(records: &[(&str, &str)]) -> Value {
    let rows: Vec<_> = records
        .iter()
        .map(|(hostname, ip)| json!({"hostname": hostname, "ip": ip}))
        .collect();
    json!({ "dnsrecords": rows })
}

/// A JSON string's text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("this is a string").to_owned()
}

/// A document's revision.
pub(crate) fn revision(document: &Value) -> i64 {
    document["revision"]
        .as_i64()
        .expect("a revision is a number")
}

/// The status of a raw answer.
pub(crate) fn raw_status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {answer:?}"))
}
