//! Two hubs on one database, of which one has a clock that is wrong: what they share has the time of
//! the database server.

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::mariadb::MariaDb;
use silo_e2e::postgres::Postgres;
use silo_e2e::smtp::{Security, SmtpServer};
use silo_e2e::{Caller, Hub, until};
use silo_hub::internals::domain::time::{Clock, Time};

use super::{HOUR, WallClock, date, wait_for_looks};
use crate::deliveries::{configure, deliveries, settled, two_hubs_tell_each_change_once};

const DB: &str = "/silos/office/records/db";

/// A server with a database for hubs.
trait Server {
    fn start() -> Self;
    fn url(&self) -> String;
    fn ask(&self, statement: &str) -> String;
}

impl Server for (Postgres, String) {
    fn start() -> Self {
        let server = Postgres::start();
        let url = server.database("silo");
        (server, url)
    }

    fn url(&self) -> String {
        self.1.clone()
    }

    fn ask(&self, statement: &str) -> String {
        self.0.ask("silo", statement)
    }
}

impl Server for MariaDb {
    fn start() -> Self {
        let server = Self::start();
        server.ask("CREATE DATABASE silo");
        server
    }

    fn url(&self) -> String {
        format!("mysql://silo@127.0.0.1:{}/silo", self.port())
    }

    fn ask(&self, statement: &str) -> String {
        Self::ask(self, &format!("USE silo; {statement}"))
    }
}

fn now() -> i64 {
    Clock::System.now().as_millis() / 1000
}

/// How many seconds a time is away from now.
fn distance(time: &str) -> u64 {
    let time = Time::parse(time).unwrap().as_millis() / 1000;
    time.abs_diff(now())
}

/// The same for the time of day of a `Date`.
fn distance_of_date(date: &str) -> u64 {
    let time = date.split(' ').nth(4).unwrap();
    let units = time.split(':').map(|unit| unit.parse::<i64>().unwrap());
    let second = units.fold(0, |sum, unit| 60 * sum + unit);
    let ahead = (second - now()).rem_euclid(24 * HOUR);
    ahead.min(24 * HOUR - ahead).unsigned_abs()
}

/// The record, once a hub has heard of it.
async fn record(caller: &Caller) -> Value {
    until("the record is there", async || {
        let (status, record) = caller.get(DB).await;
        (status == 200).then_some(record)
    })
    .await
}

async fn stored_times_are_the_servers<S: Server>() {
    let server = S::start();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("hub.key");
    let right = Hub::start_on(&server.url(), &key, &folder.path().join("right"));
    let clock = WallClock::off_by(folder.path(), 2 * HOUR);
    let wrong = folder.path().join("wrong");
    let wrong = Hub::start_on_under(&clock.wrapper(), &server.url(), &key, &wrong);
    let admin = Caller::new(&right, &right.admin_token());
    let by_wrong = admin.at(wrong.url());
    let put = async |caller: &Caller, ip: &str| {
        let body = json!({"ip": ip, "expires_after": 1800});
        let put = caller.request(Method::PUT, DB).json(&body).send().await;
        assert!(put.unwrap().status().is_success());
    };
    for (ip, offset) in [
        ("10.0.0.5", 2 * HOUR),
        ("10.0.0.6", -2 * HOUR),
        ("10.0.0.7", 0),
    ] {
        clock.set(offset);
        put(&by_wrong, ip).await;
        for caller in [&admin, &by_wrong] {
            let record = record(caller).await;
            let last_seen = record["last_seen"].as_str().unwrap();
            assert!(distance(last_seen) < 300, "{offset}: {record}");
            let date = date(caller).await;
            assert!(distance_of_date(&date) < 300, "{offset}: {date}");
        }
    }
    // Neither hub takes the record for silent.
    clock.set(2 * HOUR);
    wait_for_looks(&wrong, 2).await;
    record(&admin).await;
    assert_eq!(wrong.stop(), Some(0));
}

async fn a_killed_hubs_lease_is_short_and_ends_by_a_retry<S: Server>() {
    let server = S::start();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("hub.key");
    let smtp = SmtpServer::start(Security::None, false);
    let sink = format!(
        "  - name: mail\n    kind: email\n    smtp: {{host: 127.0.0.1, port: {}, tls: none}}\n    \
         from: silo@example.net\n    to: [late@example.net]\n",
        smtp.port()
    );
    let start = |name: &str, wrapper: &[&str]| {
        let folder = folder.path().join(name);
        configure(&folder, std::slice::from_ref(&sink));
        Hub::start_on_under(wrapper, &server.url(), &key, &folder)
    };
    let clock = WallClock::off_by(folder.path(), 2 * HOUR);
    let wrong = start("wrong", &clock.wrapper());
    let token = wrong.admin_token();
    smtp.set_late(true);
    let admin = Caller::new(&wrong, &token);
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    smtp.wait_for(1);
    wrong.kill();
    let until: i64 = server.ask("SELECT lease_until FROM sinks").parse().unwrap();
    let left = until / 1000 - now();
    assert!((1..=61).contains(&left), "the lease lasts {left} s");

    let right = start("right", &[]);
    let admin = admin.at(right.url());
    let pending = deliveries(&admin, "state=pending").await;
    assert_eq!(pending.len(), 1, "{pending:#?}");
    let retry = format!("/deliveries/{}/retry", pending[0]["id"]);
    let retried = admin.request(Method::POST, &retry).send().await.unwrap();
    assert_eq!(retried.status(), 200);
    // Sooner than the lease would have ended.
    let mails = smtp.wait_for(2);
    let ids = [0, 1].map(|at| mails[at].header("Message-ID"));
    assert_eq!(ids[0], ids[1]);
    smtp.set_late(false);
    settled(&admin).await;
}

async fn a_small_difference_repeats_nothing<S: Server>() {
    let server = S::start();
    two_hubs_tell_each_change_once(&server.url(), 120).await;
}

mod postgres {
    use super::*;

    type Tested = (Postgres, String);

    #[tokio::test]
    async fn stored_times_are_the_servers() {
        super::stored_times_are_the_servers::<Tested>().await;
    }

    #[tokio::test]
    async fn a_killed_hubs_lease_is_short_and_ends_by_a_retry() {
        super::a_killed_hubs_lease_is_short_and_ends_by_a_retry::<Tested>().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn hubs_whose_clocks_differ_by_two_minutes_tell_each_change_once() {
        super::a_small_difference_repeats_nothing::<Tested>().await;
    }
}

mod mariadb {
    use super::*;

    #[tokio::test]
    async fn stored_times_are_the_servers() {
        super::stored_times_are_the_servers::<MariaDb>().await;
    }

    #[tokio::test]
    async fn a_killed_hubs_lease_is_short_and_ends_by_a_retry() {
        super::a_killed_hubs_lease_is_short_and_ends_by_a_retry::<MariaDb>().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn hubs_whose_clocks_differ_by_two_minutes_tell_each_change_once() {
        super::a_small_difference_repeats_nothing::<MariaDb>().await;
    }
}
