//! Clients that follow a silo through broken connections, each between two hubs on one database: one by
//! `/silos/{id}/events`, one by `Prefer: wait`. Neither may show an older state after a newer one, or a state that
//! no writer committed, and both must end in the last one.
//!
//! `SILO_TEST_LONG=1` makes 5000 changes in place of 400; `SILO_TEST_SEED` repeats the random choices of a run.
//! `scripts/test --on postgres followers` and `--on mariadb` have two hubs; SQLite has one.

mod breaker;
mod readers;
mod truth;
mod unanswered;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use silo_e2e::database::{Database, Kind};
use silo_e2e::{Caller, Hub, until};
use tokio::task::JoinHandle;

use breaker::{Breaker, Random};
use readers::{Shown, follow_events, long_poll};
use truth::Truth;

const SILO: &str = "/silos/office";
/// The hostnames that come and go.
const HOSTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// So many changes of the other silo come at once.
const BURST: u32 = 20;
/// How often the writers rest, so that the readers must come to the present state.
const RESTS: u32 = 5;

/// How much is done, and how fast.
#[derive(Clone, Copy, Debug)]
struct Load {
    changes_per_writer: u32,
    /// The longest pause of a writer; on average it pauses an eighth of it.
    pause: Duration,
}

impl Load {
    fn chosen() -> Self {
        let is_long = std::env::var("SILO_TEST_LONG").is_ok_and(|value| value == "1");
        let (changes_per_writer, pause) = if is_long { (2500, 100) } else { (200, 400) };
        Self {
            changes_per_writer,
            pause: Duration::from_millis(pause),
        }
    }
}

fn chosen_seed() -> u64 {
    match std::env::var("SILO_TEST_SEED") {
        Ok(seed) => seed.parse().expect("SILO_TEST_SEED is a number"),
        Err(_) => Random::new_seed(),
    }
}

/// When each deletion began, in the order of their revisions.
type Deletions = Arc<tokio::sync::Mutex<Vec<Instant>>>;

/// Changes the silo through one hub. Every change has an address of its own, so that it changes something.
struct Writer {
    caller: Caller,
    random: Random,
    number: u32,
    deletions: Deletions,
    truth: Arc<Mutex<Truth>>,
}

impl Writer {
    fn next_ip(&mut self) -> String {
        self.number += 1;
        std::net::Ipv4Addr::from(self.number).to_string()
    }

    /// Works until the next rest.
    async fn run(mut self, load: Load) -> Self {
        for _ in 0..load.changes_per_writer / RESTS {
            match self.random.below(100) {
                0..6 => self.delete().await,
                6..8 => self.burst().await,
                8..25 => self.put_record().await,
                _ => self.put_silo().await,
            }
            if self.random.below(4) == 0 {
                tokio::time::sleep(self.random.duration(load.pause)).await;
            }
        }
        self
    }

    /// One deletion at a time: the order of their beginnings is then that of their revisions.
    async fn delete(&mut self) {
        let mut deletions = self.deletions.lock().await;
        let begun = Instant::now();
        let sent = self.caller.request(Method::DELETE, SILO).send().await;
        match sent.unwrap().status().as_u16() {
            204 => deletions.push(begun),
            // The other writer's deletion was the last change.
            404 => {}
            status => panic!("a deletion was answered {status}"),
        }
    }

    async fn put_record(&mut self) {
        let host = HOSTS[self.random.index(HOSTS.len())];
        let ip = self.next_ip();
        let (status, record) = self.caller.put_ip("office", host, &ip).await.unwrap();
        assert!(matches!(status, 200 | 201), "{status} {record}");
    }

    async fn put_silo(&mut self) {
        let ip = self.next_ip();
        let mut records = vec![json!({"hostname": "n", "ip": ip})];
        for host in HOSTS {
            if self.random.below(2) == 0 {
                records.push(json!({"hostname": host, "ip": ip}));
            }
        }
        let put = self.caller.request(Method::PUT, SILO);
        let answer = put.json(&json!({"dnsrecords": records})).send().await;
        let answer = answer.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let body: serde_json::Value = answer.json().await.unwrap();
        self.truth.lock().unwrap().note_answer(&body);
    }

    /// Changes of another silo, at once. Says of a change without an answer what is known of it.
    async fn burst(&mut self) {
        let port = self.caller.authority().rsplit_once(':');
        let port: u16 = port.and_then(|(_, port)| port.parse().ok()).unwrap();
        let puts = (0..BURST).map(|host| {
            let (caller, ip) = (self.caller.clone(), self.next_ip());
            tokio::spawn(async move {
                let path = format!("/silos/burst/records/h-{host}");
                let (put, begun) = (caller.request(Method::PUT, &path), Instant::now());
                let answer = put.json(&json!({"ip": ip})).send().await;
                answer
                    .map(|answer| answer.status().as_u16())
                    .map_err(|error| {
                        let connections = unanswered::connections(port);
                        format!("{path} after {:?}: {error:?}{connections}", begun.elapsed())
                    })
            })
        });
        let mut failed = Vec::new();
        for put in puts.collect::<Vec<_>>() {
            match put.await.unwrap() {
                Ok(200 | 201) => {}
                Ok(status) => failed.push(status.to_string()),
                Err(why) => failed.push(why),
            }
        }
        assert!(
            failed.is_empty(),
            "{} of {BURST}:\n{}",
            failed.len(),
            failed.join("\n")
        );
    }
}

/// Waits until both readers show what a hub does, which may have to catch up with another one first.
async fn both_show(events: &Mutex<Shown>, polls: &Mutex<Shown>, hub: &Caller) {
    for (name, shown) in [("events", events), ("long polls", polls)] {
        until(&format!("{name} show the present state"), async || {
            let (status, silo) = hub.get(SILO).await;
            let revision = silo["revision"].as_i64().filter(|_| status == 200);
            (shown.lock().unwrap().present() == revision).then_some(())
        })
        .await;
    }
}

/// Changes the silo while every connection through the breakers is broken.
async fn change_unseen(writer: &mut Writer, is_deletion: bool, breakers: &[Breaker]) {
    breakers.iter().for_each(Breaker::close);
    if is_deletion {
        writer.delete().await;
    } else {
        writer.put_silo().await;
    }
    breakers.iter().for_each(Breaker::open);
}

/// Waits for the writers' rest. If one fails, the hubs' logs are printed, which go with the test's folder.
async fn ended(running: Vec<JoinHandle<Writer>>, hubs: &[Hub]) -> Vec<Writer> {
    let mut writers = Vec::new();
    for writer in running {
        writers.push(writer.await.unwrap_or_else(|failed| {
            unanswered::print_logs(hubs);
            std::panic::resume_unwind(failed.into_panic())
        }));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_through_broken_connections_never_goes_back() {
    let (load, seed) = (Load::chosen(), chosen_seed());
    println!("SILO_TEST_SEED={seed}, {load:?}");
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(Kind::chosen());
    let hubs = match &database {
        None => vec![Hub::start(folder.path())],
        Some(database) => ["one", "two"]
            .map(|name| {
                let key = folder.path().join("hub.key");
                Hub::start_on(database.url().as_str(), &key, &folder.path().join(name))
            })
            .into(),
    };
    let admin = Caller::new(&hubs[0], &hubs[0].admin_token());
    let callers: Vec<Caller> = hubs.iter().map(|hub| admin.at(hub.url())).collect();
    let (deletions, truth) = (Deletions::default(), Arc::<Mutex<Truth>>::default());
    let mut writers: Vec<Writer> = (0..2)
        .map(|number| Writer {
            caller: callers[number % callers.len()].clone(),
            random: Random::new(seed.wrapping_add(number as u64)),
            number: (u32::from(number == 1) << 20) | (10 << 24),
            deletions: Arc::clone(&deletions),
            truth: Arc::clone(&truth),
        })
        .collect();
    writers[0].put_silo().await;
    let addresses: Vec<_> = callers
        .iter()
        .map(|hub| hub.authority().to_owned())
        .collect();
    let breakers = [2, 3].map(|number| Breaker::start(&addresses, seed.wrapping_add(number)));
    let [events, polls] = [(); 2].map(|()| Arc::<Mutex<Shown>>::default());
    let readers = [
        tokio::spawn(follow_events(
            admin.at(&breakers[0].url()),
            Arc::clone(&events),
        )),
        tokio::spawn(long_poll(
            admin.at(&breakers[1].url()),
            Arc::clone(&polls),
            Random::new(seed.wrapping_add(4)),
        )),
    ];

    for _ in 0..RESTS {
        let running = writers
            .into_iter()
            .map(|writer| tokio::spawn(writer.run(load)));
        writers = ended(running.collect(), &hubs).await;
        let admin = writers[0].caller.clone();
        both_show(&events, &polls, &admin).await;
        // What happens while no client is connected must be told later; each such change is made at another hub.
        for writer in &mut writers {
            for is_deletion in [true, false] {
                change_unseen(writer, is_deletion, &breakers).await;
                both_show(&events, &polls, &writer.caller).await;
            }
        }
    }
    for reader in readers {
        assert!(!reader.is_finished(), "a reader failed: {:?}", reader.await);
        reader.abort();
    }

    let mut truth = std::mem::take(&mut *truth.lock().unwrap());
    truth.read_history(&admin).await;
    let deletions = deletions.lock().await;
    for (name, shown, breaker) in [
        ("events", events, &breakers[0]),
        ("long polls", polls, &breakers[1]),
    ] {
        let shown = shown.lock().unwrap();
        println!("{name}: {}, {}", shown.summary(), breaker.summary());
        truth.check(name, &shown, &deletions);
        breaker.has_broken_connections_to_all();
    }
}
