//! `watch`, with real interfaces in a network namespace, against a hub that holds polls back.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::hub::{Answer, Hub, Request};
use crate::namespace::{in_namespace, shell};
use crate::run::{Agent, Running, TOKEN, until};

/// The longest that a poll is held back here.
const LONGEST: Duration = Duration::from_secs(10);

/// A silo with one record `db`.
#[derive(Clone, Default)]
struct Silo(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    ips: Vec<String>,
    revision: u32,
    /// What the token must be.
    token: Option<String>,
    /// The highest revision that a poll waits to change.
    polled: Option<u32>,
    /// How often it was reported.
    puts: u32,
}

impl Silo {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.0;
        change(&mut state.lock().expect("no panic before"));
        changed.notify_all();
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.0.lock().expect("no panic before"))
    }

    /// Another program sets this address.
    fn set(&self, ip: &str) {
        self.change(|state| {
            state.ips = vec![ip.to_owned()];
            state.revision += 1;
        });
    }

    #[track_caller]
    fn wait_for_ips(&self, ips: &[&str]) {
        until(&format!("{ips:?} at the hub"), || {
            self.look(|state| state.ips == ips)
        });
    }

    /// Waits until the agent waits for the next change.
    #[track_caller]
    fn wait_for_poll(&self) {
        until("a poll", || {
            self.look(|state| state.polled == Some(state.revision))
        });
    }

    fn answer(&self, request: &Request) -> Answer {
        if request.line == "GET /ip" {
            return Answer::ip("192.0.2.9");
        }
        let token = self.look(|state| state.token.clone());
        if token.is_some_and(|token| request.authorization != Some(format!("Bearer {token}"))) {
            return Answer::problem(401, "no such token");
        }
        match request.line.as_str() {
            "GET /silos/office" => self.poll(request),
            "GET /silos/office/records/db" => self.look(State::record),
            "PUT /silos/office/records/db" => {
                self.change(|state| state.put(request));
                self.look(State::record)
            }
            _ => Answer::problem(404, "no such thing"),
        }
    }

    fn poll(&self, request: &Request) -> Answer {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no panic before");
        let is_waiting = request
            .prefer
            .as_ref()
            .is_some_and(|prefer| prefer.starts_with("wait="));
        let is_known = |state: &State| request.if_none_match == Some(state.tag());
        if is_waiting && is_known(&state) {
            state.polled = Some(state.revision);
            let until = Instant::now() + LONGEST;
            while is_known(&state) && Instant::now() < until {
                (state, _) = changed
                    .wait_timeout(state, Duration::from_millis(100))
                    .expect("no panic before");
            }
        }
        if is_known(&state) {
            return Answer::status(304, "application/json", "");
        }
        let records: Vec<_> = state
            .ips
            .iter()
            .map(|ip| serde_json::json!({"hostname": "db", "ip": ip}))
            .collect();
        let silo = serde_json::json!({
            "id": "office", "dnsrecords": records, "revision": state.revision, "updated_at": "x",
        });
        Answer::json(silo.to_string()).header(&format!("ETag: {}", state.tag()))
    }

    fn hub(&self) -> Hub {
        let silo = self.clone();
        Hub::start(move |request| silo.answer(request))
    }
}

impl State {
    fn tag(&self) -> String {
        format!("\"{}\"", self.revision)
    }

    fn record(&self) -> Answer {
        if self.ips.is_empty() {
            return Answer::problem(404, "no such record");
        }
        let ips: Vec<&str> = self.ips.iter().map(String::as_str).collect();
        Answer::record("db", &ips, &crate::once::now()).header(&format!("ETag: {}", self.tag()))
    }

    fn put(&mut self, request: &Request) {
        let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
        let sent = body["ips"].as_array().expect("ips").iter();
        let sent: Vec<String> = sent
            .map(|ip| ip.as_str().expect("a text").to_owned())
            .collect();
        let is_kept = |held: &String| sent.iter().all(|ip| ip.contains(':') != held.contains(':'));
        let mut ips: Vec<String> = self.ips.iter().filter(|ip| is_kept(ip)).cloned().collect();
        ips.extend(sent);
        ips.sort();
        self.puts += 1;
        if ips != self.ips {
            self.ips = ips;
            self.revision += 1;
        }
    }
}

/// Without link-local addresses, of which the system would tell at any time.
const SETUP: &str = "
    ip link add d0 type veth peer name p0
    for link in d0 p0; do ip link set $link addrgenmode none; ip link set $link up; done
    ip addr add 192.0.2.5/24 dev d0";

/// Another address for `d0`, in another network: with the first address of a network, the kernel removes the others.
const MOVE: &str = "
    ip addr add 198.51.100.6/24 dev d0
    ip addr del 192.0.2.5/24 dev d0";

/// Starts to watch `d0`, and waits until it has reported it and waits for changes.
fn start(silo: &Silo, hub: &Hub, more: &str) -> Running {
    let running = Agent::new(&hub.url(), &format!("addresses: interface:d0\n{more}"))
        .args(["watch"])
        .start();
    silo.wait_for_ips(&["192.0.2.5"]);
    silo.wait_for_poll();
    running
}

#[test]
fn a_changed_address_is_reported_when_the_system_says_so() {
    let name = "watch::a_changed_address_is_reported_when_the_system_says_so";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let running = start(&silo, &hub, "");
        shell(MOVE);
        silo.wait_for_ips(&["198.51.100.6"]);
        // The kernel first checks that it is unique: until then it is not reported.
        shell("ip addr add 2001:db8::5/64 dev d0");
        silo.wait_for_ips(&["198.51.100.6", "2001:db8::5"]);
        // An address that changes nothing here.
        shell("ip addr add 203.0.113.5/24 dev lo");
        silo.wait_for_poll();
        let ran = running.end();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(
            ran.stdout,
            "office: db set to 192.0.2.5, revision 42
office: db 192.0.2.5 → 198.51.100.6, revision 42
office: db 198.51.100.6 → 198.51.100.6 2001:db8::5, revision 42
"
        );
        assert_eq!(ran.stderr, "");
        assert_eq!(silo.look(|state| state.puts), 3);
    });
}

#[test]
fn an_address_that_the_hub_sees_is_asked_for_when_the_own_ones_change() {
    let name = "watch::an_address_that_the_hub_sees_is_asked_for_when_the_own_ones_change";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let asked = || hub.lines().iter().filter(|line| *line == "GET /ip").count();
        let running = Agent::new(&hub.url(), "").args(["watch"]).start();
        silo.wait_for_ips(&["192.0.2.9"]);
        silo.wait_for_poll();
        let before = asked();
        shell("ip addr add 192.0.2.6/24 dev d0");
        until("another GET /ip", || asked() > before);
        assert_eq!(running.end().code, Some(0));
        // It found the same: nothing was sent.
        assert_eq!(silo.look(|state| state.puts), 1);
    });
}

#[test]
fn what_others_change_is_put_right_until_they_fight() {
    let name = "watch::what_others_change_is_put_right_until_they_fight";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let running = start(&silo, &hub, "");
        for _ in 0..3 {
            silo.set("192.0.2.66");
            silo.wait_for_ips(&["192.0.2.5"]);
            silo.wait_for_poll();
        }
        running.wait_for("another program sets it to 192.0.2.66");
        let puts = silo.look(|state| state.puts);
        // The agent acts on a change before it hears of the next one.
        for ip in ["192.0.2.67", "192.0.2.68", "192.0.2.69"] {
            silo.set(ip);
            silo.wait_for_poll();
        }
        assert_eq!(silo.look(|state| state.puts), puts);
        silo.wait_for_ips(&["192.0.2.69"]);
        // Its own address is still reported when it changes.
        shell(MOVE);
        silo.wait_for_ips(&["198.51.100.6"]);
        let ran = running.end();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 5, "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "said once: {ran:?}");
    });
}

#[test]
fn a_removed_record_is_made_again_and_the_hook_is_told() {
    let name = "watch::a_removed_record_is_made_again_and_the_hook_is_told";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let running = start(&silo, &hub, "on_change: [sh, -c, 'cat >>told']\n");
        // This hub has one revision only, so that the second change looks like the first one.
        let is_owed = || {
            let left = std::fs::read_dir(running.path("state")).expect("a folder");
            let mut names = left.flatten().map(|entry| entry.file_name());
            names.any(|name| name.to_string_lossy().starts_with("hook-"))
        };
        until("the first call of the hook", || {
            running.path("told").exists() && !is_owed()
        });
        silo.change(|state| {
            state.ips.clear();
            state.revision += 1;
        });
        silo.wait_for_ips(&["192.0.2.5"]);
        let told = running.path("told");
        until("two calls of the hook", || {
            std::fs::read_to_string(&told).is_ok_and(|told| told.lines().count() == 2)
        });
        assert_eq!(running.end().code, Some(0));
    });
}

#[test]
fn a_new_token_and_a_new_configuration_are_read() {
    let name = "watch::a_new_token_and_a_new_configuration_are_read";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let file = |interface: &str| {
            format!(
                "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\naddresses: interface:{interface}\n",
                hub.url()
            )
        };
        let agent = Agent::with_file(&file("d0"));
        agent.write("token", TOKEN, 0o600);
        let running = agent.args(["watch"]).start();
        silo.wait_for_ips(&["192.0.2.5"]);
        silo.wait_for_poll();

        let new = TOKEN.replace("xx", "yy");
        running.write("token", &new);
        silo.change(|state| {
            state.token = Some(new);
            state.ips = vec!["192.0.2.66".to_owned()];
            state.revision += 1;
        });
        silo.wait_for_ips(&["192.0.2.5"]);

        running.write("upstream.yaml", "hub: [\n");
        running.signal("HUP");
        running.wait_for("the configuration from before stays in use");
        shell("ip addr add 198.51.100.5/24 dev p0");
        running.write("upstream.yaml", &file("p0"));
        running.signal("HUP");
        silo.wait_for_ips(&["198.51.100.5"]);
        assert_eq!(running.end().code, Some(0));
    });
}

#[test]
fn a_hub_that_was_away_is_told_what_changed_meanwhile() {
    let name = "watch::a_hub_that_was_away_is_told_what_changed_meanwhile";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let address = format!("127.0.0.1:{}", hub.port());
        let running = start(&silo, &hub, "");
        drop(hub);
        // Ends the poll.
        silo.change(|state| state.revision += 1);
        shell(MOVE);
        running.wait_for("cannot reach the hub");
        let again = silo.clone();
        let _hub = Hub::start_at(&address, move |request| again.answer(request));
        silo.wait_for_ips(&["198.51.100.6"]);
        running.wait_for("office: db: recovered");
        let ran = running.end();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "said once: {ran:?}");
    });
}

#[test]
fn a_slow_hook_delays_no_report_and_is_told_of_what_changed_meanwhile() {
    let name = "watch::a_slow_hook_delays_no_report_and_is_told_of_what_changed_meanwhile";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        // It waits, at most 20 s, until the test has seen the next report.
        let script = "echo x >>begun; cat >>told; for i in $(seq 200); do test -e seen && exit; sleep 0.1; done; exit 1";
        let running = start(&silo, &hub, &format!("on_change: [sh, -c, '{script}']\n"));
        until("the hook", || running.path("begun").exists());
        shell(MOVE);
        silo.wait_for_ips(&["198.51.100.6"]);
        let begun = std::fs::read_to_string(running.path("begun")).expect("a file");
        assert_eq!(begun.lines().count(), 1, "the first one still runs");
        running.write("seen", "");
        let told = running.path("told");
        until("the second call", || {
            std::fs::read_to_string(&told).is_ok_and(|told| told.lines().count() == 2)
        });
        let told = std::fs::read_to_string(&told).expect("a file");
        let second = told.lines().nth(1).expect("two lines");
        assert!(
            second.contains(r#""before":["192.0.2.5"]"#) && second.contains("198.51.100.6"),
            "{told}"
        );
        let ran = running.end();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    });
}

/// systemd passes a copy of the token, made when the service starts (`LoadCredential=`).
#[test]
fn an_agent_whose_passed_token_is_refused_ends_so_that_it_is_started_with_the_new_one() {
    let name =
        "watch::an_agent_whose_passed_token_is_refused_ends_so_that_it_is_started_with_the_new_one";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        let agent = Agent::with_file(&format!(
            "hub: {}\nsilo: office\nhostnames: [db]\naddresses: interface:d0\n",
            hub.url()
        ));
        std::fs::create_dir(agent.path("passed")).expect("a folder");
        let token = agent.write("passed/token", TOKEN, 0o400);
        let folder = agent.path("passed").display().to_string();
        let token = token.display().to_string();
        let running = agent
            .env("CREDENTIALS_DIRECTORY", &folder)
            .args(["watch", "--token-file", &token])
            .start();
        silo.wait_for_ips(&["192.0.2.5"]);
        silo.wait_for_poll();
        silo.change(|state| {
            state.token = Some(TOKEN.replace("xx", "yy"));
            state.revision += 1;
        });
        let ran = running.ended();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("LoadCredential"), "{ran:?}");
    });
}

#[test]
fn a_record_that_fails_is_tried_again_although_another_one_is_corrected() {
    let name = "watch::a_record_that_fails_is_tried_again_although_another_one_is_corrected";
    in_namespace(name, SETUP, || {
        let silo = Silo::default();
        let hub = silo.hub();
        // `other` fails until the hub has it.
        let running = Agent::new(
            &hub.url(),
            "addresses: interface:d0\nhostnames: [db, other]\n",
        )
        .args(["watch"])
        .start();
        silo.wait_for_ips(&["192.0.2.5"]);
        silo.wait_for_poll();
        running.wait_for("office: other:");
        let asked = || {
            let lines = hub.lines();
            let is_other = |line: &&String| line.ends_with("/records/other");
            lines.iter().filter(is_other).count()
        };
        for _ in 0..2 {
            let before = asked();
            silo.set("192.0.2.66");
            silo.wait_for_ips(&["192.0.2.5"]);
            until("another try", || asked() > before);
        }
        assert_eq!(running.end().code, Some(0));
    });
}
