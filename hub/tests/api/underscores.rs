//! Hostnames with `_`: those that a hub stored by an older rule, and what a name server says of a zone beside them.

#[cfg(unix)]
use std::process::Command;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection};

use crate::common::TestHub;

/// As 0.1.0 took them: `_` only where a label begins, whatever follows it.
#[tokio::test]
async fn names_with_underscores_that_an_older_hub_stored_are_read_back_and_written() {
    for stored in ["_x", "_-a", "_sip._tcp", "__a.lan", "_a-b.c0"] {
        let hub = TestHub::start().await;
        hub.put_silo("office", &[("old", "10.0.0.5")]).await;
        let (home, settings) = hub.stop().await;
        let mut connection = home.connect().await;
        let rename = format!("UPDATE records SET hostname = '{stored}' WHERE hostname = 'old'");
        let renamed = sqlx::query(AssertSqlSafe(rename)).execute(&mut connection);
        assert_eq!(renamed.await.expect("it is set").rows_affected(), 1);
        connection.close().await.expect("it closes");
        let hub = TestHub::start_in(home, settings).await;
        let silo = hub.get("/silos/office").await.json();
        let expected = json!([{"hostname": stored, "ip": "10.0.0.5"}]);
        assert_eq!(silo["dnsrecords"], expected, "{stored}");
        let hosts = hub.get("/silos/office?format=hosts").await;
        assert!(hosts.text().contains(stored), "{stored}: {hosts:?}");
        let record = format!("/silos/office/records/{stored}");
        assert_eq!(hub.get(&record).await.json()["hostname"], stored);
        let put = hub.put(&record).json(&json!({"ip": "10.0.0.6"})).await;
        assert_eq!(put.status, 200, "{stored}: {put:?}");
        assert_eq!(hub.delete(&record).await.status, 204, "{stored}");
    }
}

#[cfg(unix)]
/// Whether BIND takes a zone `office.test` that includes this text.
fn is_zone(folder: &std::path::Path, text: &str) -> (bool, String) {
    let file = folder.join("zone");
    let head = "$ORIGIN office.test.\n@ 30 IN SOA ns admin 1 60 60 60 30\n@ 30 IN NS ns\nns 30 IN A 10.0.0.1\n";
    std::fs::write(&file, format!("{head}{text}")).expect("a file can be written");
    // As named itself judges a zone of its own (`check-names primary fail`, its default).
    let checked = Command::new("named-checkzone")
        .args(["-k", "fail"])
        .arg("office.test")
        .arg(&file)
        .output()
        .expect("named-checkzone is installed (bind9-utils)");
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    (checked.status.success(), said.into_owned())
}

#[cfg(unix)]
#[tokio::test]
async fn bind_takes_the_zone_of_a_silo_that_has_names_with_underscores() {
    let hub = TestHub::start().await;
    let names = ["my_pc", "_x", "_sip._tcp", "a_.office.test"];
    let mut records = vec![
        ("db", "10.0.0.5"),
        ("db6", "fd00::5"),
        ("nas.office.test", "10.0.0.6"),
    ];
    records.extend(names.map(|name| (name, "10.0.0.7")));
    hub.put_silo("office", &records).await;
    let zone = hub.get("/silos/office?format=zone").await;
    let zone = zone.text();
    for name in names {
        let line = format!(
            "; skipped, because a host name in a zone can't contain \"_\": {name} 10.0.0.7\n"
        );
        assert!(zone.contains(&line), "{name}: {zone}");
    }
    let (taken, said) = is_zone(hub.home.path(), zone);
    assert!(taken, "{said}");
    assert!(!said.contains("warning"), "{said}");
    // What would happen if one of them were in it.
    let (taken, said) = is_zone(hub.home.path(), &format!("{zone}my_pc 30 IN A 10.0.0.7\n"));
    assert!(!taken && said.contains("my_pc"), "{said}");
}
