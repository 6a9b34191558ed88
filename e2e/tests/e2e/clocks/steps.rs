//! A hub and both agents under a wall clock that is wrong at the start or is stepped later, and is then put right.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use silo_e2e::clock::STEPS;
use silo_e2e::http_server::{HttpServer, Response};
use silo_e2e::{Caller, Hub, binary, for_each_on, logs, until, webhook_receiver, write_private};
use silo_hub::internals::domain::backoff::LONGEST;
use silo_hub::internals::domain::time::Clock;

use super::WallClock;
use crate::deaf_database::writes::signed_put_at;

const DB: &str = "/silos/office/records/db";

#[test]
fn hub_and_agents_continue_after_a_wrong_clock_is_corrected() {
    let cases = STEPS.map(|step| [(step, true), (step, false)]).concat();
    // They wait for the hub to try a delivery again.
    for_each_on(8, &cases, |(step, at_start)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(go_on(*step, *at_start));
    });
}

async fn go_on(step: i64, at_start: bool) {
    let what = format!("{step} {at_start}");
    let scene = Scene::start(if at_start { step } else { 0 });
    let mut revisions = Vec::new();
    // Recorded on the way while the clock is right, and while it is wrong; each is superseded by the next.
    let mut recorded = Vec::new();
    if !at_start {
        for ip in ["10.0.0.1", "10.0.0.2"] {
            recorded.push(scene.put(ip, recorded.len(), 0));
            revisions.push(accepted(recorded.last().unwrap(), &what).await);
        }
        scene.clock.set(step);
    }
    for ip in ["10.0.0.3", "10.0.0.4"] {
        recorded.push(scene.put(ip, recorded.len(), step));
        revisions.push(accepted(recorded.last().unwrap(), &what).await);
    }
    let tried = async || scene.hook.was_tried().then_some(());
    until(&format!("{what}: a delivery fails"), tried).await;
    scene.run_agents(&what);
    scene.use_up_requests(&what).await;

    scene.clock.set(0);
    scene.use_up_requests(&what).await;
    scene.hook.is_up.store(true, Ordering::Release);
    if !(1..=LONGEST).contains(&step) {
        // By a wait that is possible it may be held back until the next change.
        scene
            .wait_for_delivery(&["10.0.0.3", "10.0.0.4"], &what)
            .await;
    }
    let newest = scene.put("10.0.0.5", recorded.len(), 0);
    revisions.push(accepted(&newest, &what).await);
    let all = ["10.0.0.3", "10.0.0.4", "10.0.0.5"];
    scene.wait_for_delivery(&all, &what).await;
    scene.run_agents(&what);
    let grow = revisions.is_sorted_by(|before, after| before < after);
    assert!(grow, "{what}: {revisions:?}");

    // Whatever the clock shows, what was superseded stays so.
    for now in [step, 0] {
        scene.clock.set(now);
        for request in &recorded {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            assert_eq!(answer.status(), 401, "{what} {now}");
        }
    }
    let (_, record) = scene.admin.get(DB).await;
    assert_eq!(record["ips"], json!(["10.0.0.5"]), "{what}");
    assert_eq!(scene.hub.stop(), Some(0), "{what}");
}

/// The revision of a write that the hub takes.
async fn accepted(request: &RequestBuilder, what: &str) -> i64 {
    let answer = request.try_clone().unwrap().send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{what}: {status} {body}");
    body["revision"].as_i64().unwrap()
}

/// A receiver of webhooks that is down at first.
struct Hook {
    is_up: Arc<AtomicBool>,
    /// What came, with whether it was taken.
    came: Arc<Mutex<Vec<(String, bool)>>>,
    server: HttpServer,
}

impl Hook {
    fn start() -> Self {
        let is_up = Arc::<AtomicBool>::default();
        let came = Arc::<Mutex<Vec<(String, bool)>>>::default();
        let (up, all) = (Arc::clone(&is_up), Arc::clone(&came));
        let server = HttpServer::start(move |request| {
            let is_taken = up.load(Ordering::Acquire);
            let body = String::from_utf8(request.body).unwrap();
            all.lock().unwrap().push((body, is_taken));
            Response::text(if is_taken { 204 } else { 503 }, "")
        });
        Self {
            is_up,
            came,
            server,
        }
    }

    fn was_tried(&self) -> bool {
        !self.came.lock().unwrap().is_empty()
    }

    fn took(&self, ip: &str) -> bool {
        let came = self.came.lock().unwrap();
        came.iter()
            .any(|(body, is_taken)| *is_taken && body.contains(ip))
    }
}

struct Scene {
    hub: Hub,
    hook: Hook,
    clock: WallClock,
    admin: Caller,
    reader: Caller,
    folder: tempfile::TempDir,
}

impl Scene {
    /// A hub whose clock is off by so many seconds, and a machine with the agents.
    fn start(off_by: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hook = Hook::start();
        write_private(&folder.path().join("hook.secret"), webhook_receiver::SECRET);
        let settings = format!(
            "limits: {{requests_per_minute: 20}}\n\
             sinks:\n  - name: hook\n    kind: webhook\n    url: {}\n    secret_file: hook.secret\n",
            hook.server.url("/hook")
        );
        std::fs::write(folder.path().join("hub.yaml"), settings).unwrap();
        let clock = WallClock::off_by(folder.path(), off_by);
        let hub = Hub::start_under(&clock.wrapper(), folder.path());
        let admin = Caller::new(&hub, &hub.admin_token());
        let token = |name: &str, role: &str| {
            hub.token(&["--name", name, "--role", role, "--silo", "office"])
        };
        let reader = admin.with(&token("reader", "read"));
        write_private(&folder.path().join("token"), &token("agents", "write"));
        let common = format!("hub: {}\nsilo: office\ntoken_file: token\n", hub.url());
        for (agent, own) in [
            (
                "upstream",
                "hostnames: [nas]\naddresses: {command: [echo, 10.0.0.77]}\nstate_dir: FOLDER/upstream\n",
            ),
            (
                "downstream",
                "hosts_file: hosts\nstate_dir: FOLDER/downstream\n",
            ),
        ] {
            let path = folder.path().join(agent).with_extension("yaml");
            let own = own.replace("FOLDER", folder.path().to_str().unwrap());
            std::fs::write(path, format!("{common}{own}")).unwrap();
        }
        std::fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        Self {
            hub,
            hook,
            clock,
            admin,
            reader,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A write of a machine whose clock is off by so many seconds, signed so many seconds later.
    fn put(&self, ip: &str, later: usize, off_by: i64) -> RequestBuilder {
        let later = i64::try_from(later).unwrap();
        let now = Clock::System.now().plus_seconds(off_by + later);
        signed_put_at(&self.admin, DB, ip, None, now)
    }

    async fn wait_for_delivery(&self, ips: &[&str], what: &str) {
        let are_told = async || ips.iter().all(|ip| self.hook.took(ip)).then_some(());
        until(&format!("{what}: {ips:?} are delivered"), are_told).await;
    }

    /// One run of each agent, under the same clock.
    fn run_agents(&self, what: &str) {
        for agent in ["upstream", "downstream"] {
            let program = binary(&format!("silo-{agent}"));
            let config = self.path(agent).with_extension("yaml");
            let [env, variables @ ..] = &self.clock.wrapper()[..] else {
                unreachable!("a program runs under the clock");
            };
            let mut command = Command::new(env);
            command.args(variables).arg(program);
            command.args(["once", "--config"]).arg(config);
            let output = logs::run(&mut command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{what}: {agent}: {said}");
        }
        let hosts = std::fs::read_to_string(self.path("hosts")).unwrap();
        assert!(hosts.contains("10.0.0.77 nas\n"), "{what}: {hosts}");
    }

    /// Reads until the hub refuses more, and looks at how long it asks to wait.
    async fn use_up_requests(&self, what: &str) {
        for _ in 0..200 {
            let answer = self.reader.request(Method::GET, "/silos/office");
            let answer = answer.send().await.unwrap();
            if answer.status() == 429 {
                let wait = answer.headers()["retry-after"].to_str().unwrap();
                let seconds: u64 = wait.parse().unwrap();
                assert!((1..=60).contains(&seconds), "{what}: {seconds}");
                return;
            }
            assert_eq!(answer.status(), 200, "{what}");
        }
        panic!("{what}: requests are not limited");
    }
}
