//! The history of one hostname is what a filter of the silo's whole history answers, whatever wrote it: this version,
//! an older one on the same database, imports, purges; linked already or not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::link_history::HistoryLinks;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{BeginLinking, EndLinking, Followed, Linking};
use silo_hub::internals::store::{HistoryCursor, HistoryRow, Reads};
use silo_shared::silo::{Hostname, SiloId};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use crate::common::{START_MS, TestHub};
use crate::expiry::upkeep;
use crate::revert::revert;
use crate::transfer::{exported, import};

const NAMES: [&str; 5] = ["a", "b", "c.example", "d", "never"];

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let index = self.below(of.len() as u64);
        of[usize::try_from(index).unwrap()].clone()
    }
}

fn silo(id: &str) -> SiloId {
    SiloId::parse(id).unwrap()
}

fn links(open: &OpenHub) -> HistoryLinks {
    HistoryLinks::new(open.store.clone(), open.registry.clone())
}

/// The rows of a hostname by pages of so many.
async fn walk(open: &OpenHub, id: &SiloId, name: &Hostname, limit: i64) -> Vec<HistoryRow> {
    let mut rows: Vec<HistoryRow> = Vec::new();
    loop {
        let after = rows.last().map(HistoryCursor::after);
        let page = open.store.history(id, Some(name), after.as_ref(), limit);
        let page = page.await.unwrap();
        let is_last = (page.len() as i64) < limit;
        rows.extend(page);
        if is_last {
            return rows;
        }
    }
}

/// Compares the history of each hostname with a filter of the silo's.
async fn compare(open: &OpenHub, ids: &[&str], names: &[&str], limit: i64, what: &str) {
    for id in ids {
        let id = silo(id);
        let all = open.store.history(&id, None, None, 1_000_000).await;
        let all = all.unwrap();
        for name in names {
            let name = Hostname::parse(name).unwrap();
            let expected: Vec<_> = all.iter().filter(|row| row.hostname == name).collect();
            let found = walk(open, &id, &name, limit).await;
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected,
                "{name} of {id} by {limit}: {what}"
            );
        }
    }
}

async fn run(connection: &mut AnyConnection, sql: String) -> u64 {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap().rows_affected()
}

async fn number(connection: &mut AnyConnection, sql: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(connection);
    row.await.unwrap().get(0)
}

/// Writes as version 0.1.0 does, which knows none of the columns by which history is linked.
struct OlderHub {
    connection: AnyConnection,
}

impl OlderHub {
    async fn beside(hub: &TestHub) -> Self {
        Self {
            connection: hub.home.connect().await,
        }
    }

    async fn take_revision(&mut self, id: &str, deleted: bool) -> i64 {
        let deleted = i64::from(deleted);
        let connection = &mut self.connection;
        let next = "UPDATE counters SET value = value + 1 WHERE name = 'revision'";
        run(connection, next.to_owned()).await;
        let revision = "SELECT value FROM counters WHERE name = 'revision'";
        let revision = number(connection, revision).await;
        let moved = format!(
            "UPDATE silos SET revision = {revision}, deleted = {deleted} WHERE id = '{id}'"
        );
        if run(connection, moved).await == 0 {
            let new = format!(
                "INSERT INTO silos (id, revision, updated_at, deleted) \
                 VALUES ('{id}', {revision}, {START_MS}, {deleted})"
            );
            run(connection, new).await;
        }
        revision
    }

    async fn address(&mut self, id: &str, name: &str, column: &str) -> Option<String> {
        let sql =
            format!("SELECT {column} FROM records WHERE silo = '{id}' AND hostname = '{name}'");
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_optional(&mut self.connection)
            .await;
        row.unwrap().and_then(|row| row.get(0))
    }

    async fn note(
        &mut self,
        revision: i64,
        id: &str,
        name: &str,
        family: i64,
        change: [Option<&str>; 2],
        at: i64,
    ) {
        let [old, new] = change.map(|ip| ip.map_or("NULL".to_owned(), |ip| format!("'{ip}'")));
        let sql = format!(
            "INSERT INTO history (revision, silo, hostname, family, changed_at, old_ip, new_ip, via) \
             VALUES ({revision}, '{id}', '{name}', {family}, {at}, {old}, {new}, 'rest')"
        );
        run(&mut self.connection, sql).await;
    }

    async fn set(&mut self, id: &str, name: &str, ip: &str, at: i64) {
        run(&mut self.connection, "BEGIN".to_owned()).await;
        self.set_within(id, name, ip, at).await;
        run(&mut self.connection, "COMMIT".to_owned()).await;
    }

    async fn set_within(&mut self, id: &str, name: &str, ip: &str, at: i64) {
        let revision = self.take_revision(id, false).await;
        let old = self.address(id, name, "ipv4").await;
        if old.as_deref() == Some(ip) {
            return;
        }
        self.note(revision, id, name, 4, [old.as_deref(), Some(ip)], at)
            .await;
        let moved = format!(
            "UPDATE records SET ipv4 = '{ip}', revision = {revision} \
             WHERE silo = '{id}' AND hostname = '{name}'"
        );
        if run(&mut self.connection, moved).await == 0 {
            let new = format!(
                "INSERT INTO records (silo, hostname, ipv4, revision, updated_at, last_seen) \
                 VALUES ('{id}', '{name}', '{ip}', {revision}, {at}, {at})"
            );
            run(&mut self.connection, new).await;
        }
    }

    async fn comment(&mut self, id: &str, name: &str, comment: i64) {
        let here = format!("WHERE silo = '{id}' AND hostname = '{name}'");
        let any = format!("SELECT count(*) FROM records {here}");
        if number(&mut self.connection, &any).await == 0 {
            return;
        }
        let revision = self.take_revision(id, false).await;
        let sql = format!("UPDATE records SET note = '{comment}', revision = {revision} {here}");
        run(&mut self.connection, sql).await;
    }

    async fn remove(&mut self, id: &str, names: &[&str], silo_too: bool, at: i64) {
        let any = format!("SELECT count(*) FROM silos WHERE id = '{id}' AND deleted = 0");
        if number(&mut self.connection, &any).await == 0 {
            return;
        }
        let revision = self.take_revision(id, silo_too).await;
        for name in names {
            for (family, column) in [(4, "ipv4"), (6, "ipv6")] {
                if let Some(old) = self.address(id, name, column).await {
                    self.note(revision, id, name, family, [Some(&old), None], at)
                        .await;
                }
            }
            let gone = format!("DELETE FROM records WHERE silo = '{id}' AND hostname = '{name}'");
            run(&mut self.connection, gone).await;
        }
    }
}

/// How many silos are not linked.
async fn unlinked(older: &mut OlderHub) -> i64 {
    let sql = "SELECT count(*) FROM silos WHERE linked IS NULL OR linked <> revision";
    number(&mut older.connection, sql).await
}

/// One change that this hub makes, or refuses.
async fn change(hub: &TestHub, open: &OpenHub, numbers: &mut Numbers, id: &str, step: u64) {
    let name = numbers.one(&NAMES[..4]);
    let ip = format!("10.0.{}.{}", step / 250, step % 250 + 1);
    let v6 = format!("fd00::{step:x}");
    let record = format!("/silos/{id}/records/{name}");
    let answer = match numbers.below(12) {
        0 | 1 => {
            let mut rows = Vec::new();
            for name in &NAMES[..4] {
                match numbers.below(4) {
                    0 => {}
                    1 => rows.push((*name, &*ip)),
                    2 => rows.push((*name, &*v6)),
                    _ => rows.extend([(*name, &*ip), (*name, &*v6)]),
                }
            }
            hub.put_silo(id, &rows).await
        }
        2 => hub.delete(&format!("/silos/{id}")).await,
        3 => hub.delete(&record).await,
        4 => hub.delete(&format!("{record}?family=4")).await,
        5 => {
            let comment = json!({"comment": step.to_string()});
            hub.put(&record).json(&comment).await
        }
        6 => {
            let all = open.store.history(&silo(id), None, None, 1000).await;
            let all = all.unwrap();
            if !all.is_empty() {
                let revision = numbers.one(&all).revision;
                // Some are refused, as where an older hub has left something out.
                let _ = revert(open, id, revision.into()).await;
            }
            return;
        }
        7 => {
            let both = json!({"ips": [ip, v6]});
            hub.put(&record).json(&both).await
        }
        _ => hub.put(&record).json(&json!({"ip": ip})).await,
    };
    assert!(
        answer.status < 300 || [404, 422].contains(&answer.status),
        "{answer:?}"
    );
}

#[tokio::test]
async fn every_hostnames_history_is_a_filter_of_the_silos() {
    const SILOS: [&str; 4] = ["office", "home", "foreign", "older"];
    // Another hub, whose silos are imported.
    let (source, from) = TestHub::start_in_parts().await;
    let mut numbers = Numbers(7);
    for step in 0..40 {
        let id = numbers.one(&["foreign", "office"]);
        change(&source, &from, &mut numbers, id, step).await;
    }
    let export = exported(&from, false).await;
    let (hub, open) = TestHub::start_in_parts().await;
    let mut older = OlderHub::beside(&hub).await;
    let mut links = links(&open);
    for step in 0..240 {
        let id = numbers.one(&["office", "home", "older"]);
        let name = numbers.one(&NAMES[..4]);
        let at = open.clock.now().as_millis();
        let what = match numbers.below(40) {
            0 => {
                import(&open, &export).await.unwrap();
                "import"
            }
            1 if step > 100 => {
                hub.pass(20 * 86_400);
                upkeep(&open, 0).purge().await.unwrap();
                "purge"
            }
            2..5 => {
                links.link().await.unwrap();
                assert_eq!(unlinked(&mut older).await, 0);
                "link"
            }
            5..8 => {
                older.set(id, name, &format!("10.9.9.{step}"), at).await;
                "an older hub sets"
            }
            8 => {
                older.comment(id, name, step).await;
                "an older hub comments"
            }
            9 => {
                older.remove(id, &[name], false, at).await;
                "an older hub removes"
            }
            10 => {
                older.remove(id, &NAMES, true, at).await;
                "an older hub removes a silo"
            }
            _ => {
                let id = numbers.one(&SILOS);
                change(&hub, &open, &mut numbers, id, step.unsigned_abs()).await;
                "a change"
            }
        };
        let limit = numbers.one(&[1, 2, 3, 100]);
        let what = format!("step {step}, {what}");
        compare(&open, &SILOS, &NAMES, limit, &what).await;
    }
    links.link().await.unwrap();
    assert_eq!(unlinked(&mut older).await, 0);
    compare(&open, &SILOS, &NAMES, 2, "all is linked").await;
}

/// Adds what an older hub wrote to a silo: so many rounds of as many hostnames, some of which are removed at the end.
async fn old_history(older: &mut OlderHub, id: &str, names: &[String], rounds: i64) {
    let first = older.take_revision(id, false).await;
    let mut rows = Vec::new();
    for round in 0..rounds {
        for (at, name) in (0..).zip(names) {
            let old = match round {
                0 => "NULL".to_owned(),
                _ => format!("'10.0.{round}.1'"),
            };
            let new = if round == rounds - 1 && at % 3 == 0 {
                "NULL".to_owned()
            } else {
                format!("'10.0.{}.1'", round + 1)
            };
            let revision = first + round;
            rows.push(format!(
                "({revision}, '{id}', '{name}', 4, {START_MS}, {old}, {new}, 'rest')"
            ));
        }
    }
    for rows in rows.chunks(500) {
        let sql = format!(
            "INSERT INTO history (revision, silo, hostname, family, changed_at, old_ip, new_ip, via) \
             VALUES {}",
            rows.join(", ")
        );
        run(&mut older.connection, sql).await;
    }
    let last = first + rounds - 1;
    for (at, name) in (0..).zip(names).filter(|(at, _)| at % 3 != 0) {
        // One in six had its comment changed since.
        let revision = last + i64::from(at % 6 == 1);
        let sql = format!(
            "INSERT INTO records (silo, hostname, ipv4, revision, updated_at, last_seen) \
             VALUES ('{id}', '{name}', '10.0.{rounds}.1', {revision}, {START_MS}, {START_MS})"
        );
        run(&mut older.connection, sql).await;
    }
    let sql = format!("UPDATE silos SET revision = {} WHERE id = '{id}'", last + 1);
    run(&mut older.connection, sql).await;
    let sql = format!(
        "UPDATE counters SET value = {} WHERE name = 'revision'",
        last + 1
    );
    run(&mut older.connection, sql).await;
}

/// What a page reads.
async fn cost(open: &OpenHub, id: &str, name: &str) -> Reads {
    let before = open.store.reads();
    let name = Hostname::parse(name).unwrap();
    let rows = open.store.history(&silo(id), Some(&name), None, 2).await;
    rows.unwrap();
    let after = open.store.reads();
    Reads {
        statements: after.statements - before.statements,
        rows: after.rows - before.rows,
    }
}

#[tokio::test]
async fn what_an_older_hub_wrote_is_linked_while_others_write() {
    let (hub, open) = TestHub::start_in_parts().await;
    let mut older = OlderHub::beside(&hub).await;
    let names: Vec<String> = (0..400).map(|at| format!("h{at}")).collect();
    old_history(&mut older, "large", &names, 20).await;
    old_history(&mut older, "small", &names[..20], 3).await;
    let asked = ["h0", "h1", "h2", "h7", "h13", "h399", "none"];
    compare(&open, &["large", "small"], &asked, 3, "nothing is linked").await;
    assert!(cost(&open, "large", "none").await.statements > 2);
    let mut links = links(&open);
    let writing = async {
        for step in 0..60_u64 {
            let name = &names[usize::try_from(step % 30).unwrap()];
            let record = format!("/silos/large/records/{name}");
            let answer = match step % 3 {
                0 => hub.put(&record).json(&json!({"comment": "x"})).await,
                1 => hub.call(Method::DELETE, &record).await,
                _ => {
                    let ip = format!("10.7.0.{}", step + 1);
                    hub.put(&record).json(&json!({"ip": ip})).await
                }
            };
            assert!(answer.status < 300 || [404, 422].contains(&answer.status));
        }
    };
    let (linked, ()) = tokio::join!(links.link(), writing);
    linked.unwrap();
    links.link().await.unwrap();
    assert_eq!(unlinked(&mut older).await, 0);
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    compare(&open, &["large", "small"], &all, 7, "all is linked").await;
    for id in ["large", "small"] {
        for name in asked {
            let read = cost(&open, id, name).await;
            assert!(
                read.statements <= 2 && read.rows <= 5,
                "{name} of {id}: {read:?}"
            );
        }
    }
    // What is linked stays so, and is not looked at again.
    hub.put_silo("large", &[("h1", "10.8.0.1"), ("new", "10.8.0.2")])
        .await;
    hub.delete("/silos/small").await;
    assert_eq!(unlinked(&mut older).await, 0);
    compare(&open, &["large", "small"], &all, 100, "later").await;
}

#[tokio::test]
async fn linking_detects_added_rows_and_a_concurrent_linker() {
    let (hub, open) = TestHub::start_in_parts().await;
    let mut older = OlderHub::beside(&hub).await;
    older.set("office", "db", "10.0.0.5", START_MS).await;
    let begin = async |mark| {
        let silo = silo("office");
        let begin = BeginLinking { silo, mark };
        open.registry.apply(begin).await.unwrap();
    };
    let end = async |mark| {
        let followed = Followed {
            mark: Some(mark),
            ..Followed::nothing(silo("office"))
        };
        let ended = open.registry.apply(EndLinking(vec![followed])).await;
        ended.unwrap()[0]
    };
    begin(-5).await;
    begin(-6).await;
    assert_eq!(end(-5).await, Linking::Disturbed);
    // Writes of this version keep the mark, and are linked with the rest.
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    assert_eq!(unlinked(&mut older).await, 1);
    assert_eq!(end(-6).await, Linking::Done);
    assert_eq!(unlinked(&mut older).await, 0);
    assert_eq!(end(-6).await, Linking::Disturbed);
    compare(&open, &["office"], &["db"], 1, "linked").await;
}

#[tokio::test]
async fn the_upkeep_links_what_an_older_hub_writes() {
    let (hub, open) = TestHub::start_in_parts().await;
    let mut older = OlderHub::beside(&hub).await;
    let often = std::time::Duration::from_millis(5);
    let periods = silo_hub::internals::upkeep::Periods {
        link: often,
        ..silo_hub::internals::upkeep::Periods::default()
    };
    let work = tokio::spawn(upkeep(&Arc::clone(&open), 0).work_at(periods));
    for ip in ["10.0.0.5", "10.0.0.6"] {
        older.set("office", "db", ip, START_MS).await;
        let linked = async {
            while unlinked(&mut older).await > 0 {
                tokio::time::sleep(often).await;
            }
        };
        let linked = tokio::time::timeout(crate::common::DEADLINE, linked);
        linked.await.expect("it is linked");
    }
    work.abort();
    compare(&open, &["office"], &["db"], 1, "linked").await;
}
