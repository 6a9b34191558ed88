//! What was committed, and whether it is what a client showed.

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::Caller;

use super::SILO;
use super::readers::{Shown, State};

/// The records at a revision: hostnames and addresses. None at all: the silo was deleted.
type Records = BTreeMap<String, String>;

/// All that was committed to the silo.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The records after each revision, from the history.
    committed: BTreeMap<i64, Records>,
    /// What writers were told of their own changes.
    answered: BTreeMap<i64, Value>,
}

impl Truth {
    /// Notes the answer to a PUT of the silo.
    pub(super) fn note_answer(&mut self, silo: &Value) {
        let revision = silo["revision"].as_i64().unwrap();
        let before = self.answered.insert(revision, silo["dnsrecords"].clone());
        assert_eq!(before, None, "revision {revision} was taken twice");
    }

    /// Reads the history, which must agree with what the writers were told.
    pub(super) async fn read_history(&mut self, admin: &Caller) {
        let mut changes: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        let mut next = Some(format!("{SILO}/history?limit=1000"));
        while let Some(path) = next {
            let answer = admin.request(Method::GET, &path).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let link = answer.headers().get("link");
            let link = link.map(|link| link.to_str().unwrap());
            next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
            for row in answer.json::<Vec<Value>>().await.unwrap() {
                let revision = row["revision"].as_i64().unwrap();
                changes.entry(revision).or_default().push(row);
            }
        }
        let mut records = Records::new();
        for (revision, rows) in changes {
            for row in rows {
                let hostname = row["hostname"].as_str().unwrap().to_owned();
                match row["new_ip"].as_str() {
                    Some(ip) => records.insert(hostname, ip.to_owned()),
                    None => records.remove(&hostname),
                };
            }
            self.committed.insert(revision, records.clone());
        }
        for (revision, told) in &self.answered {
            assert_eq!(as_json(&self.committed[revision]), *told, "{revision}");
        }
    }

    /// Judges what a client showed. `deletions`: when each began, in the order of their revisions.
    pub(super) fn check(&self, name: &str, shown: &Shown, deletions: &[Instant]) {
        let is_deleted = |(_, records): &(&i64, &Records)| records.is_empty();
        let deleted: Vec<i64> = self
            .committed
            .iter()
            .filter(is_deleted)
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(deleted.len(), deletions.len());
        let mut newest = 0;
        for (number, state) in shown.states.iter().enumerate() {
            let place = format!("{name}, state {number}: {state:?} after {newest}");
            match state {
                State::Silo {
                    revision,
                    position,
                    records,
                } => {
                    assert!(*revision > newest && position >= revision, "{place}");
                    let committed = self.committed.get(revision);
                    let committed = committed.unwrap_or_else(|| panic!("never committed: {place}"));
                    assert_eq!(as_json(committed), *records, "{place}");
                    newest = *position;
                }
                State::Deleted(revision) => {
                    assert!(*revision > newest, "{place}");
                    assert!(deleted.contains(revision), "never committed: {place}");
                    newest = *revision;
                }
                State::Missing(seen) => {
                    let mut known = deleted.iter().zip(deletions);
                    let is_true = known.any(|(revision, begun)| *revision > newest && begun < seen);
                    assert!(is_true, "it was not deleted: {place}");
                }
            }
        }
    }
}

fn as_json(records: &Records) -> Value {
    let records = records.iter();
    records
        .map(|(hostname, ip)| json!({"hostname": hostname, "ip": ip}))
        .collect()
}
