//! What is said of deliveries beside them: dyndns2 speaks of the hub alone, and the sinks for DNS name what they skip.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use silo_e2e::write_private;
use silo_hub::internals::deliver::sink::{Outcome, Trouble};
use silo_hub::internals::open_sinks;
use silo_hub::internals::sinks::SinkSettings;

use super::scripted::{Desk, deliveries, state_sink};
use crate::common::{TestHub, text};

/// Whatever a sink does with the record: the word is about the hub, which has it.
#[tokio::test]
async fn dyndns2_answers_good_and_nochg_while_a_sink_refuses_the_record() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put_silo("office", &[]).await;
    let update = async |address: &str| {
        let target = format!("/nic/update?hostname=nas&myip={address}");
        let call = hub.open_call(Method::GET, &target);
        let answer = call.login("office", &hub.admin).in_words().await;
        (answer.status, answer.text().to_owned())
    };
    let refused = || Trouble::of_name("no such host");
    let failed = || Trouble::of_sink("the login is refused");
    for (at, outcome, state) in [
        (1, Outcome::Failed(refused()), "failed"),
        (2, Outcome::Failed(failed()), "failed"),
        (3, Outcome::Retry(refused()), "pending"),
        (4, Outcome::Retry(failed()), "pending"),
    ] {
        script.will_only([outcome]);
        let address = format!("192.0.2.{at}");
        let good = (200, format!("good {address}\n"));
        assert_eq!(update(&address).await, good, "{state}");
        desk.work().await;
        let newest = deliveries(&hub, "").await.remove(0);
        assert_eq!(newest["state"], state, "{newest}");
        let nochg = (200, format!("nochg {address}\n"));
        assert_eq!(update(&address).await, nochg, "{state}");
        // So that the next one is tried at once.
        hub.pass(2 * 3600);
        desk.work().await;
    }
}

/// Through the settings, as a hub opens them; nothing listens there.
#[tokio::test]
async fn sinks_for_dns_skip_names_with_underscores_and_say_so() {
    for (kind, keys, published) in [
        (
            "rfc2136",
            "server: '127.0.0.1:1', zone: office.test, \
             key: {name: silo., algorithm: hmac-sha256, secret_file: tsig.key}",
            "my_pc.office.test",
        ),
        (
            "plesk",
            "spool: spool, zone: example.com",
            "my_pc.example.com",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_private(
            &folder.path().join("tsig.key"),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        );
        let (hub, open) = TestHub::start_in_parts_with(|settings| {
            let sink = format!("[{{name: dns, kind: {kind}, {keys}}}]");
            settings.sinks = sinks(&sink, folder.path());
        })
        .await;
        let sinks = open_sinks(&hub.settings).unwrap();
        let desk = Desk::begin(&open, "a", sinks).await;
        let put = hub.put("/silos/office/records/my_pc");
        put.json(&json!({"ip": "10.0.0.5"})).await;
        desk.work().await;
        let all = deliveries(&hub, "").await;
        assert!(!all.is_empty(), "{kind}");
        let why = format!("{published} contains \"_\", which a host name in DNS can't");
        for delivery in all {
            assert_eq!(delivery["state"], "done", "{kind}: {delivery}");
            let of = &delivery["hostnames"][0];
            assert_eq!(of["hostname"], "my_pc", "{kind}: {delivery}");
            assert_eq!(text(&of["why"]), why, "{kind}");
        }
        assert!(
            !folder.path().join("spool").exists(),
            "nothing is handed over"
        );
    }
}

fn sinks(yaml: &str, folder: &Path) -> Vec<SinkSettings> {
    let list = serde_yaml::from_str(yaml).unwrap();
    SinkSettings::read_list(list, folder).unwrap()
}
