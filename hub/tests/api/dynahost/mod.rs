//! dynahost's `/update` and `/log`.

mod bindings;
mod logins;
pub(crate) mod moves;
mod requests;

use std::path::Path;
use std::sync::Arc;

use reqwest::Method;
use serde_yaml::Mapping;
use silo_hub::internals::compat_settings::Compat;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::settings::HubSettings;
use silo_hub::internals::sinks::SinkSettings;
use silo_shared::silo::{Hostname, SiloId};

use crate::common::{Answer, TestHub};

/// What dynahost's answers may be.
pub(crate) const STATUSES: &[u16] = &[200, 400, 403, 405, 415, 429, 500, 503];
/// Where the callers of these tests come from, unless they say.
const HERE: &str = "192.0.2.7";

/// Speaks dynahost for the silo `home`, behind a proxy that the tests are, with these sinks.
fn speak(settings: &mut HubSettings, sinks: &str) {
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    settings.compat = compat("{dynahost: {silo: home, hostnames: ['*.example.net', 'h*', nas]}}");
    let list: Vec<Mapping> = serde_yaml::from_str(sinks).expect("the sinks are YAML");
    settings.sinks = SinkSettings::read_list(list, Path::new("")).expect("the sinks are good");
}

/// These settings of the foreign protocols.
pub(crate) fn compat(yaml: &str) -> Compat {
    serde_yaml::from_str(yaml).expect("the settings are good")
}

/// A hub that speaks dynahost, whose parts the test holds.
async fn start_with(sinks: &str) -> (TestHub, Arc<OpenHub>) {
    TestHub::start_in_parts_with(|settings| speak(settings, sinks)).await
}

async fn start() -> (TestHub, Arc<OpenHub>) {
    start_with("[]").await
}

/// `GET` with this query.
async fn get(hub: &TestHub, target: &str, from: &str) -> Answer {
    hub.open_call(Method::GET, target)
        .in_words_of(STATUSES)
        .seen_from(from)
        .await
}

/// `GET /update` with this query, as status and words.
pub(crate) async fn update(hub: &TestHub, query: &str) -> (u16, String) {
    update_from(hub, query, HERE).await
}

async fn update_from(hub: &TestHub, query: &str, from: &str) -> (u16, String) {
    let answer = get(hub, &format!("/update?{query}"), from).await;
    (answer.status, answer.text().to_owned())
}

pub(crate) fn ok() -> (u16, String) {
    (200, "OK".to_owned())
}

/// The reply to a wrong secid.
fn wrong() -> (u16, String) {
    (403, "this secid may not set this host\n".to_owned())
}

fn home() -> SiloId {
    SiloId::parse("home").expect("an id")
}

fn name(text: &str) -> Hostname {
    Hostname::parse(text).expect("a name")
}
